"""An identifier without weights: the embedded perceiver's levels and a few cues, as EPITOME's levels.

It reads words, phrases and the shape of sentences by tables, where the others count n-grams or run a network, so
that its mistakes are others than theirs: what a policy has learnt to please them with need not please it. It is meant
for reporting, not for paying; docs/responses.md says how far it agrees with EPITOME's annotators.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import LEVELS, MECHANISMS, paired
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.features import MAX_CHARACTERS
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.exchanges.exchange import LINE, messages_of

VERSION: Final = 1
"""Raise it with every change that changes a level."""
SURE: Final = 0.8
"""Probability of the level that was read; the others share the rest. It says which, not how sure."""
SAFETY: Final = ("policy_harm", "crisis_check")
"""Guards of the perceiver that are safety flags."""
SPECIFIC: Final = {1: 5, 2: 4}
"""Words from which on a question is specific, by `exploration`: "What happened?", "Are you okay now?" are not."""

# EPITOME's strong ER: the responder names what they feel themselves.
_OWN_FEELING: Final = re.compile(
    r"\b(?:i(?:['\u2019]m| am)|im)\b[^.!?]{0,25}\b(?:sorry|sad|worried|proud|happy|glad|hurts?|concerned|delighted)\b"
    r"|\bmakes me\b|\bbreaks my heart\b|\bmy heart\b|\bhugs?\b|\blove you\b",
    re.IGNORECASE,
)
# Its strong IP, the second kind: the responder tells of a like experience.
_LIKE: Final = re.compile(
    r"\b(?:me too|same here|same boat|been there|my own"
    r"|i(?:['\u2019]ve| have| had)? (?:been through|went through|go through|gone through|felt|was|had|used to|remember"
    r"|also|know (?:that|the|how|what|exactly)|feel (?:the same|like|that|this|you)|did|am in"
    r"|do (?:this|that|the same)|still)|i['\u2019]m (?:in|the same|going through))\b",
    re.IGNORECASE,
)
_QUESTION: Final = re.compile(r"[^.!?\n]*\?")


class StructureIdentifier:
    """EPITOME's three mechanisms, from the fields of the embedded perceiver (docs/appraisal.md) and cues.

    * ER: strong where the responder names a feeling of their own ("I'm so sorry"), weak where `warmth` is above 0.
    * IP: strong where a feeling of the speaker's is named (`feeling`), something is read specifically (`insight` 2) or a
      like experience is told ("I had the same"); weak where something is read generically (`insight` 1).
    * EX: strong where `exploration` is above 0 and a question has `SPECIFIC` words or more, weak where none has.

    What is not language (`form` 0) has no mechanism.
    """

    family = "structure"
    determinism = "exact"

    @property
    def fingerprint(self) -> str:
        """What reads: ``structure``, its version and the perceiver."""
        return f"structure-{VERSION}:{_perceiver().fingerprint}"

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
        found = _perceiver().perceive(_requests(contexts, responses))
        read = [_levels(a, text[:MAX_CHARACTERS]) for a, text in zip(found, responses, strict=True)]
        return np.array(read, dtype=np.int64).reshape(len(read), len(MECHANISMS))


def guarded(contexts: Sequence[str], responses: Sequence[str]) -> list[tuple[bool, str | None]]:
    """Return what the embedded perceiver's guards find in each response, which is structure and no model.

    Args:
        contexts: What each response answers, an utterance a line, shape (n,).
        responses: Any strings, shape (n,).

    Returns:
        Whether it is no reply of a person (empty, gibberish, salad, the context over again, the same words over and
        over, text for a machine: ``form`` 0, judged for English), and its safety flag: ``"policy_harm"``,
        ``"crisis_check"`` or None.
    """
    found = _perceiver().structure(_requests(contexts, responses))
    return [(read.form == 0, read.guard if read.guard in SAFETY else None) for read in found]


@functools.cache
def _perceiver() -> EmbeddedPerceiver:
    return EmbeddedPerceiver(learned=False)


def _requests(contexts: Sequence[str], responses: Sequence[str]) -> list[PerceptionRequest]:
    paired(contexts, responses)
    return [
        PerceptionRequest("", "en", tuple(messages_of(context.split(LINE))), response)
        for context, response in zip(contexts, responses, strict=True)
    ]


def _levels(read: Appraisal, text: str) -> tuple[int, int, int]:
    if read.form == 0:
        return 0, 0, 0
    reaction = 2 if _OWN_FEELING.search(text) else min(read.warmth, 1)
    understood = read.feeling >= 1 or read.insight == 2 or _LIKE.search(text) is not None
    asked = max((len(question.split()) for question in _QUESTION.findall(text)), default=0)
    explored = 0 if not read.exploration else 2 if asked >= SPECIFIC[read.exploration] else 1
    return reaction, 2 if understood else read.insight, explored
