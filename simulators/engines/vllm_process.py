"""vLLM's place in this process: its environment, its random states, and what several engines in it share.

vLLM (0.32) tears down the process's communication groups when *one* engine ends, and every other engine of the process
is dead from then on. Engines loaded here can end one by one: the groups go with the last of them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import os
import random
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import numpy

from empathy_gym.simulators.engines.prompting import one_line, require
from empathy_gym.simulators.errors import EngineError

ENVIRONMENT: Final = {
    # The engine runs in this process: nothing to fork, nothing left behind, and weights can be exchanged.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # Its log would stand in the middle of what a command prints as JSON.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}
CPU_ENVIRONMENT: Final = {
    # GiB of KV cache; vLLM's own default takes half of the machine.
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # Binding threads to cores fails in containers that may not set affinities.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Threads that spin while they wait starve other work on the same few cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@contextmanager
def undisturbed_randomness() -> Iterator[None]:
    """Leave the global random states as they were: vLLM seeds them when it loads, and draws from them."""
    torch = require("torch", "vllm")
    own, numpy_own, torch_own = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda_own = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(own)
        numpy.random.set_state(numpy_own)
        torch.set_rng_state(torch_own)
        if cuda_own is not None:
            torch.cuda.set_rng_state_all(cuda_own)


def prepare_environment() -> None:
    """Set what vLLM reads from the environment, where it is not set."""
    wanted = dict(ENVIRONMENT)
    if _cpu_build():
        # On a GPU vLLM chooses its own number of threads, and would take ours for the user's wish.
        wanted |= CPU_ENVIRONMENT | {"OMP_NUM_THREADS": str(_cores())}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _cpu_build() -> bool:
    """Whether vLLM or torch is a CPU build, without importing either."""
    installed = {name: _version(name) for name in ("vllm-cpu", "vllm", "torch")}
    return installed["vllm-cpu"] != "" or any("cpu" in version for version in installed.values())


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_LIVING: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_ENDING: Final = threading.Lock()


def load_llm(path: str, arguments: Mapping[str, Any]) -> Any:
    """Return a `vllm.LLM`; end it with `end_llm`.

    Args:
        path: A model's folder, or a hub id.
        arguments: Of `vllm.LLM`.

    Raises:
        MissingExtraError: If vLLM is not installed.
        EngineError: If it cannot load the model.
    """
    prepare_environment()
    vllm = require("vllm", "vllm")
    try:
        with undisturbed_randomness():
            llm = vllm.LLM(model=path, **arguments)
    except Exception as error:
        # vLLM raises whatever its many parts raise; for the caller they are one thing.
        raise EngineError(
            f"vLLM could not load {path!r}: {one_line(error)} (arguments: "
            f"{', '.join(f'{k}={v!r}' for k, v in sorted(arguments.items()))})"
        ) from error
    _LIVING.add(llm)
    return llm


def end_llm(llm: Any) -> None:
    """Free a model that `load_llm` returned; the others of this process stay as they are."""
    with _ENDING:
        _LIVING.discard(llm)
        client = llm.llm_engine.engine_core
        # An engine in a process of its own takes nothing along.
        shared = hasattr(client, "engine_core") and bool(_LIVING)
        with _groups_kept() if shared else contextlib.nullcontext():
            client.shutdown()
    gc.collect()
    torch = require("torch", "vllm")
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def _groups_kept() -> Iterator[None]:
    core = importlib.import_module("vllm.v1.engine.core")
    with patch.object(core, "cleanup_dist_env_and_memory", lambda: None):
        yield


__all__ = ["end_llm", "load_llm", "prepare_environment", "undisturbed_randomness"]
