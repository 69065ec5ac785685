"""What is remembered of earlier lines: what the user said, and what the policy has said before."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.embedded.features import MAX_CHARACTERS, Sentence, sentences_of, words_data

COPIED_RUN: Final = 9
"""Words in a row that are a copy; quoting up to eight is not."""
Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line, reduced to what later replies are compared with.

    Attributes:
        text: Its words, joined.
        folded: Word trigrams, with the pronouns of both sides made one.
        skeleton: Four-grams of function words and punctuation, content masked.
        stems: Stems of its words.
    """

    text: str
    folded: frozenset[Gram]
    skeleton: frozenset[Gram]
    stems: frozenset[str]


@functools.lru_cache(maxsize=8192)
def _line(text: str) -> Line:
    return line_of(sentences_of(text))


def line_of(sentences: Sequence[Sentence]) -> Line:
    """Return the reduced form of a line."""
    words = [word for sentence in sentences for word in sentence.words]
    stems = frozenset(one for sentence in sentences for one in sentence.stems)
    return Line(" ".join(words), grams(fold(words)), _skeleton(sentences), stems)


def grams(words: Sequence[str], size: int = 3) -> frozenset[Gram]:
    """Return the distinct word n-grams."""
    if size == 3:
        return frozenset(zip(words, words[1:], words[2:], strict=False))
    return frozenset(zip(*(words[i:] for i in range(size)), strict=False))


def fold(words: Sequence[str]) -> list[str]:
    """Return words with the pronouns of both sides made one, so that a swapped copy is a copy."""
    table = words_data().fold
    return [table.get(word, word) for word in words]


def _skeleton(sentences: Sequence[Sentence]) -> frozenset[Gram]:
    function = words_data().function
    masked: list[str] = []
    for sentence in sentences:
        for word in sentence.words:
            if word in function:
                masked.append(word)
            elif not masked or masked[-1] != "*":
                masked.append("*")
        masked.append("?" if sentence.question else ".")
    return grams(masked, 4)


def heard(messages: Sequence[Message], role: str) -> list[Line]:
    """Return the lines of one side, in order."""
    return [_line(message["content"][:MAX_CHARACTERS]) for message in messages if message["role"] == role]


def copied_positions(reply: Line, words: Sequence[str], lines: Sequence[Line]) -> frozenset[int]:
    """Return the positions of the words that stand in a run of copied ones, pronouns swapped or not."""
    found: set[int] = set()
    for line in lines:
        if len(reply.folded & line.folded) >= COPIED_RUN - 2:
            found.update(_runs(words, line))
    return frozenset(found)


def _runs(words: Sequence[str], line: Line) -> Iterator[int]:
    folded = fold(words)
    start = None
    for at, gram in enumerate([*zip(folded, folded[1:], folded[2:], strict=False), ("",)]):
        if gram in line.folded:
            start = at if start is None else start
        elif start is not None:
            if at - start + 2 >= COPIED_RUN:
                yield from range(start, at + 2)
            start = None


def copied_share(reply: Line, lines: Sequence[Line]) -> tuple[int, int]:
    """Return how many of a reply's trigrams the user has said, and how many it has."""
    said: frozenset[Gram] = frozenset().union(*(line.folded & reply.folded for line in lines))
    return len(said), len(reply.folded)


def repetition(reply: Line, earlier: Sequence[Line]) -> int:
    """Return how much a reply repeats what the policy has said: 0, 1 or 2."""
    level = 0
    for line in earlier:
        if reply.text and reply.text == line.text:
            return 2
        level = max(
            level,
            _overlap(reply.folded, line.folded, 4, 60, 35),
            _overlap(reply.skeleton, line.skeleton, 8, 75, 55),
        )
    return level


def _overlap(mine: frozenset[Gram], theirs: frozenset[Gram], least: int, high: int, some: int) -> int:
    smaller = min(len(mine), len(theirs))
    if smaller < least:
        return 0
    shared = 100 * len(mine & theirs)
    return 2 if shared >= high * smaller else 1 if shared >= some * smaller else 0
