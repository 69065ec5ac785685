from __future__ import annotations

import json
import threading

import pytest

from empathy_gym.simulators.engines import (
    ChatReply,
    ChatRequest,
    Counted,
    Ledger,
    Prices,
    ScriptedEngine,
    Tape,
)
from empathy_gym.simulators.errors import ConfigError

ASK = ChatRequest(messages=({"role": "user", "content": "x" * 40},))


def test_requests_tokens_retries_and_failures_are_counted_by_role():
    ledger = Ledger()
    ok = ChatReply("x", usage={"prompt_tokens": 10, "completion_tokens": 4, "retries": 2})
    late = ChatReply(error="late", error_kind="timeout")
    Counted(ScriptedEngine([ok, late, ok]), ledger, "perceiver").complete([ASK] * 3)
    Counted(ScriptedEngine("y" * 8), ledger, "policy").complete([ASK])
    found = ledger.snapshot()
    assert found["perceiver"] | {"seconds": 0} == {
        "requests": 3,
        "cached": 0,
        "failures": 1,
        "retries": 4,
        "prompt_tokens": 20,
        "completion_tokens": 8,
        "failure_kinds": {"timeout": 1},
        "seconds": 0,
    }
    assert found["policy"]["prompt_tokens"] == 10 and found["total"]["requests"] == 4
    assert json.dumps(found)
    ledger.clear()
    assert list(ledger.snapshot()) == ["total"]


def test_what_comes_from_a_tape_costs_nothing(tmp_path):
    ledger = Ledger()
    engine = Counted(Tape(ScriptedEngine("yes"), tmp_path / "t"), ledger, "speaker")
    assert engine.model == "scripted"
    for _ in range(3):
        engine.complete([ASK, ASK])
    counts = ledger.snapshot()["speaker"]
    assert (counts["requests"], counts["cached"], counts["prompt_tokens"]) == (6, 5, 10)
    engine.close()


def test_cost_is_tokens_times_price():
    ledger = Ledger()
    ledger.add("policy", [ChatReply("x", usage={"prompt_tokens": 2_000_000, "completion_tokens": 500_000})])
    ledger.add("speaker", [ChatReply("x", usage={"prompt_tokens": 1_000_000})])
    assert ledger.cost(Prices(1.0, 4.0)) == {"policy": 4.0, "speaker": 1.0, "total": 5.0}
    assert ledger.cost({"policy": Prices(1, 0), "speaker": Prices(0, 0)})["total"] == 2.0
    with pytest.raises(ConfigError, match="'speaker'"):
        ledger.cost({"policy": Prices(1, 1)})
    with pytest.raises(ConfigError, match="prompt price"):
        Prices(-1, 0)


def test_counting_is_exact_under_threads():
    ledger = Ledger()
    engine = Counted(ScriptedEngine("x"), ledger, "speaker")
    threads = [
        threading.Thread(target=lambda: [engine.complete([ASK]) for _ in range(200)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.snapshot()["speaker"]["requests"] == 1600


def test_total_is_not_a_role():
    with pytest.raises(ConfigError, match="total"):
        Counted(ScriptedEngine("x"), Ledger(), "total")
