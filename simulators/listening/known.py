"""The sentences of the bundled users, found in their lines: what is a reaction, a fact, a question, and the rest.

A line of a bundled user is a few authored texts with spaces between them. They are found by their first characters,
word by word, so that a line is taken apart in some microseconds. Users from elsewhere are not known.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from empathy_gym.simulators.scenario import Fact, Situation

PREFIX: Final = 8
"""Characters by which a text is looked for."""


TELLING: Final = frozenset({"reaction", "fact", "question", "objection"})
"""Kinds of texts that hint at nothing."""
RAISING: Final = frozenset({"question", "objection"})
"""Kinds of texts by which a claim is at issue."""


class Text(NamedTuple):
    """A text that a bundled user may say.

    Attributes:
        text: The text.
        kind: ``"reaction"``, ``"fact"``, ``"question"`` or ``"objection"`` (about a claim), ``"request"``, ``"limit"`` or
            ``"aside"``.
        what: Key of the reaction; id of the claim; kind of the request or the limit; ``"accepts"`` of an aside that
            takes a kind no; empty otherwise.
    """

    text: str
    kind: str
    what: str = ""


class Parts(NamedTuple):
    """A line, taken apart.

    Attributes:
        texts: The known texts in it, in order.
        untold: What it says beside reactions, facts and questions; None if nothing in it is known.
        rest: What it says beside all known texts.
    """

    texts: tuple[Text, ...]
    untold: str | None
    rest: str


@functools.cache
def situations() -> Mapping[str, tuple[Situation, Fact]]:
    """Return each bundled fact by its text, with a situation it stands in."""
    found: dict[str, tuple[Situation, Fact]] = {}
    for situation in _all_situations():
        for fact in situation.facts:
            found.setdefault(fact.text, (situation, fact))
    return found


@functools.cache
def _all_situations() -> tuple[Situation, ...]:
    from empathy_gym.simulators.library.compiler import apply_twin, bundled_situations

    return tuple(
        situation
        for source in bundled_situations()
        for situation in (source.situation, *(apply_twin(source.situation, twin) for twin in source.twins))
    )


def _texts() -> Iterator[Text]:
    """Yield every text; where one is met twice, what comes first is what it counts as."""
    from empathy_gym.simulators.library.compiler import bundled_situations, load_temperaments

    for temperament in load_temperaments():
        for reaction, options in temperament.reactions.items():
            yield from (Text(line, "reaction", reaction) for line in options)
    for situation in _all_situations():
        yield from (Text(fact.text, "fact") for fact in situation.facts)
    for situation in {id(met): met for met, _ in situations().values()}.values():
        for claim in situation.claims:
            yield from (Text(line, "question", claim.id) for line in claim.asks)
            yield from (Text(line, "objection", claim.id) for line in claim.pushbacks)
        for request in situation.requests:
            about = request.claim is not None
            yield Text(request.text, "question" if about else "request", request.claim or request.kind)
    for situation in _all_situations():
        yield from (Text(limit.text, "limit", limit.kind) for limit in situation.boundaries)
        for item in (*situation.feelings, *situation.attempts, *situation.constraints):
            yield Text(item.text, "aside")
        for claim in situation.claims:
            yield from (Text(line, "aside") for line in claim.beats)
        for request in situation.requests:
            yield from (Text(line, "aside", "accepts") for line in request.accepts)
    for source in bundled_situations():
        yield from (Text(line, "aside") for line in source.openings)


@functools.cache
def _index() -> tuple[Mapping[str, tuple[Text, ...]], Mapping[str, Text], tuple[int, ...]]:
    """Return the texts by their first characters, longest first; those that are shorter; and how long these are."""
    texts: dict[str, Text] = {}
    for text in _texts():
        texts.setdefault(text.text, text)
    long: dict[str, list[Text]] = {}
    for text in sorted(texts.values(), key=lambda t: -len(t.text)):
        if len(text.text) >= PREFIX:
            long.setdefault(text.text[:PREFIX], []).append(text)
    short = {name: text for name, text in texts.items() if len(name) < PREFIX}
    lengths = tuple(sorted({len(name) for name in short}, reverse=True))
    return {prefix: tuple(found) for prefix, found in long.items()}, short, lengths


def _text_at(line: str, at: int) -> Text | None:
    """Return the longest known text that stands at a place of a line, between spaces."""
    long, short, lengths = _index()
    for text in long.get(line[at : at + PREFIX], ()):
        if line.startswith(text.text, at) and line[at + len(text.text) : at + len(text.text) + 1] in (
            "",
            " ",
        ):
            return text
    for length in lengths:
        found = short.get(line[at : at + length])
        if found is not None and line[at + length : at + length + 1] in ("", " "):
            return found
    return None


@functools.lru_cache(maxsize=4096)
def parts(line: str) -> Parts:
    """Return a user's line taken apart."""
    texts: list[Text] = []
    untold: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(line):
        text = _text_at(line, at)
        if text is None:
            end = line.find(" ", at)
            word = line[at:] if end < 0 else line[at:end]
            untold.append(word)
            rest.append(word)
            at += len(word) + 1
            continue
        texts.append(text)
        if text.kind not in TELLING:
            untold.append(text.text)
        at += len(text.text) + 1
    known = any(text.kind in TELLING for text in texts)
    return Parts(
        tuple(texts), " ".join(" ".join(untold).split()) if known else None, " ".join(" ".join(rest).split())
    )
