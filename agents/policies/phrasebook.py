"""What a listener who knows how these people talk can hear in a line, and could say about what was told.

The bundled situations come with lines of good listeners (`Item.say`). The phrase book finds, from the words of the
conversation alone, which facts have been told, and offers the lines that rest on nothing else: not the need, not the
emotion, not what is still untold. Users from elsewhere are not in it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empathy_gym.simulators.library.compiler import apply_twin, bundled_situations, load_temperaments
from empathy_gym.simulators.scenario import Fact, Item, Situation


@dataclass(frozen=True)
class Entry:
    """The lines of one situation that what has been told allows, by kind; the latest told first.

    `at_issue` says whether the user has just asked about a claim or objected to what was said on it.
    """

    facts: list[str]
    feelings: list[str]
    topics: list[str]
    affirming: list[str]
    reading: list[str]
    weighing: list[str]
    sizing: list[str]
    suggesting: list[str]
    fair: list[str]
    voiced: list[str]
    at_issue: bool


@functools.cache
def _situations() -> Mapping[str, tuple[Situation, Fact]]:
    """Return each bundled fact by its text, with a situation it stands in."""
    found: dict[str, tuple[Situation, Fact]] = {}
    for source in bundled_situations():
        for situation in (source.situation, *(apply_twin(source.situation, twin) for twin in source.twins)):
            for fact in situation.facts:
                found.setdefault(fact.text, (situation, fact))
    return found


@functools.cache
def _reactions() -> Mapping[str, str]:
    """Return each line of the bundled temperaments with the reaction it belongs to."""
    return {
        line: reaction
        for temperament in load_temperaments()
        for reaction, options in temperament.reactions.items()
        for line in options
    }


def rests_on(item: Item) -> tuple[str, ...]:
    """Return the facts that give an item its reason or its evidence."""
    facts: tuple[str, ...] = getattr(item, "because", ()) or getattr(item, "evidence", ())
    return facts


def lines_of(items: Sequence[Item]) -> list[str]:
    """Return what could be said of items: a line of each before other words for any."""
    return [line for item in items for line in item.say[:1]] + [
        line for item in items for line in item.say[1:]
    ]


def reaction_in(line: str) -> str | None:
    """Return the reaction with which a user's line begins (`library.REACTIONS`), or None if it is not a known one."""
    known = _reactions()
    at = len(line)
    while at > 0:
        if line[:at] in known:
            return known[line[:at]]
        at = line.rfind(" ", 0, at)
    return None


def untold(line: str) -> str | None:
    """Return what a line of a bundled user says beside a reaction, facts and questions; None if nothing is known."""
    rest = line
    for known in (_reactions(), _situations(), _questions()):
        for text in known:
            if text in rest:
                rest = rest.replace(text, " ")
    return None if rest == line else " ".join(rest.split())


@functools.cache
def _questions() -> Mapping[str, str]:
    """Return each question, objection and request of the bundled users that is about a claim, with that claim."""
    situations = {id(situation): situation for situation, _ in _situations().values()}
    claims = [claim for situation in situations.values() for claim in situation.claims]
    requests = [request for situation in situations.values() for request in situation.requests]
    raised = {line: claim.id for claim in claims for line in (*claim.asks, *claim.pushbacks)}
    return raised | {request.text: request.claim for request in requests if request.claim is not None}


def look_up(said: Sequence[str]) -> Entry | None:
    """Return what could be said to a user who has said this; None if nothing of it is known.

    Args:
        said: The user's lines, in order.
    """
    text = "\n".join(said)
    told = [(text.index(line), *entry) for line, entry in _situations().items() if line in text]
    if not told:
        return None
    told.sort(key=lambda found: -found[0])
    # A twin shares facts with its siblings: the one that knows most of what was told is the one meant.
    situation = max((s for _, s, _ in told), key=lambda s: sum(f.text in text for f in s.facts))
    rank = {fact.id: at for at, (_, _, fact) in enumerate(told)}

    def about(items: Sequence[Item]) -> list[str]:
        """Return the lines of items that rest on something told, those on the latest fact first."""
        allowed = []
        for item in items:
            told_by = getattr(item, "fact", None)
            refs = rests_on(item) or ((told_by,) if told_by else ())
            if not refs or any(ref in rank for ref in refs):
                allowed.append((min((rank[ref] for ref in refs if ref in rank), default=len(rank)), item))
        return lines_of([item for _, item in sorted(allowed, key=lambda pair: pair[0])])

    latest = {topic for _, _, fact in told[:2] for topic in fact.topics}
    topics = sorted(situation.topics, key=lambda topic: topic.id not in latest)
    views = situation.perspectives
    # What was just asked about, or objected to, comes first.
    raised = {claim for line, claim in _questions().items() if line in said[-1]}
    claims = sorted(situation.claims, key=lambda claim: claim.id not in raised)
    return Entry(
        facts=[line for _, _, fact in told for line in fact.say[:1]],
        feelings=about([f for f in situation.feelings if f.held]),
        topics=[line for topic in topics for line in topic.say],
        affirming=about(situation.strengths),
        reading=about([p for p in views if p.kind == "other"]),
        weighing=about([p for p in views if p.kind == "both_sides"]),
        sizing=about([p for p in views if p.kind == "proportion"]),
        suggesting=about([*situation.constraints, *situation.attempts]),
        fair=[
            line
            for claim in claims
            if claim.evidence and all(fact in rank for fact in claim.evidence)
            for line in claim.fair_readings
        ],
        voiced=[
            line for claim in claims for _, _, fact in told if fact.id == claim.voiced_by for line in fact.say
        ],
        at_issue=bool(raised),
    )
