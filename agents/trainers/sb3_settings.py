"""What a training run with Stable-Baselines3 is: algorithm, task, settings, and their defaults.

Nothing here imports Stable-Baselines3, so that a wrong name is told before anything heavy is loaded.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from empathy_gym.envs.registry import ENVIRONMENTS
from empathy_gym.envs.setting import integer
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError, unknown_name


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm of Stable-Baselines3 or sb3-contrib.

    Attributes:
        module: Where its class is.
        name: Name of the class.
        policy: Name of the policy for observations that are a Dict.
        settings: Defaults that learn on EmpathyStrategy-v0; see docs/training-sb3.md for what they reach.
        network: Defaults of the network.
        masks: Whether it leaves out masked actions.
        recurrent: Whether it carries a state from turn to turn.
    """

    module: str
    name: str
    policy: str
    settings: Mapping[str, Any]
    network: Mapping[str, Any]
    masks: bool = False
    recurrent: bool = False

    def load_class(self) -> Any:
        """Return the class.

        Raises:
            MissingExtraError: If it is not installed.
        """
        return getattr(require(self.module, "sb3"), self.name)


_PPO: Final = {
    "learning_rate": 5e-4,
    "n_steps": 32,
    "batch_size": 128,
    "n_epochs": 8,
    "gamma": 1.0,
    "gae_lambda": 0.9,
    "ent_coef": 0.03,
    "anneal": True,
}
ALGORITHMS: Final[dict[str, Algorithm]] = {
    "ppo": Algorithm("stable_baselines3", "PPO", "MultiInputPolicy", _PPO, {"net_arch": [128, 128]}),
    "maskable-ppo": Algorithm(
        "sb3_contrib", "MaskablePPO", "MultiInputPolicy", _PPO, {"net_arch": [128, 128]}, masks=True
    ),
    "recurrent-ppo": Algorithm(
        "sb3_contrib",
        "RecurrentPPO",
        "MultiInputLstmPolicy",
        _PPO,
        {"net_arch": [64], "lstm_hidden_size": 64},
        recurrent=True,
    ),
    "dqn": Algorithm(
        "stable_baselines3",
        "DQN",
        "MultiInputPolicy",
        {
            "learning_rate": 5e-4,
            "buffer_size": 50_000,
            "learning_starts": 1_000,
            "batch_size": 128,
            "gamma": 0.99,
            "train_freq": 1,
            "gradient_steps": 4,
            "target_update_interval": 500,
            "exploration_fraction": 0.3,
            "exploration_final_eps": 0.05,
        },
        {"net_arch": [128, 128]},
    ),
}
"""Every algorithm by the name that the command knows it by."""

NETWORK: Final = ("net_arch", "lstm_hidden_size")
"""Settings that go to the network."""
RESERVED: Final = (
    "self", "policy", "env", "seed", "device", "tensorboard_log", "verbose", "policy_kwargs", "_init_setup_model",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Annealed:
    """A learning rate that falls in a straight line to a tenth.

    Attributes:
        first: The rate at the beginning.
    """

    first: float

    def __call__(self, remaining: float) -> float:
        """Return the rate; `remaining` falls from 1 to 0."""
        return self.first * (0.1 + 0.9 * max(remaining, 0.0))


class TrainConfig(BaseModel):
    """A training run: everything that its result depends on but the versions of the libraries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = "EmpathyStrategy-v0"
    algo: str = "ppo"
    steps: int = 200_000
    """Environment steps; the last rollout is completed, so a few more are taken."""
    seed: int = 0
    num_envs: int = 16
    scenarios: str = "train"
    reward: str = "delta"
    difficulty: str | None = None
    max_turns: int | None = None
    initial_emotion: int | None = None
    intensity: bool = False
    hidden: tuple[str, ...] = ()
    """Keys of the observation that the policy sees as zeros."""
    stock: bool = False
    """Whether to start from the library's own defaults, not from `ALGORITHMS`."""
    settings: dict[str, Any] = {}
    """Settings of the algorithm that differ from `ALGORITHMS`."""
    checkpoint_every: int = 20_000
    evaluate_every: int = 20_000

    def checked(self) -> TrainConfig:
        """Return itself.

        Raises:
            ConfigError: If a name or a number is not valid.
            MissingExtraError: If the algorithm is not installed.
        """
        if self.env not in ENVIRONMENTS:
            raise unknown_name("environment", self.env, ENVIRONMENTS)
        if self.algo not in ALGORITHMS:
            raise unknown_name("algorithm", self.algo, ALGORITHMS)
        if self.algo == "dqn" and self.intensity:
            raise ConfigError("dqn takes one Discrete action; leave out --intensity, or use ppo.")
        for name in ("steps", "num_envs", "checkpoint_every", "evaluate_every"):
            integer(name, getattr(self, name), 1)
        integer("seed", self.seed, 0, 2**31 - 1)
        valid = valid_settings(ALGORITHMS[self.algo])
        for name in self.settings:
            if name not in valid:
                raise unknown_name(f"setting of {self.algo}", name, valid)
        return self

    def env_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the environment: those that are not left to their default."""
        kwargs: dict[str, Any] = {"scenarios": self.scenarios, "reward": self.reward}
        for name in ("difficulty", "max_turns", "initial_emotion"):
            if getattr(self, name) is not None:
                kwargs[name] = getattr(self, name)
        return {**kwargs, "intensity": True} if self.intensity else kwargs

    def all_settings(self) -> dict[str, Any]:
        """Return every setting, those of the defaults and those given."""
        algorithm = ALGORITHMS[self.algo]
        own = {} if self.stock else {**algorithm.settings, **algorithm.network}
        return {**own, **self.settings}


def valid_settings(algorithm: Algorithm) -> list[str]:
    """Return the names of the settings that an algorithm takes.

    Raises:
        MissingExtraError: If the algorithm is not installed.
    """
    named = inspect.signature(algorithm.load_class().__init__).parameters
    network = NETWORK if algorithm.recurrent else NETWORK[:1]
    return [*(name for name in named if name not in RESERVED), "anneal", *network]


def read_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return settings from ``key=value`` texts; a value is read as YAML.

    Raises:
        ConfigError: If a text is not of this form.
    """
    settings = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, e.g. learning_rate=0.001; got {text!r}.")
        try:
            settings[key.strip()] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise ConfigError(f"--set {key.strip()}: {value!r} is not a value, as YAML writes one.") from None
    return settings


def _number(value: Any) -> Any:
    """Return a value, with a text such as 3e-4 read as the number that YAML 1.1 takes it not for."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Put the global generators back afterwards as they were; Stable-Baselines3 seeds them, also when it loads."""
    torch = require("torch", "sb3")
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
