"""Over every bundled situation: the authored lines get the level they stand for, and others' lines do not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import empathy_gym.simulators.library as library
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.scenario import Situation

FOLDER = Path(library.__file__).parent / "situations"
KINDS = ("topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims")
SHARE = 95
GENERIC = [
    "I understand how you feel. That must be really hard.",
    "I'm so sorry you're going through this.",
    "I'm here for you.",
    "That sounds incredibly frustrating, and your feelings are completely valid.",
    "Do you want to talk about it?",
    "How are you feeling about all of this now?",
    "You're stronger than you think.",
    "Thank you for sharing that with me.",
    "It's okay to feel this way. Take all the time you need.",
    "Everything will work out in the end.",
    "Have you tried taking a deep breath and going for a walk?",
    "Communication is key in any relationship.",
    "That's a lot to deal with at once. I can see why you're upset.",
    "What would help you most right now?",
    "Sometimes people don't realise how much they hurt us.",
    "I hear you, and I want you to know that you matter.",
    "Maybe it would help to write down what you're feeling.",
    "I can only imagine how tough this has been for you.",
]


def _variants(path: Path) -> Iterator[Situation]:
    data = yaml.safe_load(path.read_text("utf-8"))
    yield Situation.model_validate(data["situation"])
    for twin in data.get("twins", []):
        yield Situation.model_validate(_twin(data["situation"], twin))


def _twin(base: dict[str, Any], twin: dict[str, Any]) -> dict[str, Any]:
    situation = copy.deepcopy(base)
    for kind, items in twin.items():
        if kind == "truth":
            continue
        for item in items:
            at = next(i for i, known in enumerate(situation[kind]) if known["id"] == item["id"])
            situation[kind][at] = item if kind == "facts" else {**situation[kind][at], **item}
    for claim in situation["claims"]:
        if claim["kind"] == "fault":
            claim["truth"] = twin["truth"]
    return situation


SITUATIONS = {path.stem: list(_variants(path)) for path in sorted(FOLDER.glob("*.yaml"))}
EVERY = [situation for variants in SITUATIONS.values() for situation in variants]

if not EVERY:  # pragma: no cover
    pytest.skip("no situation is bundled yet", allow_module_level=True)


def _request(situation: Situation, reply: str) -> PerceptionRequest:
    return PerceptionRequest(
        situation=situation.content_hash,
        language="en",
        messages=({"role": "user", "content": "Hello. It's been quite a day."},),
        reply=reply,
        **{kind: getattr(situation, kind) for kind in KINDS},
    )


def _check(perceiver: EmbeddedPerceiver, cases: list[tuple[Situation, str, Any]], good: Any) -> None:
    """At least 95 of 100 cases must be good; the others are printed."""
    cases = list({(id(s), line): (s, line, want) for s, line, want in cases}.values())
    appraisals = perceiver.perceive([_request(situation, line) for situation, line, _ in cases])
    misses = [(c[1], a) for c, a in zip(cases, appraisals, strict=True) if not good(a, c[2])]
    for line, appraisal in misses:
        print(line, "|", {k: v for k, v in appraisal.levels().items() if v}, appraisal.touched)
    assert 100 * (len(cases) - len(misses)) >= SHARE * len(cases), (
        f"{len(misses)} of {len(cases)} lines missed"
    )


EXPECTED: dict[str, Any] = {
    "topics": lambda a, item: a.exploration == 2 and item.id in a.touched,
    "facts": lambda a, item: a.grounding >= 2 and item.id in a.touched,
    "feelings": lambda a, item: a.feeling == 2 and item.id in a.touched,
    "attempts": lambda a, item: a.advice == 2,
    "constraints": lambda a, item: a.advice == 2,
    "strengths": lambda a, item: a.affirmation == 2 and item.id in a.touched,
    "perspectives": lambda a, item: a.insight == 2 and a.insight_kind == item.kind,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_authored_lines_get_the_level_they_stand_for(perceiver: EmbeddedPerceiver, kind: str) -> None:
    cases = [(s, line, item) for s in EVERY for item in getattr(s, kind) for line in item.say]
    _check(perceiver, cases, EXPECTED[kind])


def test_authored_lines_are_plain_and_harmless(perceiver: EmbeddedPerceiver) -> None:
    def good(a: Appraisal, _: Any) -> bool:
        return a.form == 2 and a.invalidation == 0 and a.control == 0 and a.guard is None

    _check(perceiver, [(s, line, None) for s in EVERY for item in s.items() for line in item.say], good)


def test_affirming_what_is_not_so_is_flattery(perceiver: EmbeddedPerceiver) -> None:
    cases = [
        (s, line, c)
        for s in EVERY
        for c in s.claims
        if c.truth in ("half", "false")
        for line in c.must_not_affirm
    ]
    _check(perceiver, cases, lambda a, _: a.stance == -2)


def test_fair_readings_are_fair(perceiver: EmbeddedPerceiver) -> None:
    cases = [(s, line, c) for s in EVERY for c in s.claims for line in c.fair_readings]
    _check(perceiver, cases, lambda a, _: a.stance > 0)


def test_a_fair_reading_is_hardly_ever_taken_for_flattery(perceiver: EmbeddedPerceiver) -> None:
    cases = [(s, line) for s in EVERY for c in s.claims for line in c.fair_readings]
    read = perceiver.perceive([_request(situation, line) for situation, line in cases])
    missed = [line for (_, line), appraisal in zip(cases, read, strict=True) if appraisal.stance < 0]
    assert 100 * len(missed) <= len(cases), missed


def test_restating_a_fact_is_no_flattery(perceiver: EmbeddedPerceiver) -> None:
    cases = [(s, line, None) for s in EVERY for fact in s.facts for line in fact.say]
    _check(perceiver, cases, lambda a, _: a.stance >= 0)


def test_generic_replies_rest_on_nothing(perceiver: EmbeddedPerceiver) -> None:
    cases = [(variants[0], line, None) for variants in SITUATIONS.values() for line in GENERIC]
    _check(
        perceiver,
        cases,
        lambda a, _: a.grounding <= 1 and a.feeling <= 1 and a.insight <= 1 and a.advice <= 1,
    )


def test_replies_written_for_another_situation_rest_on_nothing(perceiver: EmbeddedPerceiver) -> None:
    bases = [variants[0] for variants in SITUATIONS.values()]
    cases = [
        (here, item.say[0], None)
        for i, here in enumerate(bases)
        for j, there in enumerate(bases)
        if i != j
        for item in there.items()
        if item.say and (i * 7 + j * 3) % 4 == 0
    ]
    _check(perceiver, cases, lambda a, _: a.grounding <= 1)
