"""The vector environment as Stable-Baselines3 takes it: the same episodes, told in its way."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest

import empathy_gym  # noqa: F401
from empathy_gym.envs.info import unbatch_info
from empathy_gym.simulators.errors import ConfigError

pytestmark = pytest.mark.adapters

ID, N = "EmpathyStrategy-v0", 3


def make(**kwargs):
    from empathy_gym.agents.adapters.sb3 import SB3VecEnv

    hidden = kwargs.pop("hidden", ())
    return SB3VecEnv(gym.make_vec(ID, kwargs.pop("num_envs", N), **kwargs), hidden)


def actions(count, seed=0, num_envs=N):
    return np.random.default_rng(seed).integers(0, 10, (count, num_envs))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_it_takes_the_steps_of_the_vector_environment():
    envs, plain = make(), gym.make_vec(ID, N)
    assert envs.seed(7) == [7, 8, 9]
    seen = envs.reset()
    expected, infos = plain.reset(seed=7)
    assert_same(seen, expected)
    assert envs.reset_infos == [unbatch_info(infos, i) for i in range(N)]
    ends = 0
    for action in actions(30):
        seen, rewards, dones, told = envs.step(action)
        expected, paid, terminated, truncated, infos = plain.step(action)
        assert_same(seen, expected)
        assert rewards.dtype == np.float32
        np.testing.assert_allclose(rewards, paid, rtol=1e-6)
        np.testing.assert_array_equal(dones, terminated | truncated)
        for i in range(N):
            final = unbatch_info(infos["final_info"], i) if dones[i] else unbatch_info(infos, i)
            assert {key: told[i][key] for key in final} == final
            if dones[i]:
                ends += 1
                assert_same(told[i]["terminal_observation"], infos["final_obs"][i])
                assert envs.reset_infos[i] == unbatch_info(infos, i)
            else:
                assert "terminal_observation" not in told[i] and "episode" not in told[i]
    assert ends >= N


def test_observations_are_not_overwritten_by_later_steps():
    envs = make()
    envs.seed(0)
    first = envs.reset()
    kept = {key: value.copy() for key, value in first.items()}
    envs.step(np.zeros(N, dtype=np.int64))
    assert_same(first, kept)


def test_what_is_told_of_an_episode_is_what_a_monitor_counts():
    from stable_baselines3.common.vec_env import VecMonitor

    envs, monitor = make(), VecMonitor(make())
    for either in (envs, monitor):
        either.seed(3)
        either.reset()
    found = 0
    for action in actions(30, 1):
        _, _, dones, own = envs.step(action)
        _, _, _, counted = monitor.step(action)
        for i in np.flatnonzero(dones):
            found += 1
            assert own[i]["episode"]["l"] == counted[i]["episode"]["l"] == own[i]["turn"]
            assert own[i]["episode"]["r"] == pytest.approx(counted[i]["episode"]["r"], abs=1e-6)
    assert found


def test_the_cap_of_replies_is_no_truncation():
    envs = make(max_turns=2)
    envs.seed(0)
    envs.reset()
    envs.step(np.zeros(N, dtype=np.int64))
    _, _, dones, told = envs.step(np.zeros(N, dtype=np.int64))
    assert dones.all()
    assert [info["outcome"] for info in told] == ["timeout"] * N
    assert not any(info["TimeLimit.truncated"] for info in told)


class DownPerceiver:
    """Fails on every reply, as a server that is down."""

    def perceive(self, items):
        from empathy_gym.simulators.errors import EngineError

        raise EngineError("down")


def test_only_a_fault_of_the_simulator_is_a_truncation(monkeypatch):
    import sys
    import types

    module = types.ModuleType("sb3_test_parts")
    module.Down = DownPerceiver
    monkeypatch.setitem(sys.modules, "sb3_test_parts", module)
    envs = make(simulator="sb3_test_parts:Down")
    envs.seed(0)
    envs.reset()
    _, rewards, dones, told = envs.step(np.zeros(N, dtype=np.int64))
    assert dones.all() and not rewards.any()
    assert all(info["TimeLimit.truncated"] and info["outcome"] == "fault" for info in told)


def test_a_learner_adds_nothing_to_the_reward_at_the_cap():
    """With a value of 5 everywhere a bootstrap would show: returns at the cap must be the rewards alone."""
    import torch
    from stable_baselines3 import PPO

    envs = make(max_turns=1)
    model = PPO("MultiInputPolicy", envs, n_steps=4, batch_size=4, n_epochs=1, seed=0, device="cpu")
    with torch.no_grad():
        model.policy.value_net.weight.zero_()
        model.policy.value_net.bias.fill_(5.0)
    _, callback = model._setup_learn(4 * N)
    model.collect_rollouts(envs, callback, model.rollout_buffer, 4)
    np.testing.assert_allclose(model.rollout_buffer.returns, model.rollout_buffer.rewards, atol=1e-6)
    assert np.abs(model.rollout_buffer.rewards).max() < 1.0


def test_masks_are_those_of_the_environment():
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    envs = make()
    envs.seed(0)
    envs.reset()
    assert is_masking_supported(envs)
    masks = get_action_masks(envs)
    assert masks.shape == (N, 11) and masks.dtype == np.bool_
    assert not masks[:, 10].any() and masks[:, :10].all()
    for _ in range(2):
        envs.step(np.full(N, 2))
    assert get_action_masks(envs)[:, 10].any()
    assert len(envs.env_method("action_masks", indices=[0, 2])) == 2


def test_attributes_are_read_and_set():
    envs = make()
    envs.seed(0)
    envs.reset()
    assert envs.get_attr("render_mode") == [None] * N
    assert [d.turn for d in envs.get_attr("dialogue", indices=[1])] == [0]
    envs.set_attr("remark", "x")
    assert envs.get_attr("remark") == ["x"] * N
    assert not envs.has_attr("nothing_of_the_kind")
    with pytest.raises(ConfigError, match="one object"):
        envs.set_attr("remark", "y", indices=0)
    assert envs.env_is_wrapped(gym.Wrapper) == [False] * N
    with pytest.raises(ConfigError, match="before step_async"):
        envs.step_wait()


def test_options_of_a_reset_go_to_the_environment_once():
    envs = make()
    ids = [scenario.id for scenario in envs.envs.scenarios[:N]]
    envs.seed(0)
    envs.set_options([{"scenario": id_} for id_ in ids])
    envs.reset()
    assert [info["scenario"] for info in envs.reset_infos] == ids
    envs.seed(0)
    envs.reset()
    assert [info["scenario"] for info in envs.reset_infos] != ids


def test_hidden_keys_are_zeros_also_at_the_end():
    envs = make(hidden=("line", "tone"), max_turns=1)
    envs.seed(0)
    seen = envs.reset()
    assert not seen["line"].any() and not seen["tone"].any() and seen["left"].shape == (N, 9)
    _, _, _, told = envs.step(np.zeros(N, dtype=np.int64))
    assert not told[0]["terminal_observation"]["line"].any()
    with pytest.raises(ConfigError, match="Did you mean 'tone'"):
        make(hidden=("tones",))


def test_it_goes_on_after_pickling():
    envs = make()
    envs.seed(0)
    envs.reset()
    envs.step(np.zeros(N, dtype=np.int64))
    other = pickle.loads(pickle.dumps(envs))
    for action in actions(12, 4):
        seen, rewards, dones, _ = envs.step(action)
        again, paid, ended, _ = other.step(action)
        assert_same(seen, again)
        np.testing.assert_array_equal(rewards, paid)
        np.testing.assert_array_equal(dones, ended)


def test_an_environment_of_text_is_refused_by_name():
    from empathy_gym.agents.adapters.sb3 import SB3VecEnv

    for text in (gym.make_vec("EmpathyChat-v0", 2), gym.make("EmpathyChat-v0")):
        with pytest.raises(ConfigError, match=r"cannot learn on text.*EmpathyStrategy-v0"):
            SB3VecEnv(text)
    with pytest.raises(ConfigError, match=r"it takes gym\.make_vec"):
        SB3VecEnv(gym.make(ID))
    with pytest.raises(ConfigError, match="SameStep"):
        SB3VecEnv(gym.make_vec(ID, 2, autoreset_mode="Disabled"))
