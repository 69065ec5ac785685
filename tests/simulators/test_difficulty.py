"""The knobs behind easy, normal and hard: what each does to the same levels."""

from __future__ import annotations

import dataclasses
import functools
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.benchmarks.rule_analysis import abstract_scenario
from empathy_gym.simulators.appraisal import INSIGHT_KINDS, LEVELS, Appraisal
from empathy_gym.simulators.dialogue import UserState
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.rule import TableRule, initial_state
from empathy_gym.simulators.scenario import DIFFICULTIES, Scenario
from empathy_gym.simulators.user import ending

RULE = TableRule()
KNOBS = RULE.table["difficulties"]
TURNS = 8
many = settings(max_examples=150, deadline=None, derandomize=True)


@functools.cache
def users() -> tuple[Scenario, ...]:
    return tuple(load_scenarios("train"))


def random_reply(rng: random.Random, scenario: Scenario) -> Appraisal:
    """A reply that mostly means well, and takes no stance: what is asked for differs by what was told."""
    levels = {"grounding": rng.choice((0, 1, 2, 2, 3))}
    fields = ("feeling", "warmth", "exploration", "insight", "advice", "affirmation")
    for field in rng.sample(fields, rng.choice((1, 2))):
        levels[field] = rng.choice((1, 2, 2))
    if rng.random() < 0.15:
        field = rng.choice(("invalidation", "control", "repetition"))
        levels[field] = rng.choice(LEVELS[field])
    ids = [item.id for item in scenario.situation.items()]
    kind = rng.choice(INSIGHT_KINDS) if levels.get("insight") else None
    return Appraisal(**levels, insight_kind=kind, touched=tuple(sorted(rng.sample(ids, 2))))


def helpful_reply(rng: random.Random, scenario: Scenario, at: int) -> Appraisal:
    """A reply that serves the need on something new in most turns."""
    need = RULE.table["needs"][scenario.need]
    step = rng.choice([s for s in need["progress"] if s["act"] != "stance"])
    kind_of = scenario.situation.kind_of
    items = [i.id for i in scenario.situation.items() if kind_of[i.id] in step["items"]]
    levels = {"grounding": rng.choice((1, 2, 2)), "warmth": rng.choice((0, 1))}
    levels[step["act"]] = rng.choice((1, 2, 2, 2))
    kind = need["insight_kind"] if "insight" in levels else None
    return Appraisal(**levels, insight_kind=kind, touched=(items[at % len(items)],))


def final(scenario: Scenario, replies: list[Appraisal]) -> int:
    """The emotion at the end of a talk."""
    state = initial_state(scenario)
    for reply in replies:
        before, state = state, RULE.apply(scenario, state, reply, state.turn + 1 >= TURNS).state
        if ending(before, state, state.turn >= TURNS):
            break
        state = dataclasses.replace(state, beats=())
    return state.emotion


def talks(count: int, helpful: bool) -> list[list[int]]:
    """Final emotions by difficulty of talks whose levels are the same on each."""
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        scenario = rng.choice(users())
        replies = [
            helpful_reply(rng, scenario, at) if helpful else random_reply(rng, scenario)
            for at in range(TURNS)
        ]
        found.append([final(scenario.at(d), replies) for d in DIFFICULTIES])
    return found


def test_every_knob_moves_one_way_from_easy_to_hard_and_grace_makes_up_for_patience() -> None:
    for easier, harder in pairwise(KNOBS[d] for d in DIFFICULTIES):
        assert easier["patience"] < harder["patience"]
        assert easier["openness"] > harder["openness"]
        assert easier["resistance"] < harder["resistance"]
        assert easier["volatility"] < harder["volatility"]
        assert easier["impatience"] == harder["impatience"]
        assert easier["grace"] < harder["grace"]


@many
@given(st.sampled_from(range(600)), st.integers(0, 10**6), st.integers(0, 6))
def test_the_same_reply_earns_no_more_emotion_or_trust_from_a_harder_user(
    index: int, seed: int, before: int
) -> None:
    rng, scenario = random.Random(seed), users()[index]
    state = initial_state(scenario, 60)
    for _ in range(before):
        state = RULE.apply(scenario, state, random_reply(rng, scenario), False).state
        state = dataclasses.replace(state, emotion=60, leaving=None, beats=())
    reply = random_reply(rng, scenario)
    after = [RULE.apply(scenario.at(d), state, reply, False).state for d in DIFFICULTIES]
    for easier, harder in pairwise(after):
        assert easier.emotion >= harder.emotion
        assert easier.trust >= harder.trust


@many
@given(st.sampled_from(range(600)), st.integers(0, 10**6), st.sampled_from(DIFFICULTIES), st.integers(0, 4))
def test_resistance_lowers_the_ceilings_between_none_and_all_of_the_need(
    index: int, seed: int, difficulty: str, progress: int
) -> None:
    scenario = users()[index].at(difficulty)
    state = dataclasses.replace(initial_state(scenario, 40), progress=progress, trust=60, turn=3)
    after = RULE.apply(scenario, state, helpful_reply(random.Random(seed), scenario, seed), False).state
    lower = KNOBS[difficulty]["resistance"] if 0 < after.progress < 4 else 0
    assert after.emotion <= RULE.table["ceilings"][after.progress] - lower


def test_a_ceiling_stops_a_rise_where_resistance_puts_it() -> None:
    scenario = abstract_scenario("venting", "normal")
    reply = Appraisal(grounding=3, feeling=2, touched=("e1",))
    for difficulty in DIFFICULTIES:
        expected = RULE.table["ceilings"][2] - KNOBS[difficulty]["resistance"]
        state = UserState(emotion=expected - 1, trust=60, progress=1, turn=3, disclosed=("f0", "f1"))
        result = RULE.apply(scenario.at(difficulty), state, reply, False)
        assert (result.state.progress, result.state.emotion) == (2, expected)
        assert result.terms["ceiling"] < 0


@pytest.mark.parametrize("helpful", [False, True])
def test_the_same_levels_end_lower_with_a_harder_user(helpful: bool) -> None:
    """In nearly all talks, and by several points in the mean; trust changes what is told and asked in the rest."""
    found = talks(300, helpful)
    for easier, harder in ((0, 1), (1, 2)):
        kept = sum(talk[easier] >= talk[harder] for talk in found)
        assert kept >= 0.97 * len(found), (easier, harder, kept)
        assert sum(talk[easier] - talk[harder] for talk in found) >= 3 * len(found)
