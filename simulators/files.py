"""Files that appear whole or not at all, whenever the process is killed: written under another name, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text, "utf-8")
    _sync(scratch)
    os.replace(scratch, path)


def write_json(path: Path, value: Any, *, allow_nan: bool = False) -> None:
    """Write a JSON document, whole or not at all, in ASCII.

    Args:
        path: The file.
        value: Plain values.
        allow_nan: Whether numbers that are not finite may stand in it, which is not JSON.

    Raises:
        OSError: If it cannot be written; what was there stays.
        ValueError: If a number is not finite.
    """
    write_text(path, f"{json.dumps(value, indent=2, ensure_ascii=True, allow_nan=allow_nan)}\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSON Lines file, none if it is missing; what a crash has cut off is left out."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def put_folder(place: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder that appears whole, in place of an earlier one of that name.

    Args:
        place: The folder.
        fill: Writes its files into the folder that it is given.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch, old = place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")
    for path in (scratch, old):
        shutil.rmtree(path, ignore_errors=True)
    try:
        scratch.mkdir()
        fill(scratch)
        for file in scratch.iterdir():
            _sync(file)
        if place.exists():
            place.rename(old)
        scratch.rename(place)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        if old.exists() and not place.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
