"""The table of environments, and their registration with Gymnasium."""

from __future__ import annotations

from typing import Any, Final

import gymnasium as gym

ENVIRONMENTS: Final[dict[str, dict[str, Any]]] = {
    "EmpathyChat-v0": {
        "entry_point": "empathy_gym.envs.chat:EmpathyChatEnv",
        "vector_entry_point": "empathy_gym.envs.chat_vector:EmpathyChatVectorEnv",
        "max_episode_steps": None,
    },
    "EmpathyStrategy-v0": {
        "entry_point": "empathy_gym.envs.strategy:EmpathyStrategyEnv",
        "vector_entry_point": "empathy_gym.envs.strategy_vector:EmpathyStrategyVectorEnv",
        "max_episode_steps": None,
    },
    "EmpathyResponse-v0": {
        "entry_point": "empathy_gym.envs.response:EmpathyResponseEnv",
        "vector_entry_point": "empathy_gym.envs.response_vector:EmpathyResponseVectorEnv",
        "max_episode_steps": None,
    },
}
"""Arguments of `gymnasium.register` by environment id."""


def register_envs() -> None:
    """Register every environment of this package with Gymnasium, once."""
    for id_, arguments in ENVIRONMENTS.items():
        if id_ not in gym.registry:
            gym.register(id_, **arguments)
