"""The embedded perceiver on replies written without looking at its cues or lexicons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.library.compiler import bundled_situations

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
