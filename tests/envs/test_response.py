"""EmpathyResponse-v0, single and vector: one step, the same in both, and what is refused."""

from __future__ import annotations

import copy
import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence

from empathy_gym.envs import unbatch_info
from empathy_gym.rewards.empathy import EmpathyReward
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.exchanges import load_exchanges

ID = "EmpathyResponse-v0"
SAID = ("I'm so glad for you.", "", "What did she say?", "I had the same last year.", "x y z", "Hm.")


def make(**kwargs):
    return gym.make(ID, **kwargs)


# -- one response ----------------------------------------------------------------------------------------


def test_an_episode_is_one_step_and_its_reward_is_emprls():
    env = make(exchanges="test")
    obs, before = env.reset(seed=3)
    exchange = env.unwrapped.exchange
    assert obs == exchange.text == "\n".join(exchange.context)
    again, reward, terminated, truncated, info = env.step("I'm so glad. What did they say?")
    assert (again, terminated, truncated) == (obs, True, False)
    expected = EmpathyReward().score(
        [exchange.text], [exchange.response], ["I'm so glad. What did they say?"]
    )
    assert (
        reward == expected[0] == info["reward_terms"]["empathy"] == math.prod(info["probabilities"].values())
    )
    assert before["messages"] == exchange.messages and before["turn"] == 0 and before["outcome"] is None
    assert info["messages"] == [
        *exchange.messages,
        {"role": "assistant", "content": "I'm so glad. What did they say?"},
    ]
    assert (info["turn"], info["outcome"], info["scored_by"], info["determinism"]) == (
        1,
        "timeout",
        "custom",
        "exact",
    )
    assert info["reference_levels"] == before["reference_levels"] and info["scenario"] == exchange.id


def test_the_reference_is_nowhere_in_what_a_policy_may_see():
    env = make()
    for seed in range(20):
        obs, info = env.reset(seed=seed)
        reference = env.unwrapped.exchange.response
        assert reference not in obs and reference not in json.dumps(info)


def test_after_the_end_a_step_needs_a_reset():
    env = make().unwrapped
    with pytest.raises(ResetNeeded):
        env.step("hello")
    env.reset(seed=1)
    env.step("hello")
    with pytest.raises(ResetNeeded, match="has ended"):
        env.step("hello")


def test_naming_an_exchange_leaves_later_episodes_as_they_are():
    one, two = make(), make()
    named = one.unwrapped.exchanges[7]
    one.reset(seed=5)
    obs, info = two.reset(seed=5, options={"exchange": named.id})
    assert (obs, info["scenario"]) == (named.text, named.id)
    assert [one.reset()[0] for _ in range(5)] == [two.reset()[0] for _ in range(5)]


def test_every_exchange_is_drawn_sooner_or_later():
    env = make(exchanges="test")
    env.reset(seed=0)
    seen = {env.reset()[1]["scenario"] for _ in range(600)}
    assert seen == {exchange.id for exchange in load_exchanges("test")}


def test_harm_is_flagged():
    env = make()
    env.reset(seed=0)
    assert env.step("You should hurt him.")[4]["safety"] == "policy_harm"


def test_a_file_of_ones_own_and_the_terms_are_arguments(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"context": "My bike was stolen.", "response": "From where?"}\n', "utf-8")
    env = make(exchanges=str(path), guard=True, length_weight=0.25, identifier="structure")
    assert env.reset(seed=0)[0] == "My bike was stolen."
    _, reward, _, _, info = env.step("")
    assert reward == -0.25 and info["reward_terms"]["guard"] == -info["reward_terms"]["empathy"] < 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"exchanges": "tets"}, r"no exchanges 'tets'.*Did you mean 'test'\?"),
        ({"exchanges": 3}, "exchanges is a int"),
        ({"identifier": "/no/where"}, "There are no weights in"),
        ({"identifier": 3}, "identifier is a int"),
        ({"guard": "yes"}, "guard is 'yes'"),
        ({"copy_weight": -1}, "copy_weight is -1"),
        ({"autoreset_mode": "SameStep"}, r"use gym.make_vec"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        make(**kwargs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exchange": "nobody"}, r"options\['exchange'\] is 'nobody', which is none of the 320 exchanges"),
        ({"exchange": 3}, "is 3, which is none"),
        ({"exchang": "a"}, r"Did you mean 'exchange'\?"),
        (3, "options is a int"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options, message):
    with pytest.raises(ConfigError, match=message):
        make().reset(options=options)


def test_an_action_must_be_text():
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="The action is a int"):
        env.step(3)


def test_rendering_shows_context_response_and_reward_without_control_characters():
    env = make(render_mode="ansi")
    env.reset(seed=1)
    env.step("fine\x1b[2J")
    text = env.render()
    assert text.startswith("user | ") and "you  | fine\ufffd[2J" in text and "reward 0." in text
    assert "\x1b" not in text


# -- many at once ----------------------------------------------------------------------------------------


def test_a_sub_environment_equals_a_single_one_through_many_episodes():
    envs, singles = gym.make_vec(ID, 4, exchanges="test"), [make(exchanges="test") for _ in range(4)]
    observations, infos = envs.reset(seed=11)
    for i, env in enumerate(singles):
        assert (observations[i], unbatch_info(infos, i)) == env.reset(seed=11 + i)
    for step in range(6):
        actions = [SAID[(step + i) % len(SAID)] for i in range(4)]
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        assert rewards.dtype == np.float64 and terminated.all() and not truncated.any()
        for i, env in enumerate(singles):
            obs, reward, _, _, info = env.step(actions[i])
            assert infos["final_obs"][i] == obs and reward == rewards[i]
            assert unbatch_info(infos["final_info"], i) == info
            assert (observations[i], unbatch_info(infos, i)) == env.reset()


def test_exchanges_are_named_one_for_all_or_one_for_each_with_none_for_the_one_drawn():
    envs = gym.make_vec(ID, 3)
    ids = [exchange.id for exchange in envs.unwrapped.setting.exchanges]
    drawn = [unbatch_info(envs.reset(seed=2)[1], i)["scenario"] for i in range(3)]
    given = [ids[5], None, ids[9]]
    infos = envs.reset(seed=2, options={"exchange": given})[1]
    assert list(infos["scenario"]) == [ids[5], drawn[1], ids[9]]
    assert set(envs.reset(options={"exchange": ids[3]})[1]["scenario"]) == {ids[3]}
    with pytest.raises(ConfigError, match="one id or a list of 3"):
        envs.reset(options={"exchange": ids[:2]})


def test_without_autoreset_what_has_ended_waits_for_its_reset():
    envs = gym.make_vec(ID, 3, autoreset_mode="Disabled")
    first, _ = envs.reset(seed=0)
    observations, rewards, terminated, _, infos = envs.step(["a", "b", "c"])
    assert observations == first and "final_info" not in infos and terminated.all()
    with pytest.raises(ResetNeeded, match=r"sub-environments \[0, 2\]"):
        envs.step(["a", None, "c"])
    observations, infos = envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert (observations[0], observations[2]) == (first[0], first[2])
    assert unbatch_info(infos, 0) == {} and unbatch_info(infos, 1)["turn"] == 0
    _, rewards, terminated, _, infos = envs.step([None, "b", None])
    assert terminated.tolist() == [False, True, False] and rewards[0] == rewards[2] == 0.0
    assert unbatch_info(infos, 0) == {} and unbatch_info(infos, 1)["turn"] == 1


def test_a_copied_vector_environment_goes_on_in_the_same_way():
    envs = gym.make_vec(ID, 3)
    envs.reset(seed=4)
    again = copy.deepcopy(envs)
    assert data_equivalence(envs.step(["a"] * 3), again.step(["a"] * 3), exact=True)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_episode_steps": 3}, "whose episodes are one step"),
        ({"autoreset_mode": "NextStep"}, "not supported"),
        ({"autoreset_mode": "SameStp"}, r"Did you mean 'SameStep'\?"),
    ],
)
def test_a_wrong_argument_of_the_vector_form_is_one_clear_error(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        gym.make_vec(ID, 2, **kwargs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda envs: envs.reset(seed=[1]), "seed has 1 entries"),
        (lambda envs: envs.reset(options={"reset_mask": [True, False]}), "numpy array of 2 bools"),
        (lambda envs: envs.reset(options={"reset_mask": np.array([False, False])}), "False everywhere"),
        (lambda envs: envs.step("ab"), "actions is a str"),
        (lambda envs: envs.step(["a"]), "Got 1 actions for num_envs=2"),
        (lambda envs: envs.step(["a", 3]), "The action is a int"),
    ],
)
def test_a_wrong_call_of_the_vector_form_is_one_clear_error(call, message):
    envs = gym.make_vec(ID, 2)
    envs.reset(seed=0)
    with pytest.raises(ConfigError, match=message):
        call(envs)
    fresh = gym.make_vec(ID, 2)
    with pytest.raises(ResetNeeded):
        fresh.step(["a", "b"])
    with pytest.raises(ResetNeeded, match="reset all first"):
        fresh.reset(options={"reset_mask": np.array([True, False])})


def test_all_responses_of_a_step_are_read_in_one_call(monkeypatch):
    envs = gym.make_vec(ID, 8)
    envs.reset(seed=0)
    calls = []
    identifier = envs.unwrapped.setting.reward.identifier
    kept = identifier.probabilities
    monkeypatch.setattr(
        identifier, "probabilities", lambda c, r: (calls.append(len(r)), kept(c, r))[1], raising=False
    )
    envs.step(["hello"] * 8)
    assert calls == [8]


def test_the_vector_form_renders_every_episode():
    envs = gym.make_vec(ID, 2, render_mode="ansi")
    envs.reset(seed=0)
    frames = envs.render()
    assert len(frames) == 2 and all(frame.startswith("user | ") for frame in frames)
