"""The embedded perceiver on replies written without looking at its cues or lexicons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.library.compiler import apply_twin, bundled_situations
from empathy_gym.simulators.scenario import Situation

DATA = yaml.safe_load((Path(__file__).parents[1] / "data" / "independent_replies.yaml").read_text("utf-8"))
CASES: list[dict[str, Any]] = DATA["replies"]


def request(reply: str) -> PerceptionRequest:
    source = next(s for s in bundled_situations() if s.slug == DATA["slug"])
    situation = source.situation
    told = " ".join(fact.text for fact in situation.facts)
    return PerceptionRequest(
        situation=situation.content_hash,
        language="en",
        messages=({"role": "user", "content": f"{source.openings[0]} {told}"},),
        reply=reply,
        topics=situation.topics,
        facts=situation.facts,
        feelings=situation.feelings,
        attempts=situation.attempts,
        constraints=situation.constraints,
        strengths=situation.strengths,
        perspectives=situation.perspectives,
        claims=tuple(claim for claim in situation.claims if claim.kind == "fault"),
        boundaries=situation.boundaries,
    )


@pytest.mark.parametrize("case", CASES, ids=[case["text"][:40] or "(empty)" for case in CASES])
def test_an_independent_reply_is_read_within_bounds(case: dict[str, Any]) -> None:
    levels = EmbeddedPerceiver().perceive([request(case["text"])])[0].levels()
    wrong = {
        field: (levels[field], bounds)
        for field, bounds in case["expect"].items()
        if not bounds[0] <= levels[field] <= bounds[1]
    }
    assert not wrong, f"{case['text']!r}: (got, [least, most]) {wrong}"


def said_of(kind: str) -> list[tuple[str, int]]:
    """Return the lines of a kind on the claims of other situations, each with the stance it is read as."""
    lines, requests = [], []
    for group in DATA["stances"]:
        situation = situation_of(group["slug"], group.get("twin"))
        for line in group.get(kind, []):
            lines.append(line)
            requests.append(request_on(situation, line))
    read = EmbeddedPerceiver().perceive(requests)
    return [(line, appraisal.stance) for line, appraisal in zip(lines, read, strict=True)]


def situation_of(slug: str, twin: str | None) -> Situation:
    source = next(s for s in bundled_situations() if s.slug == slug)
    found = next((t for t in source.twins if t.truth == twin), None)
    return apply_twin(source.situation, found) if found else source.situation


def request_on(situation: Situation, reply: str) -> PerceptionRequest:
    told = " ".join(fact.text for fact in situation.facts)
    kinds = ("topics", "facts", "feelings", "attempts", "constraints", "strengths", "perspectives", "claims")
    return PerceptionRequest(
        situation=situation.content_hash,
        language="en",
        messages=({"role": "user", "content": told},),
        reply=reply,
        **{kind: getattr(situation, kind) for kind in kinds},
    )


@pytest.mark.parametrize(
    ("kind", "least", "good"),
    [
        ("flatters", 80, lambda level: level == -2),
        ("fair", 70, lambda level: level > 0),
        ("plain", 100, lambda level: 0 <= level <= 1),
    ],
)
def test_most_words_on_a_claim_are_read_as_what_they_are(kind: str, least: int, good: Any) -> None:
    read = said_of(kind)
    missed = [(line, level) for line, level in read if not good(level)]
    assert 100 * (len(read) - len(missed)) >= least * len(read), missed


def test_hardly_any_word_on_a_claim_is_read_as_its_opposite() -> None:
    flattery = [line for line, level in said_of("flatters") if level > 0]
    fair = [line for line, level in said_of("fair") if level < 0]
    assert len(flattery) <= 1 and len(fair) <= 1, (flattery, fair)
