from __future__ import annotations

import pytest

from empathy_gym import ConfigError
from empathy_gym.rewards import make_reward, register
from empathy_gym.rewards import registry as module
from empathy_gym.rewards.registry import evaluate, floor_of
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.library.compiler import load_scenarios

PARTS = "empathy_test_parts:"


@pytest.fixture
def step():
    user = build_user(PARTS + "HashPerceiver")
    before = user.begin([BeginRequest(load_scenarios("train")[0])])[0]
    return before, "hello", user.respond([before], ["hello"])[0]


class Plain:
    terms = ("one",)

    def __call__(self, before, reply, after):
        return {"one": 1}


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    monkeypatch.setattr(module, "_factories", dict(module._factories))


def test_a_registered_reward_is_made_by_its_name(step):
    register("plain", Plain)
    assert evaluate(make_reward("plain"), *step) == {"one": 1.0}
    assert type(evaluate(make_reward("plain"), *step)["one"]) is float


def test_a_name_stands_for_one_factory():
    register("plain", Plain)
    register("plain", Plain)
    with pytest.raises(ConfigError, match="registered already"):
        register("plain", lambda: Plain())
    with pytest.raises(ConfigError, match="registered already"):
        register("delta", Plain)


@pytest.mark.parametrize(("name", "factory"), [("a:b", Plain), ("", Plain), (3, Plain), ("fine", "Plain")])
def test_an_unusable_name_or_factory_is_refused(name, factory):
    with pytest.raises(ConfigError):
        register(name, factory)


def test_a_reward_is_named_by_module_and_attribute(step):
    reward = make_reward(PARTS + "LengthReward")
    assert list(evaluate(reward, *step).items()) == [("length", 0.005), ("bonus", 0.25)]


def test_a_reward_without_a_floor_has_that_of_delta(step):
    assert floor_of(make_reward(PARTS + "LengthReward"), step[0]) == -0.4
    assert floor_of(make_reward(PARTS + "FlooredReward"), step[0]) == -0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan_reward", "nan for the term 'beta'"),
        ("inf_reward", "inf for the term 'alpha'"),
        ("missing_reward", "did not return its term 'beta'"),
        ("extra_reward", "the term 'gamma'"),
        ("word_reward", "'much' for the term 'alpha'"),
        ("not_a_dict_reward", "returned a list"),
    ],
)
def test_a_reward_that_breaks_its_word_is_named_with_the_term(step, name, message):
    reward = make_reward(PARTS + name)
    with pytest.raises(ConfigError, match=message):
        evaluate(reward, *step)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("detla", "Did you mean 'delta'"),
        (Plain(), "reward is a Plain"),
        (None, "reward is a NoneType"),
        (PARTS + "LengthRewad", "Did you mean 'LengthReward'"),
        (PARTS + "EchoSpeaker", "needs 'terms'"),
        ("no_such_module_at_all:x", "cannot be imported"),
    ],
)
def test_what_is_no_reward_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        make_reward(spec)


@pytest.mark.parametrize("terms", [["one"], ("one", "one"), ("format",), ("fault",), (1,), "one"])
def test_terms_are_a_tuple_of_different_names_that_are_not_the_environments(terms):
    register("odd", type("Odd", (Plain,), {"terms": terms}))
    with pytest.raises(ConfigError, match="'odd'"):
        make_reward("odd")
