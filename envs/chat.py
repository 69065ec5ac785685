"""EmpathyChat-v0: one conversation with one simulated user."""

from __future__ import annotations

from typing import Unpack

from empathy_gym.envs.conversation import ConversationEnv
from empathy_gym.envs.setting import ChatKwargs, Transition
from empathy_gym.envs.spaces import UnicodeText
from empathy_gym.simulators.dialogue import Dialogue


class EmpathyChatEnv(ConversationEnv[str, str]):
    """A conversation with a simulated user who has feelings; how the feelings move is the reward.

    ## Description
    Somebody tells of something that happened to them. The agent answers in text, one short turn at a time. A
    perceiver reads each reply into a few integer levels, a published rule turns the levels into a change of
    the user's emotion (0 to 100), and the user goes on with a line that was authored with the scenario. The
    task follows SAGE (arXiv 2505.02847) and RLVER (arXiv 2507.03112); unlike there, no model writes the
    number.

    ## Action Space
    `UnicodeText(1048576)`: the reply, any string at all, the empty one included. A longer one is cut there.

    ## Observation Space
    `UnicodeText(1048576)`: the user's latest line. `info["messages"]` has the whole conversation as it was
    heard. The user's need, emotion and trust are hidden: the task is a POMDP, and all of `info` but
    `messages` and `turn` is privileged.

    ## Rewards
    `reward="delta"`: (e_t - e_{t-1}) / 100 for every reply, where e is the emotion; sums to (e_T - e_0) /
    100, in [-1, 1]. `reward="final"`: e_T / 100 with the last reply, 0 before (RLVER). `info["reward_terms"]`
    holds the terms the reward is the sum of. A malformed action (think mode) or a fault of the policy's sets
    the emotion to 0, under the terms `format` and `fault`.

    ## Starting State
    A scenario drawn uniformly, then a 63-bit dialogue seed, and nothing else, from `np_random`.
    `options={"scenario": id}` names the scenario (the draws are made all the same, so later episodes stay as
    they are); `options={"dialogue": d}` goes on with a dialogue, with its own seed, difficulty and cap. The
    emotion starts at the scenario's value (40 unless it says otherwise), or at `initial_emotion`.

    ## Episode End
    `terminated`: the emotion falls below 10 (failure); it reaches 100 and the farewell reply after it lets go
    (success; a hook to stay is a failure); the user had to leave (closed); the cap of replies is reached
    (timeout, a part of the task: do not bootstrap past it); the action was malformed (format); a fault of the
    policy's. `truncated`: a fault of the simulator's, with reward 0. The cap is `max_turns`; a TimeLimit put
    around the environment by `gym.make(..., max_episode_steps=n)` is not visible to it, and `final` then goes
    unpaid.

    ## Info
    Fresh plain objects at every call, JSON-serialisable, always these keys in this order: `scenario` (opaque
    id), `turn` (replies so far), `messages` (`[{"role": "user" or "assistant", "content": str}, ...]`),
    `emotion` (0-100), `band` (S >= 100, A >= 70, B >= 40, C >= 10, F below), `trust` (0-100), `need_progress`
    (0-100), `appraisal` (the level of every field), `reward_terms` (every term of the reward, `format` and
    `fault`), `outcome` (None, success, failure, timeout, format, closed or fault), `sim_fault` (None or a
    cause), `safety` (None or a flag), `scored_by` (rule, model or custom), `determinism` (exact, replay or
    rule-only).

    ## Arguments
    * `simulator="embedded"`: who is talked with; `"module:attr"` names a user, perceiver, rule or speaker of
      one's own (and imports that module).
    * `simulator_config=None`: a dict, a YAML path or a `SimulatorConfig`.
    * `scenarios="train"`: a split (train, validation, test), a path to YAML or JSONL, or an installed package's.
    * `difficulty="normal"`: easy, normal or hard.
    * `reward="delta"`: delta, final, a registered name or `"module:attr"`.
    * `think=False`: True asks for `<think>...</think>` before the reply and ends the episode where the tags
      are wrong; `"strip"` takes thinking out and never punishes.
    * `max_turns=8`: cap on scored replies.
    * `initial_emotion=None`: 0-100, or the scenario's.
    * `render_mode=None`: `"ansi"` (a string) or `"human"` (printed); any other is ignored with a warning.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        ScenarioError: If a scenario file cannot be used.
    """

    def __init__(self, *, render_mode: str | None = None, **kwargs: Unpack[ChatKwargs]) -> None:
        super().__init__(kwargs, (), render_mode)
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()

    def recorded(self, action: str) -> tuple[str, None]:
        """Return the last action as a record holds it: as it is."""
        return action, None

    def _begun(self, dialogue: Dialogue) -> str:
        return dialogue.last_line

    def _taken(self, before: Dialogue, action: str) -> tuple[Transition, str]:
        transition = self.setting.advance([before], [action])[0]
        return transition, transition.dialogue.last_line
