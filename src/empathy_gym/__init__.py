"""empathy-gym: Gymnasium environments in which a policy talks with a simulated user who has feelings.

Importing this package registers its environments:

    import gymnasium as gym, empathy_gym

    env = gym.make("EmpathyChat-v0")
    obs, info = env.reset(seed=7)
    obs, reward, terminated, truncated, info = env.step("That sounds exhausting. What did your manager say?")
"""

from __future__ import annotations

from empathy_gym.envs.registry import register_envs
from empathy_gym.simulators.errors import (
    ConfigError,
    EmpathyGymError,
    EngineError,
    MissingExtraError,
    RecordError,
    ScenarioError,
    TapeMiss,
    TrainingError,
)
from empathy_gym.simulators.packaged import package_version

__all__ = [
    "ConfigError",
    "EmpathyGymError",
    "EngineError",
    "MissingExtraError",
    "RecordError",
    "ScenarioError",
    "TapeMiss",
    "TrainingError",
    "__version__",
    "register_envs",
]

__version__ = package_version()

register_envs()
