"""Slips of the keyboard: a word that nobody knows is read as the known word one slip away."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Sequence
from typing import Final

from empathy_gym.simulators.embedded.features import stem, words_data
from empathy_gym.simulators.embedded.items import View, variants, weak_stems
from empathy_gym.simulators.embedded.lexicon import phrases, word_list
from empathy_gym.simulators.embedded.lines import Said
from empathy_gym.simulators.embedded.sentences import Sentence

SHORTEST: Final = 5
"""Letters a word must have; shorter ones are one slip away from too many others."""
LONGEST: Final = 18
MOST: Final = 12
"""Words of a reply that are corrected; a reply with more slips is not one of slips."""
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def correct(sentences: Sequence[Sentence], view: View, said: Sequence[Said]) -> Sequence[Sentence]:
    """Replace the strange words of sentences, where one slip explains them. Names are left alone.

    Returns:
        The sentences; if nothing was replaced, the very same object.
    """
    left = MOST
    better: dict[int, Sentence] = {}
    for number, sentence in enumerate(sentences):
        words = list(sentence.words) if sentence.strange else []
        for at in sentence.strange:
            word, one = words[at], sentence.stems[at]
            if not left or len(one) < 4 or one in view or not _misspelt(word, one, sentence, said):
                continue
            left -= 1
            words[at] = _likely(word) or _cue(word, view) or word
        if words and words != list(sentence.words):
            better[number] = sentence.reworded(words)
    if not better:
        return sentences
    return [better.get(number, sentence) for number, sentence in enumerate(sentences)]


def _misspelt(word: str, one: str, sentence: Sentence, said: Sequence[Said]) -> bool:
    """Whether a strange word, with this stem, may be a slip: it is no name, and nobody has said it."""
    return (
        SHORTEST <= len(word) <= LONGEST
        and word.isalpha()
        and word.capitalize() not in sentence.raw
        and not any([one in line.stems for line in said])
    )


def _cue(word: str, view: View) -> str | None:
    """Return the first of the slips of a word nobody knows whose stem is a cue. Few words are near one at all."""
    nearby, weak = view.index.near, weak_stems()
    near = [one for variant in _variants(word) if variant in nearby for one in nearby[variant].split()]
    found = [_slip_to(word, one) for one in dict.fromkeys(near) if one not in weak and one in view]
    return min([slip for slip in found if slip is not None], default=(0, None))[1]


@functools.lru_cache(maxsize=2048)
def _variants(word: str) -> tuple[str, ...]:
    """Return what a word or its stem becomes by losing a letter."""
    return tuple(dict.fromkeys((*variants(stem(word)), *variants(word))))


@functools.lru_cache(maxsize=4096)
def _slip_to(word: str, one: str) -> tuple[int, str] | None:
    """Return the first of the slips of a word with this stem, and how many come before it: there are hundreds."""
    return next(((rank, slip) for rank, slip in enumerate(_slips(word)) if stem(slip) == one), None)


@functools.lru_cache(maxsize=16384)
def _likely(word: str) -> str | None:
    known = _vocabulary()
    return next((slip for slip in _slips(word) if slip in known), None)


@functools.cache
def _vocabulary() -> Container[str]:
    return frozenset(
        w for w in (*word_list(), *phrases().vocabulary, *words_data().function) if len(w) >= SHORTEST
    )


def _slips(word: str) -> Iterator[str]:
    """Yield what a word could be, likeliest slips first: swapped, doubled, wrong and missing letters."""
    halves = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    yield from (a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1)
    yield from (a + b[1:] for a, b in halves if b)
    yield from (a + c + b for a, b in halves for c in _LETTERS)
    yield from (a + c + b[1:] for a, b in halves if b for c in _LETTERS)
