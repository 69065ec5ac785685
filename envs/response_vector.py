"""The vector environment of EmpathyResponse-v0: many responses, one batched call of the identifiers a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Unpack

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from empathy_gym.envs.info import batch_infos
from empathy_gym.envs.rendering import checked_render_mode
from empathy_gym.envs.response import ansi
from empathy_gym.envs.response_setting import Answer, ResponseKwargs, ResponseSetting
from empathy_gym.envs.setting import check_options
from empathy_gym.envs.spaces import UnicodeText
from empathy_gym.envs.vectors import Infos, StreamVectorEnv
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.exchanges import Exchange

OPTIONS: Final = ("exchange", "reset_mask")

Observations = tuple[str, ...]


class EmpathyResponseVectorEnv(StreamVectorEnv[Observations, Sequence[str | None]]):
    """Many responses at once: `EmpathyResponseEnv` batched, sub-environment for sub-environment the same.

    ## Description
    Made by `gym.make_vec("EmpathyResponse-v0", num_envs=n)`. Sub-environment i, seeded with s + i, equals a single
    environment seeded with s + i through any number of episodes. A step asks the identifiers once for all responses.

    ## Action Space
    A tuple (or list, or array) of `num_envs` strings.

    ## Observation Space
    A tuple of `num_envs` strings.

    ## Rewards
    Shape `(num_envs,)`, float64; flags are bool arrays of that shape.

    ## Starting State
    `reset(seed=s)` seeds sub-environment i with s + i; a list seeds each. Options: `"exchange"`, one id for all or a
    list with one (or None: the one drawn) for each; `"reset_mask"`, a bool array of the sub-environments to reset. Every
    reset draws the same number from every stream it resets, whatever the options.

    ## Episode End
    Every step ends the episodes. With `autoreset_mode="SameStep"` (the default) the observation is the next context, and
    `infos["final_obs"]` and `infos["final_info"]` have the end. With `"Disabled"` the action of a sub-environment whose
    episode has ended must be None (it waits, with reward 0.0, flags False and no info) until a reset covers it.
    `"NextStep"` is not supported.

    ## Infos
    As `VectorEnv._add_info` makes them; `empathy_gym.envs.unbatch_info(infos, i)` gives the info of one
    sub-environment back, also from `infos["final_info"]`.

    ## Arguments
    `num_envs=1`, `autoreset_mode="SameStep"`, and those of `EmpathyResponseEnv`. `max_episode_steps` is refused: an
    episode is one step.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        EngineError: If a data set cannot be downloaded.
    """

    action_name: ClassVar[str] = "strings"

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **kwargs: Unpack[ResponseKwargs],
    ) -> None:
        if max_episode_steps is not None:
            raise ConfigError(
                f"max_episode_steps={max_episode_steps!r} is not for this environment, whose episodes are one step."
            )
        super().__init__(num_envs, autoreset_mode, (UnicodeText(), UnicodeText()))
        self.setting = ResponseSetting.make(kwargs, also_valid=("num_envs", "autoreset_mode", "render_mode"))
        self.render_mode = checked_render_mode(render_mode)
        self._exchanges: list[Exchange] = []
        self._answers: list[Answer | None] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Infos]:
        """Begin episodes.

        Args:
            seed: s for s, s + 1, ..., a list with one (or None) for each sub-environment, or None to go on.
            options: See the class; `options` is only read.

        Returns:
            The observations of all sub-environments, and the infos of those that were reset.

        Raises:
            ConfigError: If an option or a seed is not valid.
            ResetNeeded: If the first reset of all leaves sub-environments out.
        """
        given = check_options(options, OPTIONS)
        which = self._masked(given.get("reset_mask"), bool(self._exchanges))
        asked = self._each("exchange", given.get("exchange"), str, "id")
        ids = [None if id_ is None else str(id_) for id_ in asked]
        self._seed(seed, which)
        begun = {i: self.setting.start(self._generators[i], ids[i]) for i in which}
        self._begin(begun)
        return self._observations(), batch_infos(self._infos(which))

    def step(
        self, actions: Iterable[str | None]
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Answer in every sub-environment.

        Args:
            actions: One string for each sub-environment; None for one that waits (see the class).

        Returns:
            Observations, rewards, terminations, truncations and infos.

        Raises:
            ResetNeeded: If a sub-environment has no episode going on and its action is not None.
            ConfigError: If the number or the type of the actions is wrong.
        """
        live, texts = self._live(actions)
        answers = self.setting.answer([self._exchanges[i] for i in live], texts)
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        for i, answer in zip(live, answers, strict=True):
            self._answers[i] = answer
            rewards[i], terminations[i] = answer.reward, True
        infos, batch = self._infos(live), Infos()
        if live and self.autoreset_mode is AutoresetMode.SAME_STEP:
            ends: list[Infos | None] = [
                None if info is None else {"final_obs": self._exchanges[i].text, "final_info": info}
                for i, info in enumerate(infos)
            ]
            batch = batch_infos(ends)
            self._begin({i: self.setting.start(self._generators[i]) for i in live})
            infos = self._infos(live)
        batch.update(batch_infos(infos))
        return self._observations(), rewards, terminations, np.zeros_like(terminations), batch

    def _begin(self, begun: Mapping[int, Exchange]) -> None:
        if not self._exchanges:
            self._exchanges = [begun[i] for i in range(self.num_envs)]
            self._answers = [None] * self.num_envs
        for i, exchange in begun.items():
            self._exchanges[i], self._answers[i] = exchange, None

    def _live(self, actions: Any) -> tuple[list[int], list[str | None]]:
        """Return the numbers of the episodes that go on, and their actions."""
        if not self._exchanges:
            raise ResetNeeded("No episode has begun; call envs.reset() first.")
        given = self._given(actions)
        called = [i for i, a in enumerate(self._answers) if a is not None and given[i] is not None]
        if called:
            raise ResetNeeded(
                f"The episodes of sub-environments {called} have ended. Reset them, or let them wait with the "
                "action None."
            )
        live = [i for i, answer in enumerate(self._answers) if answer is None]
        return live, [given[i] for i in live]

    def _infos(self, which: Sequence[int]) -> list[Infos | None]:
        made = self.setting.infos([self._exchanges[i] for i in which], [self._answers[i] for i in which])
        infos: list[Infos | None] = [None] * self.num_envs
        for i, info in zip(which, made, strict=True):
            infos[i] = info
        return infos

    def _observations(self) -> Observations:
        return tuple(exchange.text for exchange in self._exchanges)

    def _frames(self) -> tuple[str, ...]:
        return tuple(ansi(x, answer) for x, answer in zip(self.exchanges, self._answers, strict=True))

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What the episodes are about, the references included.

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if not self._exchanges:
            raise ResetNeeded("No episode has begun; call envs.reset() first.")
        return tuple(self._exchanges)

    @property
    def instructions(self) -> tuple[str, ...]:
        """The system prompt for the policy of every sub-environment."""
        return (self.setting.instruction,) * self.num_envs
