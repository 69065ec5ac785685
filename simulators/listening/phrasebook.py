"""What a listener who knows how these people talk can hear in a line, and could say about what was told.

The bundled situations come with lines of good listeners (`Item.say`). The phrase book finds, from the words of the
conversation alone, which facts have been told, and offers the lines that rest on nothing else: not the need, not the
emotion, not what is still untold. Users from elsewhere are not in it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empathy_gym.simulators.listening.known import RAISING, parts, situations
from empathy_gym.simulators.scenario import Item, Situation


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
    situations_met = {id(met): met for met, _ in found}.values()
    situation = max(situations_met, key=lambda met: sum([fact.text in every for fact in met.facts]))
    rank = {fact.id: at for at, (_, fact) in enumerate(found)}
    sheet = _sheet(situation)

    def about(kind: str) -> tuple[str, ...]:
        """Return the lines of items that rest on something told, those on the latest fact first."""
        allowed = []
        for refs, say in sheet[kind]:
            ranks = [rank[ref] for ref in refs if ref in rank]
            if ranks or not refs:
                allowed.append((min(ranks, default=len(rank)), say))
        allowed.sort(key=operator.itemgetter(0))
        return tuple(
            [line for _, say in allowed for line in say[:1]]
            + [line for _, say in allowed for line in say[1:]]
        )

    latest = {topic for _, fact in found[:2] for topic in fact.topics}
    topics = sorted(situation.topics, key=lambda topic: topic.id not in latest)
    claims = sorted(situation.claims, key=lambda claim: claim.id not in raised)
    return Entry(
        facts=tuple(line for _, fact in found for line in fact.say[:1]),
        feelings=about("feelings"),
        topics=tuple(line for topic in topics for line in topic.say),
        affirming=about("affirming"),
        reading=about("reading"),
        weighing=about("weighing"),
        sizing=about("sizing"),
        suggesting=about("suggesting"),
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


@functools.lru_cache(maxsize=1024)
def _sheet(situation: Situation) -> Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]:
    """Return what could be said of a situation's items by kind: the facts each rests on, and its lines."""
    views = situation.perspectives
    kinds: dict[str, Sequence[Item]] = {
        "feelings": [feeling for feeling in situation.feelings if feeling.held],
        "affirming": situation.strengths,
        "reading": [view for view in views if view.kind == "other"],
        "weighing": [view for view in views if view.kind == "both_sides"],
        "sizing": [view for view in views if view.kind == "proportion"],
        "suggesting": [*situation.constraints, *situation.attempts],
    }
    return {kind: tuple((_refs(item), item.say) for item in items) for kind, items in kinds.items()}


def _refs(item: Item) -> tuple[str, ...]:
    """Return the facts by which an item becomes known; none if it may be spoken of from the start."""
    told_by = getattr(item, "fact", None)
    return rests_on(item) or ((told_by,) if told_by else ())
