"""What the vector environments have in common: many conversations, one batched call of the user a step."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from empathy_gym.envs.info import batch_infos, info_of
from empathy_gym.envs.rendering import ansi, checked_render_mode
from empathy_gym.envs.setting import ChatKwargs, ChatSetting, Transition, check_options, integer
from empathy_gym.envs.vectors import A, Infos, O, StreamVectorEnv
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

OPTIONS: Final = ("scenario", "dialogue", "reset_mask", "group_size")


class ConversationVectorEnv(StreamVectorEnv[O, A]):
    """Many conversations at once; what observations and actions are is up to the environment.

    Sub-environment i, seeded with s + i, equals a single environment seeded with s + i through any number of episodes,
    and a step asks the user once for all conversations. `EmpathyChatVectorEnv` explains resets and ends.

    Args:
        kwargs: The keyword arguments of the task.
        also_valid: Further keyword arguments of the environment, for messages.
        num_envs: How many conversations.
        spaces: The spaces of one observation and of one action.
        autoreset_mode: ``"SameStep"`` or ``"Disabled"``.
        render_mode: ``"ansi"``, ``"human"`` or None.
        max_episode_steps: Refused: the cap is `max_turns`, which the task knows about.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
    """

    def __init__(
        self,
        kwargs: ChatKwargs,
        also_valid: tuple[str, ...],
        num_envs: int,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
        *,
        autoreset_mode: str | AutoresetMode,
        render_mode: str | None,
        max_episode_steps: int | None,
    ) -> None:
        if max_episode_steps is not None:
            raise ConfigError(
                f"max_episode_steps={max_episode_steps!r} is not for this environment, whose horizon is "
                "part of the task; use max_turns."
            )
        super().__init__(num_envs, autoreset_mode, spaces)
        valid = (*also_valid, "num_envs", "autoreset_mode", "render_mode")
        self.setting = ChatSetting.make(kwargs, also_valid=valid)
        self.render_mode = checked_render_mode(render_mode)
        self._dialogues: list[Dialogue] = []

    # -- what an environment adds ------------------------------------------------------------------------------

    @abc.abstractmethod
    def _begun(self, which: Sequence[int]) -> None:
        """Take note that episodes have begun in these sub-environments."""

    @abc.abstractmethod
    def _taken(self, live: Sequence[int], actions: Sequence[Any]) -> list[Transition]:
        """Return what actions come to in these conversations."""

    @abc.abstractmethod
    def _observation(self, index: int) -> Any:
        """Return the observation of one sub-environment."""

    @abc.abstractmethod
    def _batched(self, observations: Sequence[Any]) -> O:
        """Return the observations of all sub-environments as one."""

    # -- reset -----------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[O, Infos]:
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
        which = self._masked(given.get("reset_mask"), bool(self._dialogues))
        group_size = self._group_size(given.get("group_size"), which)
        scenarios = self._each("scenario", given.get("scenario"), str, "str")
        dialogues = self._each("dialogue", given.get("dialogue"), Dialogue, "Dialogue")
        for i in which:
            first = i - i % group_size
            if (scenarios[i], dialogues[i]) != (scenarios[first], dialogues[first]):
                raise ConfigError(
                    f"The options give the siblings {first} and {i} of a group different starts; with "
                    f"group_size={group_size} they must share scenario and dialogue."
                )
        self._seed(seed, which)
        starts = [self.setting.start(self._generators[i], scenarios[i], dialogues[i]) for i in which]
        begun = self.setting.begin([starts[k - k % group_size] for k in range(len(starts))])
        if self._dialogues:
            for i, dialogue in zip(which, begun, strict=True):
                self._dialogues[i] = dialogue
        else:
            self._dialogues = begun
        self._begun(which)
        return self._observations(), batch_infos(self._opening_infos(which))

    def _group_size(self, value: Any, which: Sequence[int]) -> int:
        if value is None:
            return 1
        size = integer("options['group_size']", value, 1)
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ConfigError(
                "options['group_size'] needs autoreset_mode='Disabled': otherwise siblings would part at "
                "the first episode that ends."
            )
        if self.num_envs % size:
            raise ConfigError(
                f"options['group_size'] is {size}, which does not divide num_envs={self.num_envs}."
            )
        chosen = set(which)
        for first in range(0, self.num_envs, size):
            if len(chosen & set(range(first, first + size))) not in (0, size):
                raise ConfigError(
                    f"options['reset_mask'] covers only a part of the group {first}..{first + size - 1}; "
                    f"with group_size={size} it must cover whole groups."
                )
        return size

    # -- step ------------------------------------------------------------------------------------------------

    def step(self, actions: A) -> tuple[O, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Take a turn of every conversation.

        Args:
            actions: One for each sub-environment; None for one that waits (see the class).

        Returns:
            Observations, rewards, terminations, truncations and infos.

        Raises:
            ResetNeeded: If a sub-environment has no episode going on and its action is not None.
            ConfigError: If the number or the type of the actions is wrong.
        """
        live, chosen = self._live(actions)
        taken = self._taken(live, chosen)
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminations = np.zeros(self.num_envs, dtype=np.bool_)
        truncations = np.zeros(self.num_envs, dtype=np.bool_)
        infos: list[Infos | None] = [None] * self.num_envs
        for i, transition in zip(live, taken, strict=True):
            self._dialogues[i] = transition.dialogue
            rewards[i] = transition.reward
            terminations[i], truncations[i] = transition.terminated, transition.truncated
            infos[i] = info_of(transition.dialogue, transition.terms)
        ended = {i: t for i, t in zip(live, taken, strict=True) if t.done}
        batch: Infos = {}
        if ended and self.autoreset_mode is AutoresetMode.SAME_STEP:
            batch = self._autoreset(ended, infos)
        batch.update(batch_infos(infos))
        return self._observations(), rewards, terminations, truncations, batch

    def _live(self, actions: Any) -> tuple[list[int], list[Any]]:
        """Return the numbers of the conversations that go on, and the actions in them."""
        if not self._dialogues:
            raise ResetNeeded("No episode has begun; call envs.reset() first.")
        given = self._given(actions)
        waiting = [i for i, d in enumerate(self._dialogues) if d.ended]
        called = [i for i in waiting if given[i] is not None]
        if called:
            raise ResetNeeded(
                f"The episodes of sub-environments {called} have ended. Reset them with "
                "options={'reset_mask': mask}, or let them wait with the action None."
            )
        live = [i for i, d in enumerate(self._dialogues) if not d.ended]
        return live, [given[i] for i in live]

    def _autoreset(self, ended: Mapping[int, Transition], infos: list[Infos | None]) -> Infos:
        """Begin the next episodes in the streams of the ended ones, and return what is told of the ends."""
        finals: list[Infos | None] = [
            {"final_obs": self._observation(i), "final_info": infos[i]} if i in ended else None
            for i in range(self.num_envs)
        ]
        begun = self.setting.begin([self.setting.start(self._generators[i]) for i in ended])
        for i, dialogue in zip(ended, begun, strict=True):
            self._dialogues[i] = dialogue
            infos[i] = info_of(dialogue, self.setting.zero_terms())
        self._begun(list(ended))
        return batch_infos(finals)

    def _opening_infos(self, which: Sequence[int]) -> list[Infos | None]:
        infos: list[Infos | None] = [None] * self.num_envs
        for i in which:
            infos[i] = info_of(self._dialogues[i], self.setting.zero_terms())
        return infos

    def _observations(self) -> O:
        return self._batched([self._observation(i) for i in range(self.num_envs)])

    # -- the rest --------------------------------------------------------------------------------------------

    def _frames(self) -> tuple[str, ...]:
        return tuple(ansi(dialogue) for dialogue in self.dialogues)

    @property
    def dialogues(self) -> tuple[Dialogue, ...]:
        """The state of every episode: keep it, pickle it, resume it, branch it.

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if not self._dialogues:
            raise ResetNeeded("No episode has begun; call envs.reset() first.")
        return tuple(self._dialogues)

    @property
    def instructions(self) -> tuple[str, ...]:
        """The system prompt for the policy of every sub-environment."""
        dialogues: Sequence[Dialogue | None] = self._dialogues or [None] * self.num_envs
        return tuple(map(self.setting.instruction, dialogues))

    @property
    def user(self) -> User:
        """The simulated user."""
        return self.setting.user

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios that a reset draws from."""
        return self.setting.scenarios
