"""What the rule rewards, before any text is read: search over sequences of levels.

Four questions, answered for every need at every difficulty by beam search on the rule itself:

* how far the best policy gets that knows the need;
* how far the best sequence gets that does not (one fixed sequence of replies for all eight needs);
* how far the best single appraisal gets, repeated at every turn, over all needs;
* what a policy loses that maximises the next change instead of the episode (the myopia gap).

The user is abstract: many items of each kind, so that a limit found here is the rule's and not a scenario's.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from empathy_gym.simulators.appraisal import INSIGHT_KINDS, Appraisal
from empathy_gym.simulators.dialogue import FAILURE_EMOTION, SUCCESS_EMOTION, UserState, known_of
from empathy_gym.simulators.rule import TableRule, initial_state
from empathy_gym.simulators.scenario import NEED_CLAIMS, NEEDS, Scenario

TARGETS = {"best": 84, "blind": 60, "constant": 45}
"""Least value of the best policy; greatest of the best need-blind sequence and of the best constant appraisal."""

MOVES: tuple[tuple[str, int], ...] = (
    ("feeling", 2), ("warmth", 2), ("exploration", 2), ("insight", 2), ("advice", 2), ("affirmation", 2), ("stance", 2),
)  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """Values of one need at one difficulty, in points of final emotion.

    Attributes:
        need: The hidden need, or ``"all"`` for the values over all needs.
        difficulty: Difficulty.
        best: The best sequence found that knows the need.
        greedy: The sequence that maximises each next change.
        blind: What the best need-blind sequence gets from this need.
        constant: What the best constant appraisal gets from this need.
    """

    need: str
    difficulty: str
    best: int
    greedy: int
    blind: int
    constant: int

    @property
    def myopia_gap(self) -> int:
        """What greed loses."""
        return self.best - self.greedy


@functools.cache
def abstract_scenario(need: str, difficulty: str, claim: bool = True, trust: int = 45) -> Scenario:
    """Return a user with many items of each kind and, if the need turns on one, a half-true claim."""
    facts = [
        {
            "id": f"f{i}",
            "layer": 1 if i < 6 else 2 if i < 12 else 3,
            "topics": [f"t{i % 6}"],
            "text": f"Fact {i}.",
        }
        for i in range(18)
    ]

    def items(prefix: str, n: int, **fields: object) -> list[dict[str, object]]:
        return [{"id": f"{prefix}{i}", "text": f"{prefix} {i}.", **fields} for i in range(n)]

    kinds = NEED_CLAIMS.get(need, ())
    claims = [
        {
            "id": "c0", "kind": kinds[0], "truth": "half", "text": "Claim.", "evidence": ["f1"], "voiced_by": "f0",
            "fair_readings": ["Fair."], "asks": ["Was it?"], "pushbacks": ["So it was?"],
        }
    ] if kinds and claim else []  # fmt: skip
    situation = {
        "summary": "An abstract situation.",
        "topics": items("t", 6),
        "facts": facts,
        "feelings": items("e", 10, name="Uneasy"),
        "attempts": items("a", 6),
        "constraints": items("k", 8),
        "strengths": items("s", 10),
        "perspectives": [p for kind in INSIGHT_KINDS for p in items(f"p_{kind}", 8, kind=kind)],
        "claims": claims,
    }
    scenario = Scenario.model_validate(
        {
            "topic": "abstract",
            "persona": {
                "name": "A",
                "age": 40,
                "occupation": "none",
                "temperament": "none",
                "style": "plain",
            },
            "situation": situation,
            "goal": "None.",
            "need": need,
            "speech": {"reactions": {}},
            "openings": ["Hello."],
            "initial_trust": trust,
            "provenance": "rule analysis",
        }
    )
    return scenario.at(difficulty)


@functools.cache
def catalogue() -> tuple[Appraisal, ...]:
    """Return the replies searched over: up to three moves, well or thinly grounded, and flattery."""
    replies = []
    for n in range(4):
        for moves in itertools.combinations(MOVES, n):
            levels = dict(moves)
            kinds: tuple[str | None, ...] = INSIGHT_KINDS if "insight" in levels else (None,)
            stances = (2, 1) if "stance" in levels else (0,)
            for kind, stance in itertools.product(kinds, stances):
                aim: dict[str, Any] = {**levels, "stance": stance, "insight_kind": kind}
                replies.append(Appraisal(grounding=3, **aim))
    flattering = [replace(r, stance=-2) for r in replies if r.stance == 0]
    return tuple(replies + flattering)


def aimed(scenario: Scenario, state: UserState, reply: Appraisal) -> Appraisal:
    """Return the reply aimed at items of this user that no reply has engaged yet."""
    situation, seen = scenario.situation, set(state.touched)
    known = known_of(situation, state.disclosed)
    pools: list[Sequence[str]] = []
    if reply.grounding >= 2:
        pools.append([f.id for f in known.facts])
    if reply.feeling == 2:
        pools.append([f.id for f in known.feelings if f.held])
    if reply.exploration == 2:
        pools.append([t.id for t in situation.topics])
    if reply.insight == 2:
        pools.append([p.id for p in situation.perspectives if p.kind == reply.insight_kind])
    if reply.advice == 2:
        pools.append([c.id for c in situation.constraints])
    if reply.affirmation == 2:
        pools.append([s.id for s in situation.strengths])
    touched = [next((i for i in pool if i not in seen), pool[0]) for pool in pools if pool]
    if reply.stance:
        touched += [c.id for c in known.claims]
    return replace(reply, touched=tuple(sorted(touched)))


def respond(rule: TableRule, scenario: Scenario, state: UserState, reply: Appraisal, turns: int) -> UserState:
    """Return the state after an aimed reply."""
    return rule.apply(scenario, state, aimed(scenario, state, reply), state.turn + 1 >= turns).state


def finished(state: UserState, turns: int) -> bool:
    """Whether no further reply can change the final emotion for the better."""
    return state.emotion < FAILURE_EMOTION or state.turn >= turns or state.leaving is not None


def promise(state: UserState) -> int:
    """Order states by what they promise: a progress step is worth the room it opens below the ceiling."""
    honest = sum(stance > 0 for _, stance in state.stances)
    return 4 * (state.emotion + 13 * state.progress + 8 * honest - 4 * len(state.debts)) + state.trust


def best_value(rule: TableRule, scenario: Scenario, turns: int, width: int = 40) -> int:
    """Return the final emotion of the best sequence that knows the need."""
    beam, best = [initial_state(scenario)], 0
    while beam and best < SUCCESS_EMOTION:
        after: dict[UserState, None] = {}
        for state, reply in itertools.product(beam, catalogue()):
            new = respond(rule, scenario, state, reply, turns)
            if finished(new, turns):
                best = max(best, new.emotion)
            else:
                after[new] = None
        beam = sorted(after, key=promise, reverse=True)[:width]
    return best


def greedy_value(rule: TableRule, scenario: Scenario, turns: int) -> int:
    """Return the final emotion of the policy that maximises each next change."""
    state = initial_state(scenario)
    while not finished(state, turns):
        options = (respond(rule, scenario, state, reply, turns) for reply in catalogue())
        # The first of equals: the catalogue's order, never chance, breaks a tie.
        state = max(options, key=lambda new: new.emotion)
    return state.emotion


def constant_values(rule: TableRule, scenarios: Sequence[Scenario], turns: int) -> list[int]:
    """Return what the best single appraisal, repeated, gets from each scenario."""

    def values(reply: Appraisal) -> list[int]:
        return [sequence_value(rule, scenario, itertools.repeat(reply), turns) for scenario in scenarios]

    return max(map(values, catalogue()), key=sum)


def sequence_value(rule: TableRule, scenario: Scenario, replies: Iterable[Appraisal], turns: int) -> int:
    """Return the final emotion of a fixed sequence of replies."""
    state = initial_state(scenario)
    for reply in replies:
        if finished(state, turns):
            break
        state = respond(rule, scenario, state, reply, turns)
    return state.emotion


def blind_values(rule: TableRule, scenarios: Sequence[Scenario], turns: int, width: int = 24) -> list[int]:
    """Return what the best need-blind sequence gets from each scenario: one sequence for all of them."""
    beam = [tuple(initial_state(scenario) for scenario in scenarios)]
    for _ in range(turns):
        after: dict[tuple[UserState, ...], None] = {}
        for states, reply in itertools.product(beam, catalogue()):
            after[
                tuple(
                    state if finished(state, turns) else respond(rule, scenario, state, reply, turns)
                    for scenario, state in zip(scenarios, states, strict=True)
                )
            ] = None
        beam = sorted(after, key=lambda states: sum(map(promise, states)), reverse=True)[:width]
    best = max(beam, key=lambda states: sum(state.emotion for state in states))
    return [state.emotion for state in best]


def analyse(rule: TableRule, difficulty: str, turns: int = 8) -> list[Analysis]:
    """Return one analysis a need, in the order of `NEEDS`.

    Args:
        rule: The rule to search.
        difficulty: ``"easy"``, ``"normal"`` or ``"hard"``.
        turns: Scored replies an episode.
    """
    scenarios = [abstract_scenario(need, difficulty) for need in NEEDS]
    blind = blind_values(rule, scenarios, turns)
    constant = constant_values(rule, scenarios, turns)
    return [
        Analysis(
            need=need,
            difficulty=difficulty,
            best=best_value(rule, scenario, turns),
            greedy=greedy_value(rule, scenario, turns),
            blind=blind[i],
            constant=constant[i],
        )
        for i, (need, scenario) in enumerate(zip(NEEDS, scenarios, strict=True))
    ]


def mean(rows: Sequence[Analysis], column: str) -> float:
    """Return the mean of a column over needs."""
    return sum(int(getattr(row, column)) for row in rows) / len(rows)
