"""The upper reference: a policy that reads the need and the items, and looks one reply ahead on the rule.

It speaks only lines that were written with the situation (`Item.say`, `Claim.fair_readings`) and short
bridges of its own (`lines.yaml`), so it shows how far a kind, honest, well-aimed conversation gets with
this user. Privileged: only the benchmark runner grants it the dialogues, and its rows are never ranked.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterator, Sequence, Set
from typing import Final

from empathy_gym.agents.policies.blind import lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import (
    Dialogue,
    Fault,
    UserState,
    boundaries_in_force,
    derive_seed,
    live_claims,
    perception_request,
)
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.listening.phrasebook import lines_of, rests_on
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Item, Scenario, Topic
from empathy_gym.simulators.user import Perceiver, Rule, User

KINDS: Final[dict[str, tuple[str, ...]]] = {
    "venting": ("feelings", "topics"),
    "deep_empathy": ("feelings",),
    "praise": ("strengths",),
    "advice": ("constraints", "attempts"),
    "self_reflection": ("topics",),
    "critical_analysis": ("perspectives", "claims"),
    "others_motives": ("perspectives", "claims"),
    "fair_fault": ("claims", "perspectives"),
}
"""Kinds of items whose lines can be the main move for each need."""
INSIGHTS: Final = {"others_motives": "other", "critical_analysis": "both_sides", "fair_fault": "proportion"}
"""Kind of insight each need asks for; ``"self"`` for the rest."""


Compared = tuple[list[str], Sequence[Appraisal | Fault], list[int], list[tuple[int, int, UserState]]]
"""Candidate replies, how each is read, how well it takes up what was said; and minus what each is worth, its place and
the state it leads to, best first."""
HEARD: Final = 32
"""What it is worth to answer what was just said, beside the points it pays, in eighths of a point."""


class OraclePolicy:
    """Puts together candidate replies and says the one after which the conversation can go best.

    It tries the most promising replies on the user itself, which is a pure function of the dialogue, and looks at
    what could be said next.

    Args:
        perceiver: Reads the candidates; the embedded one by default.
        rule: Judges them; the packaged one by default.
        candidates: How many replies are compared at most.
        ahead: How many replies are looked ahead beyond the next one.
        width: How many replies are tried at each step ahead.
    """

    privileged = True
    fingerprint = "scripted:oracle"

    def __init__(
        self,
        perceiver: Perceiver | None = None,
        rule: Rule | None = None,
        candidates: int = 48,
        ahead: int = 1,
        width: int = 2,
    ) -> None:
        self.perceiver: Perceiver = perceiver or EmbeddedPerceiver()
        self.rule: Rule = rule or TableRule()
        self.user = User(self.perceiver, self.rule, AuthoredSpeaker())
        self.candidates, self.ahead, self.width = candidates, ahead, width
        self._known: dict[Hashable, Compared] = {}
        self._seen: dict[Hashable, Compared] = {}

    def act(self, conversations: Sequence[Conversation], dialogues: Sequence[Dialogue]) -> list[str]:
        """Return the best reply found for each dialogue."""
        # What was looked at one reply ahead is where the conversation stands now, more often than not.
        self._known, self._seen = self._seen, {}
        return [self._reply(dialogue) for dialogue in dialogues]

    def _reply(self, dialogue: Dialogue) -> str:
        if dialogue.state.leaving is not None:
            return _any("farewells", dialogue)
        return self._best(dialogue, self.ahead)[1]

    def _best(self, dialogue: Dialogue, ahead: int) -> tuple[int, str]:
        """Return what the best reply is worth, and the reply; the first of equals, so that chance decides nothing."""
        if dialogue.ended or dialogue.state.leaving is not None:
            return _promise(dialogue.source, dialogue.state, True), ""
        options, readings, heard, values = self._compared(dialogue, keep=ahead < self.ahead)
        least, at, _ = values[0]
        if not ahead or dialogue.turn + 1 >= dialogue.max_turns:
            return -least, options[at]
        tried = _different(values)[: self.width]
        # What a question brings to light shows only when it is tried.
        asking = (at for _, at, _ in values if getattr(readings[at], "exploration", 0) == 2)
        tried = list(dict.fromkeys([*tried, *itertools.islice(asking, 1)]))
        children = self.user.respond([dialogue] * len(tried), [options[at] for at in tried])
        later = [
            heard[at] + self._best(child, ahead - 1)[0] for at, child in zip(tried, children, strict=True)
        ]
        best = max(range(len(tried)), key=lambda i: (later[i], -i))
        return later[best], options[tried[best]]

    def _compared(self, dialogue: Dialogue, keep: bool) -> Compared:
        """Return the candidate replies to a dialogue, compared: a pure function of it, so that it can be kept."""
        texts = tuple([message["content"] for message in dialogue.messages])
        key = (
            dialogue.scenario,
            dialogue.difficulty,
            dialogue.seed,
            dialogue.max_turns,
            texts,
            dialogue.states,
        )
        found = self._known.get(key) or self._compare(dialogue)
        if keep:
            self._seen[key] = found
        return found

    def _compare(self, dialogue: Dialogue) -> Compared:
        options = list(itertools.islice(_answering(dialogue), self.candidates)) or [_any("fillers", dialogue)]
        readings = self.perceiver.perceive([perception_request(dialogue, option) for option in options])
        last = dialogue.turn + 1 >= dialogue.max_turns
        near = _near(dialogue)
        heard: list[int] = []
        values: list[tuple[int, int, UserState]] = []
        for at, (option, reading) in enumerate(zip(options, readings, strict=True)):
            after = self.rule.apply(dialogue.source, dialogue.state, reading, last).state  # type: ignore[arg-type]
            # Between replies that do as much, the one that takes up what was said: people notice.
            answers = _answers(dialogue, near, reading) if isinstance(reading, Appraisal) else 0
            heard.append(HEARD * answers - len(option) // 40)
            values.append((-_promise(dialogue.source, after, last) - heard[at], at, after))
        values.sort(key=lambda value: value[:2])
        return options, readings, heard, values


def _grounds(item: Item) -> tuple[str, ...]:
    """Return the facts an item rests on: itself, if it is one."""
    return rests_on(item) or (item.id,)


def _newest(dialogue: Dialogue) -> set[str]:
    """Return the facts that the user's last line told."""
    told = set(dialogue.state.disclosed)
    return told - set(dialogue.states[-2].disclosed) if dialogue.turn else told


def _near(dialogue: Dialogue) -> set[str]:
    """Return the items that have to do with what the user's last line told."""
    situation, newest = dialogue.source.situation, _newest(dialogue)
    kinds = (situation.facts, situation.feelings, situation.perspectives, situation.strengths)
    return {item.id for kind in kinds for item in kind if not newest.isdisjoint(_grounds(item))}


def _answers(dialogue: Dialogue, near: Set[str], reading: Appraisal) -> int:
    """Return how well a reply takes up what was just said: between replies that do as much, people notice."""
    asked = any(beat.startswith(("ask:", "push:")) for beat in dialogue.state.beats)
    return (not near.isdisjoint(reading.touched)) - 3 * (asked and reading.stance <= 0)


def _different(values: Sequence[tuple[int, int, UserState]]) -> list[int]:
    """Return the replies that lead to different states, best first."""
    seen: dict[UserState, int] = {}
    for _, at, after in values:
        seen.setdefault(after, at)
    return list(seen.values())


def _any(what: str, dialogue: Dialogue) -> str:
    options: list[str] = lines()["oracle"][what]
    return options[derive_seed(dialogue.seed, dialogue.turn, what) % len(options)]


def _promise(scenario: Scenario, after: UserState, last: bool) -> int:
    """Return what a state is worth: mood now, and the room progress, honesty and trust open for later."""
    if last:
        return 8 * after.emotion
    honest = sum(stance > 0 for _, stance in after.stances)
    within_reach = min(3, _within_reach(scenario, after))
    return (
        8 * after.emotion
        + 90 * after.progress
        + 60 * honest
        + 40 * within_reach
        + 2 * after.trust
        - 40 * len(after.debts)
    )


@functools.lru_cache(maxsize=1024)
def _needed(scenario: Scenario) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the ids of the items the need asks for, each with the facts it rests on."""
    wanted = INSIGHTS.get(scenario.need, "self")
    return tuple(
        [
            (item.id, rests_on(item))
            for kind in KINDS[scenario.need]
            for item in getattr(scenario.situation, kind)
            if kind != "perspectives" or item.kind == wanted
        ]
    )


def _within_reach(scenario: Scenario, state: UserState) -> int:
    """Return how many items the need asks for can be spoken to now and have not been."""
    known = set(state.disclosed)
    return sum(
        [
            id_ not in state.touched and (not grounds or not known.isdisjoint(grounds))
            for id_, grounds in _needed(scenario)
        ]
    )


def _topics(scenario: Scenario, state: UserState) -> list[Topic]:
    """Return the topics, those first under which untold facts lie that the need's items rest on."""
    wanted = {fact for _, grounds in _needed(scenario) for fact in grounds}
    wanted |= {claim.voiced_by or "" for claim in scenario.situation.claims}
    wanted -= set(state.disclosed)
    telling = {t: 0 for t in (topic.id for topic in scenario.situation.topics)}
    for fact in scenario.situation.facts:
        for topic in fact.topics:
            telling[topic] += fact.id in wanted
    return sorted(scenario.situation.topics, key=lambda topic: -telling[topic.id])


def _answering(dialogue: Dialogue) -> Iterator[str]:
    """Yield candidate replies; where the user asks for what should be declined, each declines it, kindly."""
    spoken = "\n".join(m["content"] for m in dialogue.messages if m["role"] == "assistant")
    asked = requests_in(dialogue.source, dialogue.state.beats)
    noes = [line for request in asked for line in request.say if line not in spoken]
    if not noes:
        yield from _candidates(dialogue)
        return
    yield from noes
    for candidate in _candidates(dialogue):
        yield f"{noes[0]} {candidate}"


def _candidates(dialogue: Dialogue) -> Iterator[str]:
    """Yield replies of one to three pieces: something understood, the main move, a question."""
    seed = dialogue.seed
    spoken = "\n".join(m["content"] for m in dialogue.messages if m["role"] == "assistant")

    def fresh(lines: Sequence[str]) -> list[str]:
        return [line for line in lines if line not in spoken]

    known = set(dialogue.state.disclosed)
    pieces = {
        kind: fresh(lines)
        for kind, lines in _lines(dialogue.source, dialogue.state, known, _newest(dialogue)).items()
    }
    mains = [line for kind in KINDS[dialogue.source.need] for line in pieces[kind][:4]]
    supports = [*pieces["feelings"][:3], *pieces["facts"][:3]]
    asks = pieces["topics"][:5]
    bridges = fresh(lines()["oracle"]["bridges"])
    bridge = bridges[derive_seed(seed, dialogue.turn, "bridge") % len(bridges)] if bridges else ""
    claims = pieces["claims"][:2]
    if any(beat.startswith(("ask:", "push:")) for beat in dialogue.state.beats):
        claims += fresh(lines()["oracle"]["open"])[:2]
    for main in mains:
        yield main
        for support in supports:
            if support != main:
                yield f"{support} {main}"
        if bridge:
            yield f"{bridge} {main}"
    for claim in claims:
        for support in supports[:4]:
            yield f"{support} {claim}"
        yield f"{bridge} {claim}".strip()
    for support in supports[:4]:
        for ask in asks:
            yield f"{support} {ask}"
        yield support
        if bridge:
            yield f"{support} {bridge}"
    yield from asks


def _lines(scenario: Scenario, state: UserState, known: set[str], newest: set[str]) -> dict[str, list[str]]:
    """Return the lines that what has been told allows, by kind: items no reply has engaged yet come first."""
    situation = scenario.situation
    touched = set(state.touched)
    silent = {b.act for b in boundaries_in_force(scenario, state) if b.kind == "act"}

    def said(items: Sequence[Item]) -> list[str]:
        ordered = sorted(
            items,
            key=lambda item: (
                item.id in touched and not isinstance(item, Topic),
                newest.isdisjoint(_grounds(item)),
            ),
        )
        return lines_of(ordered)

    def allowed(refs: Sequence[str]) -> bool:
        return not refs or not known.isdisjoint(refs)

    kind = INSIGHTS.get(scenario.need, "self")
    told = [f for f in situation.facts if f.id in known]
    return {
        "facts": said(list(reversed(told))),
        "feelings": said([f for f in situation.feelings if f.held and allowed(f.because)]),
        "topics": [] if "exploration" in silent else said(_topics(scenario, state)),
        "strengths": said([s for s in situation.strengths if allowed(s.evidence)]),
        "constraints": [] if "advice" in silent else said(situation.constraints),
        "attempts": []
        if "advice" in silent
        else said([a for a in situation.attempts if allowed([a.fact or ""]) or not a.fact]),
        "perspectives": said([p for p in situation.perspectives if p.kind == kind and allowed(p.because)]),
        "claims": [
            line
            for claim in live_claims(scenario, state)
            if not claim.evidence or not known.isdisjoint(claim.evidence)
            for line in claim.fair_readings
        ],
    }
