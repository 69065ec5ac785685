"""The environments: conversations as Markov decision processes."""

from __future__ import annotations

from empathy_gym.envs.chat import EmpathyChatEnv
from empathy_gym.envs.chat_vector import EmpathyChatVectorEnv
from empathy_gym.envs.info import unbatch_info
from empathy_gym.envs.registry import register_envs
from empathy_gym.envs.response import EmpathyResponseEnv
from empathy_gym.envs.response_vector import EmpathyResponseVectorEnv
from empathy_gym.envs.spaces import UnicodeText
from empathy_gym.envs.strategy import EmpathyStrategyEnv
from empathy_gym.envs.strategy_vector import EmpathyStrategyVectorEnv
from empathy_gym.envs.wrappers import RecordEpisodes

__all__ = [
    "EmpathyChatEnv",
    "EmpathyChatVectorEnv",
    "EmpathyResponseEnv",
    "EmpathyResponseVectorEnv",
    "EmpathyStrategyEnv",
    "EmpathyStrategyVectorEnv",
    "RecordEpisodes",
    "UnicodeText",
    "register_envs",
    "unbatch_info",
]
