"""EmpathyChat-v0, many conversations at once."""

from __future__ import annotations

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from empathy_gym import ConfigError
from empathy_gym.envs import unbatch_info
from empathy_gym.envs.info import INFO_KEYS, batch_infos


def _replies(step, n):
    return [f"reply {step} of {i}" for i in range(n)]


def _added(infos):
    """Batch infos as Gymnasium does."""
    env = VectorEnv()
    env.num_envs = len(infos)
    batch = {}
    for i, info in enumerate(infos):
        if info is not None:
            batch = env._add_info(batch, info, i)
    return batch


# -- equality with single environments
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs", [{}, {"think": True}, {"reward": "final"}, {"max_turns": 2, "simulator": "embedded"}]
)
def test_a_sub_environment_equals_a_single_one_through_autoresets(make, make_vec, kwargs):
    n, seed = 4, 100
    envs, singles = make_vec(n, **kwargs), [make(**kwargs) for _ in range(n)]
    obs, infos = envs.reset(seed=seed)
    for i, single in enumerate(singles):
        assert (obs[i], unbatch_info(infos, i)) == single.reset(seed=seed + i)
    ends = 0
    for step in range(25):
        actions = [f"{'' if (step + i) % 5 else '</think>'}{a}" for i, a in enumerate(_replies(step, n))]
        obs, rewards, terminations, truncations, infos = envs.step(actions)
        for i, single in enumerate(singles):
            expected = single.step(actions[i])
            assert (rewards[i], terminations[i], truncations[i]) == expected[1:4]
            if expected[2] or expected[3]:
                ends += 1
                assert infos["final_obs"][i] == expected[0]
                assert unbatch_info(infos["final_info"], i) == expected[4]
                expected = (*single.reset(),)
            elif "final_info" in infos:
                assert infos["final_obs"][i] is None and unbatch_info(infos["final_info"], i) == {}
            assert obs[i] == expected[0]
            assert data_equivalence(unbatch_info(infos, i), expected[-1], exact=True)
    assert ends > n


def test_a_sub_environment_equals_a_single_one_under_masked_resets(make, make_vec):
    n, seeds = 3, [7, 3, 12]
    envs, singles = make_vec(n, autoreset_mode="Disabled"), [make() for _ in range(n)]
    envs.reset(seed=seeds)
    for single, seed in zip(singles, seeds, strict=True):
        single.reset(seed=seed)
    ends = 0
    for step in range(25):
        obs, rewards, terminations, truncations, infos = envs.step(_replies(step, n))
        assert "final_info" not in infos
        for i, single in enumerate(singles):
            expected = single.step(_replies(step, n)[i])
            assert (obs[i], rewards[i], terminations[i], truncations[i]) == expected[:4]
            assert unbatch_info(infos, i) == expected[4]
        done = terminations | truncations
        if done.any():
            ends += 1
            obs, infos = envs.reset(options={"reset_mask": done})
            for i, single in enumerate(singles):
                if done[i]:
                    assert (obs[i], unbatch_info(infos, i)) == single.reset()
                else:
                    assert unbatch_info(infos, i) == {}
                    assert obs[i] == single.unwrapped.dialogue.last_line
    assert ends > 2


def test_gymnasiums_own_vectorisation_gives_the_same(make_vec):
    envs, sync = (
        make_vec(3),
        make_vec(3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}),
    )
    assert data_equivalence(envs.reset(seed=5), sync.reset(seed=5), exact=True)
    for step in range(12):
        ours, theirs = envs.step(_replies(step, 3)), sync.step(_replies(step, 3))
        for one, other in zip(ours, theirs, strict=True):
            assert data_equivalence(one, other, exact=True)


@pytest.mark.parametrize("present", [(0, 1, 2), (1,), (2, 0), ()])
def test_infos_are_batched_exactly_as_gymnasium_would(make, present):
    infos = [None] * 3
    for i in present:
        env = make()
        env.reset(seed=i)
        infos[i] = env.step("hello")[-1]
    assert data_equivalence(batch_infos(infos), _added(infos), exact=True)


def test_an_unbatched_info_has_python_types_only(make_vec):
    _, infos = make_vec(2).reset(seed=0)
    info = unbatch_info(infos, 1)
    assert tuple(info) == INFO_KEYS and json.loads(json.dumps(info)) == info
    assert type(info["emotion"]) is int and type(info["reward_terms"]["clamp"]) is float
    assert infos["outcome"].dtype == object


# -- shapes and types
# ------------------------------------------------------------------------------------------------


def test_arrays_have_the_documented_types_and_are_fresh(make_vec):
    envs = make_vec(3)
    obs, _ = envs.reset(seed=0)
    assert (
        isinstance(obs, tuple)
        and obs in envs.observation_space
        and envs.observation_space[0].contains(obs[0])
    )
    first, second = envs.step(["a", "b", "c"]), envs.step(("d", "e", "f"))
    assert first[1].dtype == np.float64 and first[2].dtype == first[3].dtype == np.bool_
    for one, other in zip(first[1:4], second[1:4], strict=True):
        assert one.shape == (3,) and not np.shares_memory(one, other)
    assert envs.action_space.sample() in envs.action_space


def test_one_step_asks_the_user_once(make_vec):
    envs = make_vec(5, simulator_config={"seed": 321})
    envs.reset(seed=0)
    calls = envs.user.perceiver.calls
    calls.clear()
    envs.step(_replies(0, 5))
    assert calls == [5]


def test_the_same_seed_gives_the_same_batches(make_vec):
    runs = []
    for _ in range(2):
        envs = make_vec(3)
        runs.append([envs.reset(seed=8), *(envs.step(_replies(s, 3)) for s in range(10))])
    for one, other in zip(*runs, strict=True):
        assert all(data_equivalence(a, b, exact=True) for a, b in zip(one, other, strict=True))


def test_episode_statistics_of_gymnasium_work(make_vec):
    envs = RecordEpisodeStatistics(make_vec(3))
    envs.reset(seed=0)
    returns = np.zeros(3)
    seen = 0
    for step in range(20):
        _, rewards, terminations, _, infos = envs.step(_replies(step, 3))
        returns += rewards
        if terminations.any():
            seen += int(terminations.sum())
            assert np.allclose(infos["episode"]["r"][terminations], returns[terminations])
            returns[terminations] = 0
    assert seen > 3 and envs.episode_count == seen


def test_episode_statistics_keep_what_a_reset_mask_leaves_alone(make_vec):
    envs = RecordEpisodeStatistics(
        make_vec(2, autoreset_mode="Disabled", simulator="empathy_test_parts:KeywordPerceiver", max_turns=3)
    )
    envs.reset(seed=0)
    _, rewards, *_ = envs.step(["hello", "hello"])
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert envs.episode_returns[0] == 0 and envs.episode_returns[1] == rewards[1] != 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_a_copied_vector_environment_goes_on_in_the_same_way(make_vec, copied):
    envs = make_vec(2)
    envs.reset(seed=0)
    again = copied(envs)
    for step in range(10):
        one, other = envs.step(_replies(step, 2)), again.step(_replies(step, 2))
        assert all(data_equivalence(a, b, exact=True) for a, b in zip(one, other, strict=True))


def test_a_vector_spec_makes_the_same_environment_again(make_vec):
    envs = make_vec(2, max_turns=2, autoreset_mode="Disabled")
    again = gym.make_vec(gym.envs.registration.EnvSpec.from_json(envs.spec.to_json()))
    assert again.num_envs == 2 and again.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert data_equivalence(envs.reset(seed=1), again.reset(seed=1), exact=True)


# -- options
# -----------------------------------------------------------------------------------------------------


def test_scenarios_are_one_for_all_or_one_each(make_vec):
    envs = make_vec(3)
    ids = [scenario.id for scenario in envs.scenarios[:3]]
    assert list(envs.reset(seed=0, options={"scenario": ids[1]})[1]["scenario"]) == [ids[1]] * 3
    assert list(envs.reset(options={"scenario": ids})[1]["scenario"]) == ids
    drawn = make_vec(3)
    drawn.reset(seed=0)
    drawn.reset()
    envs.reset(seed=0)
    some = envs.reset(options={"scenario": [None, ids[0], None]})[1]["scenario"]
    assert (
        some[1] == ids[0]
        and some[0] == drawn.dialogues[0].scenario
        and some[2] == drawn.dialogues[2].scenario
    )


def test_dialogues_are_resumed_one_for_all_or_one_each(make_vec):
    envs = make_vec(2)
    envs.reset(seed=0)
    envs.step(["one", "two"])
    first, second = envs.dialogues
    envs.reset(options={"dialogue": [second, first]})
    assert envs.dialogues == (second, first)
    envs.reset(options={"dialogue": first})
    assert envs.dialogues == (first, first)


def test_a_reset_mask_is_read_and_left_in_place(make_vec):
    envs = make_vec(2)
    envs.reset(seed=0)
    options = {"reset_mask": np.array([True, False])}
    envs.reset(options=options)
    assert list(options) == ["reset_mask"]


def test_siblings_of_a_group_share_scenario_and_seed_of_the_groups_first_stream(make, make_vec):
    envs = make_vec(6, autoreset_mode="Disabled")
    for k in range(3):
        obs, infos = envs.reset(seed=20 if k == 0 else None, options={"group_size": 3})
        for first in (0, 3):
            group = envs.dialogues[first : first + 3]
            assert len({(d.scenario, d.seed) for d in group}) == 1
        assert envs.dialogues[0].seed != envs.dialogues[3].seed
        assert len({obs[i] for i in range(3)}) == 1 and len(set(infos["scenario"][:3])) == 1
    single = make()
    for k in range(3):
        single.reset(seed=23 if k == 0 else None)
    assert single.unwrapped.dialogue == envs.dialogues[3]


def test_a_group_reset_leaves_every_stream_where_a_plain_one_does(make_vec):
    grouped, plain = (make_vec(4, autoreset_mode="Disabled") for _ in range(2))
    grouped.reset(seed=1, options={"group_size": 2})
    plain.reset(seed=1)
    grouped.reset()
    plain.reset()
    assert grouped.dialogues == plain.dialogues


def test_a_masked_group_reset_covers_whole_groups(make_vec):
    envs = make_vec(4, autoreset_mode="Disabled")
    envs.reset(seed=0, options={"group_size": 2})
    before = envs.dialogues
    envs.reset(options={"group_size": 2, "reset_mask": np.array([False, False, True, True])})
    assert envs.dialogues[:2] == before[:2] and envs.dialogues[2] == envs.dialogues[3] != before[2]
    with pytest.raises(ConfigError, match=r"part of the group 0\.\.1"):
        envs.reset(options={"group_size": 2, "reset_mask": np.array([True, False, True, True])})


@pytest.mark.parametrize(
    ("kwargs", "options", "message"),
    [
        ({}, {"group_size": 2}, "Disabled"),
        ({"autoreset_mode": "Disabled"}, {"group_size": 3}, "divide"),
        ({"autoreset_mode": "Disabled"}, {"group_size": 0}, "group_size"),
        ({}, {"scenario": ["a"]}, "list of 4"),
        ({}, {"scenario": 5}, "scenario"),
        ({}, {"dialogue": ["a"] * 4}, "str"),
        ({}, {"reset_mask": [True] * 4}, "numpy array"),
        ({}, {"reset_mask": np.ones(4)}, "bools"),
        ({}, {"reset_mask": np.ones(3, dtype=bool)}, "4 bools"),
        ({}, {"reset_mask": np.zeros(4, dtype=bool)}, "nothing to reset"),
        ({}, {"group": 2}, "Did you mean 'group_size'"),
    ],
)
def test_wrong_options_are_refused(make_vec, kwargs, options, message):
    envs = make_vec(4, **kwargs)
    envs.reset(seed=0)
    before = envs.dialogues
    with pytest.raises(ConfigError, match=message):
        envs.reset(options=options)
    assert envs.dialogues == before


def test_siblings_cannot_be_given_different_scenarios(make_vec):
    envs = make_vec(2, autoreset_mode="Disabled")
    ids = [scenario.id for scenario in envs.scenarios[:2]]
    with pytest.raises(ConfigError, match="siblings 0 and 1"):
        envs.reset(options={"group_size": 2, "scenario": ids})


@pytest.mark.parametrize("seed", [[1, 2], "abc", 1.5, [1, 2, -3, 4]])
def test_wrong_seeds_are_refused(make_vec, seed):
    with pytest.raises(ConfigError, match="seed"):
        make_vec(4).reset(seed=seed)


def test_a_list_seeds_each_and_none_goes_on(make_vec):
    envs = make_vec(2)
    envs.reset(seed=[5, 9])
    assert envs.np_random_seed == (5, 9)
    again = make_vec(2)
    again.reset(seed=[5, 9])
    again.reset(seed=[None, 9])
    envs.reset()
    assert envs.dialogues[0] == again.dialogues[0] and envs.dialogues[1] != again.dialogues[1]


# -- the end of episodes
# ---------------------------------------------------------------------------------------------


def test_without_autoreset_a_string_for_an_ended_episode_asks_for_a_reset_and_none_waits(make_vec):
    envs = make_vec(
        2,
        autoreset_mode="Disabled",
        simulator="empathy_test_parts:KeywordPerceiver",
        initial_emotion=12,
        difficulty="easy",
    )
    envs.reset(seed=0)
    _, _, terminations, _, _ = envs.step(["leverage", "fine"])
    assert list(terminations) == [True, False]
    last = envs.dialogues[0]
    with pytest.raises(ResetNeeded, match=r"\[0\].*reset_mask"):
        envs.step(["more", "fine"])
    obs, rewards, terminations, truncations, infos = envs.step([None, "fine"])
    assert envs.dialogues[0] == last and obs[0] == last.last_line
    assert rewards[0] == 0.0 and not terminations[0] and not truncations[0]
    assert unbatch_info(infos, 0) == {} and unbatch_info(infos, 1)["turn"] == 2


def test_faults_truncate_and_policy_faults_terminate(make_vec):
    envs = make_vec(3, simulator="empathy_test_parts:FaultPerceiver")
    envs.reset(seed=0)
    _, rewards, terminations, truncations, infos = envs.step(["simulator fault", "policy fault", ""])
    assert list(terminations)[:2] == [False, True] and list(truncations) == [True, False, False]
    assert rewards[0] == 0.0 and rewards[1] == -0.4
    assert infos["final_info"]["sim_fault"][0] == "timeout"


def test_a_step_before_the_first_reset_asks_for_a_reset(make_vec):
    envs = make_vec(2)
    with pytest.raises(ResetNeeded):
        envs.step(["a", "b"])
    with pytest.raises(ResetNeeded, match="reset all first"):
        envs.reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize("actions", ["ab", {"a", "b"}, ["a"], ["a", 3], 5, [None, "a"]])
def test_wrong_actions_are_refused(make_vec, actions):
    envs = make_vec(2)
    envs.reset(seed=0)
    with pytest.raises(ConfigError):
        envs.step(actions)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_episode_steps": 5}, "max_turns"),
        ({"autoreset_mode": "NextStep"}, "not supported"),
        ({"autoreset_mode": AutoresetMode.NEXT_STEP}, "not supported"),
        ({"autoreset_mode": "SameSteps"}, "Did you mean 'SameStep'"),
        ({"autoreset_mode": ["SameStep"]}, "autoreset_mode"),
        ({"group_size": 2}, "group_size"),
    ],
)
def test_wrong_arguments_are_refused(make_vec, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        make_vec(2, **kwargs)


def test_there_is_at_least_one_sub_environment(make_vec):
    with pytest.raises(ConfigError, match="num_envs is 0"):
        make_vec(0)


def test_rendering_gives_one_text_each(make_vec, capsys):
    envs = make_vec(2, render_mode="ansi")
    obs, _ = envs.reset(seed=0)
    frames = envs.render()
    assert isinstance(frames, tuple) and all(o in f for o, f in zip(obs, frames, strict=True))
    human = make_vec(2, render_mode="human")
    human.reset(seed=0)
    assert human.render() == (None, None) and all(o in capsys.readouterr().out for o in obs[:1])
    envs.close()
    assert envs.closed
