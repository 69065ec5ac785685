"""EmpathyChat-v0: one conversation with one simulated user."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Unpack

import gymnasium as gym
from gymnasium.error import ResetNeeded

from empathy_gym.envs.info import info_of
from empathy_gym.envs.rendering import RENDER_MODES, ansi, checked_render_mode, write
from empathy_gym.envs.setting import ChatKwargs, ChatSetting, check_options
from empathy_gym.envs.spaces import UnicodeText
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

OPTIONS: Final = ("scenario", "dialogue")


class EmpathyChatEnv(gym.Env[str, str]):
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

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # type: ignore[misc]

    def __init__(self, *, render_mode: str | None = None, **kwargs: Unpack[ChatKwargs]) -> None:
        if "autoreset_mode" in kwargs:
            raise ConfigError("autoreset_mode is an argument of the vector environment; use gym.make_vec.")
        self.setting = ChatSetting.make(kwargs, also_valid=("render_mode",))
        self.render_mode = checked_render_mode(render_mode)
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self._dialogue: Dialogue | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of `np_random`; None goes on with it.
            options: ``"scenario"``, the id of a scenario, or ``"dialogue"``, a `Dialogue` to go on with.

        Returns:
            The user's opening, and the info.

        Raises:
            ConfigError: If an option is unknown or has a wrong value.
        """
        given = check_options(options, OPTIONS)
        super().reset(seed=seed)
        start = self.setting.start(self.np_random, given.get("scenario"), given.get("dialogue"))
        self._dialogue = self.setting.begin([start])[0]
        if self.render_mode == "human":
            write(ansi(self._dialogue))
        return self._dialogue.last_line, info_of(self._dialogue, self.setting.zero_terms())

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say something to the user.

        Args:
            action: The reply.

        Returns:
            The user's next line, the reward, terminated, truncated, and the info.

        Raises:
            ResetNeeded: If no episode is going on.
            ConfigError: If the action is not a string.
        """
        before = self.dialogue
        if before.ended:
            raise ResetNeeded(
                f"The episode has ended ({before.outcome}); call env.reset() before env.step()."
            )
        transition = self.setting.advance([before], [action])[0]
        self._dialogue = after = transition.dialogue
        if self.render_mode == "human":
            write(ansi(after, since=len(before.messages)))
        info = info_of(after, transition.terms)
        return after.last_line, transition.reward, transition.terminated, transition.truncated, info

    def render(self) -> str | None:
        """Return the conversation so far with a bar of the emotion (``"ansi"``), or print it (``"human"``).

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if self.render_mode is None:
            gym.logger.warn(
                'render() does nothing without a render mode; use gym.make(..., render_mode="ansi").'
            )
            return None
        text = ansi(self.dialogue)
        if self.render_mode == "ansi":
            return text
        write(text)
        return None

    @property
    def dialogue(self) -> Dialogue:
        """The whole state of the episode: keep it, pickle it, resume it, branch it.

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if self._dialogue is None:
            raise ResetNeeded("No episode has begun; call env.reset() first.")
        return self._dialogue

    @property
    def instruction(self) -> str:
        """The system prompt that a policy is given, in the user's language."""
        return self.setting.instruction(self._dialogue)

    @property
    def user(self) -> User:
        """The simulated user."""
        return self.setting.user

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios that `reset` draws from."""
        return self.setting.scenarios
