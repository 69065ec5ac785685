"""What a simulated user is: the schema of scenarios.

A `Scenario` is one user in one situation with one hidden need. It is compiled (see `library`) from a situation
file, which holds what happened, and a temperament file, which holds how somebody talks. All models are frozen
and refuse unknown fields; ids are content hashes and say nothing about what is inside.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from empathy_gym.simulators.errors import unknown_name

SCHEMA_VERSION: Final = 1

Need = Literal[
    "venting", "deep_empathy", "praise", "advice", "self_reflection", "critical_analysis", "others_motives", "fair_fault"
]  # fmt: skip
Difficulty = Literal["easy", "normal", "hard"]
Truth = Literal["true", "half", "false", "open"]
InsightKind = Literal["self", "other", "both_sides", "proportion"]
ClaimKind = Literal["fault", "belief", "mind_reading", "forecast"]

NEEDS: Final[tuple[str, ...]] = get_args(Need)
DIFFICULTIES: Final[tuple[str, ...]] = get_args(Difficulty)
TRUTHS: Final[tuple[str, ...]] = get_args(Truth)
NEED_CLAIMS: Final[dict[str, tuple[str, ...]]] = {
    "fair_fault": ("fault",),
    "critical_analysis": ("belief", "forecast"),
    "others_motives": ("mind_reading",),
}
"""Kinds of claim that a need turns on: such a claim has to be addressed before the emotion can go far."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Cue = Annotated[str, StringConstraints(min_length=1, max_length=400)]
ItemId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Frozen(BaseModel):
    """Base of all scenario models: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Frozen):
    """Something in a situation that a reply can engage.

    Attributes:
        id: Unique within the situation.
        text: What it is. For facts, feelings, claims and boundaries: a line the user says.
        cues: Word groups by which own-words mention is recognised, each ``"word|synonym|two words"``.
        say: Lines a good listener could say about it; used by scripted policies, never by a perceiver.
    """

    id: ItemId
    text: Line
    cues: tuple[Cue, ...] = ()
    say: tuple[Line, ...] = ()


class Topic(Item):
    """Something one can ask the user about. `text` is a short label; it gives no fact away."""


class Fact(Item):
    """A first-person line with something that happened.

    Attributes:
        layer: 1 is told freely, 2 with some trust, 3 only when opened.
        topics: Ids of the topics under which a question finds it.
    """

    layer: Literal[1, 2, 3]
    topics: tuple[ItemId, ...] = ()


class Feeling(Item):
    """A feeling that the user has, or says not to have.

    Attributes:
        name: The feeling in one or two words.
        held: False if the user denies it.
        because: Ids of the facts it comes from; the feeling is known once one of them is told.
    """

    name: Line
    held: bool = True
    because: tuple[ItemId, ...] = ()


class Attempt(Item):
    """Something already tried. `fact` is the fact that tells of it, if one does."""

    fact: ItemId | None = None


class Constraint(Item):
    """Something a fitting suggestion has to respect."""


class Strength(Item):
    """An action or effort that deserves to be named. `evidence`: the facts that show it."""

    evidence: tuple[ItemId, ...] = ()


class Perspective(Item):
    """A way of seeing the matter that the user has not found yet."""

    kind: InsightKind
    because: tuple[ItemId, ...] = ()


class Claim(Item):
    """A disputed statement of the user.

    Attributes:
        kind: About fault, a belief, somebody's mind, or the future.
        truth: Settled by the authored facts alone, never by knowledge of the world.
        voiced_by: Fact with which the user states it; None if the opening does.
        evidence: Facts that settle it.
        fair_readings: Readings that are fair, each with its reason, as a listener would say them.
        must_not_affirm: Sentences that affirm it outright, as a flatterer would say them.
        repair: What the user could do about it.
        asks: Lines with which the user asks outright, once.
        pushbacks: Lines with which the user objects to a fair reading.
        beats: Lines that tell how reality answered after the claim was wrongly affirmed.
    """

    kind: ClaimKind
    truth: Truth
    voiced_by: ItemId | None = None
    evidence: tuple[ItemId, ...] = ()
    fair_readings: tuple[Line, ...] = ()
    must_not_affirm: tuple[Line, ...] = ()
    repair: str = ""
    asks: tuple[Line, ...] = ()
    pushbacks: tuple[Line, ...] = ()
    beats: tuple[Line, ...] = ()


class Boundary(Item):
    """A limit the user sets: a topic to leave, an act to spare them, or a time by which to go.

    Attributes:
        kind: ``topic`` (named by `cues`), ``act`` (`act`) or ``time`` (`after` replies).
        act: Field of the appraisal that is unwelcome, for kind ``act``.
        after: Number of replies after which the user announces leaving, for kind ``time``.
        voiced_by: Fact with which it is stated; None if it is stated with the opening.
        until: Fact with which the user reopens it; None if never.
    """

    kind: Literal["topic", "act", "time"]
    act: Literal["advice", "exploration", "affirmation"] | None = None
    after: Annotated[int, Field(ge=2, le=64)] | None = None
    voiced_by: ItemId | None = None
    until: ItemId | None = None

    @model_validator(mode="after")
    def _complete(self) -> Boundary:
        if self.kind == "act" and self.act is None:
            raise ValueError("a boundary of kind 'act' needs `act`: advice, exploration or affirmation")
        if self.kind == "time" and self.after is None:
            raise ValueError("a boundary of kind 'time' needs `after`: the number of replies")
        return self


class Person(Frozen):
    """Somebody else in the situation."""

    name: Line
    role: Line


class Situation(Frozen):
    """What happened, to whom, and what could be said about it. Items have unique ids."""

    summary: Line
    people: tuple[Person, ...] = ()
    topics: tuple[Topic, ...] = ()
    facts: tuple[Fact, ...]
    feelings: tuple[Feeling, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    strengths: tuple[Strength, ...] = ()
    perspectives: tuple[Perspective, ...] = ()
    claims: tuple[Claim, ...] = ()
    boundaries: tuple[Boundary, ...] = ()

    def items(self) -> Iterator[Item]:
        """Yield every item, topics first, in authored order."""
        for name in ITEM_KINDS:
            yield from getattr(self, name)

    @functools.cached_property
    def by_id(self) -> Mapping[str, Item]:
        """Items by id."""
        return {item.id: item for item in self.items()}

    @functools.cached_property
    def kind_of(self) -> Mapping[str, str]:
        """Kind of each item by id: ``"topics"``, ``"facts"``, ..."""
        return {item.id: kind for kind in ITEM_KINDS for item in getattr(self, kind)}

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return content_hash(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _consistent(self) -> Situation:
        problems = list(_situation_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


ITEM_KINDS: Final[tuple[str, ...]] = (
    "topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims", "boundaries"
)  # fmt: skip


def _situation_problems(situation: Situation) -> Iterator[str]:
    """Yield every inconsistency between items, in words."""
    seen: set[str] = set()
    for item in situation.items():
        if item.id in seen:
            yield f"the id {item.id!r} is used twice"
        seen.add(item.id)
    facts = {fact.id for fact in situation.facts}
    topics = {topic.id for topic in situation.topics}
    for layer in (1, 2, 3):
        if not any(fact.layer == layer for fact in situation.facts):
            yield f"facts: no fact of layer {layer} (a situation needs all three)"
    yield from (
        f"facts.{f.id}.topics: no topic {t!r}" for f in situation.facts for t in f.topics if t not in topics
    )
    for owner, field, ids in _fact_references(situation):
        yield from (f"{owner}.{field}: no fact {ref!r}" for ref in ids if ref not in facts)
    for claim in situation.claims:
        if claim.truth in ("half", "false") and not claim.evidence:
            yield f"claims.{claim.id}: a {claim.truth} claim needs `evidence`"
        if not claim.fair_readings:
            yield f"claims.{claim.id}: needs at least one of `fair_readings`"


def _fact_references(situation: Situation) -> Iterator[tuple[str, str, Iterable[str]]]:
    """Yield (owner, field, fact ids) for every reference from an item to facts."""
    for feeling in situation.feelings:
        yield f"feelings.{feeling.id}", "because", feeling.because
    for attempt in situation.attempts:
        yield f"attempts.{attempt.id}", "fact", filter(None, [attempt.fact])
    for strength in situation.strengths:
        yield f"strengths.{strength.id}", "evidence", strength.evidence
    for perspective in situation.perspectives:
        yield f"perspectives.{perspective.id}", "because", perspective.because
    for claim in situation.claims:
        yield f"claims.{claim.id}", "evidence", claim.evidence
        yield f"claims.{claim.id}", "voiced_by", filter(None, [claim.voiced_by])
    for boundary in situation.boundaries:
        yield f"boundaries.{boundary.id}", "voiced_by", filter(None, [boundary.voiced_by])
        yield f"boundaries.{boundary.id}", "until", filter(None, [boundary.until])


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


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def content_hash(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


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
