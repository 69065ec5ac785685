"""What the user tells, asks, objects to and announces: it follows from trust and from the reply, never from a timer."""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.benchmarks.rule_analysis import abstract_scenario
from empathy_gym.simulators.appraisal import INSIGHT_KINDS, LEVELS, Appraisal
from empathy_gym.simulators.dialogue import UserState, boundaries_in_force, live_claims
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.reading import read
from empathy_gym.simulators.rule import TableRule, initial_state, opening_facts
from empathy_gym.simulators.scenario import NEEDS, Scenario
from empathy_gym.simulators.user import ending

RULE = TableRule()
many = settings(max_examples=150, deadline=None, derandomize=True)
Step = tuple[UserState, Appraisal, UserState]


@functools.cache
def users() -> tuple[Scenario, ...]:
    bundled = tuple(scenario for split in PARTS for scenario in load_scenarios(split))
    return (*bundled, *(abstract_scenario(need, "normal") for need in NEEDS))


def walk(scenario: Scenario, seed: int, turns: int = 12) -> list[Step]:
    """A random talk: the state before, the reply, and the state after, up to its end."""
    rng, state, steps = random.Random(seed), initial_state(scenario, 60), []
    ids = [item.id for item in scenario.situation.items()]
    for turn in range(turns):
        levels = {"grounding": rng.choice((0, 1, 2, 3)), "form": rng.choice((0, 2, 2, 2, 2, 2))}
        for field in rng.sample(tuple(LEVELS)[3:10], rng.choice((1, 2, 3))):
            levels[field] = rng.choice(LEVELS[field])
        touched = tuple(sorted(rng.sample(ids, 2)))
        reply = Appraisal(**levels, insight_kind=rng.choice(INSIGHT_KINDS), touched=touched)
        last = turn + 1 == turns
        after = RULE.apply(scenario, state, reply, last).state
        steps.append((state, reply, after))
        if ending(state, after, last):
            break
        state = after
    return steps


def after(scenario: Scenario, state: UserState, reply: Appraisal) -> UserState:
    return RULE.apply(scenario, state, reply, False).state


def layers(scenario: Scenario, before: UserState, after: UserState) -> list[int]:
    facts = {fact.id: fact.layer for fact in scenario.situation.facts}
    return [facts[i] for i in after.disclosed if i not in before.disclosed]


def knobs(scenario: Scenario, **values: Any) -> Scenario:
    return scenario.model_copy(update={"knobs": scenario.knobs.model_copy(update=values)})


walks = given(st.sampled_from(range(300)), st.integers(0, 10**6))
OPENING = Appraisal(grounding=2, exploration=2)
PLAIN = Appraisal(grounding=1)


# -- facts -----------------------------------------------------------------------------------------------------------


@many
@walks
def test_deep_facts_take_trust_and_a_reply_that_opens(index: int, seed: int) -> None:
    scenario = users()[index]
    for before, reply, then in walk(scenario, seed):
        told = layers(scenario, before, then)
        levels = read(RULE.table, scenario, before, reply, False).levels
        understood = levels["feeling"] == 2 or levels["grounding"] >= 2
        opened = levels["exploration"] == 2 or (levels["feeling"] == 2 and levels["grounding"] >= 2)
        assert len(told) <= 2
        assert len(set(then.disclosed)) == len(then.disclosed)
        if 2 in told:
            assert then.trust >= scenario.knobs.layer2 and (levels["exploration"] >= 1 or understood)
        if 3 in told:
            assert then.trust >= scenario.knobs.layer3 and opened
        if told:
            assert levels["form"] > 0


@pytest.mark.parametrize("need", NEEDS)
def test_no_timer_ever_opens_anybody(need: str) -> None:
    scenario = abstract_scenario(need, "easy")
    state = dataclasses.replace(initial_state(scenario, 90), trust=100)
    for _ in range(30):
        state = dataclasses.replace(after(scenario, state, Appraisal(grounding=1)), emotion=90)
    assert {f.layer for f in scenario.situation.facts if f.id in state.disclosed} == {1}


def test_the_first_layer_is_told_freely_and_nothing_to_what_is_no_reply() -> None:
    scenario = abstract_scenario("venting", "normal")
    state = dataclasses.replace(initial_state(scenario), trust=0)
    assert layers(scenario, state, after(scenario, state, Appraisal())) == [1]
    assert layers(scenario, state, after(scenario, state, Appraisal(form=0))) == []


@pytest.mark.parametrize(("trust", "deepest"), [(20, 1), (45, 2), (80, 3)])
def test_the_deepest_fact_that_trust_allows_comes_first(trust: int, deepest: int) -> None:
    scenario = abstract_scenario("venting", "normal")
    state = dataclasses.replace(initial_state(scenario), trust=trust, touched=("f0",))
    assert max(layers(scenario, state, after(scenario, state, OPENING))) == deepest


def test_a_question_finds_the_facts_under_its_topic() -> None:
    scenario = abstract_scenario("venting", "normal")
    state = initial_state(scenario)
    asked = Appraisal(exploration=1, touched=("t4",))
    assert after(scenario, state, asked).disclosed[-1] in {
        f.id for f in scenario.situation.facts if "t4" in f.topics
    }


def test_contempt_opens_nobody() -> None:
    scenario = abstract_scenario("venting", "normal")
    state = dataclasses.replace(initial_state(scenario, 90), trust=100)
    harmed = dataclasses.replace(OPENING, invalidation=2)
    assert set(layers(scenario, state, after(scenario, state, harmed))) <= {1}


def test_somebody_who_declines_does_so_once_and_tells_something_easier() -> None:
    scenario = knobs(abstract_scenario("venting", "normal"), declines=True)
    state = dataclasses.replace(initial_state(scenario), trust=80)
    first = after(scenario, state, OPENING)
    assert "decline" in first.beats
    assert layers(scenario, state, first) == [1]
    second = after(scenario, first, OPENING)
    assert "decline" not in second.beats
    assert max(layers(scenario, first, second)) > 1


@many
@walks
def test_telling_something_moves_no_emotion(index: int, seed: int) -> None:
    scenario = users()[index]
    mute = scenario.model_copy(
        update={"knobs": scenario.knobs.model_copy(update={"layer2": 100, "layer3": 100})}
    )
    for before, reply, _ in walk(scenario, seed):
        one, two = (RULE.apply(user, before, reply, False) for user in (scenario, mute))
        assert one.terms == two.terms


# -- questions and objections ---------------------------------------------------------------------------------------


@many
@walks
def test_nothing_is_asked_or_objected_to_twice(index: int, seed: int) -> None:
    said = [
        b
        for *_, s in walk(users()[index], seed)
        for b in s.beats
        if b.split(":")[0] in ("ask", "push", "decline")
    ]
    assert len(said) == len(set(said))


@many
@walks
def test_an_outright_question_is_about_a_live_claim_nobody_was_honest_about(index: int, seed: int) -> None:
    scenario = users()[index]
    for before, _, then in walk(scenario, seed):
        asked = [beat[4:] for beat in then.beats if beat.startswith("ask:")]
        assert len(asked) <= 1
        for claim in asked:
            assert then.turn >= RULE.table["ask_from"]
            assert claim in {c.id for c in live_claims(scenario, before)}
            assert dict(before.stances).get(claim, 0) <= 0 or dict(then.stances)[claim] < 0


def test_whoever_is_met_with_silence_asks_outright_in_the_end() -> None:
    scenario = abstract_scenario("fair_fault", "easy")
    state = initial_state(scenario)
    beats = []
    for _ in range(4):
        state = after(scenario, state, PLAIN)
        beats += state.beats
    assert beats.count("ask:c0") == 1


def test_an_honest_word_answers_the_question_before_it_is_asked() -> None:
    scenario = abstract_scenario("fair_fault", "easy")
    state = after(
        scenario, initial_state(scenario), Appraisal(grounding=2, feeling=1, stance=1, touched=("c0",))
    )
    for _ in range(4):
        state = after(scenario, state, PLAIN)
        assert "ask:c0" not in state.beats


@pytest.mark.parametrize(
    ("pushes", "stance", "objects"), [(True, 2, True), (True, -2, False), (False, 2, False)]
)
def test_an_objection_meets_a_fair_reading_where_the_temperament_objects(
    pushes: bool, stance: int, objects: bool
) -> None:
    scenario = knobs(abstract_scenario("fair_fault", "normal"), pushes_back=pushes)
    state = UserState(trust=60, disclosed=("f0", "f1"), turn=1)
    fair = Appraisal(grounding=2, feeling=1, stance=stance, touched=("c0",))
    then = after(scenario, state, fair)
    assert ("push:c0" in then.beats) is objects
    if objects:
        held = after(scenario, then, fair)
        assert "held" in held.beats
        assert "push:c0" not in held.beats


# -- hints, limits, leaving ------------------------------------------------------------------------------------------


def test_a_hint_comes_once_the_need_was_missed_twice() -> None:
    scenario = abstract_scenario("venting", "easy")
    state = UserState(turn=3, misses=1, disclosed=("f0",))
    assert "hint" in after(scenario, state, PLAIN).beats
    assert "hint" not in after(scenario, dataclasses.replace(state, misses=0), PLAIN).beats


def test_a_user_whose_time_is_up_says_so_and_leaves() -> None:
    timed = [s for s in users() for b in s.situation.boundaries if b.kind == "time" and b.voiced_by is None]
    assert timed
    for scenario in timed:
        state = initial_state(scenario, 60)
        (after_turns,) = {b.after for b in boundaries_in_force(scenario, state) if b.kind == "time"}
        assert after_turns is not None
        for turn in (after_turns - 2, after_turns - 1):
            then = after(scenario, dataclasses.replace(state, turn=turn), Appraisal())
            assert (then.leaving == "time") is (turn == after_turns - 1)
            assert ("leave:time" in then.beats) is (turn == after_turns - 1)


def test_a_user_who_needs_no_more_announces_leaving() -> None:
    scenario = abstract_scenario("venting", "easy")
    state = UserState(emotion=98, trust=80, progress=4, turn=3, disclosed=("f0", "f1"))
    then = after(scenario, state, Appraisal(grounding=3, feeling=2, touched=("f0",)))
    assert (then.emotion, then.leaving, then.beats) == (100, "success", ("leave:success",))
    assert then.disclosed == state.disclosed


def test_a_debt_that_falls_due_is_spoken() -> None:
    state = UserState(emotion=60, trust=60, turn=3, disclosed=("f0", "f1"), debts=(("c0", 4), ("c0", 4)))
    then = after(abstract_scenario("fair_fault", "easy"), state, PLAIN)
    assert then.beats.count("debt:c0") == 1


def test_the_opening_tells_one_fact_of_the_first_layer() -> None:
    for scenario in users():
        (fact,) = opening_facts(scenario)
        assert fact.layer == 1
        assert initial_state(scenario).disclosed == (fact.id,)
