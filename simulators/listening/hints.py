"""Which way of helping a user's words speak for: counts of words in the hints of the `train` split, and nothing else.

A hint shows a need from the side and never names it, but some words stand in hints for one need far more often than
in hints for others. What stands in facts speaks for none. Everything is integer arithmetic, so that every machine
hears the same.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from empathy_gym.simulators.listening.wording import sentences, words

MODES: Final = {
    "venting": "vent",
    "deep_empathy": "comfort",
    "praise": "affirm",
    "advice": "suggest",
    "self_reflection": "ask",
    "critical_analysis": "weigh",
    "others_motives": "read",
    "fair_fault": "fair",
}
"""The way of helping that goes with each need."""
NONE: Final = "none"
"""What goes with a line that hints at nothing."""
WAYS: Final = (*MODES.values(), NONE)
"""What a text can speak for."""
LEAST: Final = 2
"""Lines in which a word or a pair of words has to stand to count."""
FINE: Final = 16
"""Parts of a doubling of the odds that a weight is counted in."""


def hinted(text: str, margin: int) -> tuple[str, ...]:
    """Return the two ways of helping that a text hints at most, the likelier first; none if it is hardly a hint.

    Args:
        text: What was said beside facts, as far as they can be told from it.
        margin: Doublings of the odds by which a hint has to be likelier than a fact.
    """
    scores = _scores(text)
    best = sorted(MODES.values(), key=lambda mode: -scores[WAYS.index(mode)])
    highest = max(scores[:-1])
    return tuple(best[:2]) if highest > max(0, scores[-1] + margin * FINE) else ()


def evidence(text: str, margin: int = 0) -> tuple[int, ...]:
    """Return how much a text speaks for each way of helping, in the order of `MODES`; all 0 if it is hardly a hint.

    Args:
        text: What was said beside facts, as far as they can be told from it.
        margin: Doublings of the odds by which a hint has to be likelier than a fact.

    Returns:
        Doublings of the odds, each in `FINE` parts and at least 0.
    """
    scores = _scores(text)
    least = max(0, scores[-1] + margin * FINE)
    return tuple(max(0, score - least) for score in scores[:-1])


def _scores(text: str) -> list[int]:
    """Return the sum of the weights of a text's words for each of `WAYS`."""
    weights = _weights()
    found = [weights[one] for one in _features(text) if one in weights]
    return [sum(column) for column in zip(*found, strict=True)] if found else [0] * len(WAYS)


def _features(text: str) -> Iterator[str]:
    """Yield the words of a text and its pairs of words, each once."""
    found = [word.lower().replace("’", "'") for word in words(text)]
    yield from dict.fromkeys([*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))])
    if text.rstrip().endswith("?"):
        yield "?"


def _lines() -> Iterator[tuple[str, str]]:
    """Yield the hints of the situations of `train` with their ways of helping, and the ends of the facts."""
    from empathy_gym.simulators.library.compiler import bundled_situations

    for source in bundled_situations():
        if source.split != "train":
            continue
        for need, hints in source.hints.items():
            for hint in hints:
                yield MODES[need], hint
        for fact in source.situation.facts:
            yield NONE, " ".join(sentences(fact.text)[-2:])


@functools.cache
def _weights() -> Mapping[str, tuple[int, ...]]:
    """Return what each word adds to each of `WAYS`: logarithms of odds, in parts of a doubling."""
    lines = list(_lines())
    totals = Counter(mode for mode, _ in lines)
    counts: dict[str, Counter[str]] = {}
    for mode, line in lines:
        for one in _features(line):
            counts.setdefault(one, Counter())[mode] += 1
    return {
        one: tuple(_weight(own, mode, totals) for mode in WAYS)
        for one, own in counts.items()
        if sum(own.values()) >= LEAST
    }


def _weight(own: Mapping[str, int], mode: str, totals: Mapping[str, int]) -> int:
    """Return how much likelier a word is in the lines of one way of helping than in all others."""
    within, lines = 2 * own.get(mode, 0) + 1, totals[mode] + 1
    outside = 2 * (sum(own.values()) - own.get(mode, 0)) + 1
    others = sum(totals.values()) - totals[mode] + 1
    return _log(within * others) - _log(outside * lines)


def _log(number: int) -> int:
    """Return a logarithm to the base 2 in parts of a doubling: the length in bits of a power."""
    return (number**FINE).bit_length()
