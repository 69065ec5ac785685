"""vLLM's OpenAI-compatible server, a real process, driven by `OpenAIEngine`."""

from __future__ import annotations

import json
import re

import pytest

from empathy_gym.simulators.engines.openai import OpenAIEngine

pytestmark = pytest.mark.vllm

LINES = ["I failed my driving test again.", "My cat is ill and I cannot sleep.", "Hi."]
SCHEMA = {
    "type": "object",
    "properties": {
        "warmth": {"type": "integer", "minimum": 0, "maximum": 2},
        "quote": {"type": "string", "maxLength": 20},
    },
    "required": ["warmth", "quote"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def served(server: str):
    made = OpenAIEngine("user", [server], timeout_s=120.0, api_key_env=None)
    yield made
    made.close()


def test_the_server_writes_what_the_engine_in_this_process_writes(served, engine, ask, texts, exact) -> None:
    requests = [ask(line, max_tokens=32) for line in LINES]
    there, here = served.complete(requests), engine.complete(requests)
    assert [r.usage["prompt_tokens"] for r in there] == [r.usage["prompt_tokens"] for r in here]
    assert texts(there) == texts(here) or not exact


def test_sampled_text_is_the_same_too(served, engine, ask, texts, exact) -> None:
    requests = [ask(LINES[0], temperature=1.0, seed=s, top_p=0.9) for s in range(3)]
    assert texts(served.complete(requests)) == texts(engine.complete(requests)) or not exact


def test_schema_regex_and_choices_are_obeyed(served, ask, texts) -> None:
    schema, regex, choice = texts(
        served.complete(
            [
                ask(LINES[0], schema=SCHEMA, max_tokens=80),
                ask(LINES[0], regex="[0-2]( [0-2]){4}"),
                ask(LINES[0], choices=("kind", "blunt")),
            ]
        )
    )
    assert json.loads(schema)["warmth"] in (0, 1, 2)
    assert re.fullmatch("[0-2]( [0-2]){4}", regex) and choice in ("kind", "blunt")


def test_served_or_not_the_same_requests_are_too_long(served, engine, ask) -> None:
    requests = [ask("very " * 2000), ask("very " * 950, max_tokens=200), ask(LINES[0])]
    for made in (served, engine):
        assert [r.error_kind for r in made.complete(requests)] == ["context", None, None]


def test_a_refused_request_does_not_touch_the_others(served, ask) -> None:
    bad, good = served.complete([ask(LINES[0], regex="[0-"), ask(LINES[0])])
    assert bad.error_kind == "rejected" and good.error is None
