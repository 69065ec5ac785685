"""The file of a tape: one SQLite database, safe under several threads and processes.

It is in WAL mode while somebody writes, and one plain file at rest, so that it can be copied and shipped.
Readers never write to it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError, EngineError, RecordError

APPLICATION_ID: Final = 0x45475450
"""ASCII "EGTP", in the header of the file: tells a tape from any other database."""
FORMAT_VERSION: Final = 1
BUSY_S: Final = 30.0
"""How long to wait for another process that writes."""
_CHUNK: Final = 500
_TOUCH_AT: Final = 1000
_DAY_S: Final = 86_400
_TABLES: Final = (
    "CREATE TABLE version (format TEXT NOT NULL, version INTEGER NOT NULL)",
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY, model TEXT NOT NULL, revision TEXT NOT NULL, UNIQUE (model, revision))""",
    """CREATE TABLE replies (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, model INTEGER NOT NULL REFERENCES
        models (id),
        request TEXT NOT NULL, reply TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL)""",
)
"""`created` is in seconds since 1970, `used` in days since 1970 (finer would mean a write for each read)."""


class TapeStore:
    """One connection to a tape.

    Args:
        path: The file.
        write: Whether replies are added; the file is made if it is missing.

    Raises:
        ConfigError: If the file is missing (for reading), cannot be made, or is something else than a tape.
        RecordError: If it is damaged.
        EngineError: If another process keeps it locked.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path, self.write = path, write
        self.users = 0
        self._lock = threading.RLock()
        self._touched: set[bytes] = set()
        self._connection = self._connect()
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise
        self.file_id = _file_id(path)
        self.watermark: int | None = None

    def get(self, keys: Sequence[bytes], after: int = 0) -> dict[bytes, str]:
        """Return the replies held under these keys, those with a row number above `after`."""
        rows: list[tuple[bytes, str, int]] = []
        with self._lock, self._errors():
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                sql = f"SELECT key, reply, used FROM replies WHERE id > ? AND key IN ({marks})"
                rows += self._connection.execute(sql, (after, *part)).fetchall()
            if self.write:
                self._touch(rows)
        return {key: reply for key, reply, _ in rows}

    def put(
        self, model: str, revision: str, rows: Mapping[bytes, tuple[str, str]], replace_up_to: int = 0
    ) -> dict[bytes, str]:
        """Store ``key: (request, reply)`` and return what is held afterwards: the first writer wins.

        Args:
            model: Name of the model.
            revision: Its revision.
            rows: What to store.
            replace_up_to: Replies with a row number up to this one are replaced.
        """
        now = int(time.time())
        with self._lock, self._errors(), self._transaction():
            number = self._model(model, revision)
            for key, (request, reply) in rows.items():
                self._connection.execute(
                    "DELETE FROM replies WHERE key = ? AND id <= ?", (key, replace_up_to)
                )
                self._connection.execute(
                    "INSERT INTO replies (key, model, request, reply, created, used) "
                    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                    (key, number, request, reply, now, now // _DAY_S),
                )
            return self.get(list(rows))

    def mark(self) -> int:
        """Return the highest row number at the first call: replies up to it are from earlier recordings."""
        with self._lock, self._errors():
            if self.watermark is None:
                row = self._connection.execute("SELECT coalesce(max(id), 0) FROM replies").fetchone()
                self.watermark = int(row[0])
            return self.watermark

    def models(self) -> list[tuple[str, str]]:
        """Return (model, revision) of the models that have replies here."""
        return self.query(
            "SELECT model, revision FROM models WHERE id IN (SELECT model FROM replies) "
            "ORDER BY model, revision"
        )

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement and return all its rows."""
        with self._lock, self._errors():
            return self._connection.execute(sql, values).fetchall()

    def rows(self, sql: str) -> Iterator[Any]:
        """Run a query and yield its rows one by one, without holding them all."""
        with self._errors():
            yield from self._connection.execute(sql)

    def change(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> int:
        """Run statements in one transaction and return the number of rows the first one changed."""
        with self._lock, self._errors(), self._transaction():
            counts = [self._connection.execute(sql, values).rowcount for sql, values in statements]
        return counts[0] if counts else 0

    def close(self) -> None:
        """Write what is pending and close; the last one out leaves a single plain file behind."""
        with self._lock:
            if self.write:
                # Neither is worth an error: the replies are safe already, and another process may be at work.
                with contextlib.suppress(EngineError, RecordError), self._errors():
                    self._flush()
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.close()

    def after_fork(self) -> None:
        """Make the lock usable in a child process; the connection itself must not be used there."""
        self._lock = threading.RLock()

    def _connect(self) -> sqlite3.Connection:
        path = self.path
        if path.is_dir():
            raise ConfigError(f"The tape {str(path)!r} is a folder; give the path of a file in it.")
        if not self.write and not path.exists():
            raise ConfigError(
                f"There is no tape at {str(path)!r}. Record one first (tape_mode='record' or 'auto')."
            )
        mode = "rwc" if self.write else "ro"
        if not self.write and not os.access(path.parent, os.W_OK):
            mode += (
                "&immutable=1"  # a reader of a WAL file needs a file beside it, and here it cannot have one
            )
        try:
            if self.write:
                path.parent.mkdir(parents=True, exist_ok=True)
            return sqlite3.connect(
                f"{path.as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(
                f"The tape {str(path)!r} cannot be opened: {error}. Check the path and its rights."
            ) from error

    def _prepare(self) -> None:
        """Check that it is a tape; make one of an empty file."""
        if self.write:
            self._use_wal()
        if self._is_empty():
            if not self.write:
                raise ConfigError(f"The tape {str(self.path)!r} is empty. Record it first.")
            with self._transaction():
                if self._is_empty():  # not made by another process in between
                    self._create()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise ConfigError(
                f"{str(self.path)!r} is a SQLite database but not a tape of empathy-gym. Give another path."
            )
        version = self._connection.execute("SELECT max(version) FROM version").fetchone()[0]
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"The tape {str(self.path)!r} has format version {version}; this version of empathy-gym "
                f"reads {FORMAT_VERSION}. Use the version that wrote it, or record it again."
            )

    def _use_wal(self) -> None:
        """Switch to WAL. SQLite gives up at once where another process is switching too, hence the loop."""
        if (
            self._connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID
            and not self._is_empty()
        ):
            return  # somebody else's database is not touched
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _is_empty(self) -> bool:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return bool(tables == 0)

    def _create(self) -> None:
        for statement in _TABLES:
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO version VALUES ('empathy-gym tape', ?)", (FORMAT_VERSION,))
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _model(self, model: str, revision: str) -> int:
        """Return the number of a model; asked each time, since another process may have pruned it."""
        self._connection.execute(
            "INSERT OR IGNORE INTO models (model, revision) VALUES (?, ?)", (model, revision)
        )
        sql = "SELECT id FROM models WHERE model = ? AND revision = ?"
        return int(self._connection.execute(sql, (model, revision)).fetchone()[0])

    def _touch(self, rows: Iterable[tuple[bytes, str, int]]) -> None:
        """Note what was used today, and write it down now and then: a read should not cost a write."""
        today = int(time.time()) // _DAY_S
        self._touched.update(key for key, _, used in rows if used < today)
        if len(self._touched) >= _TOUCH_AT and not self._connection.in_transaction:
            self._flush()

    def _flush(self) -> None:
        keys, self._touched = self._touched, set()
        today = int(time.time()) // _DAY_S
        if keys:
            with self._transaction():
                sql = "UPDATE replies SET used = ? WHERE key = ?"
                self._connection.executemany(sql, [(today, key) for key in keys])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise EngineError(
                    f"The tape {str(self.path)!r} was locked by another process for {BUSY_S:g} s. End that "
                    "process or give each its own tape."
                ) from error
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in text:
                raise EngineError(f"The tape {str(self.path)!r} cannot be used: {error}.") from error
            raise RecordError(
                f"The tape {str(self.path)!r} is damaged or is not a tape ({error}). Restore it from a copy, "
                "or move it away and record it again."
            ) from error


def _file_id(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


_stores: dict[tuple[Path, bool], TapeStore] = {}
_stale: list[TapeStore] = []
_lock = threading.Lock()


def acquire(path: str | os.PathLike[str], *, write: bool) -> TapeStore:
    """Return this process's connection to a tape, opened once for each path; give it back with `release`."""
    resolved = Path(path).expanduser().resolve()
    with _lock:
        store = _stores.get((resolved, write))
        if store is None or not resolved.exists() or store.file_id != _file_id(resolved):
            store = _stores[resolved, write] = TapeStore(resolved, write=write)
        store.users += 1
        return store


def release(store: TapeStore) -> None:
    """Give a connection back; the last user closes it."""
    with _lock:
        store.users -= 1
        if store.users > 0 or store in _stale:
            return
        if _stores.get((store.path, store.write)) is store:
            del _stores[store.path, store.write]
    store.close()


def close_stores() -> None:
    """Close every connection of this process, so that each tape is left as one plain file. Runs at exit."""
    with _lock:
        stores = list(_stores.values())
        _stores.clear()
    for store in stores:
        store.close()


def _forked() -> None:
    """Forget the parent's connections, unclosed: closing one in the child would drop the parent's locks."""
    global _lock
    _lock = threading.Lock()
    _stale.extend(_stores.values())
    for store in _stores.values():
        store.after_fork()
    _stores.clear()


atexit.register(close_stores)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
