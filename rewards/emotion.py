"""Rewards that are the user's emotion: how it moves, or where it ends.

RLVER (arXiv 2507.03112) trains on the last emotion score; SAGE (arXiv 2505.02847) reports the emotion after
every turn. Both are in units of the whole scale: 1.0 is 100 points.
"""

from __future__ import annotations

from typing import Final

from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.rule import RULE_TERMS

_KNOWN: Final = frozenset(RULE_TERMS)


class EmotionDelta:
    """Change of the emotion: (e_t - e_{t-1}) / 100 for every reply, which sums to (e_T - e_0) / 100.

    The terms are those of the rule, each / 100. What a rule of somebody else's moves under names of its own,
    or under none, is `custom`.
    """

    terms: tuple[str, ...] = (*RULE_TERMS, "custom")

    def __call__(self, before: Dialogue, reply: str, after: Dialogue) -> dict[str, float]:
        """Return the terms of the emotion change."""
        points = after.terms[-1] if len(after.terms) > len(before.terms) else {}
        values = dict.fromkeys(EmotionDelta.terms, 0.0)
        rest = after.emotion - before.emotion
        for name, value in points.items():
            if name in _KNOWN:
                values[name] = value / 100
                rest -= value
        values["custom"] = rest / 100
        return values

    def floor(self, before: Dialogue) -> float:
        """Return the fall of the emotion to 0: the lowest return there is."""
        return -before.emotion / 100


class EmotionAndSuccess(EmotionDelta):
    """`delta`, and 1.0 more with the reply after which the user needs nothing more (outcome ``success``).

    Success is rare, and under `delta` it is worth little more than a good talk broken off in time; this is for learners
    that are to seek it. It sums to (e_T - e_0) / 100, plus 1.0 for a success.
    """

    terms: tuple[str, ...] = (*EmotionDelta.terms, "success")

    def __call__(self, before: Dialogue, reply: str, after: Dialogue) -> dict[str, float]:
        """Return the terms of the emotion change, and the bonus."""
        return {**super().__call__(before, reply, after), "success": float(after.outcome == "success")}


class FinalEmotion:
    """Where the emotion ends: max(e_T, 0) / 100 on the last turn, 0 before (RLVER's reward)."""

    terms: tuple[str, ...] = ("final",)

    def __call__(self, before: Dialogue, reply: str, after: Dialogue) -> dict[str, float]:
        """Return the one term."""
        return {"final": max(after.emotion, 0) / 100 if after.ended else 0.0}

    def floor(self, before: Dialogue) -> float:
        """Return 0: nothing was paid before, and the emotion is 0."""
        return 0.0
