"""Scenarios of installed packages: the entry-point group ``empathy_gym.scenarios``.

A package names a path, an iterable of scenarios, or a callable that returns either. Nothing of it is imported before
somebody asks for it by name, and what goes wrong inside it is told with the names of its distribution and entry point.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, ScenarioError, did_you_mean
from empathy_gym.simulators.library.checks import scenario_problems
from empathy_gym.simulators.scenario import Scenario

ENTRY_POINT_GROUP: Final = "empathy_gym.scenarios"
Scenarios = tuple[Scenario, ...]


def plugin_names() -> tuple[str, ...]:
    """Return the names under which installed packages offer scenarios."""
    return tuple(sorted(entry_points(group=ENTRY_POINT_GROUP).names))


def load_plugin(source: str, read: Callable[[Path], Scenarios]) -> Scenarios | None:
    """Return the scenarios of a plug-in, or None if no installed package has the name.

    Args:
        source: ``"NAME"``, or ``"NAME:SPLIT"`` for those of its scenarios whose split is SPLIT.
        read: Loads a file or a folder.

    Raises:
        ConfigError: If two packages have the name, or the plug-in has no such split.
        ScenarioError: If the plug-in cannot be loaded or one of its scenarios is broken.
    """
    name, colon, split = source.partition(":")
    points = list(entry_points(group=ENTRY_POINT_GROUP, name=name)) if name else []
    if not points:
        return None
    if len(points) > 1:
        both = " and ".join(sorted(map(_who, points)))
        raise ConfigError(f"Scenarios {name!r} are offered twice: by {both}. Uninstall one of them.")
    scenarios = _load(points[0], read)
    if not colon:
        return scenarios
    chosen = tuple(scenario for scenario in scenarios if scenario.split == split)
    if not chosen:
        splits = sorted({scenario.split for scenario in scenarios})
        raise ConfigError(
            f"{_who(points[0])} has no split {split!r}.{did_you_mean(split, splits)} Valid: {', '.join(splits)}."
        )
    return chosen


def _who(point: EntryPoint) -> str:
    owner = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
    return f"The plug-in {point.name!r} of {owner} (entry point {ENTRY_POINT_GROUP}: {point.name} = {point.value})"


def _load(point: EntryPoint, read: Callable[[Path], Scenarios]) -> Scenarios:
    try:
        made = _made(point)
        return read(made) if isinstance(made, Path) else made
    except EmpathyGymError as error:
        raise ScenarioError(f"{_who(point)}: {error}") from error.__cause__


@functools.lru_cache(maxsize=16)
def _made(point: EntryPoint) -> Path | Scenarios:
    """Return what a plug-in names: a path, or scenarios, which are made once."""
    try:
        target: Any = point.load()
        if callable(target):
            target = target()
        if not isinstance(target, str | os.PathLike):
            return _checked(target)
        # A package says where its data lie from where it lies itself.
        return Path(str(importlib.import_module(point.module).__file__)).parent / target
    except EmpathyGymError:
        raise
    except (Exception, SystemExit) as error:
        # The one boundary behind which somebody else's code runs: anything may be raised there.
        told = " ".join(str(error).split())
        raise ScenarioError(f"cannot be loaded ({type(error).__name__}: {told}).") from error


def _checked(target: Any) -> Scenarios:
    """Return the scenarios a plug-in yields, by id, looked at as those of a file are."""
    if isinstance(target, Mapping) or not isinstance(target, Iterable):
        raise ScenarioError(
            f"it names a {type(target).__name__}. Valid: a path, an iterable of `Scenario`, or a callable without "
            "arguments that returns one of these."
        )
    by_id: dict[str, Scenario] = {}
    problems: list[str] = []
    for i, scenario in enumerate(target):
        if not isinstance(scenario, Scenario):
            problems.append(f"[{i}]: a {type(scenario).__name__}, not a Scenario.")
            continue
        if scenario.id in by_id:
            problems.append(f"[{i}]: the scenario {scenario.id} occurs twice.")
        by_id[scenario.id] = scenario
        found = scenario_problems(scenario.model_dump())
        problems += [f"[{i}]: {'.'.join(map(str, loc))}: {text}" for loc, text in found]
    if problems or not by_id:
        raise ScenarioError("\n".join(problems) or "it yields no scenarios.")
    return tuple(by_id[id_] for id_ in sorted(by_id))
