"""Paired tests of how a reply is said: one edit to a good reply, and what it has to do.

Every function yields pairs of sides, the one that must be worth more first. Sides share user, seed, all that was said
before, and the partner who goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from empathy_gym.benchmarks.attacks.play import conversation
from empathy_gym.benchmarks.attacks.policies import filled, slots
from empathy_gym.benchmarks.paired_talk import (
    REPEATS,
    Arm,
    Scene,
    Stage,
    advice_lines,
    altered,
    fact_line,
    feeling_line,
    joined,
    known_feelings,
    partner,
    question,
    replies_of,
    strength_line,
)
from empathy_gym.simulators.dialogue import Dialogue, known_of
from empathy_gym.simulators.listening.wording import sentences, swapped, upper_first
from empathy_gym.simulators.scenario import Boundary, Fact, Scenario

Pair = tuple[Arm, ...]
_LATER = 3
"""Replies after which advice comes late, in the test of order."""


def user_said(dialogue: Dialogue) -> list[str]:
    """Return the user's lines so far."""
    return [m["content"] for m in dialogue.messages if m["role"] == "user"]


def _moved(stage: Stage, before: Dialogue, good: str, edited: str) -> Iterator[Pair]:
    """Yield a pair compared by what the reply itself does; none where the good reply met a ceiling.

    There a better reply and a worse one move the mood alike by the rule itself, whatever is heard in them.
    """
    one = stage.step(before, good)
    if "ceiling" not in one.end.terms[-1]:
        yield one, stage.step(before, edited)


def _replaced(
    stage: Stage, family: str, part: Callable[[Dialogue], str], rest: Callable[[Dialogue], str]
) -> Iterator[Pair]:
    """Put a line of a family in the place of one part of a reply; the rest of the reply stays."""
    for i, (d, _) in enumerate(stage.scenes(lambda d: bool(part(d) and rest(d)))):
        good, other = part(d), rest(d)
        yield from _moved(stage, d, joined(good, other), joined(stage.line(family, i), other))


def positivity(stage: Stage) -> Iterator[Pair]:
    """A feeling reflected, or a bright side in its place; then the same question."""
    return _replaced(stage, "positivity", feeling_line, question)


def therapy_speak(stage: Stage) -> Iterator[Pair]:
    """A specific line, or stock validation in its place; then the same question."""
    return _replaced(stage, "therapy_speak", feeling_line, question)


def praise_inflation(stage: Stage) -> Iterator[Pair]:
    """What the user did, named, or a superlative in its place; beside the same fact."""
    for i, (d, _) in enumerate(stage.scenes(lambda d: bool(strength_line(d) and fact_line(d)))):
        fact, praise = fact_line(d), strength_line(d)
        yield from _moved(stage, d, joined(fact, praise), joined(fact, stage.line("inflated_praise", i)))


def _added(stage: Stage, tail: Callable[[Dialogue, int], str]) -> Iterator[Pair]:
    """Append something to the partner's reply."""
    for i, (d, _) in enumerate(stage.scenes(lambda d: True)):
        reply = partner(d)
        yield from _moved(stage, d, reply, joined(reply, tail(d, i)))


def leverage(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same with guilt, exclusivity, isolation, urgency or a hook at its end."""
    return _added(stage, lambda d, i: stage.line("leverage", i))


def leverage_at_goodbye(stage: Stage) -> Iterator[Pair]:
    """A goodbye that lets go, and the same with a hook at its end."""
    i = 0
    for _, states in stage.talks():
        before = states[-2]
        if before.state.leaving is not None:
            bye = partner(before)
            yield stage.step(before, bye), stage.step(before, joined(bye, stage.line("hooks", i)))
            i += 1


def fact_dump(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same with everything told so far recited after it."""

    def told(dialogue: Dialogue, i: int) -> str:
        facts = known_of(dialogue.source.situation, dialogue.state.disclosed).facts
        return stage.line("dump_frames", i).replace("{facts}", swapped(" ".join(f.text for f in facts)))

    return _added(stage, told)


def false_precision(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same with something that was never told."""
    return _added(stage, lambda d, i: stage.line("invented_facts", i))


def _latest(dialogue: Dialogue) -> tuple[Fact, str] | None:
    """Return the fact told last with a restatement of it, if there is one that was not said yet."""
    told = dialogue.state.disclosed[-1]
    fact = dialogue.source.situation.by_id[told]
    spoken = "\n".join(m["content"] for m in dialogue.messages if m["role"] == "assistant")
    fresh = [line for line in fact.say if line not in spoken]
    return (fact, fresh[0]) if isinstance(fact, Fact) and fresh else None


def parrot(stage: Stage) -> Iterator[Pair]:
    """A paraphrase of what was told last, or a copy of it with the pronouns swapped."""
    for i, (d, _) in enumerate(stage.scenes(lambda d: _latest(d) is not None)):
        latest = _latest(d)
        assert latest is not None
        fact, paraphrase = latest
        copy = swapped(" ".join(s for s in sentences(fact.text) if not s.endswith("?")) or fact.text)
        yield from _moved(stage, d, paraphrase, stage.line("parrot_frames", i).replace("{copy}", copy))


def feeling_swap(stage: Stage) -> Iterator[Pair]:
    """A feeling that the user has with its reason, or one that the user denied; then the same question."""

    def fits(dialogue: Dialogue) -> bool:
        return bool(known_feelings(dialogue, held=False) and feeling_line(dialogue) and question(dialogue))

    for i, (d, _) in enumerate(stage.scenes(fits)):
        denied = known_feelings(d, held=False)[0].name
        line, ask = stage.line("denied_feelings", i).replace("{feeling}", denied), question(d)
        yield from _moved(stage, d, joined(feeling_line(d), ask), joined(upper_first(line), ask))


def anti_blandness(stage: Stage) -> Iterator[Pair]:
    """A good reply, or a true one that does nothing."""
    for i, (d, _) in enumerate(stage.scenes(lambda d: True)):
        yield from _moved(stage, d, partner(d), stage.line("neutral", i))


# -- advice: when, and to whom -----------------------------------------------------------------------------------


def order_flip(stage: Stage) -> Iterator[Pair]:
    """The same suggestion at the end of the fourth reply or of the first, in a talk with no other suggestion."""
    for i in range(REPEATS * len(stage.scenarios)):
        repeat, at = divmod(i, len(stage.scenarios))
        states = [stage.begin(stage.scenarios[at], repeat)]
        while not states[-1].ended:
            states.append(stage.say(states[-1], partner(states[-1], advises=False)))
        lines = advice_lines(states[0])
        spared = any(b.kind == "act" for b in states[0].source.situation.boundaries)
        if not lines or spared or len(states) <= _LATER + 1 or states[_LATER].state.leaving is not None:
            continue
        scene = Scene(states[0], tuple(replies_of(states[-1])))
        yield tuple(
            stage.arm(d, joined(scene.replies[d.turn], lines[0]), scene.goes_on())
            for d in (states[_LATER], states[0])
        )


def with_boundary(scenario: Scenario, text: str | None) -> Scenario:
    """Return a user without any limit on advice but this one, stated with the opening."""
    situation = scenario.situation
    kept = tuple(b for b in situation.boundaries if b.act != "advice")
    if text is not None:
        kept += (Boundary(id="b_paired", text=text, kind="act", act="advice"),)
    return altered(scenario, situation=altered(situation, boundaries=kept))


def asked_advice(stage: Stage) -> Iterator[Pair]:
    """The same suggestion to somebody who set no limit and to one who asked for no advice."""
    for i, states in stage.talks():
        scenario = states[0].source
        if scenario.need == "advice":
            continue
        arms = []
        for text in (None, stage.line("no_advice", i)):
            d = stage.begin(with_boundary(scenario, text), i)
            while not d.ended and d.state.leaving is None and d.turn < _LATER:
                d = stage.say(d, partner(d))
            if not d.ended and d.state.leaving is None:
                arms.append(stage.step(d, joined(fact_line(d), stage.line("suggestions", i))))
        if len(arms) == 2:
            yield tuple(arms)


# -- whole talks -------------------------------------------------------------------------------------------------


def slot_template(stage: Stage) -> Iterator[Pair]:
    """A whole talk in one frame, the user's nouns refilled at every turn."""
    for i, states in stage.talks():
        template = stage.line("slot_templates", i)

        def says(dialogue: Dialogue, template: str = template) -> str:
            now = conversation(dialogue)
            values = slots(now, user_said(dialogue))
            return filled(template, {**values, "A": upper_first(values["a"])})

        start = states[0]
        yield (stage.arm(start, says(start), says),)


def replayed(stage: Stage, start: Dialogue, replies: list[str]) -> Arm:
    """Return a talk in which these replies are said, whatever the user says."""
    dialogue = start
    for reply in replies:
        if not dialogue.ended:
            dialogue = stage.say(dialogue, reply)
    return Arm(dialogue.emotion - start.emotion, dialogue.emotion, dialogue)


def need_flip(stage: Stage) -> Iterator[Pair]:
    """The partner's replies to a user, and the same to one who is alike but needs something else."""
    needs = sorted({scenario.need for scenario in stage.scenarios})
    for i, states in stage.talks():
        scenario = states[0].source
        fault = any(claim.kind == "fault" for claim in scenario.situation.claims)
        others = [need for need in needs if need != scenario.need and (fault or need != "fair_fault")]
        if not others:
            continue
        flipped = altered(scenario, need=others[i % len(others)], hints=())
        start = stage.begin(flipped, i // len(stage.scenarios))
        end = states[-1]
        yield Arm(0, end.emotion, end), replayed(stage, start, replies_of(end))


def fact_swap(stage: Stage) -> Iterator[Pair]:
    """The partner's replies to a user, and the same to one with the same need to whom something else happened."""
    for i, states in stage.talks():
        scenario, at = states[0].source, i % len(stage.scenarios)
        around = [*stage.scenarios[at + 1 :], *stage.scenarios[:at]]
        other = next((s for s in around if s.need == scenario.need and s.openings != scenario.openings), None)
        if other is not None:
            start, end = stage.begin(other, i // len(stage.scenarios)), states[-1]
            yield Arm(0, end.emotion, end), replayed(stage, start, replies_of(end))
