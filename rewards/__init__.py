"""Rewards: functions of a transition from one dialogue to the next."""

from __future__ import annotations

from empathy_gym.rewards.emotion import EmotionAndSuccess, EmotionDelta, FinalEmotion
from empathy_gym.rewards.registry import Reward, make_reward, register

__all__ = ["Reward", "make_reward", "register"]

register("delta", EmotionDelta)
register("delta+success", EmotionAndSuccess)
register("final", FinalEmotion)
