"""Slips of the keyboard: a word that nobody knows is read as the known word one slip away."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Sequence
from typing import Final

from empathy_gym.simulators.embedded.features import Sentence, stem, words_data
from empathy_gym.simulators.embedded.guards import common_words, word_list
from empathy_gym.simulators.embedded.items import View, variants, weak_stems
from empathy_gym.simulators.embedded.lines import Line
from empathy_gym.simulators.embedded.reply import phrase_stems, phrases

SHORTEST: Final = 5
"""Letters a word must have; shorter ones are one slip away from too many others."""
LONGEST: Final = 18
MOST: Final = 12
"""Words of a reply that are corrected; a reply with more slips is not one of slips."""
MOST_SLIPS: Final = 4096
"""Slips remembered for each situation."""
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def correct(sentences: Sequence[Sentence], view: View, said: Sequence[Line]) -> None:
    """Replace the strange words of sentences, where one slip explains them. Names are left alone."""
    left = MOST
    common, known = common_words(), phrase_stems()
    for sentence in sentences:
        stems = sentence.stems
        strange = [
            at
            for at, one in enumerate(stems)
            if one not in common and one not in known and one not in view and len(one) > 3
        ]
        for at in strange:
            word = sentence.words[at]
            if not _misspelt(word, sentence, said) or not left:
                continue
            left -= 1
            better = _likely(word) or _cue(word, view)
            if better is not None:
                if sentence.stems is stems:
                    # The lists are shared with the cache of parsed sentences.
                    sentence.words, sentence.stems = list(sentence.words), list(stems)
                sentence.words[at], sentence.stems[at] = better, stem(better)


def _misspelt(word: str, sentence: Sentence, said: Sequence[Line]) -> bool:
    named = word.capitalize() in sentence.raw
    return (
        SHORTEST <= len(word) <= LONGEST
        and word.isalpha()
        and not named
        and not any(stem(word) in s.stems for s in said)
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
    tried = {*variants(stem(word)), *variants(word)}
    near = {one for variant in tried for one in nearby.get(variant, ()) if one not in weak and one in view}
    return next((slip for slip in _slips(word) if stem(slip) in near), None) if near else None


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
