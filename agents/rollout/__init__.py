"""Rollouts of language models in token ids: what was sampled is what is trained on."""

from __future__ import annotations

from empathy_gym.agents.rollout.collect import Collector, Rollout, Start, Trajectory, Turn
from empathy_gym.agents.rollout.sampler import Sample, Sampler, SampleRequest
from empathy_gym.agents.rollout.tokens import ChatFormat, Segment, Track

__all__ = [
    "ChatFormat",
    "Collector",
    "Rollout",
    "Sample",
    "SampleRequest",
    "Sampler",
    "Segment",
    "Start",
    "Track",
    "Trajectory",
    "Turn",
]
