"""Phrases of many categories, found in one pass: a pattern language and a lazily built automaton.

A pattern is plain English with ``(a|b c|)`` for alternatives, a group followed by ``?`` (may be missing),
``*`` (any number of times) or ``+`` (at least once), ``@name`` for a class of words, ``_`` for any one word,
``..`` for none to two words, ``^`` for the beginning of a clause and ``$`` for the end of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

Span = tuple[int, int]
Hits = dict[str, tuple[Span, ...]]

MARKS: Final = ("?", "*", "+")
END: Final = "$"
UNKNOWN: Final = "?"
"""Stands for every word that no pattern mentions, so that strange words cannot fill the memory."""
LONG: Final = 64
"""Words up to which a span ends of which there is but one object."""
MANY: Final = 256
"""Places from which on a state keeps a table of its words; smaller ones are searched."""
MOST: Final = 1 << 18
"""Steps that are remembered, all states together. English takes a quarter of it; word salad has no end."""
_PIECE: Final = re.compile(r"[()|?*+^$]|\.\.|@?[\w',%-]+")


class _Places:
    """The places in the patterns, as columns: at most one edge by a word, one by any word, some by nothing."""

    def __init__(self) -> None:
        self.word: list[str | None] = []
        self.any = bytearray()
        self.to: list[int] = []
        self.free: list[tuple[int, ...]] = []
        self.ends: dict[int, str] = {}

    def new(self) -> int:
        """Add a place and return its number."""
        self.word.append(None)
        self.any.append(False)
        self.to.append(0)
        self.free.append(())
        return len(self.word) - 1

    def table(self) -> _Table:
        """Return the places as they are once all patterns are added."""
        return _Table(tuple(self.word), bytes(self.any), tuple(self.to), tuple(self.free), self.ends)


class _Table(NamedTuple):
    """The places in all patterns. Tuples of plain values, unlike lists, are nothing for the collector to visit."""

    word: tuple[str | None, ...]
    any: bytes
    to: tuple[int, ...]
    free: tuple[tuple[int, ...], ...]
    ends: dict[int, str]

    def matters(self, place: int) -> bool:
        """Whether more than edges by nothing leads on from a place."""
        return bool(self.any[place]) or self.word[place] is not None or place in self.ends


class _State(dict[str, "_State | None"]):
    """A set of places, with what ends there; as a dict, where each word leads, filled in when first asked for."""

    __slots__ = ("_phrases", "by_word", "ends", "places")

    def __init__(self, phrases: Phrases, places: tuple[int, ...], ends: tuple[str, ...]) -> None:
        self._phrases, self.places, self.ends = phrases, places, ends
        self.by_word: dict[str, tuple[int, ...]] | None = None

    def __repr__(self) -> str:
        # States lead to each other: what a dict says of itself would have no end.
        return f"<state of {len(self.places)} places, {len(self)} steps known>"

    def __missing__(self, word: str) -> _State | None:
        return self._phrases.remembered(self, word)


class Phrases:
    """Categories of phrases.

    Args:
        files: For each data file, its patterns by category; the category ``classes`` holds its
            classes of words, separated by ``|``, by name.
        split: How a piece of English becomes words (contractions expanded).
    """

    def __init__(self, files: Iterable[Mapping[str, Any]], split: Callable[[str], Sequence[str]]) -> None:
        self._split = split
        self._classes: Mapping[str, str] = {}
        self._places = _Places()
        self._states: dict[tuple[int, ...], _State] = {}
        self._reached: dict[int, tuple[int, ...]] = {}
        self.vocabulary: set[str] = {END}
        places = self._places.new(), self._places.new()
        for file in files:
            self._classes = file["classes"]
            for category, patterns in file.items():
                if category != "classes":
                    self._add(category, patterns, *places)
        self._known = {word: word for word in self.vocabulary}
        self._table = self._places.table()
        del self._places
        self._starts = places
        self._forget()

    # -- building ---------------------------------------------------------------------------------

    def _add(self, category: str, patterns: Iterable[str], anywhere: int, starting: int) -> None:
        end = self._places.new()
        self._places.ends[end] = category
        for pattern in patterns:
            pieces = _PIECE.findall(str(pattern))
            at_start = pieces[0] == "^"
            begin = self._branch(starting if at_start else anywhere)
            self._join(self._sequence(pieces[at_start:], begin), end)

    def _join(self, place: int, after: int) -> None:
        self._places.free[place] = (*self._places.free[place], after)

    def _branch(self, place: int) -> int:
        after = self._places.new()
        self._join(place, after)
        return after

    def _edge(self, place: int, word: str | None) -> int:
        """Add an edge by a word, or by any word, and return where it leads."""
        after = self._places.new()
        self._places.to[place] = after
        if word is None:
            self._places.any[place] = True
        else:
            self._places.word[place] = word
            self.vocabulary.add(word)
        return after

    def _sequence(self, pieces: Sequence[str], place: int) -> int:
        """Append a sequence of pieces; return the place after it."""
        at = 0
        while at < len(pieces):
            piece, close = pieces[at], at
            if piece == "(":
                close = _closing(pieces, at)
            mark = pieces[close + 1] if close + 1 < len(pieces) and pieces[close + 1] in MARKS else ""
            if piece == "(":
                place = self._group(_split_alternatives(pieces[at + 1 : close]), mark, place)
            elif piece.startswith("@"):
                alternatives = [_PIECE.findall(part) for part in self._classes[piece[1:]].split("|")]
                place = self._group(alternatives, mark, place)
            elif mark:
                place = self._group([[piece]], mark, place)
            elif piece in ("_", ".."):
                place = self._anything(place, optional=piece == "..")
            else:
                for word in [END] if piece == END else self._split(piece):
                    place = self._edge(place, word)
            at = close + 1 + len(mark)
        return place

    def _group(self, alternatives: Sequence[Sequence[str]], mark: str, place: int) -> int:
        begin, end = self._branch(place), self._places.new()
        for alternative in alternatives:
            self._join(self._sequence(alternative, self._branch(begin)), end)
        if mark in ("?", "*"):
            self._join(begin, end)
        if mark in ("*", "+"):
            self._join(end, begin)
        return self._branch(end)

    def _anything(self, place: int, optional: bool) -> int:
        end = self._places.new()
        for _ in range(2 if optional else 1):
            if optional:
                self._join(place, end)
            place = self._edge(place, None)
        self._join(place, end)
        return end

    # -- finding ----------------------------------------------------------------------------------

    def _reach(self, place: int) -> tuple[int, ...]:
        """Return the places that follow from one for nothing, itself included, as far as they matter."""
        reached = self._reached.get(place)
        if reached is None:
            seen, waiting = {place}, [place]
            while waiting:
                for free in self._table.free[waiting.pop()]:
                    if free not in seen:
                        seen.add(free)
                        waiting.append(free)
            reached = self._reached[place] = tuple(p for p in sorted(seen) if self._table.matters(p))
        return reached

    def _state(self, places: Sequence[int]) -> _State:
        """Return the state of a set of places and of all that follow from them for nothing."""
        if len(places) == 1:
            key = self._reach(places[0])
        else:
            key = tuple(sorted({reached for place in places for reached in self._reach(place)}))
        state = self._states.get(key)
        if state is None:
            known = self._table.ends
            ends = sorted({known[place] for place in key if place in known})
            state = self._states[key] = _State(self, key, tuple(ends))
        return state

    def _forget(self) -> None:
        """Begin anew to work out where words lead."""
        self._states.clear()
        self._steps = 0
        self._anywhere, self._starting = (self._state([place]) for place in self._starts)

    def remembered(self, state: _State, word: str) -> _State | None:
        """Work out where a word leads, and remember it."""
        if self._steps >= MOST:
            # Whoever is on the way keeps their state; it is forgotten with them.
            self._forget()
        self._steps += 1
        found = state[word] = self.step(state, word)
        return found

    def step(self, state: _State, word: str) -> _State | None:
        """Work out where a word leads."""
        table = self._table
        words, to = table.word, table.to
        if len(state.places) > MANY:
            after = list(self._by_word(state).get(word, ()))
        else:
            after = [to[place] for place in state.places if words[place] == word]
        if word != END:
            after += [to[place] for place in state.places if table.any[place]]
        return self._state(after) if after else None

    def _by_word(self, state: _State) -> dict[str, tuple[int, ...]]:
        """Return where each word leads from a state of many places."""
        if state.by_word is None:
            by_word: dict[str, list[int]] = {}
            for place in state.places:
                word = self._table.word[place]
                if word is not None:
                    by_word.setdefault(word, []).append(self._table.to[place])
            state.by_word = {word: tuple(places) for word, places in by_word.items()}
        return state.by_word

    def find(self, words: Sequence[str], begins: Iterable[int]) -> Hits:
        """Return the spans of each category in the words of one sentence.

        Args:
            words: The words.
            begins: Positions at which a clause begins.
        """
        read = list(map(self._known.get, words, repeat(UNKNOWN)))
        read.append(END)
        hits: dict[str, list[Span]] = {}
        for at, state in enumerate(map(self._anywhere.__getitem__, read[:-1]), 1):
            if state is None:
                continue
            for category in state.ends:
                hits.setdefault(category, []).append((at - 1, at))
            # Most words that begin a phrase do not go on with it.
            after = state[read[at]]
            if after is not None:
                _follow(after, read, at - 1, at + 1, hits)
        for at in begins:
            if at < len(words):
                begun = self._starting[read[at]]
                if begun is not None:
                    _follow(begun, read, at, at + 1, hits)
        return {category: _kept(spans) for category, spans in hits.items()}


_spans: Final[dict[Span, Span]] = {}
_single: Final[dict[Span, tuple[Span]]] = {}


def _kept(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans as they are kept with a sentence: equal ones are one object.

    There are few that differ in sentences of normal length, and each that is not made is one less to be collected.
    """
    if len(spans) == 1:
        found = _single.get(spans[0])
        if found is None:
            found = (spans[0],)
            if spans[0][1] <= LONG:
                _single[spans[0]] = found
        return found
    return tuple([_spans.setdefault(span, span) if span[1] <= LONG else span for span in spans])


def _follow(state: _State, words: Sequence[str], start: int, at: int, hits: dict[str, list[Span]]) -> None:
    """Add what ends on the way from the first words of a phrase, already read, as far as it leads."""
    last = len(words)
    while True:
        if state.ends:
            for category in state.ends:
                hits.setdefault(category, []).append((start, at))
        if at == last:
            return
        after = state[words[at]]
        if after is None:
            return
        state, at = after, at + 1


def _closing(pieces: Sequence[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(pieces)):
        depth += (pieces[at] == "(") - (pieces[at] == ")")
        if depth == 0:
            return at
    raise ValueError(f"unbalanced pattern: {' '.join(pieces)}")


def _split_alternatives(pieces: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    depth = 0
    for piece in pieces:
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and depth == 0:
            parts.append([])
        else:
            parts[-1].append(piece)
    return parts


def outside(spans: Iterable[Span], blockers: Iterable[Span]) -> list[Span]:
    """Return the spans that no blocker overlaps."""
    blocked = list(blockers)
    return [s for s in spans if not any(s[0] < b[1] and b[0] < s[1] for b in blocked)]


def clear(hits: Hits, category: str, *blockers: str) -> list[Span]:
    """Return the spans of a category that no span of the blocking categories overlaps."""
    spans = hits.get(category)
    if not spans:
        return []
    return outside(spans, (b for name in blockers for b in hits.get(name, ())))
