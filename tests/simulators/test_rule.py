"""The principles of the rule, as properties of levels: random users, states reached by random play, any reply.

docs/appraisal.md lists the principles by number and names the test that holds each.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from empathy_gym.benchmarks.rule_analysis import abstract_scenario
from empathy_gym.simulators.appraisal import GUARDS, INSIGHT_KINDS, LEVELS, Appraisal
from empathy_gym.simulators.dialogue import FAILURE_EMOTION, UserState, boundaries_in_force
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.reading import ACTS, MOVES, Reading, read, worth
from empathy_gym.simulators.rule import (
    ADJUSTMENTS,
    COSTS,
    RULE_TERMS,
    TableRule,
    initial_state,
    load_tables,
    rule_by_hash,
)
from empathy_gym.simulators.scenario import DIFFICULTIES, NEEDS, Scenario
from empathy_gym.simulators.user import ending

RULE = TableRule()
TABLE = RULE.table
ROOT = Path(__file__).parents[2]
many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

Case = tuple[Scenario, UserState]


@functools.cache
def users() -> tuple[Scenario, ...]:
    """Every bundled user, and the abstract ones of the analysis."""
    bundled = [scenario for split in PARTS for scenario in load_scenarios(split)]
    return (*bundled, *(abstract_scenario(need, "normal") for need in NEEDS for _ in range(4)))


def random_reply(rng: random.Random, scenario: Scenario) -> Appraisal:
    """A reply that is good or poor in random ways and engages random items."""
    levels = {"grounding": rng.choice((0, 1, 2, 2, 3)), "form": rng.choice((0, 1, 2, 2, 2, 2, 2))}
    for field in rng.sample(MOVES, rng.choice((1, 1, 2, 3))):
        levels[field] = rng.choice(LEVELS[field])
    if rng.random() < 0.15:
        levels[rng.choice(("invalidation", "control", "repetition"))] = rng.choice((1, 2))
    ids = [item.id for item in scenario.situation.items()]
    return Appraisal(
        **levels,
        insight_kind=rng.choice(INSIGHT_KINDS) if levels.get("insight") else None,
        touched=tuple(sorted(rng.sample(ids, min(len(ids), rng.choice((1, 2, 3)))))),
    )


def reached(scenario: Scenario, seed: int, replies: int, emotion: int | None) -> UserState:
    """The state after some random replies, or the last one from which the talk still went on."""
    rng, state = random.Random(seed), initial_state(scenario, emotion)
    for _ in range(replies):
        after = RULE.apply(scenario, state, random_reply(rng, scenario), False).state
        if ending(state, after, False):
            break
        state = after
    return state


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A user at some difficulty, in a state that play can reach."""
    scenario = draw(st.sampled_from(users())).at(draw(st.sampled_from(DIFFICULTIES)))
    emotion = draw(st.none() | st.integers(FAILURE_EMOTION, 100))
    return scenario, reached(scenario, draw(st.integers(0, 10**6)), draw(st.integers(0, 11)), emotion)


@st.composite
def talks(draw: st.DrawFn) -> Case:
    """A case in which nobody has said goodbye."""
    scenario, state = draw(cases())
    return scenario, dataclasses.replace(state, leaving=None)


def replies(**fixed: Any) -> st.SearchStrategy[Appraisal]:
    """Any reply at all, with some fields fixed; `aim` adds what it touches."""
    levels = {
        name: st.just(fixed[name]) if name in fixed else st.sampled_from(v) for name, v in LEVELS.items()
    }
    kinds = (
        st.just(fixed["insight_kind"]) if "insight_kind" in fixed else st.sampled_from((None, *INSIGHT_KINDS))
    )
    guards = st.just(fixed.get("guard"))
    return st.builds(Appraisal, insight_kind=kinds, guard=guards, **levels)


def aim(scenario: Scenario, reply: Appraisal, seed: int) -> Appraisal:
    """The reply with a few items of this user touched."""
    rng = random.Random(seed)
    ids = [item.id for item in scenario.situation.items()]
    return dataclasses.replace(
        reply, touched=tuple(sorted(rng.sample(ids, min(len(ids), rng.randint(0, 4)))))
    )


seeds = st.integers(0, 10**6)


def change(case: Case, reply: Appraisal, last: bool = False) -> int:
    return RULE.apply(*case, reply, last).change


def gains(terms: dict[str, int]) -> int:
    """What the acts come to in the end, before any cost, ceiling or debt."""
    return sum(terms.get(name, 0) for name in (*ACTS, *ADJUSTMENTS))


def before_scaling(terms: dict[str, int], *names: str) -> int:
    """What the welcome acts come to after some of the adjustments."""
    return sum(max(0, terms.get(act, 0)) for act in ACTS) + sum(terms.get(name, 0) for name in names)


def reading(case: Case, reply: Appraisal) -> Reading:
    return read(TABLE, *case, reply, False)


def knobs(scenario: Scenario, **values: Any) -> Scenario:
    return scenario.model_copy(update={"knobs": scenario.knobs.model_copy(update=values)})


def ready_state(**fields: Any) -> UserState:
    """Somebody who has told two facts and trusts enough to be advised."""
    return UserState(**{"trust": 60, "disclosed": ("f0", "f1"), "turn": 3, **fields})


def abstract(need: str = "venting", difficulty: str = "easy", **options: Any) -> Scenario:
    return abstract_scenario(need, difficulty, **options)


# -- what always holds ---------------------------------------------------------------------------------------------


@many
@given(
    cases(), replies() | replies(guard="crisis_check") | replies(guard="policy_harm"), seeds, st.booleans()
)
def test_terms_are_named_and_sum_to_a_change_that_stays_in_bounds(
    case: Case, reply: Appraisal, seed: int, last: bool
) -> None:
    scenario, state = case
    result = RULE.apply(scenario, state, aim(scenario, reply, seed), last)
    assert sum(result.terms.values()) == result.change == result.state.emotion - state.emotion
    assert set(result.terms) <= set(RULE_TERMS)
    assert all(type(points) is int and points for points in result.terms.values())
    assert 0 <= result.state.emotion <= 100
    assert 0 <= result.state.trust <= 100
    assert result.state.turn == state.turn + 1


@many
@given(cases(), replies(), seeds, st.booleans())
def test_the_rule_is_pure(case: Case, reply: Appraisal, seed: int, last: bool) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    kept = copy.deepcopy((state, reply, TABLE)), scenario.model_dump_json()
    first = RULE.apply(scenario, state, reply, last)
    assert TableRule(copy.deepcopy(dict(TABLE))).apply(scenario, state, reply, last) == first
    assert ((state, reply, TABLE), scenario.model_dump_json()) == kept


@many
@given(cases(), replies(), seeds, st.sampled_from(("invalidation", "control", "repetition")))
def test_more_harm_or_repetition_never_raises_the_change(
    case: Case, reply: Appraisal, seed: int, field: str
) -> None:
    reply = aim(case[0], reply, seed)
    changes = [change(case, dataclasses.replace(reply, **{field: level})) for level in LEVELS[field]]
    assert changes == sorted(changes, reverse=True)


@many
@given(talks(), replies(guard=None), seeds, st.sampled_from(ACTS))
def test_more_of_a_welcome_act_pays_no_less_while_the_need_is_served_as_before(
    case: Case, reply: Appraisal, seed: int, act: str
) -> None:
    scenario, state = case
    weight = TABLE["needs"][scenario.need]["weights"][act]
    level = getattr(reply, act)
    assume(weight > 0 and 0 <= level < LEVELS[act][-1])
    less = aim(scenario, reply, seed)
    more = dataclasses.replace(less, **{act: level + 1})
    # A fuller stance is a different thing to say, and it takes a user who is ready.
    assume(act != "stance" or reading(case, more).ready)
    one, two = (RULE.apply(scenario, state, r, False) for r in (less, more))
    assume(one.state.progress == two.state.progress)
    assume(reading(case, less).bought_off == reading(case, more).bought_off)
    assert gains(two.terms) >= gains(one.terms)


# -- 1: costs for every need -----------------------------------------------------------------------------------------


@many
@given(talks(), replies(form=0, invalidation=0, control=0), seeds)
def test_an_empty_reply_never_raises_the_emotion_and_nothing_else_in_it_counts(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, dataclasses.replace(reply, stance=max(0, reply.stance)), seed)
    result = RULE.apply(scenario, state, reply, False)
    assert result.change < 0 or state.emotion == 0
    assert result.change == change(case, Appraisal(form=0)) <= change(case, Appraisal())
    assert result.state.stances == state.stances
    assert gains(result.terms) == 0
    assert result.terms["form"] == -6


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize(
    ("levels", "term", "points"),
    [
        ({"form": 0}, "form", -6),
        ({"form": 1}, "form", -1),
        ({"repetition": 1}, "repetition", -2),
        ({"repetition": 2}, "repetition", -4),
        ({"affirmation": -1}, "inflation", -2),
        ({"stance": -1}, "agreement", -1),
        ({"invalidation": 1}, "invalidation", -3),
        ({"invalidation": 2}, "invalidation", -6),
        ({"control": 1}, "control", -2),
        ({"control": 2}, "control", -4),
        ({"control": 3}, "control", -8),
    ],
)
def test_costs_are_the_published_ones_whatever_the_need(
    need: str, levels: dict[str, int], term: str, points: int
) -> None:
    scenario = knobs(
        next(s for s in users() if s.need == need and s.situation.claims), cost=4, difficulty="normal"
    )
    claims = tuple(f for c in scenario.situation.claims if (f := c.voiced_by))
    state = UserState(trust=60, disclosed=claims, turn=1)
    result = RULE.apply(scenario, state, Appraisal(**levels), False)
    assert result.terms == {term: points, "patience": -2}


@pytest.mark.parametrize(("difficulty", "points"), [("easy", 0), ("normal", -2), ("hard", -4)])
def test_patience_costs_every_reply_by_difficulty(difficulty: str, points: int) -> None:
    terms = RULE.apply(abstract(difficulty=difficulty), ready_state(turn=0), Appraisal(), False).terms
    assert terms.get("patience", 0) == points == sum(terms.values())


def test_evading_an_outright_question_costs_and_answering_it_does_not() -> None:
    state = ready_state(beats=("ask:c0",), asked=("ask:c0",))
    scenario = abstract("fair_fault")
    evaded = RULE.apply(scenario, state, Appraisal(grounding=2), False)
    answered = RULE.apply(scenario, state, Appraisal(grounding=2, feeling=1, stance=2), False)
    assert evaded.terms["evasion"] == TABLE["costs"]["evasion"]
    assert "evasion" not in answered.terms
    assert evaded.state.trust < answered.state.trust


# -- 2 to 4: grounding, buying off, readiness --------------------------------------------------------------------------


@many
@given(talks(), st.integers(0, 1).flatmap(lambda level: replies(grounding=level)), seeds)
def test_a_reply_that_rests_on_nothing_told_gains_next_to_nothing(
    case: Case, reply: Appraisal, seed: int
) -> None:
    terms = RULE.apply(*case, aim(case[0], reply, seed), False).terms
    cap = (1, 2)[reply.grounding]
    assert before_scaling(terms, "satiation", "attention", "ungrounded") <= cap
    assert gains(terms) <= 2 * cap * 5 // 4


@many
@given(talks(), replies(), seeds, st.sampled_from([("invalidation", 2), ("control", 2), ("control", 3)]))
def test_nothing_kind_buys_off_contempt_or_control(
    case: Case, reply: Appraisal, seed: int, harm: tuple[str, int]
) -> None:
    scenario, state = case
    reply = dataclasses.replace(aim(scenario, reply, seed), **dict([harm]))
    result = RULE.apply(scenario, state, reply, False)
    assert gains(result.terms) <= 0
    assert result.change <= 0
    assert result.state.progress == state.progress


@many
@given(talks(), replies(form=2, guard=None, control=0, invalidation=0), seeds)
def test_before_the_story_is_told_advice_costs_and_readings_pay_nothing(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    taken = reading(case, reply)
    assume(not taken.ready)
    result = RULE.apply(scenario, state, reply, False)
    for act in ("insight", "advice", *(("stance",) if taken.levels["stance"] == 2 else ())):
        assert result.terms.get(act, 0) <= 0
    if reply.advice:
        quiet = RULE.apply(scenario, state, dataclasses.replace(reply, advice=0), False)
        assert result.terms["early_advice"] == -reply.advice
        assert result.change <= quiet.change
        assert result.state.trust <= max(0, quiet.state.trust + TABLE["trust"]["early_advice"])


@pytest.mark.parametrize(("trust", "told", "ready"), [(50, 2, True), (49, 2, False), (50, 1, False)])
def test_a_user_is_ready_with_trust_and_two_facts_told(trust: int, told: int, ready: bool) -> None:
    state = ready_state(trust=trust, disclosed=("f0", "f1")[:told])
    assert reading((abstract("advice"), state), Appraisal()).ready is ready


# -- 5: satiation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("uses", "points"), [(0, 4), (1, 4), (2, 2), (3, 2), (4, 0), (9, 0)])
def test_an_act_pays_in_full_twice_then_half_twice_then_nothing(uses: int, points: int) -> None:
    state = ready_state(satiation=(("feeling", uses),))
    terms = RULE.apply(abstract(), state, Appraisal(grounding=3, feeling=2), False).terms
    assert terms["feeling"] + terms.get("satiation", 0) == points


@many
@given(cases(), replies(), seeds, st.integers(0, 9))
def test_costs_never_satiate(case: Case, reply: Appraisal, seed: int, uses: int) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    worn = dataclasses.replace(state, satiation=tuple((act, uses) for act in sorted(ACTS)))
    one, two = (RULE.apply(scenario, s, reply, False).terms for s in (state, worn))
    assert [one.get(name) for name in COSTS] == [two.get(name) for name in COSTS]


@many
@given(talks(), replies(form=2), seeds)
def test_hearing_something_new_gives_one_use_back_save_of_retelling(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    after = RULE.apply(scenario, state, reply, False).state
    news = after.disclosed != state.disclosed or any(beat.startswith("push:") for beat in after.beats)
    uses, was = dict(after.satiation), dict(state.satiation)
    for act in ACTS:
        used = reading(case, reply).levels[act] > (act == "grounding")
        expected = was.get(act, 0) + used - (news and act != "grounding")
        assert uses.get(act, 0) == max(0, expected)


# -- 6: trust ------------------------------------------------------------------------------------------------------


@many
@given(talks(), replies(), seeds)
def test_trust_rises_only_for_help_a_limit_kept_or_a_stance_held(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    result, taken = RULE.apply(scenario, state, reply, False), reading(case, reply)
    helped = gains({k: max(0, v) if k in ACTS else v for k, v in result.terms.items()}) > 0
    most = TABLE["difficulties"][scenario.knobs.difficulty]["openness"] * (helped and reply.grounding > 0)
    most += TABLE["trust"]["boundary"] * len(taken.kept) + TABLE["trust"]["declined"] * len(taken.declined)
    assert result.state.trust - state.trust <= most + TABLE["trust"]["held"] * taken.holds


def test_trust_falls_faster_than_it_rises() -> None:
    scenario, state = abstract(), ready_state(trust=50)
    rise = RULE.apply(scenario, state, Appraisal(grounding=3, feeling=2), False).state.trust - 50
    falls = [
        RULE.apply(scenario, state, Appraisal(grounding=3, feeling=2, **harm), False).state.trust - 50
        for harm in ({"invalidation": 2}, {"control": 3})
    ]
    assert rise == TABLE["difficulties"]["easy"]["openness"]
    assert all(-fall > rise > 0 for fall in falls)


@many
@given(talks(), replies(invalidation=0, control=0), seeds)
def test_somebody_who_distrusts_takes_half(case: Case, reply: Appraisal, seed: int) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    low, high = (dataclasses.replace(state, trust=trust) for trust in (29, 30))
    one, two = (RULE.apply(scenario, s, reply, False).terms for s in (low, high))
    paid = ("satiation", "attention", "ungrounded", "bought_off", "distrust")
    assert before_scaling(one, *paid) == before_scaling(two, *paid) // 2


# -- 8, 11, 12, 13: ceilings, progress, attention, impatience -------------------------------------------------------


@many
@given(cases(), replies(), seeds, st.booleans())
def test_the_emotion_never_rises_above_what_progress_and_honesty_allow(
    case: Case, reply: Appraisal, seed: int, last: bool
) -> None:
    scenario, state = case
    after = RULE.apply(scenario, state, aim(scenario, reply, seed), last).state
    ceiling = TABLE["ceilings"][after.progress]
    addressed = {claim for claim, stance in after.stances if stance > 0}
    if state.debts or (scenario.need_claims and addressed.isdisjoint(scenario.need_claims)):
        ceiling = min(ceiling, TABLE["owed_ceiling"])
    open_questions = [a for a in state.asked if a.startswith("ask:") and a[4:] not in addressed]
    assert after.emotion <= max(state.emotion, ceiling - TABLE["unanswered"] * len(open_questions))


@many
@given(talks(), replies(form=2, invalidation=0, control=0, affirmation=0), seeds)
def test_progress_takes_the_needs_act_as_the_main_move_on_something_new(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    need = TABLE["needs"][scenario.need]
    step = random.Random(seed).choice(need["progress"])
    reply = dataclasses.replace(reply, grounding=3, insight_kind=need["insight_kind"], **{step["act"]: 2})
    reply = aim(scenario, reply, seed)
    after = RULE.apply(scenario, state, reply, False).state
    assert after.progress - state.progress in (0, 1)
    if after.progress > state.progress:
        taken = reading(case, reply)
        points = worth(TABLE, scenario, taken)
        kinds = {scenario.situation.kind_of[i] for i in reply.touched if i not in state.touched}
        assert any(
            taken.levels[s["act"]] >= s["level"]
            and points[s["act"]]
            == max(points[act] for act in MOVES if act not in ("stance",) or act == s["act"])
            and kinds & set(s["items"])
            for s in need["progress"]
        )
        strangers = [act for act in MOVES if act != "stance" and act not in need["beside"]]
        assert all(taken.levels[act] < 2 for act in strangers)
    again = dataclasses.replace(after, leaving=None, beats=())
    assert RULE.apply(scenario, again, reply, False).state.progress == after.progress


@pytest.mark.parametrize("need", NEEDS)
def test_every_need_can_be_served_and_only_by_its_own_acts(need: str) -> None:
    scenario = abstract(need, "normal")
    serving = set()
    for act in MOVES:
        for kind in INSIGHT_KINDS if act == "insight" else (None,):
            ids = tuple(sorted(item.id for item in scenario.situation.items()))
            reply = Appraisal(grounding=3, insight_kind=kind, touched=ids, **{act: 2})
            if act == "stance":
                reply = dataclasses.replace(reply, feeling=1)
            if RULE.apply(scenario, ready_state(), reply, False).state.progress:
                serving.add(act)
    assert serving == {step["act"] for step in TABLE["needs"][need]["progress"]} - (
        {"stance"} if not scenario.need_claims else set()
    )


def test_a_gain_counts_double_only_where_the_need_is_served_or_all_is_said() -> None:
    scenario = abstract()
    beside = Appraisal(grounding=2, warmth=2, touched=("f1",))
    serving = Appraisal(grounding=2, feeling=2, touched=("e1",))
    once = RULE.apply(scenario, ready_state(), beside, False).terms
    twice = RULE.apply(scenario, ready_state(), serving, False).terms
    served = RULE.apply(scenario, ready_state(progress=4), beside, False).terms
    assert (gains(once), gains(twice), gains(served)) == (3, 10, 6)


@many
@given(talks(), replies(form=2), seeds)
def test_the_two_strongest_gains_pay_and_an_honest_word_beside_them(
    case: Case, reply: Appraisal, seed: int
) -> None:
    reply = aim(case[0], reply, seed)
    terms = RULE.apply(*case, reply, False).terms
    uses = dict(case[1].satiation)
    points = {act: RULE._satiated(v, uses.get(act, 0)) for act in ACTS if (v := terms.get(act, 0)) > 0}
    honest = points.pop("stance", 0)
    assert before_scaling(terms, "satiation", "attention") == honest + sum(sorted(points.values())[-2:])


@many
@given(talks(), replies(form=2, stance=0), seeds)
def test_each_move_beyond_three_costs_a_point(case: Case, reply: Appraisal, seed: int) -> None:
    reply = aim(case[0], reply, seed)
    terms = RULE.apply(*case, reply, False).terms
    moves = sum(getattr(reply, act) > 0 for act in MOVES)
    assert terms.get("crowding", 0) == -max(0, moves - 3)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_each_further_reply_past_the_need_costs_more_after_the_first_ones_of_grace(difficulty: str) -> None:
    scenario, state, costs = abstract(difficulty=difficulty), ready_state(turn=0, emotion=90), []
    for _ in range(7):
        result = RULE.apply(scenario, state, Appraisal(grounding=1), False)
        costs.append(result.terms.get("impatience", 0))
        state = result.state
    grace = TABLE["difficulties"][difficulty]["grace"]
    assert costs == [-2 * max(0, miss - 1) for miss in range(1 - grace, 8 - grace)]


def test_a_step_ends_impatience_and_a_served_need_knows_none() -> None:
    serving = Appraisal(grounding=2, feeling=2, touched=("e1",))
    after = RULE.apply(abstract(), ready_state(misses=3), serving, False)
    assert after.state.misses == 0
    assert "impatience" not in after.terms
    assert RULE.apply(abstract(), ready_state(progress=4), Appraisal(), False).state.misses == 0


# -- 9: temperament and difficulty ------------------------------------------------------------------------------------


@many
@given(talks(), replies(), seeds)
def test_temperament_and_difficulty_scale_and_never_flip_a_sign(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    state = dataclasses.replace(state, debts=())

    def results(**values: int) -> dict[str, int]:
        return RULE.apply(knobs(scenario, **values), state, reply, False).terms

    paid = [gains({k: max(0, v) if k in ACTS else v for k, v in results(gain=g).items()}) for g in (3, 4, 5)]
    assert 0 <= paid[0] <= paid[1] <= paid[2] <= 2 * max(1, paid[1])
    for cost in (3, 4, 5):
        for difficulty in DIFFICULTIES:
            terms = RULE.apply(knobs(scenario, cost=cost, difficulty=difficulty), state, reply, False).terms
            owed = -sum(v for k, v in terms.items() if v < 0 and (k in ACTS or k in COSTS))
            scaled = owed - terms.get("volatility", 0)
            assert (scaled > 0) == (owed > 0)
            assert owed / 2 <= scaled <= 2 * owed


@many
@given(talks(), replies(), seeds)
def test_an_easier_or_more_forgiving_user_never_takes_a_reply_worse(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    reply = aim(scenario, reply, seed)
    for name, values in (("difficulty", DIFFICULTIES), ("cost", (3, 4, 5)), ("gain", (5, 4, 3))):
        changes = [change((knobs(scenario, **{name: value}), state), reply) for value in values]
        assert changes == sorted(changes, reverse=True)


@many
@given(cases(), replies(stance=0), seeds)
def test_no_temperament_rewards_rudeness_or_inflated_praise(case: Case, reply: Appraisal, seed: int) -> None:
    scenario, state = case
    reply = dataclasses.replace(aim(scenario, reply, seed), affirmation=0, invalidation=0, control=0)
    for gain, cost in ((3, 5), (5, 3)):
        user = knobs(scenario, gain=gain, cost=cost)
        plain = RULE.apply(user, state, reply, False)
        for harm in ({"invalidation": 1}, {"control": 1}, {"affirmation": -1}):
            harmed = RULE.apply(user, state, dataclasses.replace(reply, **harm), False)
            assert harmed.change <= plain.change
            assert harmed.state.trust <= plain.state.trust


# -- 10: endings -----------------------------------------------------------------------------------------------------


@many
@given(cases(), replies(guard=None), seeds, st.booleans())
def test_nobody_is_left_between_the_failure_line_and_zero(
    case: Case, reply: Appraisal, seed: int, last: bool
) -> None:
    result = RULE.apply(*case, aim(case[0], reply, seed), last)
    assert result.state.emotion == 0 or result.state.emotion >= FAILURE_EMOTION


@many
@given(cases(), st.integers(0, 3))
def test_saying_nothing_of_substance_never_raises_the_emotion(case: Case, grounding: int) -> None:
    assert change(case, Appraisal()) <= 0
    assert change(case, Appraisal(form=0)) <= 0


@many
@given(cases(), replies(guard=None, invalidation=0, control=0), seeds, st.sampled_from(("success", "time")))
def test_letting_go_changes_nothing_and_a_hook_is_a_failure(
    case: Case, reply: Appraisal, seed: int, why: str
) -> None:
    scenario, state = case
    state = dataclasses.replace(state, leaving=why, debts=(), emotion=100 if why == "success" else 80)
    reply = aim(scenario, dataclasses.replace(reply, stance=max(-1, reply.stance)), seed)
    assume(reading((scenario, state), reply).levels["control"] == 0)
    kind = RULE.apply(scenario, state, reply, False)
    assert kind.change == 0
    assert ending(state, kind.state, False) == "success"
    for harm in ({"control": 3}, {"control": 1}, {"invalidation": 1}):
        hooked = RULE.apply(scenario, state, dataclasses.replace(reply, **harm), False)
        assert hooked.change < 0
        assert ending(state, hooked.state, False) == "failure"


# -- safety ------------------------------------------------------------------------------------------------------------


@many
@given(talks(), replies(guard="crisis_check", invalidation=0, control=0), seeds)
def test_one_calm_check_is_neutral_and_a_second_one_oversteps(
    case: Case, reply: Appraisal, seed: int
) -> None:
    scenario, state = case
    state = dataclasses.replace(state, debts=(), checks=0)
    reply = aim(scenario, dataclasses.replace(reply, advice=0, exploration=0, affirmation=0), seed)
    first = RULE.apply(scenario, state, reply, False)
    assert (first.change, first.terms, first.state.checks) == (0, {}, 1)
    assert first.state.trust >= state.trust
    second = RULE.apply(scenario, dataclasses.replace(first.state, leaving=None), reply, False)
    assert second.terms["control"] == TABLE["costs"]["control"][2]


@many
@given(cases(), replies(guard="policy_harm"), st.booleans())
def test_harm_takes_everything(case: Case, reply: Appraisal, last: bool) -> None:
    result = RULE.apply(*case, reply, last)
    assert result.state.emotion == 0
    assert set(result.terms) <= {"harm"}


# -- boundaries ----------------------------------------------------------------------------------------------------


def limited() -> list[tuple[Scenario, str, str]]:
    return [
        (s, b.id, b.act)
        for s in users()
        for b in boundaries_in_force(s, initial_state(s))
        if b.kind == "act" and b.act is not None
    ]


def test_a_limit_kept_is_thanked_once_and_a_breach_costs_each_time() -> None:
    assert limited()
    for scenario, boundary, act in limited():
        state = dataclasses.replace(initial_state(scenario), trust=30)
        kept = RULE.apply(scenario, state, Appraisal(), False).state
        assert kept.trust == 30 + TABLE["trust"]["boundary"]
        assert boundary in kept.boundaries
        assert RULE.apply(scenario, kept, Appraisal(), False).state.trust <= kept.trust
        for before in (state, kept):
            terms = RULE.apply(scenario, before, Appraisal(**{act: 1}), False).terms
            assert terms["control"] == TABLE["costs"]["control"][2]


# -- tables ----------------------------------------------------------------------------------------------------------


def test_the_document_prints_the_weights_of_the_table() -> None:
    printed = {}
    for line in (ROOT / "docs" / "appraisal.md").read_text("utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if cells[0] in NEEDS and len(cells) >= 1 + len(ACTS):
            printed[cells[0]] = [int(re.match(r"[+-]?\d+", cell)[0]) for cell in cells[1 : 1 + len(ACTS)]]  # type: ignore[index]
    assert printed == {need: [TABLE["needs"][need]["weights"][act] for act in ACTS] for need in NEEDS}


def test_every_test_the_document_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "appraisal.md").read_text("utf-8")))
    files = [*Path(__file__).parent.glob("test_*.py"), *(ROOT / "tests" / "benchmarks").glob("test_*.py")]
    known = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.M)}
    assert named
    assert named <= known


def test_a_rule_is_found_by_the_start_of_its_hash_and_an_unknown_one_is_an_error() -> None:
    assert rule_by_hash(RULE.hash[:12]).hash == RULE.hash
    with pytest.raises(RecordError, match="No packaged rule table"):
        rule_by_hash("no such")


def test_the_hash_follows_every_number_of_the_table() -> None:
    changed = copy.deepcopy(dict(load_tables()[-1]))
    changed["costs"]["control"][1] -= 1
    assert TableRule(changed).hash != RULE.hash
    assert RULE.fingerprint == f"empathy-gym-rule-v0@{RULE.hash[:12]}"


@pytest.mark.parametrize("emotion", [-1, 101, 40.0, True, "40"])
def test_an_initial_emotion_that_is_no_integer_in_bounds_is_refused(emotion: Any) -> None:
    with pytest.raises(ConfigError, match="initial_emotion"):
        initial_state(abstract(), emotion)


def test_every_guard_is_taken() -> None:
    for guard in GUARDS:
        assert RULE.apply(abstract(), ready_state(), Appraisal(guard=guard), False).change <= 0
