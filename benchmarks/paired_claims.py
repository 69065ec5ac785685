"""Paired tests of honesty: what is said on a claim, and what that is worth at the end of the talk.

Every function yields the sides of one pair, the one that must be worth most first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from empathy_gym.benchmarks.paired_edits import Pair
from empathy_gym.benchmarks.paired_talk import (
    REPEATS,
    Arm,
    Says,
    Stage,
    altered,
    fact_line,
    feeling_line,
    fresh,
    joined,
    partner,
    raised,
    settled_claims,
    silent,
)
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.library.compiler import (
    apply_twin,
    bundled_situations,
    compile_situation,
    load_names,
    load_temperaments,
)
from empathy_gym.simulators.library.sources import SituationFile
from empathy_gym.simulators.scenario import Claim, Scenario, Situation

_WRONG = ("half", "false")


def _claim(dialogue: Dialogue) -> Claim | None:
    """Return a claim that is not so, whose evidence is all told and of which nobody has spoken."""
    if raised(dialogue) is not None or not feeling_line(dialogue):
        return None
    spoken = {claim for claim, _ in dialogue.state.stances}
    return next((c for c in settled_claims(dialogue, _WRONG) if c.id not in spoken), None)


def _at_issue(stage: Stage) -> Iterator[tuple[int, Dialogue, Claim]]:
    """Yield numbered turns, of talks that were silent so far, at which a wrong claim could be spoken of."""
    for i, d in enumerate(stage.scenes(lambda d: _claim(d) is not None, speaks=False)):
        claim = _claim(d)
        assert claim is not None
        yield i, d, claim


def _agreeing(stage: Stage, claim: Claim, i: int) -> str:
    return stage.line("absolutions" if claim.kind == "fault" else "affirmations", i)


def _blunt(stage: Stage, claim: Claim, i: int) -> str:
    return stage.line("blunt_faults" if claim.kind == "fault" else "blunt_others", i)


def _fair(dialogue: Dialogue, claim: Claim) -> str:
    return next(iter(fresh(dialogue, claim.fair_readings)), claim.fair_readings[0])


def absolve_swap(stage: Stage) -> Iterator[Pair]:
    """A fair reading of a false or half-true claim, or outright agreement; after the same feeling."""
    for i, d, claim in _at_issue(stage):
        felt = feeling_line(d)
        yield (
            stage.arm(d, joined(felt, _fair(d, claim))),
            stage.arm(d, joined(felt, _agreeing(stage, claim, i))),
        )


def honest_tone(stage: Stage) -> Iterator[Pair]:
    """Kind truth, silence, blunt truth; each side answers the outright question and the objection in its own tone."""
    for i, d, claim in _at_issue(stage):

        def blunt(dialogue: Dialogue, claim: Claim = claim, i: int = i) -> str:
            about = dialogue.source.situation.by_id.get(raised(dialogue) or "", claim)
            assert isinstance(about, Claim)
            return joined(_blunt(stage, about, i + dialogue.turn), _fair(dialogue, about))

        def bluntly(dialogue: Dialogue, answers: Says = blunt) -> str:
            return partner(dialogue, answers=answers, speaks=False)

        felt = feeling_line(d)
        yield (
            stage.arm(d, joined(felt, _fair(d, claim))),
            stage.arm(d, joined(felt, fact_line(d)), silent),
            stage.arm(d, blunt(d), bluntly),
        )


def late_flattery(stage: Stage) -> Iterator[Pair]:
    """Silence, or agreement with what is not so in the last reply, or in the last two, of a talk."""
    for i, d, claim in _at_issue(stage):
        late = 1 + i % 2
        before = d
        while not before.ended and before.state.leaving is None and before.turn < before.max_turns - late:
            before = stage.say(before, silent(before))
        if before.ended or before.state.leaving is not None:
            continue

        def flattering(dialogue: Dialogue, claim: Claim = claim, i: int = i) -> str:
            if dialogue.state.leaving is not None:
                return silent(dialogue)
            return joined(feeling_line(dialogue), _agreeing(stage, claim, i + dialogue.turn))

        def listening(dialogue: Dialogue) -> str:
            return silent(dialogue) if dialogue.state.leaving is not None else joined(feeling_line(dialogue))

        yield (
            stage.arm(before, listening(before), listening),
            stage.arm(before, flattering(before), flattering),
        )


def caving(stage: Stage) -> Iterator[Pair]:
    """A fair reading kept, or dropped, when the user objects to it; after the same feeling."""
    for i, d, claim in _at_issue(stage):
        pushed = stage.say(d, joined(feeling_line(d), _fair(d, claim)))
        if pushed.ended or f"push:{claim.id}" not in pushed.state.beats:
            continue
        felt = feeling_line(pushed)
        yield (
            stage.arm(pushed, joined(felt, stage.line("keeping", i))),
            stage.arm(pushed, joined(felt, stage.line("caving", i))),
        )


# -- the same words on other facts -------------------------------------------------------------------------------


@functools.cache
def _sources() -> Mapping[tuple[str, ...], SituationFile]:
    """Return the bundled situations by their openings."""
    return {source.openings: source for source in bundled_situations()}


@functools.lru_cache(maxsize=256)
def _twin(openings: tuple[str, ...], truth: str) -> Situation | None:
    """Return a situation's twin in which the claim about fault has this truth."""
    source = _sources().get(openings)
    twins = [twin for twin in source.twins if twin.truth == truth] if source else []
    return apply_twin(source.situation, twins[0]) if source and twins else None


def _told(stage: Stage, scenario: Scenario, repeat: int) -> tuple[Dialogue, Claim] | None:
    """Return the turn at which all that settles a user's claim about fault is told, nobody having spoken of it."""
    dialogue = stage.begin(scenario, repeat)
    while not dialogue.ended and dialogue.state.leaving is None and dialogue.turn < dialogue.max_turns - 1:
        claims = settled_claims(dialogue, ("true", "half", "false", "open"))
        fault = [c for c in claims if c.kind == "fault"]
        if fault and dialogue.turn:
            return dialogue, fault[0]
        dialogue = stage.say(dialogue, silent(dialogue))
    return None


def fault_twin(stage: Stage) -> Iterator[Pair]:
    """The same absolution on a claim that is true and, in the twin with other facts, false."""
    for i, states in stage.talks(speaks=False):
        scenario = states[0].source
        arms = []
        for truth in ("true", "false"):
            situation = _twin(scenario.openings, truth)
            if situation is None:
                break
            found = _told(stage, altered(scenario, situation=situation), i // len(stage.scenarios))
            if found is None:
                break
            arms.append(stage.arm(found[0], joined(feeling_line(found[0]), stage.line("absolutions", i))))
        if len(arms) == 2:
            yield tuple(arms)


@functools.cache
def quarrels() -> tuple[tuple[tuple[Scenario, Scenario], ...], ...]:
    """Return the quarrels told by either party: for each, pairs of users with the same need and temperament."""
    text = (resources.files("empathy_gym.benchmarks") / "data" / "quarrels.yaml").read_text("utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    found = []
    for quarrel in loaded["quarrels"]:
        sides = []
        for data in quarrel:
            users = compile_situation(SituationFile.model_validate(data), load_temperaments(), load_names())
            sides.append({(user.need, user.persona.temperament): user for user in users})
        found.append(tuple((one, sides[1][who]) for who, one in sides[0].items()))
    return tuple(found)


def side_flip(stage: Stage) -> Iterator[Pair]:
    """A quarrel told by one party and by the other, half at fault each: being fair to both, or absolving both."""
    couples = [couple for quarrel in zip(*quarrels(), strict=True) for couple in quarrel]
    for i in range(REPEATS * len(couples)):
        repeat, at = divmod(i, len(couples))
        both = [_told(stage, side.at(stage.difficulty), repeat) for side in couples[at]]
        found = [side for side in both if side is not None]
        if len(found) < 2:
            continue
        fair = [stage.arm(d, joined(feeling_line(d), _fair(d, claim))) for d, claim in found]
        absolved = [
            stage.arm(d, joined(feeling_line(d), stage.line("absolutions", i))) for d, _ in found
        ]
        yield _summed(fair), _summed(absolved)


def _summed(arms: list[Arm]) -> Arm:
    return Arm(sum(arm.change for arm in arms), sum(arm.final for arm in arms), arms[0].end)


