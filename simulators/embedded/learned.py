"""Learned heads: what structure alone misreads, corrected from labelled replies, and in one direction only.

A head is a small integer linear model (`linear`) over hashed words and word pairs of the reply and over the levels
that structure has found. It can only **take away**: lower what pays, raise what costs. So nobody can find words that a
head rewards, whatever it has learned; the worst it can do is to miss some good. The weights are a file in the
package (``data/heads.npz``), trained by ``empathy-gym perceiver train`` on replies written for this project.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.embedded.hashed import HashSpec, Integers
from empathy_gym.simulators.embedded.linear import LinearHeads, load

COSTS: Final = ("invalidation", "control")
"""Fields of which a higher level costs; of all others a lower one does."""
FIELDS: Final = tuple(name for name in LEVELS if name not in ("form", "repetition"))
_UNIT: Final = 16
"""What a dense column's 1 is worth: about as much as the words of a short reply together."""
_COLUMNS: Final = tuple((name, level) for name in FIELDS for level in LEVELS[name] if level)
_PLACE: Final = {pair: place for place, pair in enumerate(_COLUMNS)}
DENSE: Final = (*(f"{name}{level:+d}" for name, level in _COLUMNS), "words", "question", "exclamation")
SPEC: Final = HashSpec(bits=14, words=(1, 2), chars=(), dense=DENSE)
"""What a row is made of."""


def dense(texts: Sequence[str], levels: Sequence[Mapping[str, int]]) -> Integers:
    """Return the dense columns: the levels of structure, length in steps of 20 words, question and exclamation marks.

    Args:
        texts: Replies, shape (n,).
        levels: Levels that structure has found, shape (n,).

    Returns:
        Shape (n, number of dense columns).
    """
    found = np.zeros((len(texts), len(DENSE)), dtype=np.int64)
    for row, text, known in zip(found, texts, levels, strict=True):
        for name in FIELDS:
            level = known[name]
            if level:
                row[_PLACE[name, level]] = _UNIT
        row[-3] = _UNIT * min(3, (text.count(" ") + 1) // 20)
        row[-2] = _UNIT * ("?" in text)
        row[-1] = _UNIT * min(3, text.count("!"))
    return found


class LearnedHeads:
    """Corrects the levels of structure.

    Args:
        heads: Trained heads, by field.
    """

    def __init__(self, heads: LinearHeads) -> None:
        self.heads = heads

    def correct(self, texts: Sequence[str], levels: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
        """Return levels of which none pays more and none costs less than before.

        Args:
            texts: Replies, shape (n,).
            levels: Levels that structure has found, shape (n,).
        """
        if not texts:
            return []
        rows = self.heads.rows(texts, None, dense(texts, levels))
        corrected = [dict(known) for known in levels]
        for name, read in self.heads.levels(rows).items():
            for known, level in zip(corrected, read.tolist(), strict=True):
                if name in COSTS:
                    known[name] = max(known[name], level)
                elif known[name] > 0:
                    # Down to nothing at the most: that something is a lie, or praise blown up, structure has to show.
                    known[name] = max(0, min(known[name], level))
        return corrected


def packaged_heads() -> Path:
    """Return the file of the packaged weights."""
    return Path(str(resources.files("empathy_gym.simulators.embedded") / "data" / "heads.npz"))


@functools.cache
def default_heads() -> LearnedHeads | None:
    """Return the packaged heads, or None where there are none yet.

    Raises:
        ConfigError: If the file is damaged or of another version.
    """
    path = packaged_heads()
    return LearnedHeads(load(path)) if path.exists() else None
