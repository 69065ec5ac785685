"""What vector environments of any kind share: a stream for each sub-environment, masks, seeds, how episodes follow."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar, Final, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from empathy_gym.envs.rendering import RENDER_MODES, write
from empathy_gym.envs.setting import integer
from empathy_gym.simulators.errors import ConfigError, unknown_name

MODES: Final = {mode.value: mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)}
"""Ways in which episodes may follow one another, by name."""

O = TypeVar("O")  # noqa: E741
A = TypeVar("A")
Infos = dict[str, Any]


class StreamVectorEnv(gym.vector.VectorEnv[O, A, NDArray[Any]]):
    """Sub-environments that each draw from a generator of their own, seeded with s + i, as single environments do.

    Args:
        num_envs: How many there are.
        autoreset_mode: ``"SameStep"`` or ``"Disabled"``.
        spaces: The spaces of one observation and of one action.

    Raises:
        ConfigError: If an argument has a wrong value.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    action_name: ClassVar[str] = "actions"

    def __init__(
        self,
        num_envs: int,
        autoreset_mode: str | AutoresetMode,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
    ) -> None:
        self.num_envs = integer("num_envs", num_envs, 1)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._generators: list[np.random.Generator] = []
        self._seeds: list[int] = []

    @abc.abstractmethod
    def _frames(self) -> tuple[str, ...]:
        """Return every episode as text."""

    def _masked(self, mask: Any, begun: bool) -> list[int]:
        """Return the numbers of the sub-environments that a mask resets; the mask is not taken out of the options.

        Args:
            mask: ``options["reset_mask"]``; None for all.
            begun: Whether episodes have begun in all of them.

        Raises:
            ConfigError: If it is no mask, or covers nothing.
            ResetNeeded: If it leaves out what never began.
        """
        if mask is None:
            return list(range(self.num_envs))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ConfigError(
                f"options['reset_mask'] must be a numpy array of {self.num_envs} bools; got {mask!r}."
            )
        if not mask.any():
            raise ConfigError("options['reset_mask'] is False everywhere; there is nothing to reset.")
        if not begun and not mask.all():
            raise ResetNeeded(
                "options['reset_mask'] leaves out sub-environments that never began; reset all first."
            )
        return [int(i) for i in np.flatnonzero(mask)]

    def _each(self, name: str, value: Any, one: type, what: str) -> list[Any]:
        """Return an option for each sub-environment: one for all, or those of a list."""
        if value is None or isinstance(value, one):
            return [value] * self.num_envs
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != self.num_envs:
            raise ConfigError(
                f"options[{name!r}] must be one {what} or a list of {self.num_envs}; got {value!r:.80}."
            )
        return list(value)

    def _given(self, actions: Any) -> list[Any]:
        """Return the actions, one for each sub-environment.

        Raises:
            ConfigError: If these are no actions, or another number of them.
        """
        if isinstance(actions, str | bytes | Mapping | Set) or not isinstance(actions, Iterable):
            raise ConfigError(
                f"actions is a {type(actions).__name__}; it must be {self.num_envs} {self.action_name}."
            )
        given = list(actions)
        if len(given) != self.num_envs:
            raise ConfigError(f"Got {len(given)} actions for num_envs={self.num_envs}.")
        return given

    # -- streams -----------------------------------------------------------------------------------------------

    def _seed(self, seed: Any, which: Sequence[int]) -> None:
        """Seed sub-environments: with s + i, with the entries of a list, or not at all where that is None.

        Raises:
            ConfigError: If a seed is not a whole number, or the list has another length.
        """
        if isinstance(seed, list | tuple | np.ndarray):
            if len(seed) != self.num_envs:
                raise ConfigError(f"seed has {len(seed)} entries; there are num_envs={self.num_envs}.")
            seeds = [None if s is None else integer(f"seed[{i}]", s, 0) for i, s in enumerate(seed)]
        else:
            first = None if seed is None else integer("seed", seed, 0)
            seeds = [None if first is None else first + i for i in range(self.num_envs)]
        self._ensure_seeded()
        for i in which:
            if seeds[i] is not None:
                self._generators[i], self._seeds[i] = seeding.np_random(seeds[i])

    def _ensure_seeded(self) -> None:
        while len(self._generators) < self.num_envs:
            generator, seed = seeding.np_random()
            self._generators.append(generator)
            self._seeds.append(seed)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators of the sub-environments."""
        self._ensure_seeded()
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the generators of the sub-environments."""
        self._ensure_seeded()
        return tuple(self._seeds)

    # -- rendering ---------------------------------------------------------------------------------------------

    def render(self) -> tuple[str | None, ...] | None:  # type: ignore[override]
        """Return every episode as text (``"ansi"``), or print them all (``"human"``)."""
        if self.render_mode is None:
            gym.logger.warn(
                'render() does nothing without a render mode; use gym.make_vec(..., render_mode="ansi").'
            )
            return None
        frames = self._frames()
        if self.render_mode == "ansi":
            return frames
        write("\n".join(frames))
        return (None,) * self.num_envs


def _autoreset_mode(value: Any) -> AutoresetMode:
    """Return an autoreset mode by name.

    Raises:
        ConfigError: If it is not supported.
    """
    name = value.value if isinstance(value, AutoresetMode) else value
    if name == AutoresetMode.NEXT_STEP.value:
        raise ConfigError(f"autoreset_mode={name!r} is not supported; use {' or '.join(map(repr, MODES))}.")
    if not isinstance(name, str) or name not in MODES:
        raise unknown_name("autoreset_mode", name, MODES)
    return MODES[name]
