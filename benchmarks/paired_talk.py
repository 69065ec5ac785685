"""Talks for the paired tests: a good, need-aware partner, the turns at which a test sets in, and how talks end.

Everything is said with lines that were written with the situations (`Item.say`, `Claim.fair_readings`). The partner
chooses them by what has been told and by the need, never by how a perceiver reads them: a reply that is edited was not
picked for being read well.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from empathy_gym.agents.policies.blind import lines
from empathy_gym.agents.policies.oracle import INSIGHTS, KINDS
from empathy_gym.agents.policies.phrasebook import lines_of, rests_on
from empathy_gym.benchmarks.paired_lines import edits
from empathy_gym.simulators.dialogue import (
    BeginRequest,
    Dialogue,
    boundaries_in_force,
    derive_seed,
    live_claims,
)
from empathy_gym.simulators.scenario import Claim, Feeling, Item, Scenario
from empathy_gym.simulators.user import User

TURNS: Final = 8
"""Replies of a talk."""
_READY: Final = 50
"""Trust from which advice and readings of the matter are welcome (docs/appraisal.md)."""
_WAITS: Final = ("advice", "critical_analysis", "others_motives", "fair_fault")
"""Needs whose own acts have to wait until then."""

Says = Callable[[Dialogue], str]
Model = TypeVar("Model", bound=BaseModel)


def altered(model: Model, **changes: Any) -> Model:
    """Return a frozen model with other fields; unlike a validated copy it keeps its id, and with it all draws."""
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return type(model).model_construct(**{**fields, **changes})


# -- what can be said --------------------------------------------------------------------------------------------


def fresh(dialogue: Dialogue, options: Sequence[str]) -> list[str]:
    """Return the lines that were not said yet."""
    spoken = "\n".join(m["content"] for m in dialogue.messages if m["role"] == "assistant")
    return [line for line in options if line not in spoken]


def _first(dialogue: Dialogue, options: Sequence[str]) -> str:
    return next(iter(fresh(dialogue, options)), "")


def _untouched(dialogue: Dialogue, items: Sequence[Item]) -> list[Item]:
    touched = dialogue.state.touched
    return sorted(items, key=lambda item: item.id in touched)


def _told(dialogue: Dialogue, refs: Sequence[str]) -> bool:
    return not refs or not set(dialogue.state.disclosed).isdisjoint(refs)


def known_feelings(dialogue: Dialogue, held: bool = True) -> list[Feeling]:
    """Return the feelings that have become known, the latest first."""
    told = {id_: at for at, id_ in enumerate(dialogue.state.disclosed)}
    found = [f for f in dialogue.source.situation.feelings if f.held == held and _told(dialogue, f.because)]
    return sorted(found, key=lambda f: -max((told.get(ref, 0) for ref in f.because), default=0))


def feeling_line(dialogue: Dialogue) -> str:
    """Return a line that names a feeling of the user's with its reason, or ``""``."""
    return _first(dialogue, lines_of(_untouched(dialogue, known_feelings(dialogue))))


def fact_lines(dialogue: Dialogue) -> list[str]:
    """Return restatements of what was told, not said yet: what no reply has engaged first, the latest first."""
    facts = dialogue.source.situation.by_id
    latest = [facts[id_] for id_ in reversed(dialogue.state.disclosed)]
    return fresh(dialogue, lines_of(_untouched(dialogue, latest)))


def fact_line(dialogue: Dialogue) -> str:
    """Return a restatement of something told, or ``""``."""
    return next(iter(fact_lines(dialogue)), "")


def strength_line(dialogue: Dialogue) -> str:
    """Return a line that names something the user did and told, or ``""``."""
    shown = [s for s in dialogue.source.situation.strengths if s.evidence and _told(dialogue, s.evidence)]
    return _first(dialogue, lines_of(_untouched(dialogue, shown)))


def advice_lines(dialogue: Dialogue) -> list[str]:
    """Return suggestions that respect what binds the user, not said yet."""
    return fresh(dialogue, lines_of(_untouched(dialogue, dialogue.source.situation.constraints)))


def question(dialogue: Dialogue) -> str:
    """Return an open question, after what a claim or the need still waits for; ``""`` if all are asked."""
    situation, told = dialogue.source.situation, set(dialogue.state.disclosed)
    claims = situation.claims
    wanted = {fact for c in claims for fact in (*c.evidence, c.voiced_by or "")} - told
    wanted |= {fact for item in _needed(dialogue) for fact in rests_on(item)} - told
    weight = dict.fromkeys((topic.id for topic in situation.topics), 0)
    for fact in situation.facts:
        if fact.id not in told:
            for topic in fact.topics:
                weight[topic] += 1 + 4 * (fact.id in wanted)
    if any(b.act == "exploration" for b in boundaries_in_force(dialogue.source, dialogue.state)):
        return ""
    return _first(dialogue, lines_of(sorted(situation.topics, key=lambda topic: -weight[topic.id])))


def settled_claims(dialogue: Dialogue, truths: Sequence[str]) -> list[Claim]:
    """Return the claims of these truths that are voiced and whose evidence is all told."""
    told = set(dialogue.state.disclosed)
    claims = live_claims(dialogue.source, dialogue.state)
    return [c for c in claims if c.truth in truths and c.evidence and told.issuperset(c.evidence)]


def raised(dialogue: Dialogue) -> str | None:
    """Return the claim that the user has just asked about or objected on, or None."""
    for beat in dialogue.state.beats:
        if beat.startswith(("ask:", "push:")):
            return beat.split(":", 1)[1]
    return None


# -- the partner -------------------------------------------------------------------------------------------------


def joined(*parts: str) -> str:
    """Return the parts that are not empty, as one reply; a filler if none is left."""
    return " ".join(part for part in parts if part) or "I'm listening."


def partner(dialogue: Dialogue, answers: Says | None = None, speaks: bool = True) -> str:
    """Return what a good partner says who knows the need and what was told.

    Args:
        dialogue: The talk so far.
        answers: What is said when the user has just asked about a claim or objected; a kind, fair answer if None.
        speaks: Whether claims are spoken of at all; otherwise the partner listens as before.
    """
    if dialogue.state.leaving is not None:
        farewells: list[str] = lines()["oracle"]["farewells"]
        return farewells[derive_seed(dialogue.seed, "farewell") % len(farewells)]
    if raised(dialogue) and (answers or speaks):
        return (answers or fair_answer)(dialogue)
    main, felt = _main(dialogue, speaks), feeling_line(dialogue)
    if main:
        return joined(fact_line(dialogue), main)
    if dialogue.source.need == "deep_empathy" and felt:
        return joined(felt, fact_line(dialogue))
    return joined(felt or fact_line(dialogue), question(dialogue))


def silent(dialogue: Dialogue) -> str:
    """Return what the partner says who never speaks of a claim."""
    return partner(dialogue, speaks=False)


def fair_answer(dialogue: Dialogue) -> str:
    """Return a kind and fair word on what the user has just asked or objected; an open one while it is unsettled."""
    claim = dialogue.source.situation.by_id.get(raised(dialogue) or "")
    told = set(dialogue.state.disclosed)
    fair: Sequence[str] = ()
    if isinstance(claim, Claim) and told.issuperset(claim.evidence):
        fair = claim.fair_readings
    open_: list[str] = lines()["oracle"]["open"]
    word = _first(dialogue, fair) or _first(dialogue, open_) or open_[0]
    # An honest word stands beside what the need asks for and never bars it.
    main = _main(dialogue, speaks=False)
    return joined(fact_line(dialogue) if main else feeling_line(dialogue), word, main)


def _main(dialogue: Dialogue, speaks: bool) -> str:
    """Return the line that serves the need now, or ``""``."""
    source, state = dialogue.source, dialogue.state
    need = source.need
    if need in _WAITS and (state.trust < _READY or len(state.disclosed) < 2):
        return ""
    spared = {b.act for b in boundaries_in_force(source, state) if b.kind == "act"}
    options: list[str] = []
    for kind in KINDS[need]:
        if kind in ("feelings", "topics"):
            options += [question(dialogue)] if need == "self_reflection" else []
        elif kind == "claims":
            options += _fair_lines(dialogue) if speaks else []
        elif not (need == "advice" and "advice" in spared):
            options += _lines_about(dialogue, kind)
    return _first(dialogue, [option for option in options if option])


def _fair_lines(dialogue: Dialogue) -> list[str]:
    done = {claim for claim, stance in dialogue.state.stances if stance > 0}
    claims = [c for c in settled_claims(dialogue, ("true", "half", "false", "open")) if c.id not in done]
    return [c.fair_readings[0] for c in claims]


def _lines_about(dialogue: Dialogue, kind: str) -> list[str]:
    """Return lines of items that the need asks for and that rest on something told, new items only."""
    items = [item for item in _needed(dialogue) if dialogue.source.situation.kind_of[item.id] == kind]
    return [line for item in items if _told(dialogue, _grounds(item)) for line in item.say]


def _needed(dialogue: Dialogue) -> list[Item]:
    """Return the items that the need asks for and that no reply has engaged."""
    situation, need = dialogue.source.situation, dialogue.source.need
    items: list[Item] = [item for kind in KINDS[need] for item in getattr(situation, kind)]
    return [
        item
        for item in items
        if item.id not in dialogue.state.touched
        and getattr(item, "kind", "") in ("", INSIGHTS.get(need, "self"), "fault", "belief")
    ]


def _grounds(item: Item) -> tuple[str, ...]:
    """Return the facts of which one has to be told before an item can be spoken of."""
    return rests_on(item) or tuple(filter(None, [getattr(item, "fact", None)]))


# -- the stage ---------------------------------------------------------------------------------------------------


class Arm(NamedTuple):
    """One side of a pair.

    Attributes:
        change: What the reply at which the sides part did to the emotion.
        final: The emotion at the end of the talk.
        end: The talk at its end.
    """

    change: int
    final: int
    end: Dialogue


@dataclass(frozen=True)
class Stage:
    """Who talks with whom in the paired tests.

    Attributes:
        user: The simulated user.
        scenarios: Whom it plays, at the difficulty, in order.
        difficulty: ``"easy"``, ``"normal"`` or ``"hard"``.
        held_out: Whether the held-out lines are said, or those that may be looked at.
    """

    user: User
    scenarios: Sequence[Scenario]
    difficulty: str
    held_out: bool = True
    _talks: dict[tuple[str, int, bool], tuple[Dialogue, ...]] = field(default_factory=dict, repr=False)

    def line(self, family: str, i: int) -> str:
        """Return the line of a family of edits for the i-th pair."""
        lines_ = edits()[family]
        options = lines_.held_out if self.held_out else lines_.seen
        return options[i % len(options)]

    def begin(self, scenario: Scenario, repeat: int, turns: int = TURNS) -> Dialogue:
        """Return a talk that begins."""
        seed = derive_seed(repeat, scenario.id, "paired")
        return self.user.begin([BeginRequest(scenario, seed, self.difficulty, turns)])[0]

    def say(self, dialogue: Dialogue, reply: str) -> Dialogue:
        """Return the talk after a reply."""
        return self.user.respond([dialogue], [reply])[0]

    def finish(self, dialogue: Dialogue, says: Says = partner) -> Dialogue:
        """Return the talk at its end, as this partner goes on with it."""
        while not dialogue.ended:
            dialogue = self.say(dialogue, says(dialogue))
        return dialogue

    def arm(self, before: Dialogue, reply: str, says: Says = partner) -> Arm:
        """Return one side of a pair: a reply, and the rest of the talk with a partner."""
        after = self.say(before, reply)
        end = self.finish(after, says)
        return Arm(after.emotion - before.emotion, end.emotion, end)

    def talk(self, scenario: Scenario, repeat: int, speaks: bool = True) -> tuple[Dialogue, ...]:
        """Return every state of a whole talk with the partner; it is played once."""
        key = (scenario.id, repeat, speaks)
        if key not in self._talks:
            states = [self.begin(scenario, repeat)]
            while not states[-1].ended:
                states.append(self.say(states[-1], partner(states[-1], speaks=speaks)))
            self._talks[key] = tuple(states)
        return self._talks[key]

    def talks(self, speaks: bool = True) -> Iterator[tuple[int, tuple[Dialogue, ...]]]:
        """Yield numbered talks with every scenario in order, again and again with other seeds."""
        for i in itertools.count():
            repeat, at = divmod(i, len(self.scenarios))
            if repeat == REPEATS:
                return
            yield i, self.talk(self.scenarios[at], repeat, speaks)

    def scenes(self, wanted: Callable[[Dialogue], bool], speaks: bool = True) -> Iterator[Dialogue]:
        """Yield one turn of each talk at which something holds: the first one, or a later one in every other talk.

        The first reply is left out: what an edit does there says little of the rest of a talk.
        """
        for i, states in self.talks(speaks):
            fit = [d for d in states[1:-1] if d.state.leaving is None and wanted(d)]
            if fit:
                yield fit[(i % 2) * (len(fit) // 2)]


REPEATS: Final = 4
"""How often each scenario is played at most, with other seeds."""


def capped(dialogue: Dialogue, turns: int) -> Dialogue:
    """Return a talk with another cap on replies."""
    return dataclasses.replace(dialogue, max_turns=turns)

