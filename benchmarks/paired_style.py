"""Paired tests of what must make no difference: how a reply is typed, and who the people are."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping

from empathy_gym.benchmarks.paired_edits import Pair, replayed
from empathy_gym.benchmarks.paired_lines import clumsy, mistyped, polished
from empathy_gym.benchmarks.paired_talk import Stage, altered, partner, replies_of
from empathy_gym.simulators.dialogue import Dialogue, derive_seed
from empathy_gym.simulators.library.compiler import load_names
from empathy_gym.simulators.scenario import Scenario, Situation

_PRONOUNS = {"he": "she", "him": "her", "his": "her", "himself": "herself"}
"""One way only: what "her" stands for cannot be told from the word."""
_FEMALE = frozenset({"she", "her", "hers", "herself"})
_TITLES = ("Mr", "Mrs", "Ms", "Miss", "Dr", "Mrs.", "Mr.")


def _styled(stage: Stage, style: Callable[[str, Dialogue, int], str]) -> Iterator[Pair]:
    for i, (d, _) in enumerate(stage.scenes(lambda d: True)):
        reply = partner(d)
        yield stage.step(d, reply), stage.step(d, style(reply, d, i))


def style_clumsy(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same in the lower case of somebody in a hurry."""
    return _styled(stage, lambda reply, d, i: clumsy(reply))


def style_polished(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same as a formal writer would put it."""
    return _styled(stage, lambda reply, d, i: polished(reply))


def style_typos(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same with some letters swapped."""
    return _styled(stage, lambda reply, d, i: mistyped(reply, d.seed))


def style_length(stage: Stage) -> Iterator[Pair]:
    """A good reply, and the same at twice its length, with sentences that add nothing."""

    def longer(reply: str, dialogue: Dialogue, i: int) -> str:
        text, at = reply, i
        while len(text) < 2 * len(reply):
            text, at = f"{text} {stage.line('padding', at)}", at + 1
        return text

    return _styled(stage, longer)


# -- who the people are --------------------------------------------------------------------------------------------


def exchanged(scenario: Scenario) -> tuple[Scenario, Callable[[str], str]]:
    """Return a user alike in all but names, ages and pronouns, theirs and other people's; and the same for a text.

    Names come from another culture; where all are men they become women, in every line, cue and label. (Where men and
    women meet, making them alike would change what can be told apart.)
    """
    persona, names = scenario.persona, load_names()
    old = {entry["name"]: entry for entry in names}.get(persona.name)
    text = json.dumps(scenario.situation.model_dump(mode="json")) + " ".join(scenario.openings)
    free = [
        entry["name"]
        for entry in names
        if (old is None or entry["culture"] != old["culture"]) and entry["name"].lower() not in text.lower()
    ]
    start = derive_seed(0, scenario.id, "names") % len(free)
    pool = iter([*free[start:], *free[:start]])
    swaps: dict[str, str] = {}
    for person in scenario.situation.people:
        for part in person.name.split():
            if part not in _TITLES and part not in swaps:
                swaps[part] = next(pool)
    swaps |= {old_.lower(): new.lower() for old_, new in swaps.items()}
    if _FEMALE.isdisjoint(re.findall(r"[a-z]+", text.lower())):
        swaps |= _both_cases()
    change = functools.partial(_exchange, swaps)
    data = _mapped(scenario.situation.model_dump(mode="json"), change)
    other = altered(
        scenario,
        persona=altered(persona, name=next(pool), age=18 + (persona.age + 31) % 70),
        situation=Situation.model_validate(data),
        openings=tuple(change(line) for line in scenario.openings),
        hints=tuple(change(line) for line in scenario.hints),
    )
    return other, change


def _both_cases() -> dict[str, str]:
    return {**_PRONOUNS, **{old.capitalize(): new.capitalize() for old, new in _PRONOUNS.items()}}


def _exchange(swaps: Mapping[str, str], text: str) -> str:
    return re.sub(r"[^\W_]+(?:'[a-z]+)?", lambda found: _word(swaps, found.group()), text)


def _word(swaps: Mapping[str, str], word: str) -> str:
    stem, mark, rest = word.partition("'")
    return swaps.get(word) or swaps.get(stem, stem) + mark + rest


def _mapped(data: object, change: Callable[[str], str]) -> object:
    """Return nested data with every text changed that is no id and no key."""
    if isinstance(data, dict):
        kept = ("id", "topics", "because", "evidence", "fact", "voiced_by", "until", "kind", "act", "truth")
        return {k: v if k in kept and not _holds_items(v) else _mapped(v, change) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_mapped(value, change) for value in data]
    return change(data) if isinstance(data, str) else data


def _holds_items(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


def identity(stage: Stage) -> Iterator[Pair]:
    """A whole talk, and the same with everybody's name, age and pronouns exchanged, in what is said as well."""
    for i, states in stage.talks():
        other, change = exchanged(states[0].source)
        replies = replies_of(states[-1])
        repeat = i // len(stage.scenarios)
        yield (
            replayed(stage, stage.begin(states[0].source, repeat), replies),
            replayed(stage, stage.begin(other, repeat), [change(reply) for reply in replies]),
        )
