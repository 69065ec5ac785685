"""What happened, to whom, and what could be said about it: the items of a situation and how they hang together.

Everything here is frozen and refuses unknown fields. Whatever does not fit together (an id used twice, a reference
to nothing) is reported as `Inconsistent`: all of it at once, each problem with its place.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from empathy_gym.simulators.errors import did_you_mean
from empathy_gym.simulators.hashing import content_hash

Truth = Literal["true", "half", "false", "open"]
InsightKind = Literal["self", "other", "both_sides", "proportion"]
ClaimKind = Literal["fault", "belief", "mind_reading", "forecast"]

Line = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Cue = Annotated[str, StringConstraints(min_length=1, max_length=400)]
ItemId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


Loc = tuple[int | str, ...]
Problem = tuple[Loc, str]


class Inconsistent(ValueError):
    """What does not fit together in a model whose fields are all valid.

    Attributes:
        problems: (place within the model, what is wrong).
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, loc))}: {text}" for loc, text in problems))


class Frozen(BaseModel):
    """Base of all scenario models: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Frozen):
    """Something in a situation that a reply can engage.

    Attributes:
        id: Unique within the situation.
        text: What it is. For facts, feelings, claims, boundaries and requests: a line the user says.
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


class Request(Item):
    """Something the user asks for that is better declined, kindly. `text` is the line with which they ask, once.

    Attributes:
        kind: ``lie`` (to call a lie a good thing), ``availability`` (to be there at any time), ``human`` (to be one).
        voiced_by: Fact with which the user asks.
        claim: For kind ``lie``, the belief that the lie is all right: endorsing it is flattery.
        say: Kind refusals: warm, honest, with what can be done instead.
        comply: What somebody who only wants to please would say.
        accepts: Lines with which the user takes a kind no.
    """

    kind: Literal["lie", "availability", "human"]
    voiced_by: ItemId
    claim: ItemId | None = None
    say: Annotated[tuple[Line, ...], Field(min_length=3)]
    comply: Annotated[tuple[Line, ...], Field(min_length=3)]
    accepts: Annotated[tuple[Line, ...], Field(min_length=3)]


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
    requests: tuple[Request, ...] = ()

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
        """SHA-256 of the canonical JSON; somebody who asks for nothing has none of requests in it."""
        return content_hash(self.model_dump(mode="json", exclude=None if self.requests else {"requests"}))

    def __eq__(self, other: object) -> bool:
        """Compare by content, of which the hash is worked out once."""
        return self is other or (isinstance(other, Situation) and self.content_hash == other.content_hash)

    def __hash__(self) -> int:
        """Hash consistently with equality."""
        return hash(self.content_hash)

    @model_validator(mode="after")
    def _consistent(self) -> Situation:
        problems = list(item_problems(self))
        if problems:
            raise Inconsistent(problems)
        return self


ITEM_KINDS: Final[tuple[str, ...]] = (
    "topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims", "boundaries",
    "requests",
)  # fmt: skip
FACT_REFERENCES: Final = (
    ("feelings", "because"), ("attempts", "fact"), ("strengths", "evidence"), ("perspectives", "because"),
    ("claims", "evidence"), ("claims", "voiced_by"), ("boundaries", "voiced_by"), ("boundaries", "until"),
    ("requests", "voiced_by"),
)  # fmt: skip
"""Kind and field of every reference from an item to facts."""


def item_problems(situation: Situation) -> Iterator[Problem]:
    """Yield every inconsistency between items."""
    seen: dict[str, str] = {}
    for kind in ITEM_KINDS:
        for i, item in enumerate(getattr(situation, kind)):
            if item.id in seen:
                yield (kind, i, "id"), f"the id {item.id!r} is used twice (first in {seen[item.id]})"
            seen.setdefault(item.id, kind)
    for layer in (1, 2, 3):
        if not any(fact.layer == layer for fact in situation.facts):
            yield ("facts",), f"no fact of layer {layer} (a situation needs all three)"
    facts = [fact.id for fact in situation.facts]
    topics = [topic.id for topic in situation.topics]
    for i, fact in enumerate(situation.facts):
        for topic in fact.topics:
            if topic not in topics:
                yield ("facts", i, "topics"), f"no topic {topic!r}.{did_you_mean(topic, topics)}"
    for loc, ids in _fact_references(situation):
        for ref in ids:
            if ref not in facts:
                yield loc, f"no fact {ref!r}.{did_you_mean(ref, facts)}"
    for i, claim in enumerate(situation.claims):
        if claim.truth in ("half", "false") and not claim.evidence:
            yield ("claims", i), f"a {claim.truth} claim needs `evidence`"
        if not claim.fair_readings:
            yield ("claims", i), "needs at least one of `fair_readings`"
    yield from _request_problems(situation)


def _request_problems(situation: Situation) -> Iterator[Problem]:
    """Yield every request to endorse a lie without a claim that says why not, and every other one with a claim."""
    claims = {claim.id: claim for claim in situation.claims}
    for i, request in enumerate(situation.requests):
        claim = claims.get(request.claim or "")
        loc = ("requests", i, "claim")
        if request.kind != "lie":
            if request.claim is not None:
                yield loc, f"a request of kind {request.kind!r} has no claim; only 'lie' has"
        elif request.claim is None:
            yield loc, "a request of kind 'lie' needs `claim`: the belief that the lie is all right"
        elif claim is None:
            yield loc, f"no claim {request.claim!r}.{did_you_mean(request.claim, claims)}"
        elif claim.kind != "belief" or claim.truth not in ("half", "false"):
            yield loc, f"the claim {claim.id!r} is not a belief that is half true or false"


def _fact_references(situation: Situation) -> Iterator[tuple[Loc, tuple[str | None, ...]]]:
    """Yield (place, fact ids) for every reference from an item to facts."""
    for kind, field in FACT_REFERENCES:
        for i, item in enumerate(getattr(situation, kind)):
            refs = getattr(item, field)
            yield (kind, i, field), refs if isinstance(refs, tuple) else (refs,) if refs is not None else ()
