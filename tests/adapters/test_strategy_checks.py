"""Stable-Baselines3's own checker on EmpathyStrategy-v0, with warnings as errors."""

from __future__ import annotations

import warnings

import gymnasium as gym
import pytest

import empathy_gym  # noqa: F401

pytestmark = pytest.mark.adapters


@pytest.mark.parametrize(
    "kwargs", [{}, {"intensity": True}, {"privileged": True}, {"intensity": True, "reward": "final"}]
)
def test_the_checker_of_stable_baselines3_finds_nothing(kwargs):
    from stable_baselines3.common.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("EmpathyStrategy-v0", **kwargs).unwrapped, warn=True)


@pytest.mark.parametrize("intensity", [False, True])
def test_masks_have_the_shape_that_maskable_agents_ask_for(intensity):
    from sb3_contrib.common.maskable.distributions import make_masked_proba_distribution
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    env = gym.make("EmpathyStrategy-v0", intensity=intensity).unwrapped
    env.reset(seed=0)
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    distribution = make_masked_proba_distribution(env.action_space)
    import torch

    logits = torch.zeros((1, masks.shape[-1]))
    distribution.proba_distribution(logits)
    distribution.apply_masking(masks)
    drawn = [distribution.sample().reshape(-1)[0].item() for _ in range(200)]
    assert 10 not in drawn and len(set(drawn)) == 10
