"""What linear heads say of plain sentences, one at a time: the sums of `linear`, without arrays.

A row of a dozen words is a dozen numbers: to make arrays of them takes longer than to add them up, for one reply
above all. So the buckets of words and of pairs of words are remembered, and their weights are added up as Python's
integers. Every number is the one that `hashed_rows` and `Head.scores` come to.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Final

from empathy_gym.simulators.embedded.hashed import (
    BEGIN,
    END,
    ODD,
    POWER,
    PREVIOUS,
    SPACES,
    UNIT,
    HashSpec,
    mix,
)
from empathy_gym.simulators.embedded.linear import LinearHeads

MOST: Final = 32768
"""Words, and pairs of words, that are remembered."""
_TOKEN: Final = re.compile(r"[a-z0-9']+|[^\x00- a-z0-9']")
"""A token of ASCII text in lower case: a run of letters, digits and apostrophes, or any other character but space."""
_MASK: Final = (1 << 64) - 1


@functools.lru_cache(maxsize=MOST)
def _token(word: str) -> int:
    """Return the hash of a token: a polynomial of its code points, spread over all bits."""
    number = 0
    for letter in reversed(word):
        number = (number * POWER + ord(letter) + 1) & _MASK
    return _spread(number)


def _spread(number: int) -> int:
    # `mix` begins with a step more than hashing needs.
    return mix(number - ODD)


class _Words(dict[str, int]):
    """Buckets of words, worked out when first met.

    Args:
        bits: 2**bits buckets, of which words have the lower half.
    """

    def __init__(self, bits: int) -> None:
        self._shift = 65 - bits

    def __missing__(self, text: str) -> int:
        if len(self) >= MOST:
            self.clear()
        self[text] = bucket = self._hash(text) >> self._shift
        return bucket

    def _hash(self, text: str) -> int:
        return _spread(_token(text) + SPACES["word1"])


class _Pairs(_Words):
    """Buckets of pairs of words, joined by a space, which no word has in it; beyond either end stands "".

    Joined words are, as opposed to tuples, nothing for the garbage collector to visit; there are thousands.
    """

    def _hash(self, text: str) -> int:
        before, _, after = text.partition(" ")
        first, second = _token(before) if before else BEGIN, _token(after) if after else END
        return _spread(first * PREVIOUS + second + SPACES["word2"])


class PlainHeads:
    """Heads that read ASCII text without arrays.

    Args:
        heads: Heads that are `readable`.
    """

    def __init__(self, heads: LinearHeads) -> None:
        bits = heads.spec.bits
        self._words, self._pairs = _Words(bits), _Pairs(bits)
        self._heads: list[tuple[str, list[int], int]] = []
        for name, head in heads.heads.items():
            none, some = (row[: 1 << (bits - 1)].tolist() for row in head.weights)
            weights = [b - a for a, b in zip(none, some, strict=True)]
            self._heads.append((name, weights, int(head.bias[1]) - int(head.bias[0])))

    def leads(self, text: str) -> dict[str, int]:
        """Return, by head, by how much the score of the second level leads that of the first.

        Args:
            text: ASCII text.
        """
        tokens = _TOKEN.findall(text.lower())
        if not tokens:
            return {name: bias for name, _, bias in self._heads}
        buckets = {*map(self._words.__getitem__, tokens)}
        pairs = map(" ".join, zip(["", *tokens], [*tokens, ""], strict=True))
        buckets.update(map(self._pairs.__getitem__, pairs))
        # A row is divided by its length, which for so few small numbers is the same in integers.
        unit = math.isqrt(UNIT * UNIT // len(buckets))
        return {
            name: unit * sum(map(weights.__getitem__, buckets)) + bias for name, weights, bias in self._heads
        }


def readable(heads: LinearHeads) -> bool:
    """Whether heads read words and pairs of words and nothing else, and have a score for each of two levels."""
    plain = HashSpec(bits=heads.spec.bits, words=(1, 2), chars=())
    return heads.spec == plain and all(
        head.kind == "multinomial" and len(head.levels) == 2 for head in heads.heads.values()
    )
