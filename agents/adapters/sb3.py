"""Stable-Baselines3 over the vector environment: `SB3VecEnv`.

Stable-Baselines3 knows `VecEnv`, a class of its own, and steps single environments one after another in its
`DummyVecEnv`. Here a step of all of them is one batched call of the simulated user. Needs the extra ``[sb3]``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from empathy_gym.envs.info import unbatch_infos
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError

STRATEGY_ENV: Final = "EmpathyStrategy-v0"
PER_ENV: Final = {"dialogue": "dialogues", "instruction": "instructions"}
"""Attributes of a single environment, and where the vector environment has them for all."""

Observations = dict[str, NDArray[Any]]
_VecEnv: Any = require("stable_baselines3.common.vec_env", "sb3").VecEnv


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuse an environment of text, which no network of Stable-Baselines3 takes.

    Raises:
        ConfigError: If observation or action is a text, naming the environment that has neither.
    """
    for what, space in (("observation", observation_space), ("action", action_space)):
        if isinstance(space, spaces.Text):
            raise ConfigError(
                f"Stable-Baselines3 cannot learn on text, and this environment's {what} is one "
                f"({type(space).__name__}). Use {STRATEGY_ENV!r}: the same users, acted on by support strategies."
            )


class SB3VecEnv(_VecEnv):  # type: ignore[misc]
    """A vector environment of this package as a `VecEnv` of Stable-Baselines3.

        SB3VecEnv(gym.make_vec("EmpathyStrategy-v0", num_envs=16))

    Rewards are float32, as there. At the end of an episode its info has ``terminal_observation``, ``episode``
    (return ``r``, length ``l``, seconds ``t``: what `VecMonitor` would write) and ``is_success``.
    ``TimeLimit.truncated`` is True only where a fault of the simulator cut the episode short: the cap of
    replies is a part of the task, and no learner bootstraps past it.

    The infos are those of the environment. They are privileged: Stable-Baselines3 shows them to callbacks and
    never to a policy.

    Args:
        envs: A vector environment with ``autoreset_mode="SameStep"``, the default of `gym.make_vec`.
        hidden: Keys of the observation that are shown as zeros, to ask what a policy learns without them.

    Raises:
        MissingExtraError: If Stable-Baselines3 is not installed (when this module is imported).
        ConfigError: If `envs` is not such an environment, or is one of text.
    """

    def __init__(self, envs: Any, hidden: Iterable[str] = ()) -> None:
        if not isinstance(envs, gym.vector.VectorEnv):
            if isinstance(envs, gym.Env):
                check_spaces(envs.observation_space, envs.action_space)
            raise ConfigError(
                f"SB3VecEnv got {envs!r:.80}; it takes gym.make_vec({STRATEGY_ENV!r}, num_envs=...)."
            )
        check_spaces(envs.single_observation_space, envs.single_action_space)
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(f"SB3VecEnv needs autoreset_mode='SameStep', the default; this one has {mode}.")
        self.envs: Any = envs
        self.hidden = checked_hidden(hidden, envs.single_observation_space)
        self._actions: NDArray[Any] | None = None
        self._begun = time.perf_counter()
        self._returns = np.zeros(envs.num_envs, dtype=np.float64)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    # -- episodes ----------------------------------------------------------------------------------------

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed sub-environment i with `seed` + i at the next reset; None goes on in the streams there are."""
        self._seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        return list(self._seeds)

    def reset(self) -> Observations:
        """Begin all episodes.

        Returns:
            Arrays of shape (num_envs, ...) by key.
        """
        names = dict.fromkeys(name for options in self._options for name in options)
        options = {name: [given.get(name) for given in self._options] for name in names}
        observations, infos = self.envs.reset(seed=list(self._seeds), options=options or None)
        self.reset_infos = unbatch_infos(infos, self.num_envs)
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return self._shown(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take a step in every conversation.

        Returns:
            Observations, rewards of shape (num_envs,), whether each episode ended, and one info for each.

        Raises:
            ConfigError: If `step_async` was not called.
        """
        if self._actions is None:
            raise ConfigError("step_wait() was called before step_async(actions).")
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        self._actions = None
        dones: NDArray[np.bool_] = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        told = unbatch_infos(infos, self.num_envs)
        if dones.any():
            finals = unbatch_infos(infos["final_info"], self.num_envs)
            for i in map(int, np.flatnonzero(dones)):
                self.reset_infos[i] = told[i]
                told[i] = self._ended(i, finals[i], infos["final_obs"][i])
        for info, cut in zip(told, truncated, strict=True):
            info["TimeLimit.truncated"] = bool(cut)
        self._returns[dones], self._lengths[dones] = 0.0, 0
        return self._shown(observations), rewards.astype(np.float32), dones, told

    def _ended(self, i: int, info: dict[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
        """Return the info of an episode's end, with what Stable-Baselines3 looks for in it."""
        info["terminal_observation"] = self._shown(last)
        info["is_success"] = info.get("outcome") == "success"
        info["episode"] = {
            "r": float(self._returns[i]),
            "l": int(self._lengths[i]),
            "t": round(time.perf_counter() - self._begun, 6),
        }
        return info

    def _shown(self, observation: Mapping[str, Any]) -> Observations:
        return {k: np.zeros_like(v) if k in self.hidden else np.asarray(v) for k, v in observation.items()}

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are allowed, of shape (num_envs, n): for MaskablePPO."""
        masks: NDArray[np.bool_] = self.envs.action_masks()
        return masks

    # -- attributes and methods of sub-environments ------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute for some sub-environments; most are the same for all."""
        chosen = list(self._get_indices(indices))
        if attr_name in PER_ENV:
            values = getattr(self.envs, PER_ENV[attr_name])
            return [values[i] for i in chosen]
        return [getattr(self.envs, attr_name)] * len(chosen)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment, for all sub-environments together.

        Raises:
            ConfigError: If only some are named: they share one object.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ConfigError(
                f"set_attr({attr_name!r}) names some sub-environments; they are one object, so it sets for all."
            )
        setattr(self.envs, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment that returns one thing for each sub-environment.

        Raises:
            AttributeError: If there is no such method.
        """
        values = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        if values is None or len(values) != self.num_envs:
            values = [values] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return False for each: nothing is wrapped around a sub-environment."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()


def checked_hidden(hidden: Iterable[str], space: Any) -> tuple[str, ...]:
    """Return keys of an observation space that are to be hidden, sorted.

    Raises:
        ConfigError: If there is no such key.
    """
    from empathy_gym.simulators.errors import unknown_name

    keys = tuple(sorted(set(hidden)))
    for key in keys:
        if key not in space.spaces:
            raise unknown_name("key of the observation", key, space.spaces)
    return keys
