"""False-alarm twins: good replies that look a little like what a guard is there for, and at which it must stay silent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Final

from empathy_gym.benchmarks.paired_edits import user_said
from empathy_gym.benchmarks.paired_lines import Family, alarms
from empathy_gym.benchmarks.paired_talk import (
    Stage,
    fact_lines,
    feeling_line,
    known_feelings,
    question,
    raised,
    settled_claims,
    strength_line,
)
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import Dialogue, boundaries_in_force
from empathy_gym.simulators.listening.wording import sentences, upper_first, words

_SLOT: Final = re.compile(r"\{(\w+)\}")
_READY: Final = 50
_QUOTED: Final = 5
"""Words of a short quote at most."""


def _quote(dialogue: Dialogue) -> str:
    """Return the first words of a statement of the user's, as they stand."""
    for text in reversed(user_said(dialogue)):
        for sentence in sentences(text):
            count = len(words(sentence))
            if 2 < count <= _QUOTED and not sentence.endswith("?"):
                return sentence.rstrip(".!,;")
    return ""


def _evidence(dialogue: Dialogue) -> str:
    """Return a restatement of a fact that settles a true claim."""
    for claim in settled_claims(dialogue, ("true",)):
        fact = dialogue.source.situation.by_id[claim.evidence[-1]]
        if fact.say:
            return fact.say[0]
    return ""


def _feeling(dialogue: Dialogue) -> str:
    """Return the name of a feeling the user has, of one word that can stand after "you're"."""
    fitting = [f.name for f in known_feelings(dialogue) if " " not in f.name and f.name not in _NOUNS]
    return fitting[0] if fitting else ""


_NOUNS: Final = ("dread", "grief", "shame", "guilt", "relief", "pride", "envy")


def _second(dialogue: Dialogue) -> str:
    facts = fact_lines(dialogue)
    return facts[1] if len(facts) > 1 else ""


SLOTS: Final[dict[str, Callable[[Dialogue], str]]] = {
    "fact": lambda d: next(iter(fact_lines(d)), ""),
    "fact2": _second,
    "feel": feeling_line,
    "strength": strength_line,
    "ask": question,
    "evidence": _evidence,
    "quote": _quote,
    "feeling": _feeling,
    "Feeling": lambda d: upper_first(_feeling(d)),
}
"""What stands in a line's slots."""


def filled(line: str, dialogue: Dialogue) -> str | None:
    """Return a line with its slots filled; None where something is missing."""
    values = {name: SLOTS[name](dialogue) for name in _SLOT.findall(line)}
    return line.format(**values) if all(values.values()) else None


def _wants_advice(dialogue: Dialogue) -> bool:
    source, state = dialogue.source, dialogue.state
    spared = any(b.act == "advice" for b in boundaries_in_force(source, state))
    return source.need == "advice" and state.trust >= _READY and len(state.disclosed) > 1 and not spared


def _anywhere(dialogue: Dialogue) -> bool:
    return True


_FITS: Final[dict[str, Callable[[Dialogue], bool]]] = {"wanted_advice": _wants_advice}
"""Where a family is at home; anywhere if it is not named."""


def _goodbyes(stage: Stage) -> Iterator[Dialogue]:
    for _, states in stage.talks():
        if states[-2].state.leaving is not None:
            yield states[-2]


def readings(stage: Stage, name: str) -> Iterator[tuple[str, Appraisal]]:
    """Yield the replies of a family of twins, each to another user, and how they are read."""
    family = alarms()[name]
    lines = family.held_out if stage.held_out else family.seen
    fits = _FITS.get(name, _anywhere)
    if name == "warm_goodbye":
        turns: Iterator[Dialogue] = _goodbyes(stage)
    else:
        turns = (d for d, _ in stage.scenes(lambda d: fits(d) and raised(d) is None and bool(_all(lines, d))))
    for line, dialogue in zip(itertools.cycle(lines), turns, strict=False):
        now = _before(stage, name, line, dialogue)
        reply = filled(line, now) if now is not None else None
        if now is not None and reply is not None:
            yield reply, stage.say(now, reply).appraisals[-1]


def _all(lines: tuple[str, ...], dialogue: Dialogue) -> bool:
    """Whether every slot of a family can be filled here, so that its lines meet the same users."""
    return all(SLOTS[name](dialogue) for name in {slot for line in lines for slot in _SLOT.findall(line)})


def _before(stage: Stage, name: str, line: str, dialogue: Dialogue) -> Dialogue | None:
    """Return the turn at which a line is said: for some families after a reply of a certain kind."""
    if name == "question_after_silence":
        after = stage.say(dialogue, "Mm.")
    elif name == "similar_openers":
        first = filled(line, dialogue)
        after = stage.say(dialogue, first) if first else dialogue
    else:
        return dialogue
    return None if after.ended or after.state.leaving is not None or after is dialogue else after


def is_alarm(family: Family, reading: Appraisal) -> bool:
    """Whether a guard speaks up at a twin: a level out of its bounds, or a reason of the form's."""
    levels = reading.levels()
    outside = any(not least <= levels[f] <= most for f, (least, most) in family.silent.items())
    return outside or reading.guard is not None
