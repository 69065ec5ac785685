"""What a reply does, as a dozen small integers: the only thing a rule is allowed to see of it.

A perceiver (statistics or a language model) fills an `Appraisal`; a rule turns it into an emotion change.
The fields, their levels and their sources are listed in docs/appraisal.md.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError

LEVELS: Final[dict[str, tuple[int, ...]]] = {
    "form": (0, 1, 2),
    "repetition": (0, 1, 2),
    "grounding": (0, 1, 2, 3),
    "feeling": (0, 1, 2),
    "warmth": (0, 1, 2),
    "exploration": (0, 1, 2),
    "insight": (0, 1, 2),
    "advice": (0, 1, 2),
    "affirmation": (-1, 0, 1, 2),
    "stance": (-2, -1, 0, 1, 2),
    "invalidation": (0, 1, 2),
    "control": (0, 1, 2, 3),
}
"""Valid levels of each field, in the order of the specification."""
_levels_of: Final[Callable[[Any], tuple[int, ...]]] = operator.attrgetter(*LEVELS)

INSIGHT_KINDS: Final[tuple[str, ...]] = ("self", "other", "both_sides", "proportion")
"""What an insight is about: the user, another person, both sides, or the size of the matter."""

GUARDS: Final[tuple[str, ...]] = (
    "empty", "copy", "diversity", "implausible", "control_text", "fake_turn", "wall", "language",
    "policy_harm", "crisis_check",
)  # fmt: skip
"""Reasons a guard may give. ``policy_harm`` and ``crisis_check`` are safety flags that the rule reads."""


@dataclass(frozen=True, slots=True)
class Appraisal:
    """Typed reading of one reply.

    Every field is an integer level (see `LEVELS`); the default is a plain sentence that does nothing.

    Attributes:
        form: 0 not language, empty or mostly copied; 1 poor; 2 something a person would say.
        repetition: Overlap with the policy's own earlier replies, 0-2.
        grounding: 0 none, 1 topic only, 2 one fact in own words, 3 two facts or a link between them.
        feeling: 0 none, 1 generic, 2 a feeling the user has, tied to its reason.
        warmth: 0 none, 1 implied, 2 expressed.
        exploration: 0 none, 1 generic or closed question, 2 one open and specific question.
        insight: 0 none, 1 commonplace, 2 specific and tentative; what it is about is `insight_kind`.
        advice: 0 none, 1 generic or already tried, 2 fits the constraints.
        affirmation: -1 inflated, 0 none, 1 generic, 2 names a disclosed action or effort.
        stance: On a live claim, -2 affirms a falsehood, -1 blanket agreement, 0 silent, 1 leaves it open,
            2 a fair reading with its reason.
        invalidation: 0 none, 1 minimises or hurries, 2 blames, mocks or denies the feeling.
        control: 0 leaves choice, 1 directs, 2 overrides, 3 leverages.
        insight_kind: One of `INSIGHT_KINDS`, or None.
        touched: Ids of the scenario items the reply engages, sorted.
        evidence: For a level that is not zero, the span of the reply it rests on.
        guard: One of `GUARDS`, or None.
    """

    form: int = 2
    repetition: int = 0
    grounding: int = 0
    feeling: int = 0
    warmth: int = 0
    exploration: int = 0
    insight: int = 0
    advice: int = 0
    affirmation: int = 0
    stance: int = 0
    invalidation: int = 0
    control: int = 0
    insight_kind: str | None = None
    touched: tuple[str, ...] = ()
    evidence: dict[str, str] = field(default_factory=dict, hash=False)
    guard: str | None = None

    def __post_init__(self) -> None:
        """Refuse a level that the field does not have.

        Raises:
            ConfigError: If a level, the kind of insight or the guard is not a valid one.
        """
        for (name, valid), value in zip(LEVELS.items(), _levels_of(self), strict=True):
            if type(value) is not int or value not in valid:
                raise ConfigError(
                    f"Appraisal.{name} is {value!r}; valid levels: {', '.join(map(str, valid))}."
                )
        if self.insight_kind is not None and self.insight_kind not in INSIGHT_KINDS:
            raise ConfigError(
                f"Appraisal.insight_kind is {self.insight_kind!r}; valid: {INSIGHT_KINDS} or None."
            )
        if self.guard is not None and self.guard not in GUARDS:
            raise ConfigError(f"Appraisal.guard is {self.guard!r}; valid: {GUARDS} or None.")

    def levels(self) -> dict[str, int]:
        """Return every level by field name, in the order of the specification."""
        return dict(zip(LEVELS, _levels_of(self), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return a fresh JSON-serialisable dict of all attributes."""
        return {
            **self.levels(),
            "insight_kind": self.insight_kind,
            "touched": list(self.touched),
            "evidence": dict(self.evidence),
            "guard": self.guard,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Appraisal:
        """Rebuild an appraisal from `to_json`.

        Raises:
            ConfigError: If a field is unknown or a level is not valid.
        """
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(
                f"Unknown appraisal field {sorted(unknown)[0]!r}; valid: {[f.name for f in fields(cls)]}."
            )
        values = dict(data)
        values["touched"] = tuple(values.get("touched", ()))
        values["evidence"] = dict(values.get("evidence", {}))
        return cls(**values)
