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

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

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
ENCODER: Final = "encoder_identifiers.json"
"""What the settings of an encoder's heads are called in their folder."""
STRUCTURE: Final = "structure"
"""Name of the identifier that reads by the embedded perceiver."""
SHIPPED: Final = Path(__file__).resolve().parent / "data"


@runtime_checkable
class Identifier(Protocol):
    """Whatever reads EPITOME's three mechanisms.

    Attributes:
        fingerprint: What reads, with the hash of what it was trained to.
        family: What kind of reader it is; two families make different mistakes.
        determinism: ``"exact"`` where a text is read alike on every machine, ``"rule-only"`` where not.
    """

    @property
    def fingerprint(self) -> str:
        """What reads."""
        ...

    @property
    def family(self) -> str:
        """What kind of reader it is."""
        ...

    @property
    def determinism(self) -> str:
        """Whether a text is read alike on every machine."""
        ...

    def probabilities(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each level, shape (n, 3 mechanisms, 3 levels)."""
        ...

    def levels(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.int64]:
        """Return the likeliest level, shape (n, 3 mechanisms)."""
        ...


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
        self.family = "hashed n-grams"
        self.determinism = "exact"

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
        found = self.heads.probabilities(self.heads.rows(responses, paired(contexts, responses)))
        return np.stack([found[name] for name in MECHANISMS], axis=1)

    def levels(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.int64]:
        """Return the likeliest level, the lower of equals, shape (n, 3 mechanisms).

        Args:
            contexts: What each response answers, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        found = self.heads.levels(self.heads.rows(responses, paired(contexts, responses)))
        return np.stack([found[name] for name in MECHANISMS], axis=1)


def load_identifier(source: str | Path | None = None) -> Identifier:
    """Return an identifier by name, once per process and weights.

    Args:
        source: A folder that ``empathy-gym identifiers train`` wrote, of linear heads or of an encoder;
            ``"structure"`` for the embedded perceiver's reading; None for the weights that come with the package.

    Raises:
        ConfigError: If the folder holds no identifier.
        MissingExtraError: If it holds an encoder, and torch or Transformers is not installed.
    """
    if source is None:
        return _loaded(str(SHIPPED), 0)
    if not isinstance(source, str | Path):
        raise ConfigError(
            f"identifier is a {type(source).__name__}; it must be the path of a folder that 'empathy-gym "
            f"identifiers train' wrote, or {STRUCTURE!r}."
        )
    if source == STRUCTURE:
        return _loaded(STRUCTURE, 0)
    folder = Path(source)
    for name in (ENCODER, FILE):
        if (folder / name).is_file():
            return _loaded(str(folder), (folder / name).stat().st_mtime_ns)
    raise ConfigError(
        f"There are no weights in {str(folder)!r}: neither {FILE} nor {ENCODER}. Name a folder that "
        f"'empathy-gym identifiers train' wrote, or {STRUCTURE!r}."
    )


@functools.lru_cache(maxsize=8)
def _loaded(source: str, changed: int) -> Identifier:
    found: Any
    if source == STRUCTURE:
        from empathy_gym.rewards.structure import StructureIdentifier

        return StructureIdentifier()
    if (Path(source) / ENCODER).is_file():
        from empathy_gym.rewards.encoder_identifiers import EncoderIdentifier

        found = EncoderIdentifier.load(Path(source))
    else:
        found = EmpathyIdentifier(source)
    return found  # type: ignore[no-any-return]


def paired(contexts: Sequence[str], responses: Sequence[str]) -> Sequence[str]:
    """Return the contexts.

    Raises:
        ValueError: If there are not as many contexts as responses.
    """
    if isinstance(contexts, str) or isinstance(responses, str) or len(contexts) != len(responses):
        raise ValueError("contexts and responses must be two lists of equal length.")
    return contexts
