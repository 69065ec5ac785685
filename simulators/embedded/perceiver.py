"""The embedded perceiver: reads a reply by matching, with integers only."""

from __future__ import annotations

from collections.abc import Sequence

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest


class EmbeddedPerceiver:
    """First, thin version: form only. The real one replaces it."""

    fingerprint = "embedded@000000000000"

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Return one appraisal for each request, in order."""
        return [
            Appraisal() if request.reply.strip() else Appraisal(form=0, guard="empty") for request in items
        ]
