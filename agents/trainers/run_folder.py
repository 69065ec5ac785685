"""The folder of a run: recipe, metrics, checkpoints. What is in it is whole, whenever the run is killed.

recipe.json                 what the run is
metrics.jsonl               one line a step
tensorboard/                the same as curves, where tensorboard is installed
checkpoints/step-000010/    trained weights, optimiser, counters
best/                       a plain model: the best by evaluation
model/                      a plain model: the last step
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError
from empathy_gym.simulators.files import put_folder, read_json_lines, write_json, write_text
from empathy_gym.simulators.hashing import plain

RECIPE: Final = "recipe.json"
METRICS: Final = "metrics.jsonl"
CHECKPOINTS: Final = "checkpoints"
TENSORBOARD: Final = "tensorboard"
BEST: Final = "best"
MODEL: Final = "model"
WARM: Final = "warm"
WARMING: Final = "warming"
"""How far the warm start is, until it is done."""
NOTE: Final = "checkpoint.json"
"""Written into a checkpoint: what step it is, and all counters."""


class RunFolder:
    """A run's folder.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def open(self, recipe: Recipe, *, overwrite: bool = False) -> Path | None:
        """Begin a run, or go on with the one that is there.

        Args:
            recipe: What to run.
            overwrite: Whether to throw away what the folder holds, if it is a run.

        Returns:
            The latest checkpoint, or None where there is none.

        Raises:
            ConfigError: If the folder holds another run, or something else.
            EmpathyGymError: If it cannot be written.
        """
        with disk(self.path):
            held = self._held()
            if held is not None and overwrite:
                self._clear()
                held = None
            if held is not None and held.get("identity") != recipe.identity:
                raise ConfigError(
                    f"{str(self.path)!r} holds a run of another recipe ({self._difference(held, recipe)}). Name "
                    "another folder with --out, or give --overwrite."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(
                self.path / RECIPE, {"identity": recipe.identity, "recipe": plain(recipe)}, allow_nan=True
            )
            latest = self.latest()
            self._cut(-1 if latest is None else self.note(latest)["step"])
        return latest

    def _held(self) -> dict[str, Any] | None:
        """Return what the folder says of its run; None where it is absent or empty.

        Raises:
            ConfigError: If it holds something else.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return None
        try:
            held = json.loads((self.path / RECIPE).read_text("utf-8"))
        except (OSError, ValueError):
            held = None
        if not isinstance(held, dict):
            raise ConfigError(
                f"{str(self.path)!r} holds no training run ({RECIPE} is missing). Name another folder."
            )
        return held

    def _difference(self, held: Mapping[str, Any], recipe: Recipe) -> str:
        old, new = flat(held.get("recipe", {})), flat(plain(recipe))
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name) and name.partition(".")[0] not in ("steps", "save"):
                return f"{name} is {old.get(name)!r} there and {new.get(name)!r} here"
        return "made by another version"

    def _clear(self) -> None:
        for name in (CHECKPOINTS, TENSORBOARD, WARM, WARMING, BEST, MODEL):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (METRICS, RECIPE):
            (self.path / name).unlink(missing_ok=True)

    # -- metrics -------------------------------------------------------------------------------------------------

    def append(self, values: Mapping[str, Any]) -> None:
        """Write the line of a step.

        Raises:
            EmpathyGymError: If it cannot be written.
        """
        with disk(self.path), (self.path / METRICS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(values, ensure_ascii=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines so far; one that a crash cut off is left out."""
        return read_json_lines(self.path / METRICS)

    def _cut(self, step: int) -> None:
        """Leave out what comes after a step: it will be done again, to the same effect."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        if (self.path / METRICS).exists():
            text = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in kept)
            write_text(self.path / METRICS, text)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self, step: int, note: Mapping[str, Any], write: Callable[[Path], None], keep: int) -> Path:
        """Write a checkpoint: whole or not at all. Older ones go only when it is there.

        Args:
            step: Steps done.
            note: Counters; plain values.
            write: Writes its files into a folder.
            keep: Latest checkpoints to keep.

        Raises:
            EmpathyGymError: If it cannot be written; the earlier ones are as they were.
        """
        place = self.path / CHECKPOINTS / f"step-{step:06d}"

        def fill(folder: Path) -> None:
            write(folder)
            write_json(folder / NOTE, {**note, "step": step}, allow_nan=True)

        with disk(self.path):
            put_folder(place, fill)
            for old in self._steps()[:-keep]:
                shutil.rmtree(old)
        return place

    def export(self, name: str, write: Callable[[Path], None]) -> Path:
        """Write a plain model, in place of an earlier one.

        Raises:
            EmpathyGymError: If it cannot be written; the earlier one is as it was.
        """
        with disk(self.path):
            put_folder(self.path / name, write)
        return self.path / name

    def latest(self) -> Path | None:
        """Return the latest checkpoint."""
        found = self._steps()
        return found[-1] if found else None

    def note(self, checkpoint: Path) -> dict[str, Any]:
        """Return the counters of a checkpoint.

        Raises:
            ConfigError: If it is damaged.
        """
        try:
            note = json.loads((checkpoint / NOTE).read_text("utf-8"))
            return {**note, "step": int(note["step"])}
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"The checkpoint {str(checkpoint)!r} is damaged; remove it, and the one before is used."
            ) from None

    def _steps(self) -> list[Path]:
        return sorted(p for p in (self.path / CHECKPOINTS).glob("step-*") if (p / NOTE).is_file())


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Report a disk that is full or may not be written as one line.

    Raises:
        EmpathyGymError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise EmpathyGymError(
            f"Writing to {str(path)!r} failed: {' '.join(str(error).split())}. The last good checkpoint is kept; make "
            "room and run the same command again."
        ) from error


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted names."""
    if not isinstance(value, Mapping):
        return {name: value}
    inner = [flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
    return {key: item for part in inner for key, item in part.items()}
