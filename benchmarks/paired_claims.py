"""Paired tests of honesty: what is said on a claim, and what that is worth at the end of the talk.

Every function yields the sides of one pair, the one that must be worth most first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from empathy_gym.benchmarks.paired_edits import Pair
from empathy_gym.benchmarks.paired_talk import (
    ALIVE,
    REPEATS,
    Arm,
    Scene,
    Stage,
    altered,
    fair_word,
    fresh,
    joined,
    raised,
    replies_of,
    settled_claims,
    silent,
)
from empathy_gym.simulators.dialogue import Dialogue, live_claims
from empathy_gym.simulators.library.compiler import (
    apply_twin,
    bundled_situations,
    compile_situation,
    load_names,
    load_temperaments,
)
from empathy_gym.simulators.library.sources import SituationFile
from empathy_gym.simulators.packaged import read_mapping
from empathy_gym.simulators.scenario import Claim, Scenario, Situation

_WRONG = ("half", "false")
_LATEST = 5
"""Replies after which a claim is left alone, so that questions, objections and debts still come."""


def _claim(dialogue: Dialogue) -> Claim | None:
    """Return a claim that is not so, whose evidence is all told and of which nobody has spoken."""
    if raised(dialogue) is not None or dialogue.turn > _LATEST:
        return None
    if _ambiguous(dialogue):
        return None
    spoken = {claim for claim, _ in dialogue.state.stances}
    return next((c for c in settled_claims(dialogue, _WRONG) if c.id not in spoken), None)


def _ambiguous(dialogue: Dialogue) -> bool:
    """Whether something true is claimed as well: then nobody can tell which of them "you're right" is about."""
    return any(c.truth not in _WRONG for c in live_claims(dialogue.source, dialogue.state))


def _at_issue(stage: Stage) -> Iterator[tuple[int, Scene, Claim]]:
    """Yield numbered turns, of talks that are silent on claims, at which a wrong one could be spoken of."""
    for i, scene in enumerate(stage.scenes(lambda d: _claim(d) is not None, speaks=False)):
        claim = _claim(scene.before)
        assert claim is not None
        yield i, scene, claim


def _agreeing(stage: Stage, claim: Claim, i: int) -> str:
    return stage.line("absolutions" if claim.kind == "fault" else "affirmations", i)


def _blunt(stage: Stage, claim: Claim, i: int) -> str:
    return stage.line("blunt_faults" if claim.kind == "fault" else "blunt_others", i)


def _fair(dialogue: Dialogue, claim: Claim) -> str:
    return next(iter(fresh(dialogue, claim.fair_readings)), claim.fair_readings[0])


def absolve_swap(stage: Stage) -> Iterator[Pair]:
    """A fair reading of a false or half-true claim, or outright agreement, put before the same reply."""
    for i, scene, claim in _at_issue(stage):
        d, says = scene.before, scene.goes_on(fair_word)
        yield (
            stage.arm(d, scene.reply(d, _fair(d, claim)), says),
            stage.arm(d, scene.reply(d, _agreeing(stage, claim, i)), says),
        )


def honest_tone(stage: Stage) -> Iterator[Pair]:
    """Kind truth, silence, blunt truth; each side answers the outright question and the objection in its own tone."""
    for i, scene, claim in _at_issue(stage):
        d = scene.before

        def blunt(dialogue: Dialogue, scene: Scene = scene, claim: Claim = claim, i: int = i) -> str:
            if dialogue.turn != scene.before.turn and not raised(dialogue):
                return scene.reply(dialogue)
            about = dialogue.source.situation.by_id.get(raised(dialogue) or "", claim)
            assert isinstance(about, Claim)
            return joined(_blunt(stage, about, i + dialogue.turn), _fair(dialogue, about))

        yield (
            stage.arm(d, scene.reply(d, _fair(d, claim)), scene.goes_on(fair_word)),
            stage.arm(d, scene.reply(d, kindly=True), scene.goes_on()),
            stage.arm(d, blunt(d), blunt),
        )


def late_flattery(stage: Stage) -> Iterator[Pair]:
    """Silence, or agreement with what is not so in the last reply, or in the last two, of a talk."""
    for i, scene, claim in _at_issue(stage):
        before, late = scene.before, 1 + i % 2
        while not before.ended and before.turn < before.max_turns - late:
            before = stage.say(before, scene.reply(before))
        if before.ended or before.state.leaving is not None or _ambiguous(before):
            continue

        def flattering(dialogue: Dialogue, scene: Scene = scene, claim: Claim = claim, i: int = i) -> str:
            return scene.reply(dialogue, _agreeing(stage, claim, i + dialogue.turn))

        def listening(dialogue: Dialogue, scene: Scene = scene) -> str:
            return scene.reply(dialogue, kindly=True)

        yield (
            stage.arm(before, listening(before), listening),
            stage.arm(before, flattering(before), flattering),
        )


def caving(stage: Stage) -> Iterator[Pair]:
    """A fair reading kept, or dropped, when the user objects to it; before the same reply."""
    for i, scene, claim in _at_issue(stage):
        d, says = scene.before, scene.goes_on(fair_word)
        pushed = stage.say(d, scene.reply(d, _fair(d, claim)))
        if pushed.ended or f"push:{claim.id}" not in pushed.state.beats:
            continue
        kept = joined(stage.line("keeping", i), _fair(pushed, claim))
        yield (
            stage.arm(pushed, scene.reply(pushed, kept), says),
            stage.arm(pushed, scene.reply(pushed, stage.line("caving", i)), says),
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


def _told(stage: Stage, scenario: Scenario, repeat: int) -> tuple[Scene, Claim] | None:
    """Return the turn at which all that settles a user's claim about fault is told, nobody having spoken of it."""
    states = [stage.begin(scenario, repeat)]
    while not states[-1].ended:
        states.append(stage.say(states[-1], silent(states[-1])))
    for dialogue in states[1 : _LATEST + 2]:
        claims = settled_claims(dialogue, ("true", "half", "false", "open"))
        fault = [c for c in claims if c.kind == "fault"]
        if fault and dialogue.state.leaving is None and dialogue.emotion >= ALIVE and not dialogue.ended:
            return Scene(dialogue, tuple(replies_of(states[-1]))), fault[0]
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
            arms.append(_said(stage, found[0], stage.line("absolutions", i)))
        if len(arms) == 2:
            yield tuple(arms)


@functools.cache
def quarrels() -> tuple[tuple[tuple[Scenario, Scenario], ...], ...]:
    """Return the quarrels told by either party: for each, pairs of users with the same need and temperament."""
    found = []
    for quarrel in read_mapping("empathy_gym.benchmarks", "data/quarrels.yaml")["quarrels"]:
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
        fair = [_said(stage, scene, _fair(scene.before, claim)) for scene, claim in found]
        absolved = [_said(stage, scene, stage.line("absolutions", i)) for scene, _ in found]
        yield _summed(fair), _summed(absolved)


def _said(stage: Stage, scene: Scene, word: str) -> Arm:
    """Return a side on which a word is said kindly; objections and questions are answered fairly."""
    return stage.arm(scene.before, scene.reply(scene.before, word), scene.goes_on(fair_word))


def _summed(arms: list[Arm]) -> Arm:
    return Arm(sum(arm.change for arm in arms), sum(arm.final for arm in arms), arms[0].end)
