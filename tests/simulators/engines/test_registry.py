from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time

import pytest

from empathy_gym.simulators.engines import (
    OpenAIEngine,
    close_all,
    engine_from,
    engine_options,
    register_script,
)
from empathy_gym.simulators.errors import ConfigError, EngineError, MissingExtraError


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_all()


def test_a_name_with_a_url_builds_an_openai_engine():
    engine = engine_from("openai:Qwen/Qwen3-8B@http://127.0.0.1:1/v1, http://127.0.0.1:2", {"timeout_s": 3})
    assert isinstance(engine, OpenAIEngine)
    assert engine.model == "Qwen/Qwen3-8B" and engine.timeout_s == 3.0
    assert list(engine.health()) == ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]


def test_the_same_configuration_is_the_same_engine():
    spec = "openai:m@http://127.0.0.1:1"
    assert engine_from(spec, {"retries": 1, "seed": 2}) is engine_from(spec, {"seed": 2, "retries": 1})
    assert engine_from(spec, {"retries": 2}) is not engine_from(spec, {"retries": 1})


def test_threads_that_ask_at_once_get_one_engine():
    def slowly(request):
        return "x"

    register_script("test-slow", slowly)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(engine_from("scripted:test-slow"))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_closing_all_closes_and_forgets():
    spec = "openai:m@http://127.0.0.1:1"
    engine = engine_from(spec)
    close_all()
    with pytest.raises(EngineError, match="closed"):
        engine.complete([object()])
    assert engine_from(spec) is not engine


@pytest.mark.parametrize(
    "spec, message",
    [
        ("opnai:m@http://x", "Did you mean 'openai'"),
        ("openai", "openai:MODEL@URL"),
        ("openai:", "openai:MODEL@URL"),
        ("openai:m", "needs a model and a URL"),
        ("openai:@http://x", "needs a model and a URL"),
        ("vllm:", "vllm:PATH"),
        (None, "NoneType"),
        ("", "Unknown engine"),
    ],
)
def test_a_wrong_name_says_what_is_right(spec, message):
    with pytest.raises(ConfigError, match=message):
        engine_from(spec)


def test_a_wrong_option_is_named_and_a_live_object_refused():
    with pytest.raises(ConfigError, match="Did you mean 'timeout_s'"):
        engine_from("openai:m@http://127.0.0.1:1", {"timeout": 3})
    with pytest.raises(ConfigError, match="JSON"):
        engine_from("openai:m@http://127.0.0.1:1", {"timeout_s": object()})


def test_a_failed_build_is_tried_again():
    spec = "openai:m@http://127.0.0.1:1"
    for _ in range(2):
        with pytest.raises(ConfigError, match="timeout_s"):
            engine_from(spec, {"timeout_s": -1})


def test_options_are_listed_by_scheme():
    assert {"timeout_s", "max_concurrency", "api_key_env", "total_timeout_s"} <= engine_options(
        "openai:m@http://x"
    )
    assert engine_options("scripted") == {"latency", "fault_rate", "fault_kind"}
    with pytest.raises(ConfigError, match="Did you mean"):
        engine_options("opena")


def test_a_secret_in_a_url_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        engine_from("openai:m@https://user:hunter2@host/v1")
    assert "hunter2" not in str(caught.value) and "api_key_env" in str(caught.value)


@pytest.mark.parametrize("scheme, module, extra", [("vllm", "vllm", "vllm"), ("hf", "torch", "llm")])
def test_a_missing_package_names_its_extra(scheme, module, extra, tmp_path):
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed here, so it cannot be missing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingExtraError, match=rf"empathy-gym\[{extra}"):
        engine_from(f"{scheme}:{tmp_path}")


def test_engines_are_closed_at_exit(serve):
    code = (
        "import sys, time\n"
        "from empathy_gym.simulators.engines import *\n"
        "e = engine_from('openai:m@' + sys.argv[1])\n"
        "print(e.complete([ChatRequest(messages=({'role': 'user', 'content': 'x'},))])[0].text)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, serve().url], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
    assert time.monotonic() - started < 20
