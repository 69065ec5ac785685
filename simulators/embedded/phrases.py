"""Phrases of many categories, found in one pass: a pattern language and a lazily built automaton.

A pattern is plain English with ``(a|b c|)`` for alternatives, a group followed by ``?`` (may be missing),
``*`` (any number of times) or ``+`` (at least once), ``@name`` for a class of words, ``_`` for any one word,
``..`` for none to two words, ``^`` for the beginning of a clause and ``$`` for the end of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Span = tuple[int, int]
Hits = dict[str, list[Span]]
Edges = tuple[dict[str, list[int]], list[int]]

MARKS: Final = ("?", "*", "+")
END: Final = "$"
UNKNOWN: Final = "?"
"""Stands for every word that no pattern mentions, so that strange words cannot fill the memory."""
_PIECE: Final = re.compile(r"[()|?*+^$]|\.\.|@?[\w',%-]+")


@dataclass(slots=True)
class _Node:
    """A place in the patterns: edges by word, by any word, by nothing, and the category that ends here."""

    words: list[tuple[str, int]] = field(default_factory=list)
    any: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    ends: str | None = None


@dataclass(slots=True)
class _State:
    """A set of places, with what ends there and where each word leads, filled in when first needed."""

    places: tuple[int, ...]
    ends: tuple[str, ...]
    next: dict[str, _State | None] = field(default_factory=dict)
    edges: Edges | None = None


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
        self._nodes: list[_Node] = []
        self._states: dict[tuple[int, ...], _State] = {}
        self.vocabulary: set[str] = {END}
        places = self._node(), self._node()
        for file in files:
            self._classes = file["classes"]
            for category, patterns in file.items():
                if category != "classes":
                    self._add(category, patterns, *places)
        self._anywhere, self._starting = (self._state([place]) for place in places)

    # -- building ---------------------------------------------------------------------------------

    def _add(self, category: str, patterns: Iterable[str], anywhere: int, starting: int) -> None:
        end = self._node()
        self._nodes[end].ends = category
        for pattern in patterns:
            pieces = _PIECE.findall(str(pattern))
            at_start = pieces[0] == "^"
            begin = self._branch(starting if at_start else anywhere)
            self._nodes[self._sequence(pieces[at_start:], begin)].free.append(end)

    def _node(self) -> int:
        self._nodes.append(_Node())
        return len(self._nodes) - 1

    def _branch(self, place: int) -> int:
        node = self._node()
        self._nodes[place].free.append(node)
        return node

    def _word(self, word: str, place: int) -> int:
        node = self._node()
        self._nodes[place].words.append((word, node))
        self.vocabulary.add(word)
        return node

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
                    place = self._word(word, place)
            at = close + 1 + len(mark)
        return place

    def _group(self, alternatives: Sequence[Sequence[str]], mark: str, place: int) -> int:
        begin, end = self._branch(place), self._node()
        for alternative in alternatives:
            self._nodes[self._sequence(alternative, self._branch(begin))].free.append(end)
        if mark in ("?", "*"):
            self._nodes[begin].free.append(end)
        if mark in ("*", "+"):
            self._nodes[end].free.append(begin)
        return self._branch(end)

    def _anything(self, place: int, optional: bool) -> int:
        end = self._node()
        for _ in range(2 if optional else 1):
            if optional:
                self._nodes[place].free.append(end)
            after = self._node()
            self._nodes[place].any.append(after)
            place = after
        self._nodes[place].free.append(end)
        return end

    # -- finding ----------------------------------------------------------------------------------

    def _state(self, places: Iterable[int]) -> _State:
        """Return the state of a set of places and of all that follow from them for nothing."""
        seen = dict.fromkeys(places)
        waiting = list(seen)
        while waiting:
            for free in self._nodes[waiting.pop()].free:
                if free not in seen:
                    seen[free] = None
                    waiting.append(free)
        key = tuple(sorted(p for p in seen if self._matters(p)))
        if key not in self._states:
            ends = sorted({self._nodes[p].ends or "" for p in key} - {""})
            self._states[key] = _State(key, tuple(ends))
        return self._states[key]

    def _matters(self, place: int) -> bool:
        node = self._nodes[place]
        return bool(node.words or node.any or node.ends)

    def _step(self, state: _State, word: str) -> _State | None:
        if state.edges is None:
            state.edges = self._edges(state.places)
        by_word, by_any = state.edges
        after = by_word.get(word, [])
        if word != END:
            after = [*after, *by_any]
        found = self._state(after) if after else None
        state.next[word] = found
        return found

    def _edges(self, places: Iterable[int]) -> Edges:
        """Return where each word leads from a set of places, and where any word leads."""
        by_word: dict[str, list[int]] = {}
        by_any: list[int] = []
        for place in places:
            node = self._nodes[place]
            by_any.extend(node.any)
            for word, target in node.words:
                by_word.setdefault(word, []).append(target)
        return by_word, by_any

    def find(self, words: Sequence[str], begins: Iterable[int]) -> Hits:
        """Return the spans of each category in the words of one sentence.

        Args:
            words: The words.
            begins: Positions at which a clause begins.
        """
        known = self.vocabulary
        read = [word if word in known else UNKNOWN for word in words]
        read.append(END)
        hits: Hits = {}
        first = self._anywhere.next
        for at in range(len(words)):
            # Few words begin a phrase: the others are passed over without a call.
            if first.get(read[at], self) is not None:
                self._follow(self._anywhere, read, at, hits)
        for at in begins:
            if at < len(words):
                self._follow(self._starting, read, at, hits)
        return hits

    def _follow(self, state: _State, words: Sequence[str], start: int, hits: Hits) -> None:
        at, last = start, len(words)
        while at < last:
            word = words[at]
            try:
                after = state.next[word]
            except KeyError:
                after = self._step(state, word)
            if after is None:
                return
            state, at = after, at + 1
            for category in state.ends:
                hits.setdefault(category, []).append((start, at))


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
