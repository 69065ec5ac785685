"""Empathy identifiers: how strongly a response reacts, interprets and explores.

EPITOME (Sharma, Miner, Atkins and Althoff, "A Computational Approach to Understanding Empathy Expressed in Text-Based
Mental Health Support", EMNLP 2020) names three mechanisms, each at level 0 (none), 1 (weak) or 2 (strong):

* ER, emotional reactions: warmth, compassion, concern that the responder expresses. Weak alludes ("Everything will be
  fine"), strong names what the responder feels ("I feel really sad for you").
* IP, interpretations: understanding of what the seeker feels and goes through. Weak says so ("I understand how you
  feel"), strong says what ("This must be terrifying") or tells of a like experience.
* EX, explorations: asking about what was not said. Weak is generic ("What happened?"), strong specific ("Are you
  feeling alone right now?").

The identifiers are linear heads on hashed n-grams with integer weights (`simulators.embedded.linear`): thousands of
pairs a second on one core, and the same answer on every machine. The weights that come with the package are trained
on text written for this project alone; docs/fidelity.md says how far they agree with EPITOME's annotators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.simulators.embedded.linear import LinearHeads, load
from empathy_gym.simulators.errors import ConfigError

MECHANISMS: Final = ("ER", "IP", "EX")
"""Emotional reactions, interpretations, explorations."""
LEVELS: Final = (0, 1, 2)
"""None, weak, strong."""
FILE: Final = "identifiers.npz"
"""What the weights' file is called in its folder."""
SHIPPED: Final = Path(__file__).resolve().parent / "data"


class EmpathyIdentifier:
    """EPITOME's three mechanisms, read from text.

    Args:
        weights: A folder that ``empathy-gym identifiers train`` wrote, or heads in memory; the weights that come with
            the package if None.

    Raises:
        ConfigError: If the folder holds no weights, or those of another version.
    """

    def __init__(self, weights: str | Path | LinearHeads | None = None) -> None:
        heads = weights if isinstance(weights, LinearHeads) else load(Path(weights or SHIPPED) / FILE)
        if tuple(heads.heads) != MECHANISMS or any(h.levels != LEVELS for h in heads.heads.values()):
            raise ConfigError(
                f"these weights read {', '.join(heads.heads)}; identifiers read {', '.join(MECHANISMS)}."
            )
        self.heads = heads

    @property
    def fingerprint(self) -> str:
        """What reads: ``identifiers:`` and the beginning of the weights' hash."""
        return f"identifiers:{self.heads.hash[:16]}"

    def probabilities(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each level, shape (n, 3 mechanisms, 3 levels).

        Args:
            contexts: What each response answers, shape (n,). Weights whose rows read no context, as those that come
                with the package, go by the response alone.
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        found = self.heads.probabilities(self.heads.rows(responses, _checked(contexts, responses)))
        return np.stack([found[name] for name in MECHANISMS], axis=1)

    def levels(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.int64]:
        """Return the likeliest level, the lower of equals, shape (n, 3 mechanisms).

        Args:
            contexts: What each response answers, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        found = self.heads.levels(self.heads.rows(responses, _checked(contexts, responses)))
        return np.stack([found[name] for name in MECHANISMS], axis=1)


def _checked(contexts: Sequence[str], responses: Sequence[str]) -> Sequence[str]:
    if isinstance(contexts, str) or isinstance(responses, str) or len(contexts) != len(responses):
        raise ValueError("contexts and responses must be two lists of equal length.")
    return contexts
