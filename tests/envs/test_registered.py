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
from empathy_gym.envs.response_setting import RESPONSE_INFO_KEYS

IDS = sorted(ENVIRONMENTS)
SINGLE = "EmpathyResponse-v0"
"""The environment without a user, whose episodes are one step."""
TALKS = [id_ for id_ in IDS if id_ != SINGLE]
KEYS = {SINGLE: RESPONSE_INFO_KEYS}
LLM = {"simulator": "llm", "simulator_config": {"engine": "scripted:agreeable"}}
CASES = [pytest.param(id_, {}, id=id_) for id_ in IDS]
CASES += [pytest.param(id_, LLM, id=f"{id_}-llm") for id_ in TALKS]
OPTIONS = {
    SINGLE: {"exchanges": "test", "guard": True, "length_weight": 0.5},
    None: {"max_turns": 3, "difficulty": "hard", "think": "strip"},
}
"""Arguments other than the defaults, by environment; of conversations under None."""
MISSPELT = {SINGLE: ("exchange", "exchanges"), None: ("dificulty", "difficulty")}
"""Each environment with the embedded user, and with a language-model user on a script."""


def _play(env, seed, steps=12):
    env.action_space.seed(seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        result = env.step(env.action_space.sample())
        yield result
        if result[2] or result[3]:
            return


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_check_env_finds_nothing_with_warnings_as_errors(id_, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(id_, **kwargs)
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


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_every_info_has_the_same_keys_in_the_same_order_and_is_json(id_, kwargs):
    env = gym.make(id_, **kwargs)
    for seed in range(4):
        first = None
        for result in _play(env, seed):
            info = result[-1]
            first = first or info
            assert tuple(info) == KEYS.get(id_, INFO_KEYS)
            for key, value in info.items():
                assert not isinstance(value, dict) or list(value) == list(first[key])
            assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_infos_of_two_calls_share_no_object(id_, kwargs):
    infos = [result[-1] for result in _play(gym.make(id_, **kwargs), 5)]
    infos += [result[-1] for result in _play(gym.make(id_, **kwargs), 5)]
    for i, one in enumerate(infos):
        for other in infos[:i]:
            assert not data_shares_objects(one, other)


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_spoiling_an_info_does_not_reach_the_next_one(id_, kwargs):
    env = gym.make(id_, **kwargs)
    _, info = env.reset(seed=1)
    kept = copy.deepcopy(info)
    info["messages"][0]["content"] = "spoiled"
    for value in info.values():
        if isinstance(value, dict):
            value.clear()
    assert env.reset(seed=1)[1] == kept


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_infos_share_nothing_mutable_with_each_other_or_with_the_dialogue(id_, kwargs):
    env = gym.make(id_, **kwargs)
    results = list(_play(env, 5))
    seen = [m for r in results for m in r[-1]["messages"]] + [r[-1][k] for r in results for k in r[-1]]
    seen += list(
        getattr(env.unwrapped, "dialogue", env.unwrapped.exchange if id_ == SINGLE else None).messages
    )
    mutable = [value for value in seen if isinstance(value, dict | list)]
    assert len(set(map(id, mutable))) == len(mutable)


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_rewards_and_flags_are_python_values_and_the_terms_sum_to_the_reward(id_, kwargs):
    for seed in range(4):
        for _, reward, terminated, truncated, info in list(_play(gym.make(id_, **kwargs), seed))[1:]:
            assert type(reward) is float and math.isfinite(reward)
            assert type(terminated) is bool and type(truncated) is bool
            assert math.isclose(sum(info["reward_terms"].values()), reward, abs_tol=1e-9)


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_the_same_seed_and_actions_give_the_same_episode(id_, kwargs):
    one, two = list(_play(gym.make(id_, **kwargs), 9)), list(_play(gym.make(id_, **kwargs), 9))
    assert data_equivalence(one, two, exact=True)
    assert not data_equivalence(one, list(_play(gym.make(id_, **kwargs), 10)), exact=True)


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
def test_a_spec_survives_json_and_copying(id_, kwargs):
    given = {**kwargs, **OPTIONS.get(id_, OPTIONS[None])}
    if id_ in TALKS:
        given["simulator_config"] = {**kwargs.get("simulator_config", {}), "timeout_s": 5.0}
    env = gym.make(id_, **given)
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec == env.spec
    for again in (gym.make(spec), gym.make(copy.deepcopy(env.spec)), copy.deepcopy(env)):
        assert data_equivalence(list(_play(again, 2)), list(_play(env, 2)), exact=True)


@pytest.mark.parametrize(("id_", "kwargs"), CASES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_or_pickled_environment_goes_on_in_the_same_way(id_, kwargs, copied):
    env = gym.make(id_, **kwargs)
    env.reset(seed=4)
    env.action_space.seed(4)
    if id_ in TALKS:
        env.step(env.action_space.sample())
    action = env.action_space.sample()
    again = copied(env)
    assert data_equivalence(env.step(action), again.step(action), exact=True)
    assert data_equivalence(env.reset(), again.reset(), exact=True)


@pytest.mark.parametrize("id_", IDS)
def test_a_misspelt_argument_names_the_nearest_one(id_):
    wrong, right = MISSPELT.get(id_, MISSPELT[None])
    with pytest.raises(ValueError, match=rf"'{wrong}'.*Did you mean '{right}'\?"):
        gym.make(id_, **{wrong: "hard"})
    with pytest.raises(ValueError, match=rf"'{wrong}'.*Did you mean '{right}'\?"):
        gym.make_vec(id_, 2, **{wrong: "hard"})


def _leaves(value):
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _leaves(child)
    else:
        yield value


@pytest.mark.parametrize(("id_", "kwargs"), [case for case in CASES if case.values[0] in TALKS])
def test_no_info_tells_the_need_or_the_seed(id_, kwargs):
    env = gym.make(id_, **kwargs)
    for result in _play(env, 3):
        dialogue = env.unwrapped.dialogue
        leaves = list(_leaves(result[-1]))
        assert dialogue.source.need not in leaves and dialogue.seed not in leaves
