"""The space of replies: any string at all."""

from __future__ import annotations

import string
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MAX_LENGTH: Final = 1_048_576
"""Longest reply in characters; what is longer is cut there."""
SAMPLE_LENGTH: Final = 256
"""Longest string that `UnicodeText.sample` draws."""


class UnicodeText(spaces.Text):
    """Every string of up to `max_length` characters, the empty one and lone surrogates included.

    `gymnasium.spaces.Text` lists its characters, which nobody can do for Unicode. Here the printable ASCII
    characters are what `sample` draws from, and membership asks for the type and the length only.

    Args:
        max_length: Longest string in characters.
        seed: Seed of `sample`.
    """

    def __init__(
        self, max_length: int = MAX_LENGTH, *, seed: int | np.random.Generator | None = None
    ) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable, seed=seed)

    def sample(
        self,
        mask: tuple[int | None, NDArray[np.int8] | None] | None = None,
        probability: tuple[int | None, NDArray[np.float64] | None] | None = None,
    ) -> str:
        """Return a random string of at most 256 printable ASCII characters.

        Args:
            mask: Length and characters to draw from, as in `gymnasium.spaces.Text`.
            probability: Length and probabilities of the characters, as in `gymnasium.spaces.Text`.
        """
        if mask is not None:
            return super().sample(mask=(self._length(mask[0]), mask[1]))
        if probability is not None:
            return super().sample(probability=(self._length(probability[0]), probability[1]))
        return super().sample(mask=(self._length(None), None))

    def _length(self, length: int | None) -> int:
        if length is not None:
            return length
        return int(self.np_random.integers(min(SAMPLE_LENGTH, self.max_length) + 1))

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    @property
    def is_np_flattenable(self) -> bool:
        """False: there is no list of all characters by which to number them."""
        return False

    def __repr__(self) -> str:
        """Return a short text; the one of `Text` prints every character."""
        return f"UnicodeText({self.max_length})"

    def __eq__(self, other: object, /) -> bool:
        """Return whether `other` holds the same strings."""
        return isinstance(other, UnicodeText) and self.max_length == other.max_length
