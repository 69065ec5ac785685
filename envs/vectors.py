"""What vector environments of any kind ask of their arguments: masks, seeds, how episodes follow one another."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode

from empathy_gym.envs.setting import integer
from empathy_gym.simulators.errors import ConfigError, unknown_name

MODES: Final = {mode.value: mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)}
"""Ways in which episodes may follow one another, by name."""


def masked(mask: Any, num_envs: int) -> list[int]:
    """Return the numbers of the sub-environments that a mask resets; the mask is not taken out of the options.

    Args:
        mask: ``options["reset_mask"]``; None for all.
        num_envs: How many there are.

    Raises:
        ConfigError: If it is no mask, or covers nothing.
    """
    if mask is None:
        return list(range(num_envs))
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ConfigError(f"options['reset_mask'] must be a numpy array of {num_envs} bools; got {mask!r}.")
    if not mask.any():
        raise ConfigError("options['reset_mask'] is False everywhere; there is nothing to reset.")
    return [int(i) for i in np.flatnonzero(mask)]


def each_seed(seed: Any, num_envs: int) -> list[int | None]:
    """Return the seed of each sub-environment: s, s + 1, ..., those of a list, or None.

    Raises:
        ConfigError: If a seed is not a whole number, or the list has another length.
    """
    if isinstance(seed, list | tuple | np.ndarray):
        if len(seed) != num_envs:
            raise ConfigError(f"seed has {len(seed)} entries; there are num_envs={num_envs}.")
        return [None if s is None else integer(f"seed[{i}]", s, 0) for i, s in enumerate(seed)]
    first = None if seed is None else integer("seed", seed, 0)
    return [None if first is None else first + i for i in range(num_envs)]


def autoreset_mode_of(value: Any) -> AutoresetMode:
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
