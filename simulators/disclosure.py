"""What the user tells next and what they have to say: disclosure, questions, push-back, leaving.

Pure, as the rule is: which fact comes next follows from trust and from what the reply engaged, never from chance
or from a timer.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from empathy_gym.simulators.dialogue import (
    FAILURE_EMOTION,
    SUCCESS_EMOTION,
    UserState,
    boundaries_in_force,
    live_claims,
)
from empathy_gym.simulators.reading import REQUEST, Reading
from empathy_gym.simulators.scenario import Claim, Fact, Scenario, Situation


def what_comes_next(
    table: Mapping[str, Any],
    scenario: Scenario,
    before: UserState,
    after: UserState,
    reading: Reading,
    paid: Sequence[str],
) -> UserState:
    """Return the state with the beats of the user's next line and the facts it tells.

    Args:
        table: The rule table.
        scenario: Who speaks.
        before: The state before the reply.
        after: The state after it, as far as emotion and trust go.
        reading: The reply as the rule took it.
        paid: Ids of the claims whose debts are charged now.
    """
    beats = [f"debt:{claim}" for claim in dict.fromkeys(paid)]
    if after.emotion < FAILURE_EMOTION or reading.last or reading.farewell:
        return _changed(after, beats)
    if after.emotion >= SUCCESS_EMOTION:
        return _changed(after, [*beats, "leave:success"], leaving="success")
    if _out_of_time(scenario, after):
        return _changed(after, [*beats, "leave:time"], leaving="time")
    if reading.holds:
        beats.append("held")
    if reading.kept:
        beats.append("kept")
    beats += [f"declined:{request}" for request in reading.declined]
    beats += [f"complied:{request}" for request in reading.complied]
    matter = _push_back(scenario, after, reading) or _ask(table, scenario, after)
    if matter is not None:
        # An objection is news too; otherwise honesty would wear out what silence keeps fresh.
        satiation = _refreshed(after) if matter.startswith("push:") else None
        return _changed(after, [*beats, matter], (*after.asked, matter), satiation=satiation)
    asked = after.asked
    facts = next_facts(scenario, before, after, reading)
    if scenario.knobs.declines and "decline" not in asked and any(f.layer > 1 for f in facts):
        beats.append("decline")
        asked = (*asked, "decline")
        # They tell something easier instead, so that more trust never tells less.
        facts = _answering(scenario.situation, before, reading, 1, 1)
    if after.misses >= 2:
        beats.append("hint")
    if not facts:
        return _changed(after, beats, asked)
    told = [fact.id for fact in facts]
    beats += requested_with(scenario, told)
    disclosed = (*after.disclosed, *told)
    return _changed(after, beats, asked, disclosed, _refreshed(after))


def requested_with(scenario: Scenario, told: Collection[str]) -> list[str]:
    """Return the beats of the requests that are made with some facts, each once since each fact is told once."""
    return [f"{REQUEST}{request.id}" for request in scenario.situation.requests if request.voiced_by in told]


def _changed(
    state: UserState,
    beats: Sequence[str],
    asked: tuple[str, ...] | None = None,
    disclosed: tuple[str, ...] | None = None,
    satiation: tuple[tuple[str, int], ...] | None = None,
    leaving: str | None = None,
) -> UserState:
    """Return a state with some of what disclosure decides changed: `dataclasses.replace`, in a third of the time."""
    return UserState(
        emotion=state.emotion,
        trust=state.trust,
        progress=state.progress,
        turn=state.turn,
        disclosed=state.disclosed if disclosed is None else disclosed,
        touched=state.touched,
        stances=state.stances,
        asked=state.asked if asked is None else asked,
        boundaries=state.boundaries,
        satiation=state.satiation if satiation is None else satiation,
        debts=state.debts,
        misses=state.misses,
        checks=state.checks,
        leaving=state.leaving if leaving is None else leaving,
        beats=tuple(beats),
    )


def _refreshed(state: UserState) -> tuple[tuple[str, int], ...]:
    """Return the uses after something new: every act is fresh by one use, but for retelling."""
    return tuple([(act, uses if act == "grounding" else max(0, uses - 1)) for act, uses in state.satiation])


def next_facts(scenario: Scenario, before: UserState, after: UserState, reading: Reading) -> list[Fact]:
    """Return the facts that the user tells next: none, one, or two where a reply opened somebody who trusts.

    Layer 1 is told freely to anybody who says something; layer 2 needs trust and a question or understanding;
    layer 3 needs more trust and that the reply opened it. A fact under a topic that was asked about comes first,
    then one that voices a claim or makes a request, then the deepest that may be told: being understood is what opens
    people.
    """
    levels, knobs = reading.levels, scenario.knobs
    if levels["form"] == 0:
        return []
    understood = levels["feeling"] == 2 or levels["grounding"] >= 2
    asked = levels["exploration"] >= 1
    opened = levels["exploration"] == 2 or (levels["feeling"] == 2 and levels["grounding"] >= 2)
    deepest = 1
    if after.trust >= knobs.layer2 and (asked or understood) and not reading.bought_off:
        deepest = 3 if after.trust >= knobs.layer3 and opened else 2
    return _answering(scenario.situation, before, reading, deepest, 2 if opened and deepest > 1 else 1)


def _answering(
    situation: Situation, before: UserState, reading: Reading, deepest: int, most: int
) -> list[Fact]:
    """Return so many facts not yet told, down to a layer; those first that answer what was asked.

    A question may touch several topics: first comes what is about most of them, or about the narrowest; then what is
    about those that are left.
    """
    count = _width(situation)
    untold = [f for f in _by_urgency(situation, before.disclosed) if f.layer <= deepest]
    asked = [i for i in reading.touched if i in count] if reading.levels["exploration"] else []
    if len(asked) == 1:
        untold.sort(key=lambda f: asked[0] not in f.topics)
    if len(asked) < 2 or len(untold) < 2:
        return untold[:most]
    fits = [_fit(fact.topics, asked, count) for fact in untold]
    at = fits.index(min(fits))
    first = untold.pop(at)
    if most < 2:
        return [first]
    del fits[at]
    left = set(asked).difference(first.topics)
    order = [(left.isdisjoint(fact.topics), fit) for fact, fit in zip(untold, fits, strict=True)]
    return [first, untold[order.index(min(order))]]


def _fit(topics: Sequence[str], asked: Sequence[str], count: Mapping[str, int]) -> tuple[int, int]:
    """Return how well a fact answers: minus how many of the topics asked about, how wide the narrowest of them is."""
    sizes = [count[topic] for topic in asked if topic in topics]
    return (-len(sizes), min(sizes)) if sizes else (0, 0)


@functools.lru_cache(maxsize=4096)
def _by_urgency(situation: Situation, disclosed: tuple[str, ...]) -> tuple[Fact, ...]:
    """Return the facts not yet told, those first that voice a claim or a request, then the deepest."""
    voicing = {claim.voiced_by for claim in situation.claims} | {r.voiced_by for r in situation.requests}
    untold = [fact for fact in situation.facts if fact.id not in disclosed]
    return tuple(sorted(untold, key=lambda f: (f.id not in voicing, -f.layer)))


@functools.lru_cache(maxsize=512)
def _width(situation: Situation) -> Mapping[str, int]:
    """Return how many facts each topic has."""
    return dict(collections.Counter([topic for fact in situation.facts for topic in fact.topics]))


def _out_of_time(scenario: Scenario, after: UserState) -> bool:
    return any(
        [
            b.kind == "time" and b.after is not None and after.turn >= b.after
            for b in boundaries_in_force(scenario, after)
        ]
    )


def _push_back(scenario: Scenario, after: UserState, reading: Reading) -> str | None:
    """An objection, once a claim, to a fair reading of something that is not so."""
    if not scenario.knobs.pushes_back or reading.levels["stance"] <= 0 or reading.pushed:
        return None
    for claim in _unasked(scenario, after, "push"):
        if claim.id in reading.claims and claim.truth != "true" and claim.pushbacks:
            return f"push:{claim.id}"
    return None


def _ask(table: Mapping[str, Any], scenario: Scenario, after: UserState) -> str | None:
    """The outright question, once a claim, where no honest word has ever been said on it."""
    if after.turn < table["ask_from"]:
        return None
    for claim in _unasked(scenario, after, "ask"):
        if claim.asks:
            return f"ask:{claim.id}"
    return None


def _unasked(scenario: Scenario, state: UserState, what: str) -> list[Claim]:
    return [c for c in live_claims(scenario, state) if f"{what}:{c.id}" not in state.asked]
