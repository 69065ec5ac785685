"""What is remembered of earlier lines: what the user said, and what the policy has said before."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.embedded.features import MAX_CHARACTERS
from empathy_gym.simulators.embedded.sentences import (
    MAX_SENTENCE,
    MAX_WORDS,
    Sentence,
    parsed,
    sentences_of,
    split,
)

COPIED_RUN: Final = 9
"""Words in a row that are a copy; quoting up to eight is not."""
_GRAM: Final = 8
"""Bytes of four characters."""
NOTHING: Final = frozenset[str]()
GOODBYE: Final = 60
"""Words at the end of a line among which a goodbye is looked for."""
LEAVING: Final = 60
"""Words of a user's line that does nothing but say goodbye, at most."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the user, reduced to what replies to it are compared with.

    Attributes:
        end: Its last words.
        parting: Words of its last sentence, if that may be a goodbye and nothing else is said: empty otherwise.
        folded: Its word trigrams, with the pronouns of both sides made one; one may stand there twice.
        stems: Stems of its words. Keys of a dict, which as opposed to a set of strings is nothing for the garbage
            collector to visit; there are thousands.
    """

    end: tuple[str, ...]
    parting: tuple[str, ...]
    folded: tuple[str, ...]
    stems: Mapping[str, None]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the policy, reduced to what its later replies are compared with.

    Attributes:
        text: Its words, joined.
        folded: Its distinct word trigrams, as in `Said`.
        shapes: Distinct four-grams of function words and punctuation, content masked, packed.
    """

    text: str
    folded: tuple[str, ...]
    shapes: bytes


_Part = tuple[tuple[str, ...], bool, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""A sentence of a user, as far as a line that holds it needs it: words, whether it is a question, folded words, their
trigrams, distinct stems. As opposed to instances, tuples of plain values are nothing for the garbage collector to
visit; there are thousands."""


# A user's lines are always new, but their sentences come back: those are what is worth keeping, and are shared.
@functools.lru_cache(maxsize=16384)
def _part(raw: str) -> _Part:
    sentence = parsed(raw)
    trigrams = tuple(_joined(sentence.folded))
    stems = tuple(dict.fromkeys(sentence.stems))
    return tuple(sentence.words), sentence.question, sentence.folded, trigrams, stems


@functools.lru_cache(maxsize=2560)
def _said(text: str) -> Said:
    words: list[str] = []
    grams: list[str] = []
    stems: list[str] = []
    last: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    asks, longest = False, 0
    for raw in split(text):
        last_, asks_, folded, trigrams, own_stems = _part(raw)
        if not last_:
            continue
        last, asks, longest = last_, asks_, max(longest, len(last_))
        words += last
        # Two words of what came before make the trigrams that run across.
        grams += _joined((*before, *folded[:2]))
        grams += trigrams
        before = (*before, *folded)[-2:]
        stems += own_stems
    if len(words) > MAX_WORDS or longest > MAX_SENTENCE:
        return _long_said(text)
    parting = () if asks or len(words) > LEAVING else last
    return Said(tuple(words[-GOODBYE:]), parting, tuple(grams), dict.fromkeys(stems))


def _long_said(text: str) -> Said:
    """Return the reduced form of a line of which not all is read, or sentences are cut."""
    sentences = sentences_of(text)
    words = [word for sentence in sentences for word in sentence.words]
    stems = dict.fromkeys([one for sentence in sentences for one in sentence.stems])
    parting = () if sentences[-1].question or len(words) > LEAVING else tuple(sentences[-1].words)
    return Said(tuple(words[-GOODBYE:]), parting, _trigrams(sentences), stems)


def _joined(folded: Sequence[str]) -> Iterator[str]:
    """Yield word trigrams. No word has a space in it, so that a trigram is its words joined."""
    return map(" ".join, zip(folded, folded[1:], folded[2:], strict=False))


@functools.lru_cache(maxsize=8192)
def line(text: str) -> Line:
    """Return the reduced form of a line of the policy, as remembered."""
    return line_of(sentences_of(text))


def line_of(sentences: Sequence[Sentence]) -> Line:
    """Return the reduced form of a line of the policy."""
    skeleton = "".join([sentence.skeleton for sentence in sentences])
    text = " ".join([word for sentence in sentences for word in sentence.words])
    return Line(text, _trigrams(sentences), array("Q", shapes(skeleton)).tobytes())


def shapes(skeleton: str) -> set[int]:
    """Return the distinct four-grams of a skeleton, each as the integer that its four characters make."""
    data, found = skeleton.encode("utf-16-le"), set[int]()
    for start in (0, 2, 4, 6):
        end = len(data) - (len(data) - start) % _GRAM
        found.update(array("Q", data[start:end]))
    return found


def _trigrams(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """Return the distinct word trigrams."""
    return tuple(dict.fromkeys(_joined([word for sentence in sentences for word in sentence.folded])))


def said_lines(messages: Sequence[Message]) -> list[Said]:
    """Return the lines of the user, in order."""
    return [_said(m["content"][:MAX_CHARACTERS]) for m in messages if m["role"] == "user"]


def own_lines(messages: Sequence[Message]) -> list[Line]:
    """Return the lines of the policy, in order."""
    return [line(m["content"][:MAX_CHARACTERS]) for m in messages if m["role"] == "assistant"]


def copied(reply: Line, lines: Sequence[Said]) -> list[Set[str]]:
    """Return the trigrams that a reply has in common with each line of the user."""
    mine = frozenset(reply.folded)
    return [NOTHING if mine.isdisjoint(one.folded) else mine.intersection(one.folded) for one in lines]


def copied_positions(sentences: Sequence[Sentence], shared: Sequence[Set[str]]) -> frozenset[int]:
    """Return the positions of the words that stand in a run of copied ones, pronouns swapped or not.

    Args:
        sentences: The sentences of the reply.
        shared: Its trigrams that are copied, for each line of the user.
    """
    found: set[int] = set()
    for grams in shared:
        if len(grams) >= COPIED_RUN - 2:
            found.update(_runs([word for sentence in sentences for word in sentence.folded], grams))
    return frozenset(found)


def _runs(folded: Sequence[str], shared: Set[str]) -> Iterator[int]:
    grams = map(" ".join, zip(folded, folded[1:], folded[2:], strict=False))
    start = None
    for at, gram in enumerate([*grams, ""]):
        if gram in shared:
            start = at if start is None else start
        elif start is not None:
            if at - start + 2 >= COPIED_RUN:
                yield from range(start, at + 2)
            start = None


def repetition(reply: Line, earlier: Sequence[Line]) -> int:
    """Return how much a reply repeats what the policy has said: 0, 1 or 2."""
    if not earlier:
        return 0
    level = 0
    folded, own_shapes = frozenset(reply.folded), frozenset(array("Q", reply.shapes))
    for one in earlier:
        if reply.text and reply.text == one.text:
            return 2
        smaller = min(len(folded), len(one.folded))
        if smaller >= 4:
            # A frame with other nouns keeps 40 to 60 in 100; replies that only sound alike stay below 30.
            level = max(level, _share(len(folded.intersection(one.folded)), smaller, 40, 30))
        theirs = array("Q", one.shapes)
        smaller = min(len(own_shapes), len(theirs))
        if smaller >= 8:
            level = max(level, _share(len(own_shapes.intersection(theirs)), smaller, 75, 55))
    return level


def _share(shared: int, smaller: int, high: int, some: int) -> int:
    return 2 if 100 * shared >= high * smaller else 1 if 100 * shared >= some * smaller else 0
