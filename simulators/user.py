"""The simulated user: perceive, apply the rule, speak.

`User` is the one composition; its three parts are the seams for plug-ins. It is stateless and works on batches:
every call takes dialogues and returns new ones.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import (
    CONTENT_EMOTION,
    FAILURE_EMOTION,
    SUCCESS_EMOTION,
    BeginRequest,
    Determinism,
    Dialogue,
    EmotionChange,
    Fault,
    Message,
    Outcome,
    PerceptionRequest,
    ScoredBy,
    SpeakRequest,
    UserState,
    derive_seed,
    perception_request,
)
from empathy_gym.simulators.errors import ConfigError, EngineError
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.rule import TableRule, initial_state, opening_facts
from empathy_gym.simulators.scenario import Fact, Scenario, content_hash

logger = logging.getLogger("empathy_gym")


@runtime_checkable
class Perceiver(Protocol):
    """Reads replies into appraisals."""

    def perceive(self, items: Sequence[PerceptionRequest]) -> Sequence[Appraisal | Fault]:
        """Return one appraisal for each request, in order; a `Fault` for a request that could not be read."""
        ...


@runtime_checkable
class Rule(Protocol):
    """Turns an appraisal into an emotion change. Pure: no model, no randomness, no clock."""

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        """Return the change; `last` is True for the last reply that the turn cap allows."""
        ...


@runtime_checkable
class Speaker(Protocol):
    """Says what the user says."""

    def speak(self, items: Sequence[SpeakRequest]) -> Sequence[str | Fault]:
        """Return one line for each request, in order; a `Fault` for a line that could not be made."""
        ...


class User:
    """A simulated user.

    Args:
        perceiver: Reads replies.
        rule: Decides the emotion.
        speaker: Says the next line.
        scored_by: ``"rule"`` if the packaged rule decides the number; worked out if None.
        determinism: Grade of the parts taken together; ``"exact"`` unless a model is involved.
        taped: Whether every answer of a model that counts is on a tape, from which the run can be repeated.

    Raises:
        ConfigError: If a part lacks its method.
    """

    def __init__(
        self,
        perceiver: Perceiver,
        rule: Rule,
        speaker: Speaker,
        *,
        scored_by: ScoredBy | None = None,
        determinism: Determinism = "exact",
        taped: bool = False,
    ) -> None:
        for part, protocol in ((perceiver, Perceiver), (rule, Rule), (speaker, Speaker)):
            if not isinstance(part, protocol):
                method = {"Perceiver": "perceive", "Rule": "apply", "Speaker": "speak"}[protocol.__name__]
                raise ConfigError(f"{part!r} is not a {protocol.__name__}: it has no method {method!r}.")
        self.perceiver, self.rule, self.speaker = perceiver, rule, speaker
        self.scored_by: ScoredBy = scored_by or ("rule" if isinstance(rule, TableRule) else "custom")
        self.determinism: Determinism = determinism
        self.taped = taped

    @functools.cached_property
    def fingerprint(self) -> str:
        """Kinds and content hashes of the three parts and of the bundled users, as one line."""
        from empathy_gym.simulators.library.compiler import library_hash

        parts = {"perceiver": self.perceiver, "rule": self.rule, "speaker": self.speaker}
        named = [f"{role}={part_fingerprint(part)}" for role, part in parts.items()]
        return ";".join([*named, f"library={library_hash()[:12]}"])

    def begin(self, requests: Sequence[BeginRequest]) -> list[Dialogue]:
        """Start dialogues. Calls no model: openings are authored.

        Raises:
            ConfigError: If a cap, an emotion or a difficulty is not valid.
        """
        return [self._begin(request) for request in requests]

    def _begin(self, request: BeginRequest) -> Dialogue:
        if request.max_turns < 1:
            raise ConfigError(f"max_turns is {request.max_turns}; it must be at least 1.")
        scenario = request.scenario.at(request.difficulty)
        openings = scenario.openings
        opening = openings[derive_seed(request.seed, scenario.id, 0, "opening") % len(openings)]
        told = opening_facts(scenario)
        state = initial_state(scenario, request.initial_emotion)
        lines = [
            opening,
            *(fact.text for fact in told),
            *_stated(scenario, {fact.id for fact in told}, opening=True),
            *[asked.text for asked in requests_in(scenario, state.beats)],
        ]
        return Dialogue(
            scenario=scenario.id,
            seed=request.seed,
            difficulty=request.difficulty,
            max_turns=request.max_turns,
            messages=({"role": "user", "content": " ".join(lines)},),
            states=(state,),
            source=scenario,
            scored_by=self.scored_by,
            determinism=self.determinism,
        )

    def respond(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Dialogue]:
        """Take one reply in each dialogue: one batched perceive call, the rule, one batched speak call.

        Args:
            dialogues: Dialogues that have not ended.
            replies: One reply for each.

        Returns:
            The dialogues after the replies, in order.

        Raises:
            ConfigError: If the lengths differ or a dialogue has ended.
        """
        if len(dialogues) != len(replies):
            raise ConfigError(
                f"Got {len(dialogues)} dialogues and {len(replies)} replies; one reply for each."
            )
        for dialogue in dialogues:
            if dialogue.ended:
                raise ConfigError(f"The dialogue has ended ({dialogue.outcome}); begin a new one.")
        readings = self._perceived(dialogues, replies)
        after: list[Dialogue] = list(dialogues)
        heard: list[tuple[int, SpeakRequest]] = []
        for i, (dialogue, reply, reading) in enumerate(zip(dialogues, replies, readings, strict=True)):
            if isinstance(reading, Fault):
                after[i] = with_fault(dialogue, reading)
            else:
                heard.append((i, self._hear(dialogue, reply, reading)))
        lines = _call("speaker", self.speaker.speak, [request for _, request in heard], str)
        for (i, request), line in zip(heard, lines, strict=True):
            if isinstance(line, Fault):
                after[i] = with_fault(dialogues[i], line)
            else:
                after[i] = _said(dialogues[i], request, line)
        return after

    def _perceived(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Appraisal | Fault]:
        requests = [perception_request(d, r) for d, r in zip(dialogues, replies, strict=True)]
        return _call("perceiver", self.perceiver.perceive, requests, Appraisal)

    def _hear(self, dialogue: Dialogue, reply: str, appraisal: Appraisal) -> SpeakRequest:
        """Apply the rule, and return what the speaker is told; only the user's next line is still missing."""
        before, source, turn = dialogue.state, dialogue.source, dialogue.turn + 1
        last = turn >= dialogue.max_turns
        change = self.rule.apply(source, before, appraisal, last)
        if type(self.rule) is not TableRule:
            change = settled(self.rule, before, change, last)
        state = change.state
        disclose: tuple[Fact, ...] = ()
        if state.disclosed != before.disclosed:
            facts = source.situation.by_id
            new = [facts[i] for i in state.disclosed if i not in before.disclosed]
            disclose = tuple(new)  # type: ignore[arg-type]
        return SpeakRequest(
            scenario=source,
            state=state,
            appraisal=appraisal,
            change=EmotionChange(state.emotion - before.emotion, change.terms, state),
            disclose=disclose,
            messages=(*dialogue.messages, {"role": "assistant", "content": reply}),
            outcome="failure" if appraisal.guard == "policy_harm" else ending(before, state, last),
            seed=derive_seed(dialogue.seed, dialogue.scenario, turn, "speak"),
        )


def settled(rule: Rule, before: UserState, change: EmotionChange, last: bool) -> EmotionChange:
    """Return what a rule of one's own decided, within what holds of every user.

    The emotion stays in 0..100, what is cut off being the term ``clamp``; and who is well, and has replies left, says so
    and is let go.

    Raises:
        ConfigError: If the change or the emotion is no integer, or they do not belong together.
    """
    name = type(rule).__qualname__
    for what, value in (("change", change.change), ("emotion", change.state.emotion)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(
                f"The rule {name} returned the {what} {value!r}, a {type(value).__name__}; it must be an integer."
            )
    reached = before.emotion + change.change
    emotion = min(100, max(0, reached))
    if change.state.emotion not in (before.emotion, reached, emotion):
        raise ConfigError(
            f"The rule {name} returned the change {change.change} at emotion {before.emotion}, and a state with emotion "
            f"{change.state.emotion}; the state's emotion must be {emotion}."
        )
    terms = dict(change.terms)
    if emotion != reached:
        terms["clamp"] = terms.get("clamp", 0) + emotion - reached
    state = dataclasses.replace(change.state, emotion=emotion)
    if emotion >= SUCCESS_EMOTION and not last and state.leaving is None:
        beats = dict.fromkeys((*state.beats, "leave:success"))
        state = dataclasses.replace(state, leaving="success", beats=tuple(beats))
    return EmotionChange(emotion - before.emotion, terms, state)


def ending(before: UserState, after: UserState, last: bool) -> Outcome | None:
    """Return how a reply ends the conversation, or None.

    Success at the cap counts at once; otherwise it grants one farewell reply, and letting go is success. A
    farewell that lowers the emotion (a hook to stay, above all) is a failure.
    """
    if before.leaving is not None:
        if after.emotion < before.emotion or after.emotion < FAILURE_EMOTION:
            return "failure"
        return "success" if before.leaving == "success" or after.emotion >= CONTENT_EMOTION else "closed"
    if after.emotion < FAILURE_EMOTION:
        return "failure"
    if last:
        return "success" if after.emotion >= SUCCESS_EMOTION else "timeout"
    return None


def with_fault(dialogue: Dialogue, fault: Fault) -> Dialogue:
    """End a dialogue by a fault: the reply counts as taken, nothing is heard, no line is added."""
    state = dialogue.state
    if fault.kind == "policy":
        state = dataclasses.replace(state, emotion=0)
    fault = dataclasses.replace(fault, turn=dialogue.turn + 1)
    return dataclasses.replace(
        dialogue, states=(*dialogue.states, state), faults=(*dialogue.faults, fault), outcome="fault"
    )


def with_format_failure(dialogue: Dialogue) -> Dialogue:
    """End a dialogue by a malformed action: nothing is heard, the emotion falls to 0."""
    state = dataclasses.replace(dialogue.state, emotion=0)
    return dataclasses.replace(dialogue, states=(*dialogue.states, state), outcome="format")


def with_goodbye(dialogue: Dialogue, reply: str, line: str) -> Dialogue:
    """End a dialogue by a goodbye to a user who has not said theirs: it is heard and answered, and moves nothing.

    Args:
        dialogue: The dialogue before it.
        reply: The goodbye.
        line: What the user answers.
    """
    state = dataclasses.replace(dialogue.state, turn=dialogue.state.turn + 1, beats=())
    said: tuple[Message, ...] = ({"role": "assistant", "content": reply}, {"role": "user", "content": line})
    return dataclasses.replace(
        dialogue, messages=(*dialogue.messages, *said), states=(*dialogue.states, state), outcome="closed"
    )


def take_leave(user: Any, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Dialogue]:
    """Say goodbye to users who have not said theirs, in one call of the speaker, and end the dialogues.

    Args:
        user: The simulated user; one that is not made of the three parts hears the goodbye as it hears any reply,
            and only its answer counts.
        dialogues: Dialogues that have not ended, with users who have not announced to go.
        replies: A goodbye for each.
    """
    if not dialogues:
        return []
    if isinstance(user, User):
        requests = [_parting(dialogue, reply) for dialogue, reply in zip(dialogues, replies, strict=True)]
        lines = _call("speaker", user.speaker.speak, requests, str)
    else:
        after = user.respond(dialogues, replies)
        lines = [d.faults[-1] if d.outcome == "fault" else d.last_line for d in after]
    return [
        with_fault(dialogue, line) if isinstance(line, Fault) else with_goodbye(dialogue, reply, line)
        for dialogue, reply, line in zip(dialogues, replies, lines, strict=True)
    ]


def _parting(dialogue: Dialogue, reply: str) -> SpeakRequest:
    """Return what the speaker is told of a goodbye: that nothing has moved, and that the talk ends here."""
    state = dataclasses.replace(dialogue.state, turn=dialogue.state.turn + 1, beats=())
    return SpeakRequest(
        scenario=dialogue.source,
        state=state,
        appraisal=Appraisal(),
        change=EmotionChange(0, {}, state),
        disclose=(),
        messages=(*dialogue.messages, {"role": "assistant", "content": reply}),
        outcome="closed",
        seed=derive_seed(dialogue.seed, dialogue.scenario, dialogue.turn + 1, "speak"),
    )


def _said(before: Dialogue, heard: SpeakRequest, line: str) -> Dialogue:
    """Return the dialogue after a reply that was heard and the user's line."""
    # As `dataclasses.replace` does, in a third of the time.
    return Dialogue(
        scenario=before.scenario,
        seed=before.seed,
        difficulty=before.difficulty,
        max_turns=before.max_turns,
        messages=(*heard.messages, {"role": "user", "content": line}),
        states=(*before.states, heard.state),
        source=before.source,
        appraisals=(*before.appraisals, heard.appraisal),
        terms=(*before.terms, heard.change.terms),
        faults=before.faults,
        outcome=heard.outcome,
        safety="policy_harm" if heard.appraisal.guard == "policy_harm" else before.safety,
        scored_by=before.scored_by,
        determinism=before.determinism,
    )


def _stated(scenario: Scenario, told: set[str], *, opening: bool = False) -> list[str]:
    """Return the lines of boundaries that are stated together with these facts (or with the opening)."""
    return [
        b.text
        for b in scenario.situation.boundaries
        if (b.voiced_by in told if b.voiced_by is not None else opening)
    ]


stated_boundaries = _stated


def _call(
    role: str, method: Callable[[Any], Iterable[Any]], requests: Sequence[Any], kind: type
) -> list[Any]:
    """Call a part with a batch. An engine that fails is a fault of each of the batch's dialogues."""
    if not requests:
        return []
    try:
        results = list(method(requests))
    except EngineError as error:
        logger.warning("the %s failed on a batch of %d: %s", role, len(requests), error)
        return [Fault("simulator", f"{role}: {error}")] * len(requests)
    if len(results) != len(requests):
        raise ConfigError(f"The {role} got {len(requests)} requests and returned {len(results)} results.")
    for result in results:
        if not isinstance(result, kind | Fault):
            got, article = type(result).__name__, "an" if kind is Appraisal else "a"
            raise ConfigError(
                f"The {role} returned a {got}; it must return {article} {kind.__name__} or a Fault for each request."
            )
    return results


def part_fingerprint(part: object) -> str:
    """Return ``kind@hash`` of a perceiver, rule or speaker; `part.fingerprint` where it has one."""
    known = getattr(part, "fingerprint", None)
    if isinstance(known, str):
        return known
    kind = f"{type(part).__module__}:{type(part).__qualname__}"
    return f"{kind}@{content_hash(kind)[:12]}"
