"""The vector form of EmpathyStrategy-v0: sub-environment for sub-environment the single one."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from empathy_gym import ConfigError
from empathy_gym.envs import EmpathyStrategyVectorEnv, unbatch_info
from empathy_gym.simulators.user import User

ID = "EmpathyStrategy-v0"
N = 3


def row(batch, i):
    """Return the observation of one sub-environment with the types of the single environment."""
    return {
        name: value[i] if isinstance(value[i], np.ndarray) else int(value[i])
        for name, value in batch.items()
        if not name.startswith("_")
    }


@pytest.mark.parametrize("kwargs", [{}, {"intensity": True, "privileged": True, "max_turns": 4}])
def test_every_sub_environment_equals_a_single_one_through_many_episodes(kwargs):
    envs = gym.make_vec(ID, N, **kwargs)
    singles = [gym.make(ID, **kwargs) for _ in range(N)]
    obs, infos = envs.reset(seed=40)
    assert envs.observation_space.contains(obs)
    for i, env in enumerate(singles):
        one, info = env.reset(seed=40 + i)
        assert data_equivalence(row(obs, i), one, exact=True) and unbatch_info(infos, i) == info
    rng = np.random.default_rng(2)
    ends = 0
    for _ in range(25):
        actions = rng.integers(0, [11, 3], (N, 2)) if "intensity" in kwargs else rng.integers(0, 11, N)
        assert envs.action_space.contains(actions)
        obs, rewards, terminated, truncated, infos = envs.step(actions)
        assert envs.observation_space.contains(obs)
        for i, env in enumerate(singles):
            one, reward, over, cut, info = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, over, cut)
            if over:
                ends += 1
                assert infos["_final_obs"][i] and infos["_final_info"][i]
                assert data_equivalence(infos["final_obs"][i], one, exact=True)
                assert unbatch_info(infos["final_info"], i) == info
                one, info = env.reset()
            assert data_equivalence(row(obs, i), one, exact=True) and unbatch_info(infos, i) == info
            assert envs.unwrapped.strategies[i] == env.unwrapped.strategies
            assert (envs.unwrapped.action_masks()[i] == env.unwrapped.action_masks()).all()
    assert ends > N and rewards.dtype == np.float64 and terminated.dtype == np.bool_


def test_masks_have_a_row_for_each():
    envs = gym.make_vec(ID, N)
    envs.reset(seed=0)
    masks = envs.unwrapped.action_masks()
    assert masks.shape == (N, 11) and masks.dtype == np.bool_ and not masks[:, 10].any()
    assert gym.make_vec(ID, N, intensity=True).reset(seed=0)
    wide = gym.make_vec(ID, N, intensity=True)
    wide.reset(seed=0)
    assert wide.unwrapped.action_masks().shape == (N, 14)


def test_a_step_asks_the_user_once(monkeypatch):
    calls = []
    respond = User.respond
    monkeypatch.setattr(User, "respond", lambda self, d, r: calls.append(len(d)) or respond(self, d, r))
    envs = gym.make_vec(ID, N)
    envs.reset(seed=0)
    envs.step(np.array([0, 2, 4]))
    assert calls == [N]


def test_one_may_close_while_the_others_go_on():
    envs = gym.make_vec(ID, N, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    for _ in range(2):
        envs.step(np.array([0, 2, 3]))
    _, rewards, terminated, _, infos = envs.step(np.array([0, 10, 3]))
    assert terminated.tolist() == [False, True, False] and rewards[1] == 0.0
    assert infos["outcome"].tolist() == [None, "closed", None]
    waiting = envs.step(np.array([0, 0, 3]))  # an array cannot say None: whatever stands there waits
    assert waiting[1][1] == 0.0 and not waiting[2][1] and waiting[4]["_turn"].tolist() == [True, False, True]
    envs.step([0, None, 3])
    obs, infos = envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert obs["last"].tolist()[1] == 11 and infos["turn"][1] == 0
    assert envs.unwrapped.strategies[1] == () and len(envs.unwrapped.strategies[0]) == 5


def test_siblings_of_a_group_share_user_and_seed():
    envs = gym.make_vec(ID, 4, autoreset_mode=AutoresetMode.DISABLED)
    obs, infos = envs.reset(seed=0, options={"group_size": 2})
    assert infos["scenario"][0] == infos["scenario"][1] != infos["scenario"][2]
    assert data_equivalence(row(obs, 0), row(obs, 1), exact=True)
    obs, *_ = envs.step(np.array([0, 0, 2, 4]))
    assert data_equivalence(row(obs, 0), row(obs, 1), exact=True)


@pytest.mark.parametrize(
    "actions", ["ab", 3, [0, 1], np.array([0, 1, 11]), [0, 1, "question"], np.zeros((N, 2), int)]
)
def test_wrong_actions_are_refused(actions):
    envs = gym.make_vec(ID, N)
    envs.reset(seed=0)
    with pytest.raises(ConfigError):
        envs.step(actions)
    assert [dialogue.turn for dialogue in envs.unwrapped.dialogues] == [0] * N


def test_it_is_made_by_make_vec_and_refuses_a_limit():
    assert isinstance(gym.make_vec(ID, 1).unwrapped, EmpathyStrategyVectorEnv)
    with pytest.raises(ConfigError, match="max_turns"):
        gym.make_vec(ID, 1, max_episode_steps=3)
    with pytest.raises(ConfigError, match="think=True"):
        gym.make_vec(ID, 1, think=True)
