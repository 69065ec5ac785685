from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.rewards import Reward, make_reward
from empathy_gym.rewards.registry import evaluate, floor_of
from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import BeginRequest, EmotionChange
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.rule import RULE_TERMS, TableRule
from empathy_gym.simulators.user import User

APPRAISALS = st.builds(Appraisal, **{name: st.sampled_from(levels) for name, levels in LEVELS.items()})


class Given:
    """Reads what it was told to."""

    def __init__(self, appraisals):
        self.appraisals = iter(appraisals)

    def perceive(self, items):
        return [next(self.appraisals) for _ in items]

    def speak(self, items):
        return ["I see."] * len(items)


class Any_:
    """Changes the emotion as told, under any terms."""

    def __init__(self, change, terms):
        self.change, self.terms = change, terms

    def apply(self, scenario, state, appraisal, last):
        after = dataclasses.replace(state, emotion=state.emotion + self.change, turn=state.turn + 1)
        return EmotionChange(self.change, self.terms, after)


def _begun(user, emotion=40, index=0):
    return user.begin([BeginRequest(load_scenarios("train")[index], initial_emotion=emotion)])[0]


@settings(max_examples=80, deadline=None)
@given(st.lists(APPRAISALS, min_size=1, max_size=8), st.integers(10, 100), st.integers(0, 100))
def test_delta_is_the_change_of_the_emotion_for_every_reply_of_the_packaged_rule(appraisals, emotion, index):
    given_ = Given(appraisals)
    user = User(given_, TableRule(), given_)
    delta, final = make_reward("delta"), make_reward("final")
    before = start = _begun(user, emotion, index)
    total = 0.0
    for _ in appraisals:
        after = user.respond([before], ["reply"])[0]
        terms = evaluate(delta, before, "reply", after)
        assert tuple(terms) == delta.terms == (*RULE_TERMS, "custom")
        assert math.isclose(sum(terms.values()), (after.emotion - before.emotion) / 100, abs_tol=1e-9)
        assert terms["custom"] == 0.0
        assert evaluate(final, before, "reply", after) == {
            "final": after.emotion / 100 if after.ended else 0.0
        }
        total += sum(terms.values())
        before = after
        if after.ended:
            break
    assert math.isclose(total, (before.emotion - start.emotion) / 100, abs_tol=1e-9)


@given(
    st.integers(-40, 60),
    st.dictionaries(st.sampled_from([*RULE_TERMS, "custom", "mine", "yours"]), st.integers(-50, 50)),
)
def test_delta_is_the_change_whatever_terms_a_rule_of_ones_own_gives(change, terms):
    given_ = Given([Appraisal()])
    user = User(given_, Any_(change, terms), given_)
    before = _begun(user)
    after = user.respond([before], ["reply"])[0]
    got = evaluate(make_reward("delta"), before, "reply", after)
    assert math.isclose(sum(got.values()), change / 100, abs_tol=1e-9)
    assert all(got[name] == value / 100 for name, value in terms.items() if name in RULE_TERMS)


def test_the_floor_of_delta_is_the_fall_to_0_and_that_of_final_is_0():
    given_ = Given([])
    before = _begun(User(given_, TableRule(), given_), emotion=73)
    assert floor_of(make_reward("delta"), before) == -0.73
    assert floor_of(make_reward("final"), before) == 0.0


@pytest.mark.parametrize(
    ("outcome", "bonus"), [("success", 1.0), ("timeout", 0.0), ("closed", 0.0), (None, 0.0)]
)
def test_success_is_paid_beside_the_change(outcome, bonus):
    given_ = Given([Appraisal()])
    user = User(given_, Any_(7, {}), given_)
    before = _begun(user)
    after = dataclasses.replace(user.respond([before], ["reply"])[0], outcome=outcome)
    got = evaluate(make_reward("delta+success"), before, "reply", after)
    assert got["success"] == bonus
    assert math.isclose(sum(got.values()), 0.07 + bonus, abs_tol=1e-9)
    assert floor_of(make_reward("delta+success"), before) == floor_of(make_reward("delta"), before)


@pytest.mark.parametrize("name", ["delta", "final", "delta+success"])
def test_all_are_rewards(name):
    assert isinstance(make_reward(name), Reward)
