"""Talks for the paired tests: a good, need-aware partner, the turns at which a test sets in, and how talks end.

Everything is said with lines that were written with the situations (`Item.say`, `Claim.fair_readings`). The partner
chooses them by what has been told and by the need, never by how a perceiver reads them: a reply that is edited was not
picked for being read well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from empathy_gym.agents.policies.blind import lines
from empathy_gym.agents.policies.oracle import INSIGHTS, KINDS
from empathy_gym.benchmarks.paired_lines import edits
from empathy_gym.simulators.dialogue import (
    BeginRequest,
    Dialogue,
    boundaries_in_force,
    derive_seed,
    live_claims,
)
from empathy_gym.simulators.listening.phrasebook import lines_of, rests_on
from empathy_gym.simulators.reading import requests_in
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


def support(dialogue: Dialogue) -> str:
    """Return something kind to begin with: a feeling with its reason or, when all are said, plain sympathy."""
    bridges: list[str] = lines()["oracle"]["bridges"]
    return feeling_line(dialogue) or _first(dialogue, bridges) or bridges[0]


def kindness(dialogue: Dialogue) -> str:
    """Return something kind beside an honest word: a feeling, or sympathy for whom a feeling would change the matter."""
    if dialogue.source.need in ("critical_analysis", "others_motives", "self_reflection"):
        bridges: list[str] = lines()["oracle"]["bridges"]
        return _first(dialogue, bridges) or bridges[0]
    return support(dialogue)


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


def refusal(dialogue: Dialogue) -> str:
    """Return a kind no to what the user has just asked for and should not get, or ``""``."""
    lines_ = [line for request in requests_in(dialogue.source, dialogue.state.beats) for line in request.say]
    return _first(dialogue, lines_)


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


def partner(dialogue: Dialogue, speaks: bool = True, advises: bool = True) -> str:
    """Return what a good partner says who knows the need and what was told.

    Args:
        dialogue: The talk so far.
        speaks: Whether claims are spoken of at all; otherwise the partner listens as before.
        advises: Whether suggestions are made at all.
    """
    if dialogue.state.leaving is not None:
        farewells: list[str] = lines()["oracle"]["farewells"]
        return farewells[derive_seed(dialogue.seed, "farewell") % len(farewells)]
    no = refusal(dialogue)
    if no:
        return joined(no, question(dialogue))
    need = dialogue.source.need
    main = _main(dialogue, speaks) if advises or need != "advice" else ""
    if raised(dialogue) and speaks:
        # An honest word stands beside what the need asks for and never bars it.
        rest = main or (fact_line(dialogue) if need == "deep_empathy" else question(dialogue))
        return joined(kindness(dialogue), fair_word(dialogue), rest)
    felt = feeling_line(dialogue)
    if main:
        return joined(fact_line(dialogue), main)
    if need == "deep_empathy" and felt:
        return joined(felt, fact_line(dialogue))
    return joined(felt or fact_line(dialogue), question(dialogue))


def silent(dialogue: Dialogue) -> str:
    """Return what the partner says who never speaks of a claim."""
    return partner(dialogue, speaks=False)


def fair_word(dialogue: Dialogue) -> str:
    """Return a fair word on what the user has just asked or objected; an open one while it is unsettled."""
    claim = dialogue.source.situation.by_id.get(raised(dialogue) or "")
    told = set(dialogue.state.disclosed)
    fair: Sequence[str] = ()
    if isinstance(claim, Claim) and told.issuperset(claim.evidence):
        fair = claim.fair_readings
    open_: list[str] = lines()["oracle"]["open"]
    return _first(dialogue, fair) or _first(dialogue, open_) or open_[0]


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
        final: The emotion at the end, or after that reply where the rest of the talk is left out.
        end: The talk then.
    """

    change: int
    final: int
    end: Dialogue


class Scene(NamedTuple):
    """A turn at which the sides of a pair part.

    Attributes:
        before: The talk up to there.
        replies: What the partner said in the whole talk: both sides go on with it.
    """

    before: Dialogue
    replies: tuple[str, ...]

    def reply(self, dialogue: Dialogue, word: str = "", kindly: bool = False) -> str:
        """Return the partner's reply of this turn as it was said in the talk without an edit, with a word put before it.

        The word is said kindly: after something kind, unless the reply itself names a feeling; with `kindly` no word
        is needed for that, so that sides with a word and without differ in it alone.
        """
        if dialogue.state.leaving is not None or dialogue.turn >= len(self.replies):
            return silent(dialogue)
        reply, no = self.replies[dialogue.turn], refusal(dialogue)
        reply = joined(no, reply) if no and no not in reply else reply
        felt = any(line in reply for f in dialogue.source.situation.feelings for line in f.say)
        return joined(kindness(dialogue) if (word or kindly) and not felt else "", word, reply)

    def goes_on(self, answers: Says | None = None) -> Says:
        """Return the continuation of both sides: the same replies, and a word where the user asked or objected."""

        def says(dialogue: Dialogue) -> str:
            return self.reply(dialogue, answers(dialogue) if answers and raised(dialogue) else "")

        return says


def replies_of(dialogue: Dialogue) -> list[str]:
    """Return what the policy said in a talk."""
    return [m["content"] for m in dialogue.messages if m["role"] == "assistant"]


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

    def finish(self, dialogue: Dialogue, says: Says) -> Dialogue:
        """Return the talk at its end, as this partner goes on with it."""
        while not dialogue.ended:
            dialogue = self.say(dialogue, says(dialogue))
        return dialogue

    def step(self, before: Dialogue, reply: str) -> Arm:
        """Return one side of a pair that is compared by what the reply itself does."""
        after = self.say(before, reply)
        return Arm(after.emotion - before.emotion, after.emotion, after)

    def arm(self, before: Dialogue, reply: str, says: Says) -> Arm:
        """Return one side of a pair: a reply, and the rest of the talk as `says` goes on."""
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

    def scenes(self, wanted: Callable[[Dialogue], bool], speaks: bool = True) -> Iterator[Scene]:
        """Yield one turn of each talk at which something holds: the first one, or a later one in every other talk.

        The first reply is left out: what an edit does there says little of the rest of a talk.
        """
        for i, states in self.talks(speaks):
            fit = [d for d in states[1:-1] if _comparable(d) and wanted(d)]
            if fit:
                yield Scene(fit[(i % 2) * (len(fit) // 2)], tuple(replies_of(states[-1])))


def _comparable(dialogue: Dialogue) -> bool:
    """Whether a reply is one among others here: no goodbye, no request to decline, and no talk about to fail."""
    asked = requests_in(dialogue.source, dialogue.state.beats)
    return dialogue.state.leaving is None and not asked and dialogue.emotion >= ALIVE


ALIVE: Final = 25
"""Emotion below which a talk is about to fail whatever is said next, so that nothing can be compared in it."""
REPEATS: Final = 16
"""How often each scenario is played at most, with other seeds."""
