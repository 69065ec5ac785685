"""Learned heads: what structure alone misreads, corrected from labelled text, and in one direction only.

A head is a small integer linear model (`linear`) over hashed words and word pairs of the reply and over the levels
that structure has found. It can only **take away**: lower what pays, raise what costs. So nobody can find words that a
head rewards, whatever it has learned; the worst it can do is to miss some good, or to see harm where there is none,
and for that it has to be sure by a margin. The weights are a file in the package (``data/heads.npz``), trained by
``empathy-gym perceiver train`` on text written for this project.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.embedded.hashed import UNIT, HashSpec, Integers
from empathy_gym.simulators.embedded.linear import LinearHeads, load

COSTS: Final = ("invalidation", "control")
"""Fields of which a higher level costs; of all others a lower one does."""
MARGINS: Final[Mapping[str, float]] = {"invalidation": 1.0, "control": 1.0, "affirmation": 1.0, "stance": 1.0}
"""Logits by which harm has to be likelier than what structure found. What only lowers a gain needs none."""
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
        for name, head in self.heads.heads.items():
            scores = head.scores(rows).tolist()
            margin = round(MARGINS.get(name, 0.0) / head.scale * UNIT)
            for known, found in zip(corrected, scores, strict=True):
                known[name] = _harsher(name, head.levels, found, known[name], margin)
        return corrected


def _harsher(name: str, levels: Sequence[int], scores: Sequence[int], known: int, margin: int) -> int:
    """Return the likeliest level among those that pay no more than the known one; of equals the mildest."""
    best, most = known, scores[levels.index(known)]
    for level, score in sorted(zip(levels, scores, strict=True), key=lambda pair: abs(pair[0])):
        if level > known if name in COSTS else level < known:
            harm = name in COSTS or level < 0
            if score - (margin if harm else 0) > most:
                best, most = level, score
    return best


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
