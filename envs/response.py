"""EmpathyResponse-v0: one response to what somebody told, rewarded for having the reference's empathy."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Unpack

import gymnasium as gym
from gymnasium.error import ResetNeeded

from empathy_gym.envs.rendering import RENDER_MODES, checked_render_mode, message_lines, rendered, write
from empathy_gym.envs.response_setting import Answer, ResponseKwargs, ResponseSetting
from empathy_gym.envs.setting import check_options
from empathy_gym.envs.spaces import UnicodeText
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.exchanges import Exchange

OPTIONS: Final = ("exchange",)


class EmpathyResponseEnv(gym.Env[str, str]):
    """One response to what somebody told; having the empathy of the reference is the reward.

    ## Description
    Somebody tells of something, in one utterance or several with a listener's between; the agent gives the
    listener's next utterance, and the episode is over. Three identifiers read levels of EPITOME's mechanisms
    (emotional reaction, interpretation, exploration: none, weak, strong) in the response and in the reference, which
    a person gave. The task is that of EmpRL (arXiv 2408.02976).

    ## Action Space
    `UnicodeText(1048576)`: the response, any string at all, the empty one included. A longer one is cut there.

    ## Observation Space
    `UnicodeText(1048576)`: the context, an utterance a line, without names; speaker and listener take turns, and the
    first and the last line are the speaker's. `info["messages"]` has the same as chat messages, the speaker as the
    user. The observation of the last step is the context again.

    ## Rewards
    p(ER*) p(IP*) p(EX*): the probabilities that the identifiers give, reading the response, to the levels they read
    in the reference; in (0, 1). Optional terms, 0.0 unless asked for, take away from it (see Arguments).
    `info["reward_terms"]` holds the terms the reward is the sum of.

    ## Starting State
    An exchange drawn uniformly from `np_random`. `options={"exchange": id}` names it (the draw is made all the same,
    so later episodes stay as they are).

    ## Episode End
    `terminated` with the one response: the horizon is part of the task.

    ## Info
    Fresh plain objects at every call, JSON-serialisable, always these keys in this order: `scenario` (opaque id of the
    exchange), `turn` (0, then 1), `messages` (the context, then with the response), `levels` (of the response, by
    mechanism; 0 before there is one), `reference_levels`, `probabilities` (of the reference's levels; 0.0 before),
    `reward_terms` (`empathy`, `guard`, `length`, `repetition`, `copy`), `outcome` (None, then timeout: the cap of one
    response is reached), `sim_fault` (None), `safety` (None, policy_harm or crisis_check), `scored_by` (custom),
    `determinism` (exact, or rule-only where an encoder identifies). All of it but `messages` and `turn` is privileged.

    ## Arguments
    * `exchanges="train"`: a split of the bundled sample (train, validation, test), a path to YAML or JSONL, or
      `"empathetic-dialogues:SPLIT"` (docs/responses.md).
    * `identifier=None`: the one that comes with the package; a folder that `empathy-gym identifiers train` wrote; or
      `"structure"`, the embedded perceiver.
    * `guard=False`: whether what is no language, or a copy of the context, gets 0.
    * `length_weight=0.0`, `repetition_weight=0.0`, `copy_weight=0.0`: what is lost at most for another length than
      the reference's, for saying things twice, for repeating the context.
    * `render_mode=None`: `"ansi"` (a string) or `"human"` (printed); any other is ignored with a warning.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        EngineError: If a data set cannot be downloaded.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # type: ignore[misc]

    def __init__(self, *, render_mode: str | None = None, **kwargs: Unpack[ResponseKwargs]) -> None:
        if "autoreset_mode" in kwargs:
            raise ConfigError("autoreset_mode is an argument of the vector environment; use gym.make_vec.")
        self.setting = ResponseSetting.make(kwargs, also_valid=("render_mode",))
        self.render_mode = checked_render_mode(render_mode)
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self._exchange: Exchange | None = None
        self._answer: Answer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of `np_random`; None goes on with it.
            options: ``"exchange"``, the id of an exchange.

        Returns:
            The context, and the info.

        Raises:
            ConfigError: If an option is unknown or has a wrong value.
        """
        given = check_options(options, OPTIONS)
        super().reset(seed=seed)
        self._exchange = self.setting.start(self.np_random, given.get("exchange"))
        self._answer = None
        if self.render_mode == "human":
            write(ansi(self._exchange, None))
        return self._exchange.text, self.setting.infos([self._exchange], [None])[0]

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Answer.

        Args:
            action: The response.

        Returns:
            The context again, the reward, True, False, and the info.

        Raises:
            ResetNeeded: If no episode is going on.
            ConfigError: If the action is not a string.
        """
        if self._answer is not None:
            raise ResetNeeded("The episode has ended; call env.reset() before env.step().")
        exchange = self.exchange
        self._answer = answer = self.setting.answer([exchange], [action])[0]
        if self.render_mode == "human":
            write(ansi(exchange, answer, since=len(exchange.context)))
        return exchange.text, answer.reward, True, False, self.setting.infos([exchange], [answer])[0]

    def render(self) -> str | None:
        """Return context, response and reward as text (``"ansi"``), or print them (``"human"``).

        Raises:
            ResetNeeded: If no episode has begun.
        """
        return rendered(self.render_mode, lambda: ansi(self.exchange, self._answer))

    @property
    def exchange(self) -> Exchange:
        """What the episode is about, the reference included.

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if self._exchange is None:
            raise ResetNeeded("No episode has begun; call env.reset() first.")
        return self._exchange

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges that `reset` draws from."""
        return self.setting.exchanges

    @property
    def instruction(self) -> str:
        """The system prompt that a policy is given."""
        return self.setting.instruction


def ansi(exchange: Exchange, answer: Answer | None, since: int = 0) -> str:
    """Return an episode as text: one line a message, and what the response came to.

    Args:
        exchange: What it is about.
        answer: What the response came to, if there is one.
        since: Number of the first message to show.
    """
    messages = exchange.messages
    if answer is not None:
        messages.append({"role": "assistant", "content": answer.response})
    lines = message_lines(messages[since:])
    if answer is not None:
        read = ", ".join(f"{name} {level}" for name, level in answer.levels.items())
        lines.append(f"     reward {answer.reward:.3f}  {read}")
    return "\n".join(lines) + "\n"
