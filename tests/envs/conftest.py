from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import gymnasium as gym
import pytest

import empathy_gym  # noqa: F401

_spec = importlib.util.spec_from_file_location("empathy_test_parts", Path(__file__).with_name("parts.py"))
assert _spec is not None and _spec.loader is not None
if _spec.name not in sys.modules:
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])

CHAT = "EmpathyChat-v0"


@pytest.fixture
def make():
    """Make the chat environment around a fast perceiver whose levels are drawn from the reply's hash."""

    def make_(**kwargs):
        return gym.make(CHAT, **{"simulator": "empathy_test_parts:ExactPerceiver", **kwargs})

    return make_


@pytest.fixture
def make_vec():
    def make_vec_(num_envs, **kwargs):
        return gym.make_vec(CHAT, num_envs, **{"simulator": "empathy_test_parts:ExactPerceiver", **kwargs})

    return make_vec_


@pytest.fixture
def episode():
    """Play an episode with numbered replies; return what every call returned."""

    def episode_(env, seed=None, replies=lambda turn: f"reply {turn}", **reset):
        steps = [env.reset(seed=seed, **reset)]
        while len(steps) == 1 or not (steps[-1][2] or steps[-1][3]):
            steps.append(env.step(replies(len(steps))))
        return steps

    return episode_
