"""Invariants of every environment that this package registers."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence, data_shares_objects

from empathy_gym.envs.info import INFO_KEYS
from empathy_gym.envs.registry import ENVIRONMENTS, register_envs

IDS = sorted(ENVIRONMENTS)


def _play(env, seed, steps=12):
    env.action_space.seed(seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        yield result
        if result[2] or result[3]:
            return


@pytest.mark.parametrize("id_", IDS)
def test_check_env_finds_nothing_with_warnings_as_errors(id_):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(id_)
        check_env(env.unwrapped)


@pytest.mark.parametrize("id_", IDS)
def test_an_environment_is_made_by_module_and_name_too(id_):
    assert gym.make(f"empathy_gym:{id_}").spec.id == id_


def test_registering_twice_changes_nothing():
    before = dict(gym.registry)
    register_envs()
    assert {k: v for k, v in gym.registry.items() if k in IDS} == {k: before[k] for k in IDS}


@pytest.mark.parametrize("id_", IDS)
def test_nothing_limits_the_steps_but_the_task_itself(id_):
    assert gym.spec(id_).max_episode_steps is None


@pytest.mark.parametrize("id_", IDS)
def test_every_info_has_the_same_keys_in_the_same_order_and_is_json(id_):
    env = gym.make(id_)
    for seed in range(4):
        first = None
        for result in _play(env, seed):
            info = result[-1]
            first = first or info
            assert tuple(info) == INFO_KEYS
            assert list(info["appraisal"]) == list(first["appraisal"])
            assert list(info["reward_terms"]) == list(first["reward_terms"])
            assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize("id_", IDS)
def test_infos_of_two_calls_share_no_object(id_):
    infos = [result[-1] for result in _play(gym.make(id_), 5)]
    infos += [result[-1] for result in _play(gym.make(id_), 5)]
    for i, one in enumerate(infos):
        for other in infos[:i]:
            assert not data_shares_objects(one, other)


@pytest.mark.parametrize("id_", IDS)
def test_spoiling_an_info_does_not_reach_the_next_one(id_):
    env = gym.make(id_)
    _, info = env.reset(seed=1)
    kept = copy.deepcopy(info)
    info["messages"][0]["content"] = "spoiled"
    info["appraisal"].clear()
    info["reward_terms"].clear()
    assert env.reset(seed=1)[1] == kept


@pytest.mark.parametrize("id_", IDS)
def test_infos_share_nothing_mutable_with_each_other_or_with_the_dialogue(id_):
    env = gym.make(id_)
    results = list(_play(env, 5))
    seen = [m for r in results for m in r[-1]["messages"]] + [r[-1][k] for r in results for k in r[-1]]
    seen += list(env.unwrapped.dialogue.messages)
    mutable = [value for value in seen if isinstance(value, dict | list)]
    assert len(set(map(id, mutable))) == len(mutable)


@pytest.mark.parametrize("id_", IDS)
def test_rewards_and_flags_are_python_values_and_the_terms_sum_to_the_reward(id_):
    for seed in range(4):
        for _, reward, terminated, truncated, info in list(_play(gym.make(id_), seed))[1:]:
            assert type(reward) is float and math.isfinite(reward)
            assert type(terminated) is bool and type(truncated) is bool
            assert math.isclose(sum(info["reward_terms"].values()), reward, abs_tol=1e-9)


@pytest.mark.parametrize("id_", IDS)
def test_the_same_seed_and_actions_give_the_same_episode(id_):
    one, two = list(_play(gym.make(id_), 9)), list(_play(gym.make(id_), 9))
    assert data_equivalence(one, two, exact=True)
    assert not data_equivalence(one, list(_play(gym.make(id_), 10)), exact=True)


@pytest.mark.parametrize("id_", IDS)
def test_a_spec_survives_json_and_copying(id_):
    env = gym.make(id_, max_turns=3, difficulty="hard", think="strip", simulator_config={"timeout_s": 5.0})
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec == env.spec
    for again in (gym.make(spec), gym.make(copy.deepcopy(env.spec)), copy.deepcopy(env)):
        assert data_equivalence(list(_play(again, 2)), list(_play(env, 2)), exact=True)


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_or_pickled_environment_goes_on_in_the_same_way(id_, copied):
    env = gym.make(id_)
    env.reset(seed=4)
    env.action_space.seed(4)
    env.step(env.action_space.sample())
    action = env.action_space.sample()
    again = copied(env)
    assert data_equivalence(env.step(action), again.step(action), exact=True)
    assert env.reset() == again.reset()


@pytest.mark.parametrize("id_", IDS)
def test_a_misspelt_argument_names_the_nearest_one(id_):
    with pytest.raises(ValueError, match=r"'dificulty'.*Did you mean 'difficulty'\?"):
        gym.make(id_, dificulty="hard")
    with pytest.raises(ValueError, match=r"'max_turn'.*Did you mean 'max_turns'\?"):
        gym.make_vec(id_, 2, max_turn=3)


def _leaves(value):
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _leaves(child)
    else:
        yield value


@pytest.mark.parametrize("id_", IDS)
def test_no_info_tells_the_need_or_the_seed(id_):
    env = gym.make(id_)
    for result in _play(env, 3):
        dialogue = env.unwrapped.dialogue
        leaves = list(_leaves(result[-1]))
        assert dialogue.source.need not in leaves and dialogue.seed not in leaves
