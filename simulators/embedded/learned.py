"""Learned heads: harm that structure alone does not see, found from labelled text.

Heads are small integer linear models (`linear`) over hashed words and word pairs. They read each sentence by itself, so
that one cannot hide among others, and may find leverage and praise blown up where structure saw none; they have to be
sure by a margin. A head can only **accuse**: it never raises what pays nor lowers what costs, so nobody can find words
that one rewards, whatever it has learned; the worst it can do is to see harm where there is none. The weights are a file
in the package (``data/heads.npz``), trained by ``empathy-gym perceiver train`` on text written for this project.
docs/fidelity.md tells which other heads were tried and left out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from empathy_gym.simulators.embedded.hashed import UNIT, HashSpec
from empathy_gym.simulators.embedded.linear import LinearHeads, load

COSTS: Final = ("invalidation", "control")
"""Fields of which a higher level costs; of all others a lower one does."""
ACCUSED: Final[Mapping[str, int]] = {"control": 3, "affirmation": -1}
"""The level that an accusation finds, by field."""
MARGINS: Final[Mapping[str, float]] = {"control": 2.5, "affirmation": 2.0}
"""Logits by which harm has to be likelier than none."""
SPEC: Final = HashSpec(bits=14, words=(1, 2), chars=())
"""What a row of a sentence is made of."""


class LearnedHeads:
    """Adds the harm that heads find to what structure has found.

    Args:
        heads: Heads with the levels 0 and 1 (harm), by field; they read sentences.
    """

    def __init__(self, heads: LinearHeads) -> None:
        self.heads = heads

    @property
    def hash(self) -> str:
        """Content hash of the weights."""
        return self.heads.hash

    def correct(
        self, sentences: Sequence[Sequence[str]], levels: Sequence[Mapping[str, int]]
    ) -> list[dict[str, int]]:
        """Return levels of which none pays more and none costs less than before.

        Args:
            sentences: The sentences of each reply, shape (n,).
            levels: Levels that structure has found, shape (n,).
        """
        corrected = [dict(known) for known in levels]
        whose = [i for i, mine in enumerate(sentences) for _ in mine]
        if not whose:
            return corrected
        rows = self.heads.rows([sentence for mine in sentences for sentence in mine])
        for name, head in self.heads.heads.items():
            scores = head.scores(rows)
            sure = scores[:, 1] - scores[:, 0] > round(MARGINS[name] / head.scale * UNIT)
            harsher = max if name in COSTS else min
            for i in {whose[at] for at in np.flatnonzero(sure).tolist()}:
                corrected[i][name] = harsher(corrected[i][name], ACCUSED[name])
        return corrected


def packaged_heads() -> Path:
    """Return the file of the packaged weights."""
    return Path(str(resources.files("empathy_gym.simulators.embedded") / "data" / "heads.npz"))


@functools.cache
def default_heads() -> LearnedHeads:
    """Return the packaged heads.

    Raises:
        ConfigError: If the file is missing, damaged or of another version.
    """
    return LearnedHeads(load(packaged_heads()))
