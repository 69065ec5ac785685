from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "empathy_bench_parts", Path(__file__).with_name("bench_parts.py")
)
assert _spec is not None and _spec.loader is not None
if _spec.name not in sys.modules:
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])


@pytest.fixture
def parts():
    module = sys.modules["empathy_bench_parts"]
    module.reset()
    return module


@pytest.fixture
def bench():
    """Run policies into a folder and return the rows."""
    from empathy_gym.benchmarks.runner import Bench, BenchConfig

    def run(out, *policies, limit=5, batch_size=64, overwrite=False, notice=lambda text: None, **config):
        ready = Bench(BenchConfig(policies=policies, limit=limit, **config))
        return ready.run(out, batch_size=batch_size, overwrite=overwrite, notice=notice)

    return run
