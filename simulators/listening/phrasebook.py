"""What a listener who knows how these people talk can hear in a line, and could say about what was told.

The bundled situations come with lines of good listeners (`Item.say`). The phrase book finds, from the words of the
conversation alone, which facts have been told, and offers the lines that rest on nothing else: not the need, not the
emotion, not what is still untold. Users from elsewhere are not in it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from empathy_gym.simulators.listening.known import RAISING, parts, situations
from empathy_gym.simulators.scenario import Item


@dataclass(frozen=True)
class Entry:
    """The lines of one situation that what has been told allows, by kind; the latest told first.

    `again` has other words for the facts. `at_issue` says whether the user has just asked about a claim or objected to
    what was said on it.
    """

    facts: tuple[str, ...]
    feelings: tuple[str, ...]
    topics: tuple[str, ...]
    affirming: tuple[str, ...]
    reading: tuple[str, ...]
    weighing: tuple[str, ...]
    sizing: tuple[str, ...]
    suggesting: tuple[str, ...]
    fair: tuple[str, ...]
    voiced: tuple[str, ...]
    again: tuple[str, ...]
    at_issue: bool


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
    texts = parts(line).texts
    starts = bool(texts) and texts[0].kind == "reaction" and line.startswith(texts[0].text)
    return texts[0].what if starts else None


def untold(line: str) -> str | None:
    """Return what a line of a bundled user says beside a reaction, facts and questions; None if nothing is known."""
    return parts(line).untold


def look_up(said: Sequence[str]) -> Entry | None:
    """Return what could be said to a user who has said this; None if nothing of it is known.

    Args:
        said: The user's lines, in order.
    """
    told = dict.fromkeys(text.text for line in said for text in parts(line).texts if text.kind == "fact")
    if not told:
        return None
    # What was just asked about, or objected to, comes first.
    raised = [text.what for text in parts(said[-1]).texts if text.kind in RAISING]
    return entry(tuple(reversed(told)), tuple(sorted(set(raised))))


@functools.lru_cache(maxsize=4096)
def entry(told: tuple[str, ...], raised: tuple[str, ...] = ()) -> Entry:
    """Return what could be said once some facts are told.

    Args:
        told: Their texts, the latest first; at least one.
        raised: Ids of the claims that the user has just asked about, or objected to a word on.
    """
    found = [situations()[text] for text in told]
    # A twin shares facts with its siblings: the one that knows most of what was told is the one meant.
    every = set(told)
    situation = max((s for s, _ in found), key=lambda s: sum(f.text in every for f in s.facts))
    rank = {fact.id: at for at, (_, fact) in enumerate(found)}

    def about(items: Sequence[Item]) -> tuple[str, ...]:
        """Return the lines of items that rest on something told, those on the latest fact first."""
        allowed = []
        for item in items:
            told_by = getattr(item, "fact", None)
            refs = rests_on(item) or ((told_by,) if told_by else ())
            if not refs or any(ref in rank for ref in refs):
                allowed.append((min((rank[ref] for ref in refs if ref in rank), default=len(rank)), item))
        return tuple(lines_of([item for _, item in sorted(allowed, key=lambda pair: pair[0])]))

    latest = {topic for _, fact in found[:2] for topic in fact.topics}
    topics = sorted(situation.topics, key=lambda topic: topic.id not in latest)
    views = situation.perspectives
    claims = sorted(situation.claims, key=lambda claim: claim.id not in raised)
    return Entry(
        facts=tuple(line for _, fact in found for line in fact.say[:1]),
        feelings=about([f for f in situation.feelings if f.held]),
        topics=tuple(line for topic in topics for line in topic.say),
        affirming=about(situation.strengths),
        reading=about([p for p in views if p.kind == "other"]),
        weighing=about([p for p in views if p.kind == "both_sides"]),
        sizing=about([p for p in views if p.kind == "proportion"]),
        suggesting=about([*situation.constraints, *situation.attempts]),
        fair=tuple(
            line
            for claim in claims
            if claim.evidence and all(fact in rank for fact in claim.evidence)
            for line in claim.fair_readings
        ),
        voiced=tuple(
            line for claim in claims for _, fact in found if fact.id == claim.voiced_by for line in fact.say
        ),
        again=tuple(line for _, fact in found for line in fact.say[1:]),
        at_issue=bool(raised),
    )
