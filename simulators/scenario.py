"""What a simulated user is: the schema of scenarios.

A `Scenario` is one user in one situation with one hidden need. It is compiled (see `library`) from a situation
file, which holds what happened, and a temperament file, which holds how somebody talks. All models are frozen
and refuse unknown fields; ids are content hashes and say nothing about what is inside.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from empathy_gym.simulators.errors import unknown_name
from empathy_gym.simulators.hashing import canonical_json, content_hash
from empathy_gym.simulators.situation import (
    ITEM_KINDS,
    Attempt,
    Boundary,
    Claim,
    ClaimKind,
    Constraint,
    Cue,
    Fact,
    Feeling,
    Frozen,
    InsightKind,
    Item,
    ItemId,
    Line,
    Person,
    Perspective,
    Request,
    Situation,
    Strength,
    Topic,
    Truth,
)

__all__ = [
    "DIFFICULTIES",
    "ITEM_KINDS",
    "NEEDS",
    "NEED_CLAIMS",
    "SCHEMA_VERSION",
    "TRUTHS",
    "Attempt",
    "Boundary",
    "Claim",
    "ClaimKind",
    "Constraint",
    "Cue",
    "Difficulty",
    "Fact",
    "Feeling",
    "Frozen",
    "InsightKind",
    "Item",
    "ItemId",
    "Knobs",
    "Line",
    "Need",
    "Percent",
    "Person",
    "Persona",
    "Perspective",
    "Quarter",
    "Request",
    "Scenario",
    "Situation",
    "Speech",
    "Strength",
    "Topic",
    "Truth",
    "canonical_json",
    "content_hash",
    "scenario_id",
]

SCHEMA_VERSION: Final = 1

Need = Literal[
    "venting", "deep_empathy", "praise", "advice", "self_reflection", "critical_analysis", "others_motives", "fair_fault"
]  # fmt: skip
Difficulty = Literal["easy", "normal", "hard"]

NEEDS: Final[tuple[str, ...]] = get_args(Need)
DIFFICULTIES: Final[tuple[str, ...]] = get_args(Difficulty)
TRUTHS: Final[tuple[str, ...]] = get_args(Truth)
NEED_CLAIMS: Final[dict[str, tuple[str, ...]]] = {
    "fair_fault": ("fault",),
    "critical_analysis": ("belief", "forecast"),
    "others_motives": ("mind_reading",),
}
"""Kinds of claim that a need turns on: such a claim has to be addressed before the emotion can go far."""


class Persona(Frozen):
    """Who the user is. Temperament is how somebody talks, never a disorder."""

    name: Line
    age: Annotated[int, Field(ge=18, le=99)]
    occupation: Line
    temperament: Line
    style: Line


Quarter = Annotated[int, Field(ge=3, le=5)]
Percent = Annotated[int, Field(ge=0, le=100)]


class Knobs(Frozen):
    """How hard the user is to reach.

    Attributes:
        difficulty: Row of the rule table with patience, openness, resistance and volatility.
        gain: Quarters by which gains are scaled (3 reserved, 5 responsive).
        cost: Quarters by which costs are scaled (3 forgiving, 5 sensitive).
        layer2: Trust needed for layer-2 facts.
        layer3: Trust needed for layer-3 facts.
        pushes_back: Objects once to a fair reading of a claim that is not true.
        declines: May decline the first question that needs trust.
    """

    difficulty: Difficulty = "normal"
    gain: Quarter = 4
    cost: Quarter = 4
    layer2: Percent = 40
    layer3: Percent = 55
    pushes_back: bool = False
    declines: bool = False


class Speech(Frozen):
    """Lines of a temperament, by reaction (see `library.REACTIONS`)."""

    reactions: Mapping[str, tuple[Line, ...]]

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return content_hash(self.model_dump(mode="json"))


class Scenario(Frozen):
    """One simulated user: a persona in a situation, with a hidden need.

    Attributes:
        id: Content hash of everything else but the difficulty; opaque.
        goal: What the user says they want.
        need: What they need. Only the rule and privileged policies ever see it.
        hints: Lines that hint at the need without naming it.
        openings: First lines; one is drawn by the dialogue's seed.
        initial_emotion: 0-100.
        initial_trust: 0-100.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str = ""
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")] = "en"
    topic: Line
    split: str = ""
    persona: Persona
    situation: Situation
    goal: Line
    need: Need
    speech: Speech
    hints: tuple[Line, ...] = ()
    openings: Annotated[tuple[Line, ...], Field(min_length=1)]
    initial_emotion: Annotated[int, Field(ge=0, le=100)] = 40
    initial_trust: Percent = 45
    knobs: Knobs = Knobs()
    tags: tuple[str, ...] = ()
    provenance: Line

    @model_validator(mode="after")
    def _identified(self) -> Scenario:
        expected = scenario_id(self)
        if self.id and self.id != expected:
            raise ValueError(
                f"id is {self.id!r} but the content hashes to {expected!r}; leave `id` out to have it computed"
            )
        object.__setattr__(self, "id", expected)
        return self

    def __eq__(self, other: object) -> bool:
        """Compare by content: the id is its hash, and the difficulty is all that it leaves out."""
        return isinstance(other, Scenario) and (self.id, self.knobs) == (other.id, other.knobs)

    def __hash__(self) -> int:
        """Hash consistently with equality."""
        return int(self.id, 16)

    @functools.cached_property
    def need_claims(self) -> tuple[str, ...]:
        """Ids of the claims the need turns on."""
        kinds = NEED_CLAIMS.get(self.need, ())
        return tuple(claim.id for claim in self.situation.claims if claim.kind in kinds)

    def at(self, difficulty: str) -> Scenario:
        """Return the same user at another difficulty; the id stays.

        Raises:
            ConfigError: If the difficulty is unknown.
        """
        if difficulty not in DIFFICULTIES:
            raise unknown_name("difficulty", difficulty, DIFFICULTIES)
        return self._variants.setdefault(difficulty, self._with_difficulty(difficulty))

    @functools.cached_property
    def _variants(self) -> dict[str, Scenario]:
        return {self.knobs.difficulty: self}

    def _with_difficulty(self, difficulty: str) -> Scenario:
        if difficulty in self._variants:
            return self._variants[difficulty]
        # model_copy shares the cached `_variants` with the copy, so every difficulty finds every other.
        return self.model_copy(update={"knobs": self.knobs.model_copy(update={"difficulty": difficulty})})


def scenario_id(scenario: Scenario) -> str:
    """Return the content hash that identifies a scenario, 16 hexadecimal digits.

    The two large parts, situation and speech, enter by their own hash, which is computed once for all the
    scenarios that share them.
    """
    rest = scenario.model_dump(mode="json", exclude={"id", "situation", "speech"})
    rest["knobs"].pop("difficulty")
    rest["situation"] = scenario.situation.content_hash
    rest["speech"] = scenario.speech.content_hash
    return content_hash(rest)[:16]
