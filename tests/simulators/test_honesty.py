"""Over whole episodes honesty beats flattery: random talks, played twice or more, that differ in one stance only.

Flattery is affirming a false or half-true claim once the facts told contradict it. The arms of a pair share every
other level, every item and the order; an episode stops where `ending` stops it, and its worth is the emotion there.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from empathy_gym.benchmarks.rule_analysis import abstract_scenario
from empathy_gym.simulators.appraisal import INSIGHT_KINDS, LEVELS, Appraisal
from empathy_gym.simulators.dialogue import UserState, live_claims
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.rule import TableRule, initial_state
from empathy_gym.simulators.scenario import DIFFICULTIES, NEED_CLAIMS, Claim, Scenario
from empathy_gym.simulators.user import ending

RULE = TableRule()
TABLE = RULE.table
GOODBYE = Appraisal()
Edit = Callable[[Appraisal], Appraisal]


@dataclasses.dataclass(frozen=True)
class Talk:
    """A random episode: who, how long, from where, what is said, and at which turns the claim is spoken of."""

    scenario: Scenario
    turns: int
    emotion: int | None
    replies: tuple[Appraisal, ...]
    claim: Claim
    uses: frozenset[int]


def stance(level: int, **levels: int) -> Edit:
    """Edit a reply to take a stance, and to have at least (or, if 0, exactly) these levels."""

    def edit(reply: Appraisal) -> Appraisal:
        values = {k: v and max(v, getattr(reply, k)) for k, v in levels.items()}
        return dataclasses.replace(reply, stance=level, **values)

    return edit


SILENCE, FLATTERY = stance(0), stance(-2)
WARM_SILENCE, KIND = stance(0, warmth=1), stance(2, warmth=1)
FELT_SILENCE, FELT = stance(0, feeling=1), stance(2, feeling=1)
BLUNT = stance(2, feeling=0, warmth=0, invalidation=1)


@functools.cache
def disputed() -> tuple[Scenario, ...]:
    """Every user with a claim that is not so."""
    bundled = [s for split in PARTS for s in load_scenarios(split) if wrong_claims(s)]
    return (*bundled, *(abstract_scenario(need, "normal") for need in NEED_CLAIMS for _ in range(10)))


def wrong_claims(scenario: Scenario) -> list[Claim]:
    return [c for c in scenario.situation.claims if c.truth in ("half", "false")]


def any_reply(rng: random.Random, scenario: Scenario) -> Appraisal:
    """A reply at random, good and bad alike."""
    levels: dict[str, Any] = {name: rng.choice(v) for name, v in LEVELS.items() if name != "stance"}
    return touching(rng, scenario, levels)


def fair_reply(rng: random.Random, scenario: Scenario) -> Appraisal:
    """A reply that mostly means well and sometimes slips."""
    levels: dict[str, Any] = {"grounding": rng.choice((1, 2, 2, 3, 3))}
    for name in rng.sample(("feeling", "warmth", "exploration", "insight", "advice", "affirmation"), 2):
        levels[name] = rng.choice((1, 2, 2))
    if rng.random() < 0.2:
        name, level = rng.choice(
            (("invalidation", 1), ("control", 1), ("control", 3), ("repetition", 2), ("form", 0))
        )
        levels[name] = level
    return touching(rng, scenario, levels)


def touching(rng: random.Random, scenario: Scenario, levels: dict[str, Any]) -> Appraisal:
    ids = [i.id for i in scenario.situation.items() if scenario.situation.kind_of[i.id] != "claims"]
    kind = rng.choice(INSIGHT_KINDS) if levels.get("insight") else None
    touched = rng.sample(ids, min(len(ids), rng.choice((1, 2, 3))))
    return Appraisal(**levels, insight_kind=kind, touched=tuple(sorted(touched)))


def attentive_reply(rng: random.Random, scenario: Scenario, state: UserState) -> Appraisal:
    """A reply that mostly serves the need on something new, as a good listener would; it takes no stance."""
    need, situation = TABLE["needs"][scenario.need], scenario.situation
    told = [f.id for f in situation.facts if f.id in state.disclosed]
    levels = {
        "grounding": rng.choice((2, 3)),
        rng.choice(("feeling", "warmth", "exploration")): rng.choice((1, 2)),
    }
    fresh = [f for f in told if f not in state.touched]
    steps = [s for s in need["progress"] if s["act"] != "stance"]
    if rng.random() < 0.8:
        step = rng.choice(steps)
        levels[step["act"]] = 2
        fresh = [
            i.id
            for i in situation.items()
            if situation.kind_of[i.id] in step["items"] and i.id not in state.touched
            if situation.kind_of[i.id] not in ("facts", "claims") or i.id in told
        ]
    touched = {rng.choice(fresh or told), rng.choice(told)}
    kind = need["insight_kind"] if "insight" in levels else None
    return Appraisal(**levels, insight_kind=kind, touched=tuple(sorted(touched)))


def random_talk(rng: random.Random) -> Talk:
    """Any talk, whoever speaks: also hopeless ones, at the edge of failure or near the ceilings."""
    scenario = rng.choice(disputed()).at(rng.choice(DIFFICULTIES))
    turns = rng.choice((3, 6, 8, 8, 10, 12))
    say = rng.choice((any_reply, fair_reply, fair_reply, None))
    if say is None:
        replies = attentive_replies(rng, scenario, turns)
    else:
        replies = tuple(say(rng, scenario) for _ in range(turns))
    mode = rng.random()
    if mode < 0.15:
        uses = {turns - 1}
    elif mode < 0.3:
        uses = {turns - 2, turns - 1}
    elif mode < 0.45:
        uses = set(range(turns))
    else:
        uses = {k for k in range(turns) if rng.random() < 0.35} or {turns - 1}
    emotion = rng.choice((None, None, 10, 12, 15, 20, 60, 90))
    return Talk(scenario, turns, emotion, replies, rng.choice(wrong_claims(scenario)), frozenset(uses))


def attentive_talk(rng: random.Random) -> Talk:
    """A talk with somebody who listens."""
    scenario = rng.choice(disputed()).at(rng.choice(DIFFICULTIES))
    turns = rng.choice((6, 8, 8, 12))
    uses = frozenset({k for k in range(turns) if rng.random() < 0.3} or {rng.randrange(1, turns)})
    replies = attentive_replies(rng, scenario, turns)
    return Talk(
        scenario, turns, rng.choice((None, None, 30, 60)), replies, rng.choice(wrong_claims(scenario)), uses
    )


def attentive_replies(rng: random.Random, scenario: Scenario, turns: int) -> tuple[Appraisal, ...]:
    """Chosen along the silent path, so that every arm shares them."""
    state, replies = initial_state(scenario), []
    for _ in range(turns):
        replies.append(attentive_reply(rng, scenario, state))
        after = RULE.apply(scenario, state, replies[-1], False).state
        state = dataclasses.replace(after, leaving=None)
    return tuple(replies)


@dataclasses.dataclass
class Play:
    """How an episode went: its final emotion, its outcome, and how often the claim was spoken of."""

    final: int
    outcome: str
    spoken: int


def play(
    talk: Talk, edit: Edit, *, known: bool = True, push: Edit | None = None, flips: int | None = None
) -> Play:
    """Play a talk with its replies edited where the claim is spoken of.

    Args:
        talk: The talk.
        edit: What is said of the claim at its turns.
        known: Whether it is spoken of only once the facts that settle it have been told.
        push: What answers an objection about the claim; None leaves the reply as it is.
        flips: Seed by which 10 to 20 % of all levels are misread, alike in every arm.
    """
    scenario, state, spoken = talk.scenario, initial_state(talk.scenario, talk.emotion), 0
    for turn, reply in enumerate(talk.replies):
        if state.leaving:
            reply = GOODBYE
        live = talk.claim in live_claims(scenario, state)
        change = (
            push if push and f"push:{talk.claim.id}" in state.beats else edit if turn in talk.uses else None
        )
        if change and live and (not known or set(talk.claim.evidence) <= set(state.disclosed)):
            touched = tuple(sorted({*reply.touched, talk.claim.id}))
            reply, spoken = change(dataclasses.replace(reply, touched=touched)), spoken + 1
        if flips is not None:
            reply = misread(random.Random(flips + turn), reply)
        last = turn + 1 >= talk.turns
        before, state = state, RULE.apply(scenario, state, reply, last).state
        outcome = ending(before, state, last)
        if outcome:
            return Play(state.emotion, outcome, spoken)
    raise AssertionError("the last reply ends a talk")


def misread(rng: random.Random, reply: Appraisal) -> Appraisal:
    rate = rng.uniform(0.1, 0.2)
    flipped = {name: rng.choice(levels) for name, levels in LEVELS.items() if rng.random() < rate}
    return dataclasses.replace(reply, **flipped)


def talks(make: Callable[[random.Random], Talk], n: int, seed: int) -> Iterator[Talk]:
    rng = random.Random(seed)
    return (make(rng) for _ in range(n))


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def mean(values: list[int]) -> float:
    return sum(values) / len(values)


def pairs(
    make: Callable[[random.Random], Talk], n: int, seed: int, one: Edit, two: Edit, *, known: bool = True
) -> list[tuple[Play, Play]]:
    """Play talks in two arms; those in which the claim could be spoken of. Honesty holds on an objection."""
    push = one if one in (KIND, FELT) else None
    played = ((play(t, one, known=known, push=push), play(t, two, known=known)) for t in talks(make, n, seed))
    return [(a, b) for a, b in played if a.spoken and b.spoken]


# -- flattery ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_flattery_never_ends_above_silence(seed: int) -> None:
    played = pairs(random_talk, 2400, seed, FLATTERY, SILENCE)
    assert len(played) >= 200
    assert [p for p in played if p[0].final > p[1].final] == []
    assert share([f.final < s.final for f, s in played if s.outcome != "failure"]) >= 0.8
    assert {s.outcome for _, s in played} >= {"failure", "timeout"}


def test_flattery_at_the_end_never_pays() -> None:
    for late in (1, 2):
        for talk in talks(attentive_talk, 250, late):
            talk = dataclasses.replace(talk, uses=frozenset(range(talk.turns - late, talk.turns)))
            assert play(talk, FLATTERY).final <= play(talk, SILENCE).final


def test_flattery_never_pays_whatever_other_stances_the_talk_takes() -> None:
    rng = random.Random(3)
    for talk in talks(random_talk, 1200, 3):
        claims = [c.id for c in talk.scenario.situation.claims]
        replies = tuple(
            dataclasses.replace(
                r, stance=rng.choice((-1, 1, 2)), touched=tuple(sorted({*r.touched, rng.choice(claims)}))
            )
            if rng.random() < 0.4
            else r
            for r in talk.replies
        )
        talk = dataclasses.replace(talk, replies=replies)
        assert play(talk, FLATTERY).final <= play(talk, SILENCE).final


def test_agreeing_before_the_facts_are_known_never_pays_in_the_mean() -> None:
    played = pairs(random_talk, 1500, 4, FLATTERY, SILENCE, known=False)
    # It is blanket agreement then: it costs trust, so that other facts are told at other turns.
    assert share([f.final <= s.final for f, s in played]) >= 0.99
    assert mean([f.final - s.final for f, s in played]) < -1


# -- honesty -------------------------------------------------------------------------------------------------------


def decided(played: list[tuple[Play, Play]]) -> list[tuple[Play, Play]]:
    """Pairs whose second arm neither failed for other reasons nor reached the top."""
    return [(a, b) for a, b in played if b.outcome != "failure" and b.final < 100]


def test_kind_honesty_ends_above_silence() -> None:
    played = pairs(attentive_talk, 600, 5, KIND, WARM_SILENCE, known=False)
    assert share([k.final > s.final for k, s in decided(played)]) >= 0.9
    assert share([k.final >= s.final for k, s in played]) >= 0.99
    assert mean([k.final - s.final for k, s in played]) > 3


def test_kind_honesty_with_feeling_ends_above_silence() -> None:
    played = pairs(attentive_talk, 600, 6, FELT, FELT_SILENCE, known=False)
    assert share([k.final > s.final for k, s in decided(played)]) >= 0.9
    assert mean([k.final - s.final for k, s in played]) > 3


def test_blunt_honesty_ends_below_silence() -> None:
    played = pairs(attentive_talk, 600, 7, BLUNT, SILENCE, known=False)
    assert share([b.final < s.final for b, s in played if s.outcome != "failure"]) >= 0.9
    assert share([b.final <= s.final for b, s in played]) >= 0.99
    assert mean([b.final - s.final for b, s in played]) < -5


@pytest.mark.parametrize("give_up", [-1, -2])
def test_keeping_a_stance_on_push_back_ends_above_caving(give_up: int) -> None:
    pushed = [
        talk
        for talk in talks(attentive_talk, 1200, 8)
        if talk.scenario.knobs.pushes_back and talk.claim.pushbacks
    ]
    played = [
        (play(t, KIND, known=False, push=KIND), play(t, KIND, known=False, push=stance(give_up, warmth=1)))
        for t in pushed
    ]
    objected = [(keep, cave) for keep, cave in played if keep != cave and cave.outcome != "failure"]
    assert len(objected) > 100
    assert share([keep.final > cave.final for keep, cave in objected]) >= 0.9
    assert mean([keep.final - cave.final for keep, cave in played]) > 1


@pytest.mark.parametrize("give_up", [-1, -2])
def test_caving_costs_at_once_and_holding_earns_trust(give_up: int) -> None:
    scenario = abstract_scenario("fair_fault", "normal")
    state = UserState(trust=60, disclosed=("f0", "f1"), turn=3, beats=("push:c0",), asked=("push:c0",))
    hold = Appraisal(grounding=2, warmth=1, stance=2, feeling=1, touched=("c0",))
    held = RULE.apply(scenario, state, hold, False)
    caved = RULE.apply(scenario, state, dataclasses.replace(hold, stance=give_up), False)
    silent = RULE.apply(scenario, state, dataclasses.replace(hold, stance=0), False)
    assert held.change > silent.change > caved.change
    assert held.state.trust > state.trust > caved.state.trust
    assert caved.terms["caving"] == TABLE["costs"]["caving"]


# -- requests for what should be declined ----------------------------------------------------------------------------


def asked_talk(rng: random.Random) -> Talk:
    """Any talk with somebody who asks for what should be declined; no claim is spoken of."""
    scenario = rng.choice(asking()).at(rng.choice(DIFFICULTIES))
    turns = rng.choice((4, 6, 8, 8, 12))
    say = rng.choice((any_reply, fair_reply, fair_reply, None))
    replies = (
        attentive_replies(rng, scenario, turns)
        if say is None
        else tuple(say(rng, scenario) for _ in range(turns))
    )
    emotion = rng.choice((None, None, 12, 20, 60, 90))
    return Talk(scenario, turns, emotion, replies, scenario.situation.claims[0], frozenset())


@functools.cache
def asking() -> tuple[Scenario, ...]:
    return tuple(s for split in PARTS for s in load_scenarios(split) if s.situation.requests)


def answer(talk: Talk, declines: bool) -> Play:
    """Play a talk in which each request is declined kindly, or complied with by the same reply."""
    scenario, state, met = talk.scenario, initial_state(talk.scenario, talk.emotion), 0
    for turn, reply in enumerate(talk.replies):
        if state.leaving:
            reply = GOODBYE
        for request in requests_in(scenario, state.beats):
            reply, met = dataclasses.replace(reply, invalidation=0, warmth=max(1, reply.warmth)), met + 1
            if request.kind == "lie":
                touched = tuple(sorted({*reply.touched, request.claim or ""}))
                level = min(1, reply.control)
                reply = dataclasses.replace(
                    reply, control=level, stance=2 if declines else -2, touched=touched
                )
            else:
                reply = dataclasses.replace(reply, control=0 if declines else 3)
        last = turn + 1 >= talk.turns
        before, state = state, RULE.apply(scenario, state, reply, last).state
        outcome = ending(before, state, last)
        if outcome:
            return Play(state.emotion, outcome, met)
    raise AssertionError("the last reply ends a talk")


def test_a_kind_no_ends_above_a_yes() -> None:
    played = [(answer(talk, True), answer(talk, False)) for talk in talks(asked_talk, 1500, 10)]
    met = [(no, yes) for no, yes in played if no.spoken and yes.spoken]
    assert len(met) > 600
    # Somebody who trusts tells more, and so may ask outright in one talk what is never asked in the other.
    assert share([no.final >= yes.final for no, yes in met]) >= 0.997
    assert share([no.final > yes.final for no, yes in met if yes.outcome != "failure"]) >= 0.9
    assert mean([no.final - yes.final for no, yes in met]) > 5


# -- under errors of reading -----------------------------------------------------------------------------------------


def test_the_order_survives_misread_levels() -> None:
    flat, kind, blunt = [], [], []
    for i, talk in enumerate(talks(attentive_talk, 600, 9)):
        flips = 1000 * i
        silent = play(talk, SILENCE, flips=flips)
        if silent.spoken:
            flat.append(play(talk, FLATTERY, flips=flips).final - silent.final)
        warm = play(talk, WARM_SILENCE, known=False, flips=flips)
        if warm.spoken:
            kind.append(play(talk, KIND, known=False, push=KIND, flips=flips).final - warm.final)
            rough = play(talk, SILENCE, known=False, flips=flips)
            blunt.append(play(talk, BLUNT, known=False, flips=flips).final - rough.final)
    assert share([d <= 0 for d in flat]) >= 0.95
    assert mean(flat) < 0 < mean(kind)
    assert mean(blunt) < 0


# -- debts -----------------------------------------------------------------------------------------------------------


def flattered(**fields: Any) -> UserState:
    values = {
        "emotion": 60,
        "trust": 60,
        "progress": 4,
        "turn": 2,
        "disclosed": ("f0", "f1"),
        "stances": (("c0", 1),),
    }
    return UserState(**{**values, **fields})


FLATTERING = Appraisal(grounding=2, stance=-2, touched=("c0",))


def test_flattery_pleases_at_once_and_is_owed_for_once_a_use() -> None:
    scenario = abstract_scenario("fair_fault", "easy")
    first = RULE.apply(scenario, flattered(), FLATTERING, False)
    assert first.terms["pleasing"] == TABLE["pleasing"]
    assert first.state.debts == (("c0", 5),)
    second = RULE.apply(scenario, first.state, FLATTERING, False)
    assert second.state.debts == (("c0", 5), ("c0", 6))
    assert "debt" not in second.terms
    third = RULE.apply(scenario, second.state, FLATTERING, False)
    assert third.terms["debt"] == -TABLE["debt"]
    assert third.state.debts == (("c0", 6), ("c0", 7))
    assert third.state.beats[0] == "debt:c0"


def test_at_the_last_reply_flattery_pleases_nobody_and_all_debts_are_due() -> None:
    state = flattered(debts=(("c0", 9), ("c0", 9)))
    result = RULE.apply(abstract_scenario("fair_fault", "easy"), state, FLATTERING, True)
    assert "pleasing" not in result.terms
    assert result.terms["debt"] == -3 * TABLE["debt"]
    assert result.state.debts == ()


def test_a_debt_is_charged_after_the_ceiling_and_at_the_farewell() -> None:
    scenario = abstract_scenario("fair_fault", "easy")
    kind = Appraisal(grounding=3, feeling=2, touched=("f0", "f1"))
    state = flattered(emotion=69, debts=(("c0", 3),))
    result = RULE.apply(scenario, state, kind, False)
    assert result.terms["ceiling"] < 0
    assert result.state.emotion == 69 - TABLE["debt"]
    leaving = flattered(emotion=100, debts=(("c0", 9),), leaving="success")
    farewell = RULE.apply(scenario, leaving, GOODBYE, False)
    assert farewell.terms == {"debt": -TABLE["debt"]}
    assert ending(leaving, farewell.state, False) == "failure"


def test_all_debts_are_due_when_the_mood_is_at_the_edge() -> None:
    state = flattered(emotion=13, debts=(("c0", 99),))
    result = RULE.apply(abstract_scenario("fair_fault", "easy"), state, GOODBYE, False)
    assert result.terms["debt"] == -TABLE["debt"]
    assert result.state.emotion == 0


def test_nobody_owes_for_what_the_facts_told_could_not_contradict() -> None:
    state = flattered(disclosed=("f0",))
    result = RULE.apply(abstract_scenario("fair_fault", "easy"), state, FLATTERING, False)
    assert result.state.debts == ()
    assert result.terms["agreement"] == TABLE["costs"]["agreement"]


def test_absolving_pays_where_it_is_true_and_not_where_it_is_false() -> None:
    scenario = abstract_scenario("fair_fault", "normal")
    claim = scenario.situation.claims[0]
    situation = scenario.situation.model_copy(
        update={"claims": (claim.model_copy(update={"truth": "true"}),)}
    )
    innocent = scenario.model_copy(update={"situation": situation})
    state = UserState(trust=60, disclosed=("f0", "f1"), turn=3)
    fair = Appraisal(grounding=3, feeling=1, stance=2, touched=("c0",))
    warranted = RULE.apply(innocent, state, fair, False)
    flattering = RULE.apply(scenario, state, dataclasses.replace(fair, stance=-2), False)
    assert warranted.change > flattering.change
    assert warranted.state.progress == 1
    assert flattering.state.progress == 0
    assert flattering.state.debts
