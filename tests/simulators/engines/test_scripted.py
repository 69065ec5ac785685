from __future__ import annotations

import time

import pytest

from empathy_gym.simulators.engines import (
    ChatReply,
    ChatRequest,
    ScriptedEngine,
    engine_from,
    register_script,
)
from empathy_gym.simulators.errors import ConfigError, EngineError


def ask(text="hello", **options):
    return ChatRequest(messages=({"role": "user", "content": text},), **options)


def test_one_text_answers_everything():
    assert [r.text for r in ScriptedEngine("yes").complete([ask(), ask("x")])] == ["yes", "yes"]


def test_a_function_answers_each_request():
    replies = ScriptedEngine(lambda r: r.messages[-1]["content"][::-1]).complete([ask("abc"), ask("de")])
    assert [r.text for r in replies] == ["cba", "ed"]
    assert replies[0].usage == {"prompt_tokens": 1, "completion_tokens": 1}


def test_a_list_is_used_up_in_order_and_then_is_an_error():
    engine = ScriptedEngine(["a", ChatReply(error="e", error_kind="timeout"), EngineError("down"), "b"])
    assert [r.text or r.error_kind for r in engine.complete([ask(), ask()])] == ["a", "timeout"]
    with pytest.raises(EngineError, match="down"):
        engine.complete([ask()])
    assert [r.text or r.error_kind for r in engine.complete([ask(), ask()])] == ["b", "engine"]
    assert (engine.calls, engine.batches) == (5, 3)


def test_a_function_that_raises_is_an_error_of_its_request_alone():
    replies = ScriptedEngine(lambda r: str(1 // len(r.messages[0]["content"]))).complete([ask(""), ask("x")])
    assert [r.error_kind for r in replies] == ["engine", None] and "ZeroDivisionError" in replies[0].error


def test_simulated_faults_are_a_share_and_always_the_same_ones():
    requests = [ask(str(i)) for i in range(500)]
    engine = ScriptedEngine("x", fault_rate=0.3, fault_kind="status")
    kinds = [r.error_kind for r in engine.complete(requests)]
    again = [r.error_kind for r in reversed(engine.complete(requests[::-1]))]
    assert kinds == again and set(kinds) == {None, "status"}
    assert 100 < kinds.count("status") < 200


def test_latency_is_that_of_a_batch():
    started = time.perf_counter()
    ScriptedEngine("x", latency=0.1).complete([ask()] * 10)
    assert 0.1 <= time.perf_counter() - started < 0.6


@pytest.mark.parametrize("options", [{"fault_rate": 2}, {"latency": -1}, {"latency": float("inf")}])
def test_wrong_arguments_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ScriptedEngine("x", **options)


def _polite(request):
    return "thank you"


def test_a_registered_script_is_an_engine_by_name():
    register_script("test-polite", _polite, revision="2")
    register_script("test-polite", _polite, revision="2")
    engine = engine_from("scripted:test-polite")
    assert (engine.model, engine.revision) == ("scripted:test-polite", "2")
    assert engine.complete([ask()])[0].text == "thank you"


def test_a_name_stands_for_one_script_only():
    register_script("test-taken", _polite)
    with pytest.raises(ConfigError, match="taken"):
        register_script("test-taken", lambda request: "other")
    with pytest.raises(ConfigError, match="not valid"):
        register_script("a b", _polite)
    with pytest.raises(ConfigError, match="function"):
        register_script("test-x", "text")
    with pytest.raises(ConfigError, match="Did you mean 'test-taken'"):
        engine_from("scripted:test-takn")
