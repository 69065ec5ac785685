"""Which items of a situation a reply mentions in its own words.

Every cue is a bit, so that the cues hit by a sentence are one integer, and whether an item is mentioned is a
matter of masks and bit counts.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.features import (
    Sentence,
    expand,
    normalise,
    read_data,
    stem,
    tokenise,
    words_data,
)
from empathy_gym.simulators.scenario import Item

CACHED_SITUATIONS: Final = 128
KINDS: Final = (
    "topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims", "boundaries"
)  # fmt: skip
SINGLE: Final = frozenset({"topics", "feelings", "boundaries"})
"""Kinds of item that one cue is enough for."""
GAP: Final = 2
"""Words that may stand between two words of a cue of several words."""


@functools.cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Return, for each stem, the stems of the everyday words that mean the same."""
    groups: dict[str, dict[str, None]] = {}
    for line in read_data("synonyms.txt").splitlines():
        stems = [stem(w) for part in line.split("#")[0].split() for w in expand(part)]
        for one in stems:
            groups.setdefault(one, {}).update(dict.fromkeys(stems))
    return {one: tuple(group) for one, group in groups.items()}


@functools.cache
def weak_stems() -> frozenset[str]:
    """Return the stems that do not show by themselves that an item is meant."""
    data = words_data()
    return frozenset(stem(word) for word in data.weak | data.function)


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled item.

    Attributes:
        item: The item.
        kind: One of `KINDS`.
        mask: The bits of its cues.
        single: Whether one cue is enough.
    """

    item: Item
    kind: str
    mask: int
    single: bool


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words around the anchor of a cue of several words."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    mask: int
    weak: bool


class Index:
    """The cues of one situation. Items are added when they are first seen; a mask hides those not yet known."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.strong: dict[str, int] = {}
        self.weak: dict[str, int] = {}
        self.phrases: dict[str, list[Phrase]] = {}
        self._bits = 0

    def add(self, kind: str, item: Item) -> Entry:
        """Compile an item."""
        first = self._bits
        for cue in item.cues or derived_cues(item):
            self._add_cue(cue)
        mask = (1 << self._bits) - (1 << first)
        entry = Entry(item, kind, mask, kind in SINGLE)
        self.entries[item.id] = entry
        return entry

    def _add_cue(self, cue: str) -> None:
        bit = 1 << self._bits
        self._bits += 1
        for alternative in cue.split("|"):
            words, _ = tokenise(normalise(alternative))
            stems = [stem(w) for w in words if w != "s"]
            if len(stems) == 1:
                table = self.weak if stems[0] in weak_stems() else self.strong
                for one in synonyms().get(stems[0], stems):
                    table[one] = table.get(one, 0) | bit
            elif stems:
                self._add_phrase(stems, bit)

    def _add_phrase(self, stems: list[str], bit: int) -> None:
        rare = [s for s in stems if s not in weak_stems()]
        anchor = max(range(len(stems)), key=lambda i: (stems[i] in rare, len(stems[i]), -i))
        phrase = Phrase(tuple(reversed(stems[:anchor])), tuple(stems[anchor + 1 :]), bit, False)
        self.phrases.setdefault(stems[anchor], []).append(phrase)

    def hits(self, sentence: Sentence, skip: range | frozenset[int] = range(0)) -> tuple[int, int]:
        """Return the cues hit by telling words, and by frequent ones, in a sentence."""
        strong = weak = 0
        stems = [s for s in sentence.stems if s != "s"] if not skip else [
            s for i, s in enumerate(sentence.stems) if s != "s" and i not in skip
        ]  # fmt: skip
        for at, one in enumerate(stems):
            strong |= self.strong.get(one, 0)
            weak |= self.weak.get(one, 0)
            for phrase in self.phrases.get(one, ()):
                if phrase.mask & ~strong and _stands(phrase, stems, at):
                    strong |= phrase.mask
        return strong, weak & ~strong


def _stands(phrase: Phrase, stems: Sequence[str], at: int) -> bool:
    position = at
    for word in phrase.after:
        for step in range(1, GAP + 2):
            if position + step < len(stems) and stems[position + step] == word:
                position += step
                break
        else:
            return False
    position = at
    for word in phrase.before:
        for step in range(1, GAP + 2):
            if position - step >= 0 and stems[position - step] == word:
                position -= step
                break
        else:
            return False
    return True


def derived_cues(item: Item) -> tuple[str, ...]:
    """Return the telling words of an item without cues, each as a cue of its own."""
    words, _ = tokenise(normalise(item.text))
    return tuple(dict.fromkeys(w for w in words if stem(w) not in weak_stems() and len(w) > 2))[:12]


@dataclass(slots=True)
class View:
    """What of an index a request may know."""

    index: Index
    entries: tuple[Entry, ...]
    mask: int


class Indices:
    """Compiled situations, the least recently used forgotten. What is cached never changes what is found."""

    def __init__(self) -> None:
        self._indices: OrderedDict[str, Index] = OrderedDict()

    def view(self, request: PerceptionRequest) -> View:
        """Return the view of a request."""
        index = self._indices.get(request.situation)
        if index is None:
            index = self._new(request.situation)
        else:
            self._indices.move_to_end(request.situation)
        entries = self._entries(index, request)
        if entries is None:  # Another situation under the same key: only a hand-made request can do that.
            index = self._new(request.situation)
            entries = self._entries(index, request) or ()
        mask = 0
        for entry in entries:
            mask |= entry.mask
        return View(index, entries, mask)

    def _new(self, key: str) -> Index:
        index = self._indices[key] = Index()
        self._indices.move_to_end(key)
        while len(self._indices) > CACHED_SITUATIONS:
            self._indices.popitem(last=False)
        return index

    def _entries(self, index: Index, request: PerceptionRequest) -> tuple[Entry, ...] | None:
        found: list[Entry] = []
        known = index.entries
        for kind in KINDS:
            items: Iterable[Item] = getattr(request, kind)
            for item in items:
                entry = known.get(item.id)
                if entry is None:
                    entry = index.add(kind, item)
                elif entry.item is not item and (entry.item != item or entry.kind != kind):
                    return None
                found.append(entry)
        return tuple(found)
