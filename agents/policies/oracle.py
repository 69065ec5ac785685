"""The upper reference: a policy that reads the need and the items, and looks one reply ahead on the rule.

It speaks only lines that were written with the situation (`Item.say`, `Claim.fair_readings`) and short
bridges of its own (`lines.yaml`), so it shows how far a kind, honest, well-aimed conversation gets with
this user. Privileged: only the benchmark runner grants it the dialogues, and its rows are never ranked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from empathy_gym.agents.policies.blind import lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.dialogue import (
    Dialogue,
    UserState,
    boundaries_in_force,
    derive_seed,
    live_claims,
    perception_request,
)
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Item, Scenario
from empathy_gym.simulators.user import Perceiver, Rule

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


class OraclePolicy:
    """Puts together candidate replies and says the one after which the conversation stands best.

    Args:
        perceiver: Reads the candidates; the embedded one by default.
        rule: Judges them; the packaged one by default.
        candidates: How many replies are compared at most.
    """

    privileged = True
    fingerprint = "scripted:oracle"

    def __init__(
        self, perceiver: Perceiver | None = None, rule: Rule | None = None, candidates: int = 48
    ) -> None:
        self.perceiver: Perceiver = perceiver or EmbeddedPerceiver()
        self.rule: Rule = rule or TableRule()
        self.candidates = candidates

    def act(self, conversations: Sequence[Conversation], dialogues: Sequence[Dialogue]) -> list[str]:
        """Return the best reply found for each dialogue."""
        return [self._reply(dialogue) for dialogue in dialogues]

    def _reply(self, dialogue: Dialogue) -> str:
        if dialogue.state.leaving is not None:
            return _any("farewells", dialogue)
        options = list(itertools.islice(_candidates(dialogue), self.candidates)) or [
            _any("fillers", dialogue)
        ]
        readings = self.perceiver.perceive([perception_request(dialogue, option) for option in options])
        last = dialogue.turn + 1 >= dialogue.max_turns
        values = []
        for option, reading in zip(options, readings, strict=True):
            after = self.rule.apply(dialogue.source, dialogue.state, reading, last).state  # type: ignore[arg-type]
            values.append(_promise(dialogue.state, after, last) - len(option) // 40)
        # The first of equals, so that the order of candidates and not chance decides.
        return options[max(range(len(options)), key=lambda i: (values[i], -i))]


def _any(what: str, dialogue: Dialogue) -> str:
    options: list[str] = lines()["oracle"][what]
    return options[derive_seed(dialogue.seed, dialogue.turn, what) % len(options)]


def _promise(before: UserState, after: UserState, last: bool) -> int:
    """Return what a state is worth: mood now, and the room progress, honesty and trust open for later."""
    if last:
        return 8 * after.emotion
    honest = sum(stance > 0 for _, stance in after.stances)
    told = len(after.disclosed) - len(before.disclosed)
    return (
        8 * after.emotion
        + 90 * after.progress
        + 60 * honest
        + 2 * after.trust
        + 6 * told
        - 40 * len(after.debts)
    )


def _candidates(dialogue: Dialogue) -> Iterator[str]:
    """Yield replies of one to three pieces: something understood, the main move, a question."""
    seed = dialogue.seed
    spoken = "\n".join(m["content"] for m in dialogue.messages if m["role"] == "assistant")

    def fresh(lines: Sequence[str]) -> list[str]:
        return [line for line in lines if line not in spoken]

    known = set(dialogue.state.disclosed)
    pieces = {kind: fresh(lines) for kind, lines in _lines(dialogue.source, dialogue.state, known).items()}
    mains = [line for kind in KINDS[dialogue.source.need] for line in pieces[kind][:4]]
    supports = [*pieces["feelings"][:3], *pieces["facts"][:3]]
    asks = pieces["topics"][:3]
    bridges = fresh(lines()["oracle"]["bridges"])
    bridge = bridges[derive_seed(seed, dialogue.turn, "bridge") % len(bridges)] if bridges else ""
    claims = pieces["claims"][:2]
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
    for support in supports:
        for ask in asks[:2]:
            yield f"{support} {ask}"
        yield support
        if bridge:
            yield f"{support} {bridge}"
    yield from asks


def _lines(scenario: Scenario, state: UserState, known: set[str]) -> dict[str, list[str]]:
    """Return the lines that what has been told allows, by kind: items no reply has engaged yet come first."""
    situation = scenario.situation
    touched = set(state.touched)
    silent = {b.act for b in boundaries_in_force(scenario, state) if b.kind == "act"}

    def said(items: Sequence[Item]) -> list[str]:
        ordered = sorted(items, key=lambda item: item.id in touched)
        return [line for item in ordered for line in item.say[:1]] + [
            line for item in ordered for line in item.say[1:]
        ]

    def allowed(refs: Sequence[str]) -> bool:
        return not refs or not known.isdisjoint(refs)

    kinds = {"others_motives": "other", "critical_analysis": "both_sides", "fair_fault": "proportion"}
    kind = kinds.get(scenario.need, "self")
    told = [f for f in situation.facts if f.id in known]
    return {
        "facts": said(list(reversed(told))),
        "feelings": said([f for f in situation.feelings if f.held and allowed(f.because)]),
        "topics": [] if "exploration" in silent else said(situation.topics),
        "strengths": said([s for s in situation.strengths if allowed(s.evidence)]),
        "constraints": [] if "advice" in silent else said(situation.constraints),
        "attempts": []
        if "advice" in silent
        else said([a for a in situation.attempts if allowed([a.fact or ""]) or not a.fact]),
        "perspectives": said([p for p in situation.perspectives if p.kind == kind and allowed(p.because)]),
        "claims": [
            line
            for claim in live_claims(scenario, state)
            if known.issuperset(claim.evidence)
            for line in claim.fair_readings
        ],
    }
