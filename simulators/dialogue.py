"""A conversation as one immutable value, and the requests that pass between the three parts of a user.

`Dialogue` holds everything: keep it, pickle it, resume it, branch it. Nothing else has state.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypedDict

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.scenario import (
    Attempt,
    Boundary,
    Claim,
    Constraint,
    Fact,
    Feeling,
    Perspective,
    Scenario,
    Situation,
    Strength,
    Topic,
)

Outcome = Literal["success", "failure", "timeout", "format", "closed", "fault"]
ScoredBy = Literal["rule", "model", "custom"]
Determinism = Literal["exact", "replay", "rule-only"]

SUCCESS_EMOTION: Final = 100
"""Band S: the emotion at which the user needs nothing more from this talk (SAGE, arXiv 2505.02847)."""
FAILURE_EMOTION: Final = 10
"""Below it (band F) the user ends the talk (SAGE)."""
CONTENT_EMOTION: Final = 70
"""Band A: a user who has to go for the clock's sake leaves content from here on."""


class Message(TypedDict):
    """One line of the conversation. Treat as read-only."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that kept a reply from being scored.

    Attributes:
        kind: ``"simulator"`` (or its transport; the episode is truncated) or ``"policy"`` (terminated, emotion 0).
        cause: What happened, in a few words.
        turn: Number of the reply, from 1; filled in by the user.
    """

    kind: Literal["simulator", "policy"]
    cause: str
    turn: int = 0


@dataclass(frozen=True, slots=True)
class UserState:
    """Everything the rule needs to know, so that it stays a pure function. All integers.

    Attributes:
        emotion: 0-100.
        trust: 0-100.
        progress: Steps towards the need, 0-4.
        turn: Number of scored replies so far.
        disclosed: Ids of the facts told, in the order told.
        touched: Ids of the items that some reply engaged, sorted.
        stances: (claim id, best stance so far), sorted.
        asked: What the user did once and does not do again: ``"ask:c1"``, ``"push:c1"``, ``"decline"``.
        boundaries: Ids of the boundaries that were respected and rewarded.
        satiation: (act, times used), sorted.
        debts: (claim id, turn due) of flattery not yet paid for, first in first out.
        misses: Replies in a row without a progress step.
        checks: Times the policy raised self-harm unprompted.
        leaving: None, or why the user has announced to go: ``"success"`` or ``"time"``.
        beats: What the user has to say next, e.g. ``"ask:c1"``, ``"debt:c1"``, ``"request:r1"``, ``"hint"``.
    """

    emotion: int = 40
    trust: int = 45
    progress: int = 0
    turn: int = 0
    disclosed: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    stances: tuple[tuple[str, int], ...] = ()
    asked: tuple[str, ...] = ()
    boundaries: tuple[str, ...] = ()
    satiation: tuple[tuple[str, int], ...] = ()
    debts: tuple[tuple[str, int], ...] = ()
    misses: int = 0
    checks: int = 0
    leaving: str | None = None
    beats: tuple[str, ...] = ()

    @property
    def need_progress(self) -> int:
        """Progress in percent, 0-100."""
        return 25 * self.progress


@dataclass(frozen=True, slots=True)
class EmotionChange:
    """What a rule returns.

    Attributes:
        change: Change of the emotion, an integer.
        terms: Named integer terms that sum to `change`; zero terms may be left out.
        state: The next state; its emotion is the previous one plus `change`.
    """

    change: int
    terms: dict[str, int]
    state: UserState


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The whole state of one conversation.

    Attributes:
        scenario: Id of the scenario.
        seed: 63-bit seed from which every choice of the user derives.
        difficulty: ``"easy"``, ``"normal"`` or ``"hard"``.
        max_turns: Cap on scored replies.
        messages: What was heard, starting and ending with a line of the user.
        states: The state at the start and after each scored reply.
        appraisals: The reading of each scored reply.
        terms: The terms of each emotion change.
        faults: Faults, in order.
        outcome: None while the conversation goes on.
        safety: A safety flag, or None.
        scored_by: Who decides the number.
        determinism: Grade of repeatability.
        source: The scenario itself, at this difficulty.
    """

    scenario: str
    seed: int
    difficulty: str
    max_turns: int
    messages: tuple[Message, ...]
    states: tuple[UserState, ...]
    source: Scenario = field(repr=False, compare=False)
    appraisals: tuple[Appraisal, ...] = ()
    terms: tuple[dict[str, int], ...] = ()
    faults: tuple[Fault, ...] = ()
    outcome: Outcome | None = None
    safety: str | None = None
    scored_by: ScoredBy = "rule"
    determinism: Determinism = "exact"

    @property
    def state(self) -> UserState:
        """The current state."""
        return self.states[-1]

    @property
    def emotion(self) -> int:
        """The current emotion, 0-100."""
        return self.states[-1].emotion

    @property
    def turn(self) -> int:
        """Number of replies taken so far, a malformed one included."""
        return len(self.states) - 1

    @property
    def ended(self) -> bool:
        """Whether the conversation is over, for whatever reason."""
        return self.outcome is not None

    @property
    def truncated(self) -> bool:
        """Whether it ended through a fault that is not the policy's."""
        return self.outcome == "fault" and any(f.kind == "simulator" for f in self.faults)

    @property
    def sim_fault(self) -> str | None:
        """Cause of the last fault, or None."""
        return self.faults[-1].cause if self.faults else None

    @property
    def last_line(self) -> str:
        """The user's latest line."""
        return self.messages[-1]["content"]


def band(emotion: int) -> str:
    """Return SAGE's band of an emotion: S >= 100, A >= 70, B >= 40, C >= 10, F below."""
    for name, floor in (("S", SUCCESS_EMOTION), ("A", CONTENT_EMOTION), ("B", 40), ("C", FAILURE_EMOTION)):
        if emotion >= floor:
            return name
    return "F"


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """A conversation to begin.

    Attributes:
        scenario: Who to talk to.
        seed: 63-bit dialogue seed.
        difficulty: ``"easy"``, ``"normal"`` or ``"hard"``.
        max_turns: Number of scored replies, at least 1.
        initial_emotion: 0-100, or None for the scenario's.
    """

    scenario: Scenario
    seed: int = 0
    difficulty: str = "normal"
    max_turns: int = 8
    initial_emotion: int | None = None


@dataclass(frozen=True, slots=True)
class PerceptionRequest:
    """What a perceiver may see: never the need, the emotion, the trust or anything not yet told.

    Attributes:
        situation: Content hash of the situation, a key for caches.
        language: ISO 639-1 code of the user's language.
        messages: The conversation so far, ending with the user's line that was answered.
        reply: The reply to be read.
        topics: What the user can be asked about (bare labels).
        facts: Facts told so far.
        feelings: Feelings, held or denied, that have become known.
        attempts: Attempts that have become known.
        constraints: All constraints.
        strengths: All strengths.
        perspectives: All perspectives.
        claims: Claims the user has voiced, with truth, evidence and fair readings.
        boundaries: Boundaries in force.
    """

    situation: str
    language: str
    messages: tuple[Message, ...]
    reply: str
    topics: tuple[Topic, ...] = ()
    facts: tuple[Fact, ...] = ()
    feelings: tuple[Feeling, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    strengths: tuple[Strength, ...] = ()
    perspectives: tuple[Perspective, ...] = ()
    claims: tuple[Claim, ...] = ()
    boundaries: tuple[Boundary, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """What a speaker is told.

    Attributes:
        scenario: Who speaks.
        state: The state after the reply; `state.beats` says what has to be said.
        appraisal: The reading of the reply.
        change: The emotion change the reply made.
        disclose: Facts to be told now, and nothing beyond them.
        messages: The conversation, ending with the reply.
        outcome: None, or how the conversation ends with this line.
        seed: Seed of this line.
    """

    scenario: Scenario
    state: UserState
    appraisal: Appraisal
    change: EmotionChange
    disclose: tuple[Fact, ...]
    messages: tuple[Message, ...]
    outcome: Outcome | None
    seed: int


def derive_seed(seed: int, *parts: Any) -> int:
    """Return a 63-bit seed that depends on a seed and on what it is for, on every machine alike."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Known(NamedTuple):
    """What of a situation is known once some facts are told. Items stand in authored order.

    Attributes:
        situation: Content hash of the situation.
        told: Ids of the facts told.
        topics: All topics.
        facts: Facts told.
        feelings: Feelings that have become known.
        attempts: Attempts that have become known.
        constraints: All constraints.
        strengths: All strengths.
        perspectives: All perspectives.
        claims: Claims that the user has voiced.
        boundaries: Boundaries that were stated and not reopened.
    """

    situation: str
    told: frozenset[str]
    topics: tuple[Topic, ...]
    facts: tuple[Fact, ...]
    feelings: tuple[Feeling, ...]
    attempts: tuple[Attempt, ...]
    constraints: tuple[Constraint, ...]
    strengths: tuple[Strength, ...]
    perspectives: tuple[Perspective, ...]
    claims: tuple[Claim, ...]
    boundaries: tuple[Boundary, ...]


# Rule, perceiver and user each ask for it with every reply, of a few thousand situations and stages of a talk.
@functools.lru_cache(maxsize=4096)
def known_of(situation: Situation, disclosed: tuple[str, ...]) -> Known:
    """Return what is known of a situation once these facts are told."""
    told = frozenset(disclosed)

    def voiced(fact: str | None) -> bool:
        return fact is None or fact in told

    return Known(
        situation=situation.content_hash,
        told=told,
        topics=situation.topics,
        facts=tuple(f for f in situation.facts if f.id in told),
        feelings=tuple(f for f in situation.feelings if not f.because or not told.isdisjoint(f.because)),
        attempts=tuple(a for a in situation.attempts if voiced(a.fact)),
        constraints=situation.constraints,
        strengths=situation.strengths,
        perspectives=situation.perspectives,
        claims=tuple(c for c in situation.claims if voiced(c.voiced_by)),
        boundaries=tuple(
            b
            for b in situation.boundaries
            if voiced(b.voiced_by) and not (b.until is not None and b.until in told)
        ),
    )


def live_claims(scenario: Scenario, state: UserState) -> tuple[Claim, ...]:
    """Return the claims that the user has voiced."""
    return known_of(scenario.situation, state.disclosed).claims


def boundaries_in_force(scenario: Scenario, state: UserState) -> tuple[Boundary, ...]:
    """Return the boundaries that were stated and not reopened."""
    return known_of(scenario.situation, state.disclosed).boundaries


def perception_request(dialogue: Dialogue, reply: str) -> PerceptionRequest:
    """Return what a perceiver may know about a reply in a dialogue."""
    source = dialogue.source
    known = known_of(source.situation, dialogue.state.disclosed)
    return request_with(known, source.language, dialogue.messages, reply)


def request_with(known: Known, language: str, messages: tuple[Message, ...], reply: str) -> PerceptionRequest:
    """Return what a perceiver may know about a reply where this much is known."""
    return PerceptionRequest(
        situation=known.situation,
        language=language,
        messages=messages,
        reply=reply,
        topics=known.topics,
        facts=known.facts,
        feelings=known.feelings,
        attempts=known.attempts,
        constraints=known.constraints,
        strengths=known.strengths,
        perspectives=known.perspectives,
        claims=known.claims,
        boundaries=known.boundaries,
    )
