"""A conversation as a careful listener has it: what was told, how it was taken, what is at issue, what may be said.

Everything follows from the messages alone, line by line, and a line is heard once: what is kept by it makes a step of
an environment cheap and never changes what is heard.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.listening.hearing import STRANGER, asks, leaning, request_in, says_goodbye
from empathy_gym.simulators.listening.hints import MODES, evidence
from empathy_gym.simulators.listening.known import RAISING, Parts, parts
from empathy_gym.simulators.listening.phrasebook import Entry, entry
from empathy_gym.simulators.listening.slots import LIMIT
from empathy_gym.simulators.listening.wording import names, sentences, things, words

TONES: Final = (
    "none", "moved", "eased", "flat", "missed", "harmed", "early_advice", "evaded", "held", "declines", "boundary_kept",
    "goodbye",
)  # fmt: skip
"""How a line begins: a reaction of the bundled users (`library.REACTIONS`), or one like it; ``"none"`` for an opening."""
MOODS: Final = ("unknown", "low", "mid", "high")
"""The mood that shows in the wording of a reaction."""
REQUESTS: Final = ("human", "availability", "lie")
"""What may be asked for that is to be declined."""
LIMITS: Final = ("topic", "act", "time")
"""Kinds of limits that may be stated."""
_SIZES: Final = ("moved", "eased", "flat", "missed")
_TONES: Final = {
    **dict.fromkeys(
        ("hurt", "pressed", "clingy", "puzzled", "echoed", "inflated", "agreed", "crisis_denial"), "harmed"
    ),
    **{tone: tone for tone in ("early_advice", "evaded", "held", "declines", "boundary_kept")},
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the user's as it is heard.

    Attributes:
        text: The line.
        words: Number of words.
        known: Whether the phrase book knows anything in it.
        told: Texts of the bundled facts in it.
        tone: One of `TONES`.
        mood: Index into `MOODS`.
        evidence: How much it speaks for each way of helping, in the order of `hints.MODES`.
        at_issue: Whether it asks outright about a claim, or objects to what was said on one.
        objects: Whether it is an objection.
        raised: Ids of the bundled claims that are at issue.
        request: One of `REQUESTS`, or None.
        limits: Kinds of the limits stated in it.
        avoided: What a stated limit leaves out, in a word or two; empty if that cannot be told.
        goodbye: Whether it is a goodbye.
    """

    text: str
    words: int
    known: bool
    told: tuple[str, ...]
    tone: str
    mood: int
    evidence: tuple[int, ...]
    at_issue: bool
    objects: bool
    raised: tuple[str, ...]
    request: str | None
    limits: tuple[str, ...]
    avoided: str
    goodbye: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A conversation as it is heard.

    Attributes:
        lines: The user's lines; the last one is to be answered.
        spoken: The replies so far.
        entry: What the phrase book offers; None for a user whom it does not know.
        evidence: How much everything said speaks for each way of helping.
        mood: Index into `MOODS` of the mood last shown.
    """

    lines: tuple[Line, ...]
    spoken: tuple[str, ...]
    entry: Entry | None
    evidence: tuple[int, ...]
    mood: int

    @property
    def last(self) -> Line:
        """The line to be answered."""
        return self.lines[-1]


def heard(messages: Sequence[Message]) -> Heard:
    """Return a conversation as it is heard.

    Args:
        messages: The conversation, ending with the user's line to answer.
    """
    return _heard(
        tuple([m["content"] for m in messages if m["role"] == "user"]),
        tuple([m["content"] for m in messages if m["role"] == "assistant"]),
    )


@functools.lru_cache(maxsize=1024)
def _heard(said: tuple[str, ...], spoken: tuple[str, ...]) -> Heard:
    lines = tuple([hear(text, at == 0) for at, text in enumerate(said)]) or (hear("", True),)
    told = dict.fromkeys([text for line in lines for text in line.told])
    return Heard(
        lines=lines,
        spoken=spoken,
        entry=entry(tuple(reversed(told)), lines[-1].raised) if told else None,
        evidence=tuple([sum(column) for column in zip(*[line.evidence for line in lines], strict=True)]),
        mood=next((line.mood for line in reversed(lines) if line.mood), 0),
    )


@functools.lru_cache(maxsize=4096)
def hear(text: str, opening: bool = False) -> Line:
    """Return a line of the user's as it is heard.

    Args:
        text: The line.
        opening: Whether it is their first, which answers nothing.
    """
    taken = parts(text)
    if taken.texts:
        return _hear_known(text, taken, opening)
    lean = leaning(text)
    goodbye = not opening and says_goodbye(text)
    limit = LIMIT.search(text)
    size = "moved" if lean > 1 else "eased" if lean == 1 else "missed" if lean < 0 else "flat"
    return Line(
        text=text,
        words=len(words(text)),
        known=False,
        told=(),
        tone="none" if opening else "goodbye" if goodbye else size,
        mood=0 if opening else 3 if lean > 1 else 1 if lean < 0 else 2,
        evidence=evidence(" ".join(sentences(text)[-3:]), STRANGER),
        at_issue=not opening and asks(text),
        objects=False,
        raised=(),
        request=request_in(text),
        limits=("topic",) if limit is not None else (),
        avoided="" if limit is None else _avoided(text[limit.start() : limit.end() + 40]),
        goodbye=goodbye,
    )


def _hear_known(text: str, taken: Parts, opening: bool) -> Line:
    """Return a line of a bundled user as it is heard: by the texts it is made of."""
    raised = tuple(sorted({known.what for known in taken.texts if known.kind in RAISING}))
    limits = [known for known in taken.texts if known.kind == "limit"]
    tone, mood = ("none", 0) if opening else _tone(taken)
    requests = [known.what for known in taken.texts if known.kind == "request"]
    return Line(
        text=text,
        words=text.count(" ") + 1,
        known=True,
        told=tuple([known.text for known in taken.texts if known.kind == "fact"]),
        tone=tone,
        mood=mood,
        evidence=evidence(taken.rest) if taken.rest else NOTHING,
        at_issue=bool(raised),
        objects=any(known.kind == "objection" for known in taken.texts),
        raised=raised,
        request=requests[0] if requests else None,
        limits=tuple(dict.fromkeys(known.what for known in limits)),
        avoided=next((_avoided(known.text) for known in limits if known.what == "topic"), ""),
        goodbye=tone == "goodbye",
    )


NOTHING: Final = (0,) * len(MODES)
"""The evidence of a line that hints at nothing."""


def _tone(taken: Parts) -> tuple[str, int]:
    """Return the tone and the mood of the first text of a line; one that hints from the start has none."""
    first = taken.texts[0]
    if first.kind == "aside" and first.what == "accepts":
        return "held", 0
    if first.kind != "reaction":
        return "none", 0
    size, _, mood = first.what.partition("_")
    if size in _SIZES:
        return size, MOODS.index(mood)
    return _TONES.get(first.what, "goodbye"), 0


def _avoided(text: str) -> str:
    """Return what a stated limit is about: a thing or a person named in it; empty if there is none."""
    return next(iter([*things(text), *names(text)]), "")
