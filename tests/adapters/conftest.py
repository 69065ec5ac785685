"""Trainers and policies that stand on Stable-Baselines3 and Transformers: `make test-adapters` runs these."""

from __future__ import annotations

import importlib.util

import pytest

HAVE = all(importlib.util.find_spec(name) for name in ("stable_baselines3", "sb3_contrib", "transformers"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("adapters") and not HAVE:
            reason = "Stable-Baselines3 or Transformers is not installed: run make test-adapters"
            item.add_marker(pytest.mark.skip(reason=reason))
