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
MOST_SLIPS: Final = 4096
"""Slips remembered for each situation."""
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
    """Return the cue word that is one slip away from a word nobody knows."""
    known = view.index.slips
    key = word, view.mask
    if key not in known:
        if len(known) >= MOST_SLIPS:
            known.clear()
        known[key] = _nearest(word, view)
    return known[key]


def _nearest(word: str, view: View) -> str | None:
    """Return the first of the slips of a word whose stem is a cue. Few words are near one at all."""
    nearby, weak = view.index.near, weak_stems()
    met = nearby.keys() & _variants(word)
    near = frozenset(
        [one for variant in met for one in nearby[variant].split() if one not in weak and one in view]
    )
    return _slip_to(word, near) if near else None


@functools.lru_cache(maxsize=2048)
def _variants(word: str) -> frozenset[str]:
    """Return what a word or its stem becomes by losing a letter."""
    return frozenset((*variants(stem(word)), *variants(word)))


@functools.lru_cache(maxsize=2048)
def _slip_to(word: str, near: frozenset[str]) -> str | None:
    """Return the first of the slips of a word with one of these stems. There are hundreds of slips to try."""
    return next((slip for slip in _slips(word) if stem(slip) in near), None)


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
