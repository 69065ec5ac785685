"""Which items of a situation a reply mentions in its own words.

Every cue is a bit, so that the cues hit by a sentence are one integer, and whether an item is mentioned is a
matter of masks and bit counts.
"""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.features import (
    expand,
    load,
    normalise,
    read_data,
    stem,
    stems,
    tokenise,
    words_data,
)
from empathy_gym.simulators.embedded.sentences import Sentence
from empathy_gym.simulators.scenario import Feeling, Item

CACHED_SITUATIONS: Final = 128
CACHED_VIEWS: Final = 64
KINDS: Final = (
    "topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims",
    "boundaries",
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


@functools.cache
def function_stems() -> frozenset[str]:
    """Return the stems of function words."""
    return frozenset(stem(word) for word in words_data().function)


@functools.cache
def everyday_stems() -> frozenset[str]:
    """Return the stems of words that stand in many situations."""
    lines = (line.split("#")[0] for line in read_data("everyday.txt").splitlines())
    return frozenset(stem(word) for line in lines for word in line.split())


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled item.

    Attributes:
        item: The item.
        id: Its id.
        kind: One of `KINDS`.
        mask: The bits of its cues.
        single: Whether one cue is enough.
        number: Its own bit among those of all items.
    """

    item: Item
    id: str
    kind: str
    mask: int
    single: bool
    number: int


class Token(NamedTuple):
    """A word that hits cues.

    Attributes:
        at: Position in its sentence.
        rare: Cues hit by a word that stands in few situations.
        strong: Cues hit by a telling word, `rare` ones included.
        weak: Cues hit by a word that stands everywhere.
        family: Feelings hit by a word of the same family.
    """

    at: int
    rare: int
    strong: int
    weak: int
    family: int


Phrase = tuple[str, tuple[str, ...], tuple[str, ...], int, int]
"""The words around the anchor of a cue of several words: the next of them, those before and those after; its mask,
and how telling they are together."""
Posting = tuple[int, int, int, int, int, tuple[Phrase, ...]]
"""What the index knows of one stem: all its cues, masks as in `Token`, the phrases anchored in it. Unlike instances,
tuples of plain values are nothing for the garbage collector to visit; there are thousands."""
NO_POSTING: Final[Posting] = (0, 0, 0, 0, 0, ())


def variants(word: str) -> tuple[str, ...]:
    """Return a word and what it becomes by losing a letter: words one slip apart have a variant in common."""
    return (word, *(word[:i] + word[i + 1 :] for i in range(len(word))))


class Index:
    """The cues of one situation. Items are added when first seen; a mask hides those not yet known."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.postings: dict[str, Posting] = {}
        self.worded: dict[str, int] = {}
        self.shapes: dict[tuple[str, int], Any] = {}
        self.near: dict[str, str] = {}
        self.groups: dict[tuple[str, tuple[int, ...]], Group] = {}
        self.views: dict[Key, View] = {}
        self.met: dict[tuple[int, ...], tuple[Groups, View]] = {}
        self._bits = 0

    def add(self, kind: str, item: Item) -> Entry:
        """Compile an item."""
        first = self._bits
        for cue in item.cues or derived_cues(item):
            self._add_cue(cue, kind)
        mask = (1 << self._bits) - (1 << first)
        if isinstance(item, Feeling):
            for one in family_words(item):
                self._post(one, mask, family=mask)
        number = 1 << len(self.entries)
        for one in dict.fromkeys(stems(tokenise(normalise(item.text))[0])):
            self.worded[one] = self.worded.get(one, 0) | number
        entry = Entry(item, item.id, kind, mask, kind in SINGLE, number)
        self.entries[item.id] = entry
        return entry

    def _add_cue(self, cue: str, kind: str) -> None:
        bit = 1 << self._bits
        self._bits += 1
        for alternative in cue.split("|"):
            words, _ = tokenise(normalise(alternative))
            found = stems([w for w in words if w != "s"])
            if len(found) == 1:
                self._add_word(found[0], bit, kind)
            elif found:
                self._add_phrase(found, bit, kind)

    def _post(
        self, one: str, mask: int, rare: int = 0, strong: int = 0, weak: int = 0, family: int = 0,
        phrases: tuple[Phrase, ...] = (),
    ) -> None:  # fmt: skip
        """Add to what is known of a stem."""
        if one not in self.postings:
            for variant in variants(one):
                # Joined, since most stand alone and there are many of them.
                self.near[variant] = f"{self.near[variant]} {one}" if variant in self.near else one
        old = self.postings.get(one, NO_POSTING)
        masks = (old[0] | mask, old[1] | rare, old[2] | strong, old[3] | weak, old[4] | family)
        self.postings[one] = (*masks, old[5] + phrases)

    def _add_word(self, word: str, bit: int, kind: str) -> None:
        # "Wrong" says little, unless it is what the user claims not to have done.
        faint = function_stems() if kind == "claims" else weak_stems()
        for one in synonyms().get(word, (word,)):
            if word in faint or one in faint:
                self._post(one, bit, weak=bit)
            else:
                common = one in everyday_stems() or one in weak_stems()
                self._post(one, bit, strong=bit, rare=0 if common else bit)

    def _add_phrase(self, words: Sequence[str], bit: int, kind: str) -> None:
        telling = [one for one in words if one not in weak_stems()]
        anchor = max(range(len(words)), key=lambda i: (words[i] in telling, len(words[i]), -i))
        before, after = tuple(reversed(words[:anchor])), tuple(words[anchor + 1 :])
        weight = _weight(words, kind, bool(telling))
        self._post(words[anchor], bit, phrases=(((*after, *before)[0], before, after, bit, weight),))

    def tokens(self, sentence: Sentence, offset: int, skip: Set[int], mask: int) -> list[Token]:
        """Return the words of a sentence that hit cues within a mask, but for the positions in `skip`.

        Args:
            sentence: The sentence.
            offset: Position of its first word in the reply.
            skip: Positions in the reply that do not count, because they are copied.
            mask: The cues that may be known.
        """
        found: list[Token] = []
        known, own = self.postings, sentence.stems
        for at in [at for at, one in enumerate(own) if one in known]:
            cues, rare, strong, weak, family, phrases = known[own[at]]
            if not cues & mask:
                continue
            for next_, before, after, bit, weight in phrases:
                # Few phrases have even the next of their words in the sentence.
                if next_ in own and bit & mask & ~rare and _stands(before, after, own, at):
                    if weight == 3:
                        rare |= bit
                        strong |= bit
                    elif weight == 2:
                        strong |= bit
                    else:
                        weak |= bit
            strong &= mask
            weak &= mask & ~strong
            family &= mask
            if (strong or weak or family) and offset + at not in skip:
                found.append(Token(at, rare & mask, strong, weak, family))
        return found


def _weight(stems: Sequence[str], kind: str, telling: bool) -> int:
    """Return how telling a phrase is: 3 as a rare word, 2 as an everyday one, 1 as a frequent one."""
    if telling or kind == "claims":
        return 3
    return 2 if len(stems) > 2 or kind == "perspectives" else 1


def _stands(before: Sequence[str], after: Sequence[str], stems: Sequence[str], at: int) -> bool:
    position = at
    for word in after:
        near = stems[position + 1 : position + GAP + 2]
        if word not in near:
            return False
        position += near.index(word) + 1
    position = at
    for word in before:
        near = stems[max(0, position - GAP - 1) : position][::-1]
        if word not in near:
            return False
        position -= near.index(word) + 1
    return True


@functools.cache
def families() -> dict[str, tuple[str, ...]]:
    """Return, for the stem of a feeling word, the stems of its families."""
    found: dict[str, dict[str, None]] = {}
    for text in load("feelings.yaml")["families"].values():
        stems = [stem(word) for word in text.split()]
        for one in stems:
            found.setdefault(one, {}).update(dict.fromkeys(stems))
    return {one: tuple(group) for one, group in found.items()}


def family_words(item: Feeling) -> tuple[str, ...]:
    """Return the stems of words that name the same kind of feeling."""
    words, _ = tokenise(normalise(" ".join([item.name, *item.cues]).replace("|", " ")))
    return tuple(dict.fromkeys(one for word in words for one in families().get(stem(word), ())))


def derived_cues(item: Item) -> tuple[str, ...]:
    """Return the telling words of an item without cues, each as a cue of its own."""
    words, _ = tokenise(normalise(item.text))
    return tuple(dict.fromkeys(w for w in words if stem(w) not in weak_stems() and len(w) > 2))[:12]


@dataclass(frozen=True, slots=True)
class View:
    """What of an index a request may know.

    Attributes:
        index: The index.
        entries: The items that may be known, by kind.
        masks: Their cues, by kind.
        mask: All their cues.
        numbers: The items themselves, one bit each.
    """

    index: Index
    entries: dict[str, Group]
    masks: dict[str, int]
    mask: int
    numbers: int

    def __contains__(self, one: object) -> bool:
        """Whether a stem is a cue of an item that may be known; the index may hold more than that."""
        known = self.index.postings
        return one in known and known[one][0] & self.mask != 0

    def words(self, one: str) -> bool:
        """Whether a stem stands in the text of an item that may be known."""
        return self.index.worded.get(one, 0) & self.numbers != 0


Key = tuple[tuple[int, ...], ...]
Group = tuple[Entry, ...]
Groups = tuple[tuple[Item, ...], ...]


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
        groups = _groups(request)
        # Groups and items are told apart by identity, which is safe as long as what is remembered keeps them alive.
        key = tuple(map(id, groups))
        met = index.met.get(key)
        if met is None:
            if len(index.met) >= CACHED_VIEWS:
                index.met.clear()
            met = groups, self._view(request.situation, index, groups)
            index.met[key] = met
        return met[1]

    def _view(self, situation: str, index: Index, groups: Groups) -> View:
        key = tuple([tuple(map(id, items)) for items in groups])
        view = index.views.get(key)
        if view is None:
            entries = _entries(index, groups)
            if entries is None:  # Another situation under the same key: only a hand-made request can do that.
                index = self._new(situation)
                entries = _entries(index, groups) or {}
            view = _view(index, entries)
            if len(index.views) >= CACHED_VIEWS:
                index.views.clear()
                index.groups.clear()
            index.views[key] = view
        return view

    def _new(self, key: str) -> Index:
        index = self._indices[key] = Index()
        self._indices.move_to_end(key)
        while len(self._indices) > CACHED_SITUATIONS:
            self._indices.popitem(last=False)
        return index


def _groups(request: PerceptionRequest) -> Groups:
    """Return the items of a request, kind by kind in the order of `KINDS`."""
    return (
        request.topics, request.facts, request.feelings, request.attempts, request.constraints,
        request.strengths, request.perspectives, request.claims, request.boundaries,
    )  # fmt: skip


def _entries(index: Index, groups: Sequence[Sequence[Item]]) -> dict[str, Group] | None:
    """Return the entries of the items of a request by kind; None if one differs from what is indexed."""
    found: dict[str, Group] = {}
    for kind, items in zip(KINDS, groups, strict=True):
        key = kind, tuple(map(id, items))
        group = index.groups.get(key) or _group(index, kind, items)
        if group is None:
            return None
        found[kind] = index.groups[key] = group
    return found


def _group(index: Index, kind: str, items: Iterable[Item]) -> Group | None:
    group: list[Entry] = []
    known = index.entries
    for item in items:
        entry = known.get(item.id)
        if entry is None:
            entry = index.add(kind, item)
        elif entry.item is not item:
            if entry.kind != kind or entry.item != item:
                return None
            # The same item from another copy of the situation: compare by identity from now on.
            entry = known[item.id] = replace(entry, item=item)
        group.append(entry)
    return tuple(group)


def _view(index: Index, entries: dict[str, Group]) -> View:
    masks = {kind: functools.reduce(lambda m, e: m | e.mask, group, 0) for kind, group in entries.items()}
    numbers = sum([entry.number for group in entries.values() for entry in group])
    return View(index, entries, masks, functools.reduce(operator.or_, masks.values(), 0), numbers)
