"""Checkpoints of Stable-Baselines3 with a note inside that says what they were trained on.

A checkpoint is the zip file that Stable-Baselines3 writes, with one member more, `NOTE`: plain JSON, read before
anything is unpickled. It names the environment with its version, the algorithm, the spaces and the versions of
everything, so that a checkpoint of another environment is refused in one line and not by a traceback out of a
network. **Loading an archive unpickles it, which runs code that is in it: load only files that you trust.** The
note does not change that.

Nothing here imports Stable-Baselines3.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError

NOTE: Final = "empathy_gym.json"
STATE: Final = "empathy_gym.state"
"""Member of `last.zip` with what a run needs to go on exactly; pickled."""
LIBRARIES: Final = ("stable-baselines3", "sb3-contrib", "torch", "numpy", "gymnasium")
SCHEMA: Final = 1
_CLASSES: Final = {
    "sb3_contrib.ppo_recurrent": "recurrent-ppo",
    "sb3_contrib.common.recurrent": "recurrent-ppo",
    "sb3_contrib.ppo_mask": "maskable-ppo",
    "sb3_contrib.common.maskable": "maskable-ppo",
    "stable_baselines3.dqn": "dqn",
    "stable_baselines3.common.policies": "ppo",
    "stable_baselines3.ppo": "ppo",
}
"""Module of a saved policy's class, from its beginning, and the algorithm it belongs to."""


def library_versions() -> dict[str, str]:
    """Return the versions of what training stands on; those that are not installed are left out."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read_note(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the note of a checkpoint; None if it was saved without one, by Stable-Baselines3 alone.

    Raises:
        ConfigError: If there is no such file, or it is no checkpoint.
    """
    members = _members(path, (NOTE, "data"))
    if members.get("data") is None:
        raise ConfigError(
            f"{path} is a zip file but no model that Stable-Baselines3 saved: it has no 'data'."
        )
    note = members.get(NOTE)
    if note is None:
        return None
    if not isinstance(note, dict) or note.get("schema_version") != SCHEMA:
        got = note.get("schema_version") if isinstance(note, dict) else None
        raise ConfigError(f"{path}: its note has schema version {got!r}; this version reads {SCHEMA}.")
    return note


def algorithm_of(path: str | os.PathLike[str]) -> str:
    """Return the algorithm of a model that was saved without a note, by the module of its policy's class.

    Raises:
        ConfigError: If it is none that is supported.
    """
    data = _members(path, ("data",)).get("data")
    saved = data.get("policy_class", {}) if isinstance(data, dict) else {}
    module = str(saved.get("__module__", "")) if isinstance(saved, dict) else ""
    for start, algorithm in _CLASSES.items():
        if module.startswith(start):
            return algorithm
    raise ConfigError(
        f"{path}: a policy of {module or 'an unknown module'!r} is not supported. Valid: models of "
        "PPO, DQN, MaskablePPO and RecurrentPPO."
    )


def _members(path: str | os.PathLike[str], names: tuple[str, ...]) -> dict[str, Any]:
    """Return some JSON members of a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            return {name: json.loads(archive.read(name)) for name in names if name in there}
    except FileNotFoundError:
        near = sorted(str(p) for p in Path(path).parent.glob("*.zip"))[:3]
        more = f" In its folder: {', '.join(near)}." if near else ""
        raise ConfigError(f"There is no file {os.fspath(path)!r}.{more}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no model that Stable-Baselines3 saved: {error}.") from None


def check_note(path: str | os.PathLike[str], note: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose note differs from what is expected.

    Args:
        path: The checkpoint.
        note: Its note.
        expected: Keys that have to agree, with their values; a dict is compared key by key.

    Raises:
        ConfigError: Naming the first difference.
    """
    for key, wanted in expected.items():
        got = note.get(key)
        if isinstance(wanted, Mapping) and isinstance(got, Mapping):
            check_note(path, got, {k: v for k, v in wanted.items()})
        elif got != wanted:
            raise ConfigError(
                f"{path} is a checkpoint with {key} = {_brief(got)}; here it is {_brief(wanted)}. "
                "Train anew, or name the checkpoint that belongs to it."
            )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def add_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Append members to a zip file."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            # A fixed date: equal content is equal bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def read_state(path: str | os.PathLike[str]) -> bytes:
    """Return the pickled state of a run's `last.zip`.

    Raises:
        ConfigError: If the checkpoint has none.
    """
    with zipfile.ZipFile(path) as archive:
        if STATE not in archive.namelist():
            raise ConfigError(f"{path} cannot be resumed: only the last.zip of a run holds where it was.")
        return archive.read(STATE)
