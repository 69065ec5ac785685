"""EmpRL's reward: how likely a response is to have the empathy of the reference.

EmpRL (Ma et al., "Empathy Level Alignment via Reinforcement Learning for Empathetic Response Generation", arXiv
2408.02976): identifiers read the reference's level of emotional reaction, interpretation and exploration, and the
reward of a response is the product of the probabilities that they give *those* levels when they read the response:

    reward = p(ER = ER*) p(IP = IP*) p(EX = EX*)        in (0, 1)

It asks for as much empathy as the reference has, no more: a response that asks and cares where the reference does
neither loses. An identifier sees levels and little else: not whether a response is about what was told, nor whether it
is a sentence at all. The optional terms are for that, off by default; docs/responses.md has what blind responses earn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import Identifier, load_identifier
from empathy_gym.simulators.errors import ConfigError

TERMS: Final = ("empathy", "guard", "length", "repetition", "copy")
"""Terms of the reward, summed in this order."""
WEIGHTS: Final = ("length_weight", "repetition_weight", "copy_weight")
COPIED: Final = 3
"""Words in a row that make a copy."""


@dataclass(frozen=True, slots=True)
class Judgements:
    """What the identifiers read in responses, and what it comes to.

    Attributes:
        levels: Likeliest levels of the responses, shape (n, 3 mechanisms).
        reference_levels: Those of the references, shape (n, 3 mechanisms).
        probabilities: What the responses' readings give to the references' levels, shape (n, 3 mechanisms).
        terms: Value of each term, by name, shape (n,) each.
    """

    levels: NDArray[np.int64]
    reference_levels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    terms: dict[str, NDArray[np.float64]]

    @property
    def rewards(self) -> NDArray[np.float64]:
        """The sums of the terms in their order, shape (n,)."""
        total = np.zeros(len(self.levels), dtype=np.float64)
        for name in TERMS:
            total = total + self.terms[name]
        return total


class EmpathyReward:
    """The product of the probabilities of the reference's levels, and optional terms.

    Args:
        identifier: An `Identifier`, the path of one, ``"structure"``, or None for the one that comes with the package.
        guard: Whether a response that is no language, or a copy of the context, gets 0 (term `guard`): the form
            guards of the embedded perceiver, which read English.
        length_weight: What a response loses at most for a length other than the reference's: that weight times
            1 - shorter / longer, in words.
        repetition_weight: That weight times the share of its word pairs that it has said before.
        copy_weight: That weight times the share of its word triples that stand in the context.

    Raises:
        ConfigError: If an argument has a wrong value.
    """

    terms: tuple[str, ...] = TERMS

    def __init__(
        self,
        identifier: Identifier | str | Path | None = None,
        *,
        guard: bool = False,
        length_weight: float = 0.0,
        repetition_weight: float = 0.0,
        copy_weight: float = 0.0,
    ) -> None:
        given = identifier is None or isinstance(identifier, str | Path)
        self.identifier = load_identifier(identifier) if given else checked_identifier(identifier)  # type: ignore[arg-type]
        if not isinstance(guard, bool):
            raise ConfigError(f"guard is {guard!r}; it must be True or False.")
        self.guard = guard
        self.length_weight = _weight("length_weight", length_weight)
        self.repetition_weight = _weight("repetition_weight", repetition_weight)
        self.copy_weight = _weight("copy_weight", copy_weight)

    def score(
        self, contexts: Sequence[str], references: Sequence[str], responses: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return the rewards, shape (n,).

        Args:
            contexts: What was told, an utterance a line, the last one the speaker's, shape (n,).
            references: What a person answered, shape (n,).
            responses: What is judged: any strings, shape (n,).

        Raises:
            ValueError: If there are not as many of each.
        """
        return self.judge(contexts, references, responses).rewards

    def judge(
        self,
        contexts: Sequence[str],
        references: Sequence[str],
        responses: Sequence[str],
        reference_levels: NDArray[np.int64] | None = None,
    ) -> Judgements:
        """Return everything that is read and paid, in one call of the identifier for the responses.

        Args:
            contexts: What was told, an utterance a line, the last one the speaker's, shape (n,).
            references: What a person answered, shape (n,).
            responses: What is judged: any strings, shape (n,).
            reference_levels: What `identifier.levels` reads in the references, shape (n, 3 mechanisms), where that is
                known.

        Raises:
            ValueError: If there are not as many of each.
        """
        if len(references) != len(responses):
            raise ValueError("references and responses must be two lists of equal length.")
        targets = (
            self.identifier.levels(contexts, references) if reference_levels is None else reference_levels
        )
        found = self.identifier.probabilities(contexts, responses)
        chosen = np.take_along_axis(found, np.asarray(targets)[:, :, None], axis=2)[:, :, 0]
        empathy = chosen[:, 0] * chosen[:, 1] * chosen[:, 2]
        words = [response.split() for response in responses]
        lengths = [
            _unlike(said, reference.split()) for said, reference in zip(words, references, strict=True)
        ]
        repeats = [_repeated(said) for said in words]
        copies = [_copied(said, context) for said, context in zip(words, contexts, strict=True)]
        refused = self._refused(contexts, responses)
        terms = {
            "empathy": empathy,
            "guard": np.where(refused, -empathy, 0.0),
            "length": _penalty(self.length_weight, lengths),
            "repetition": _penalty(self.repetition_weight, repeats),
            "copy": _penalty(self.copy_weight, copies),
        }
        return Judgements(found.argmax(axis=2), np.asarray(targets), chosen, terms)

    def _refused(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.bool_]:
        if not self.guard:
            return np.zeros(len(responses), dtype=np.bool_)
        from empathy_gym.rewards.structure import guarded

        return np.array([no_reply for no_reply, _ in guarded(contexts, responses)], dtype=np.bool_)

    @property
    def fingerprint(self) -> str:
        """What pays: the identifier, and the terms that are in force."""
        weights = {name: getattr(self, name) for name in WEIGHTS}
        also = [f"{name}={value:g}" for name, value in weights.items() if value]
        return ", ".join([f"empathy({self.identifier.fingerprint})", *["guard"] * self.guard, *also])


def checked_identifier(identifier: Any) -> Identifier:
    """Return an identifier.

    Raises:
        ConfigError: If it is none.
    """
    if isinstance(identifier, type) or not isinstance(identifier, Identifier):
        raise ConfigError(
            f"identifier is a {type(identifier).__name__}; it must be a path, 'structure', None, or have `levels`, "
            "`probabilities`, `fingerprint`, `family` and `determinism`."
        )
    return identifier


def _weight(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise ConfigError(f"{name} is {value!r}; it must be a number of at least 0.")
    return float(value)


def _penalty(weight: float, shares: Sequence[float]) -> NDArray[np.float64]:
    values = -weight * np.array(shares, dtype=np.float64)
    return np.asarray(values + 0.0)  # no -0.0: it would not survive JSON as the same text


def _unlike(said: Sequence[str], reference: Sequence[str]) -> float:
    longer = max(len(said), len(reference))
    return 1.0 - min(len(said), len(reference)) / longer if longer else 0.0


def _repeated(said: Sequence[str]) -> float:
    pairs = [(a.lower(), b.lower()) for a, b in pairwise(said)]
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _copied(said: Sequence[str], context: str) -> float:
    triples = _triples(said)
    given = {triple for line in context.splitlines() for triple in _triples(line.split())}
    return sum(triple in given for triple in triples) / len(triples) if triples else 0.0


def _triples(words: Sequence[str]) -> list[tuple[str, ...]]:
    low = [word.lower() for word in words]
    return [tuple(low[i : i + COPIED]) for i in range(len(low) - COPIED + 1)]
