"""An identifier without weights: the embedded perceiver's levels as EPITOME's.

It reads words, phrases and the shape of sentences by tables, where the others count n-grams or run a network, so
that its mistakes are others' than theirs: what a policy has learnt to please them with does not please it. It is meant
for reporting, not for paying; docs/responses.md says how far it agrees with EPITOME's annotators.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import LEVELS, MECHANISMS, paired
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.exchanges.exchange import LINE, messages_of

SURE: Final = 0.8
"""Probability of the level that was read; the others share the rest. It says which, not how sure."""
SAFETY: Final = ("policy_harm", "crisis_check")
"""Guards of the perceiver that are safety flags."""


class StructureIdentifier:
    """EPITOME's three mechanisms, from the fields of the embedded perceiver (docs/appraisal.md).

    ER is `warmth`. IP is the higher of `feeling` and `insight`. EX is `exploration`, where a closed question that
    names something told (`grounding`) is specific, too. What is not language (`form` 0) has no mechanism.
    """

    family = "structure"
    determinism = "exact"

    @property
    def fingerprint(self) -> str:
        """What reads: ``structure:`` and the perceiver."""
        return f"structure:{_perceiver().fingerprint}"

    def probabilities(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return `SURE` for the level that is read and the rest for the others, shape (n, 3 mechanisms, 3 levels).

        Args:
            contexts: What each response answers, an utterance a line, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        read = self.levels(contexts, responses)[:, :, None] == np.array(LEVELS)
        return np.where(read, SURE, (1 - SURE) / (len(LEVELS) - 1))

    def levels(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.int64]:
        """Return the level of each mechanism, shape (n, 3 mechanisms).

        Args:
            contexts: What each response answers, an utterance a line, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        read = [_levels(appraisal) for appraisal in _perceiver().perceive(_requests(contexts, responses))]
        return np.array(read, dtype=np.int64).reshape(len(read), len(MECHANISMS))


def unspoken(contexts: Sequence[str], responses: Sequence[str]) -> list[bool]:
    """Return of each response whether the embedded perceiver's guards find no reply of a person in it.

    Empty, gibberish, salad, the context over again, the same words over and over, text for a machine: ``form`` 0. They
    read English.

    Args:
        contexts: What each response answers, an utterance a line, shape (n,).
        responses: Any strings, shape (n,).
    """
    return [read.form == 0 for read in _perceiver().structure(_requests(contexts, responses))]


def harmful(contexts: Sequence[str], responses: Sequence[str]) -> list[str | None]:
    """Return the safety flag of each response: ``"policy_harm"``, ``"crisis_check"`` or None.

    Args:
        contexts: What each response answers, an utterance a line, shape (n,).
        responses: Any strings, shape (n,).
    """
    flags = [read.guard for read in _perceiver().structure(_requests(contexts, responses))]
    return [flag if flag in SAFETY else None for flag in flags]


@functools.cache
def _perceiver() -> EmbeddedPerceiver:
    return EmbeddedPerceiver(learned=False)


def _requests(contexts: Sequence[str], responses: Sequence[str]) -> list[PerceptionRequest]:
    paired(contexts, responses)
    return [
        PerceptionRequest("", "en", tuple(messages_of(context.split(LINE))), response)
        for context, response in zip(contexts, responses, strict=True)
    ]


def _levels(read: Appraisal) -> tuple[int, int, int]:
    if read.form == 0:
        return 0, 0, 0
    specific = read.exploration == 1 and read.grounding >= 1
    return read.warmth, max(read.feeling, read.insight), 2 if specific else read.exploration
