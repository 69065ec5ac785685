"""A bench folder: ``episodes.jsonl``, ``summary.json`` and ``manifest.json``.

The manifest is written first and says what the run is; a later run may continue the folder only if it is
the same. Episodes are appended as they end, so that nothing is lost when a run is stopped; when all are
there, the file is put into the run's order, so that equal runs leave equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from empathy_gym.benchmarks.summary import Row, Score, rows_of
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.files import write_json
from empathy_gym.simulators.records import RecordWriter, parse_line

try:
    import fcntl
except ModuleNotFoundError:  # no such thing on Windows
    fcntl = None  # type: ignore[assignment]

EPISODES: Final = "episodes.jsonl"
SUMMARY: Final = "summary.json"
MANIFEST: Final = "manifest.json"
IDENTITY: Final = (
    "package_version",
    "config",
    "fingerprint",
    "scenario_hash",
    "instruction_hashes",
    "policy_fingerprints",
)
"""Keys of the manifest that have to agree for a run to go on."""

Identity = tuple[str, str, int]


class BenchFolder:
    """The results of one run.

    Args:
        path: The folder; made where it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.episodes, self.summary, self.manifest = (
            self.path / name for name in (EPISODES, SUMMARY, MANIFEST)
        )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder meanwhile, where the system has locks for folders.

        Raises:
            ConfigError: If another run is writing to it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = None if fcntl is None else os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be used as --out: {error.strerror or error}.") from None
        if handle is None:
            yield
            return
        try:
            with contextlib.suppress(OSError):  # a file system may have no locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ConfigError(
                        f"Another run is writing to {self.path}. Wait for it, or choose another --out."
                    ) from None
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def taken_up(
        self, manifest: Mapping[str, Any], *, overwrite: bool | None, notice: Callable[[str], None]
    ) -> Iterator[bool]:
        """Make the folder this run's alone, and mend it; yield whether a run is continued.

        Args:
            manifest: What the run is.
            overwrite: As for `open`.
            notice: Told in words about a dropped line.

        Raises:
            ConfigError: If the folder holds another run, or another run is writing to it.
            RecordError: If an earlier line is damaged.
        """
        with self.locked():
            continued = self.open(manifest, overwrite=overwrite)
            torn = self.mend()
            if torn:
                notice(torn)
            yield continued

    def standing(self, what: str, there: int, wanted: int) -> str:
        """Return in words how far a run that is continued has come."""
        if there < wanted:
            return f"Continuing {self.path}: {there} of {wanted} {what} are there."
        return f"All {what} are in {self.path} already; nothing is played. --overwrite plays them again."

    def open(self, manifest: Mapping[str, Any], *, overwrite: bool | None = False) -> bool:
        """Make the folder this run's.

        Args:
            manifest: What the run is.
            overwrite: Whether to throw away what is there; None: only what another run has left.

        Returns:
            Whether a run is continued.

        Raises:
            ConfigError: If the folder holds another run; the message names what differs.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite or (overwrite is None and not self._is_of(manifest)):
                for file in (self.summary, self.episodes, self.manifest):
                    file.unlink(missing_ok=True)
            if self.manifest.exists():
                self._check(manifest)
                return True
            for file in (self.episodes, self.summary):
                if file.exists():
                    raise ConfigError(
                        f"{self.path} holds {file.name} but no {MANIFEST}, so it cannot be continued. Choose "
                        "another --out, or --overwrite."
                    )
            write_json(self.manifest, manifest)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be used as --out: {error.strerror or error}.") from None
        return False

    def _is_of(self, manifest: Mapping[str, Any]) -> bool:
        try:
            self._check(manifest)
        except (ConfigError, RecordError):
            return False
        return True

    def _check(self, manifest: Mapping[str, Any]) -> None:
        found = self.read_manifest()
        new = json.loads(json.dumps(manifest))
        for key in IDENTITY:
            for what, old, now in _differences(key, found.get(key), new.get(key)):
                raise ConfigError(
                    f"{self.path} holds a run with {what} = {old!r:.80}, this one has {now!r:.80}. Choose "
                    "another --out, or --overwrite."
                )

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest.

        Raises:
            RecordError: If it cannot be read.
        """
        return dict(_read_json(self.manifest, dict))

    def read_summary(self) -> list[dict[str, Any]]:
        """Return the rows of the summary as they were written.

        Raises:
            RecordError: If it cannot be read.
        """
        return list(_read_json(self.summary, list))

    # -- episodes --------------------------------------------------------------------------------------

    def mend(self) -> str | None:
        """Drop a last line that a crash has torn, and return a text that names it; None if it is whole."""
        if not self.episodes.exists():
            return None
        with open(self.episodes, "r+b") as file:
            start = number = 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    file.truncate(start)
                    return f"{self.episodes}:{number}: a torn line of {len(line)} bytes was dropped."
                start += len(line)
        return None

    def scores(self) -> Iterator[tuple[int, int, Score]]:
        """Yield (offset, length, score) of every episode in the file.

        Raises:
            RecordError: If a line is damaged.
        """
        if not self.episodes.exists():
            return
        with open(self.episodes, "rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield offset, len(line), Score.of(parse_line(line, f"{self.episodes}:{number}"))
                offset += len(line)

    def writer(self) -> RecordWriter:
        """Return a writer that appends to the episodes."""
        return RecordWriter(self.episodes)

    def amend(self, **values: Any) -> None:
        """Write values into the manifest that are only known when something has run."""
        write_json(self.manifest, {**self.read_manifest(), **values})

    def finish(self, order: Sequence[Identity], qualification: str | None = None) -> list[Row]:
        """Put the episodes into the run's order, write the summary and return its rows.

        Args:
            order: Identity of every episode of the run.
            qualification: That of the user's model, if there is one.

        Raises:
            RecordError: If an episode is missing or a line is damaged.
        """
        found = {score.identity: (offset, length, score) for offset, length, score in self.scores()}
        missing = next((identity for identity in order if identity not in found), None)
        if missing is not None:
            raise RecordError(f"{self.episodes} lacks the episode {missing}; run the same command again.")
        self.settle([found[identity][:2] for identity in order])
        rows = rows_of((found[identity][2] for identity in order), qualification)
        write_json(self.summary, [row.to_json() for row in rows])
        return rows

    def settle(self, places: Sequence[tuple[int, int]]) -> None:
        """Put the lines of the episodes into an order, and drop all others.

        Args:
            places: Offset and length of each line, in the order it is to be in.
        """
        total = sum(length for _, length in places)
        if list(places) != sorted(places) or total != self.episodes.stat().st_size:
            self._rewrite(places)

    def _rewrite(self, places: Sequence[tuple[int, int]]) -> None:
        draft = self.episodes.with_suffix(".jsonl.tmp")
        with open(self.episodes, "rb") as old, open(draft, "wb") as new:
            for offset, length in places:
                old.seek(offset)
                new.write(old.read(length))
        os.replace(draft, self.episodes)


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(value, kind):
        raise RecordError(f"{path}: a {type(value).__name__}; it must be a {kind.__name__}.")
    return value


def _differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, old, new) of everything in which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield name, old, new
