"""A tape keeps what a language model answered, so that a run can be repeated byte for byte without the model.

It is a chat engine itself and goes around another one. A request is found by the sha256 of its canonical JSON
(model, revision, messages, constraint, sampling, seed, stop), so neither order nor batching matters. From
that follows: identical requests get identical replies, also within a batch, and the model is asked once. Who
wants different answers to the same messages gives different seeds. A reply that is recorded is returned as it
will be replayed.

Failures are not kept: a time-out belongs to the day, not to the request. One kind is: a request longer than
the model's context, which says something about the request, ends an episode in a way that counts (`"policy"`
fault) and has to be replayed with it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, close, identity_of
from empathy_gym.simulators.engines.tape_store import TapeStore, acquire, release
from empathy_gym.simulators.errors import ConfigError, EngineError, RecordError, TapeMiss, unknown_name

TapeMode = Literal["record", "replay", "auto"]

_KEPT_ERRORS: Final = frozenset({"context"})
_USAGE: Final = ("prompt_tokens", "completion_tokens")
_EPOCH: Final = datetime.date(1970, 1, 1)


class Tape:
    """An engine that records and replays another one.

    Args:
        engine: The engine that answers what the tape does not hold; may be None for ``"replay"``.
        path: The file; made if missing, except for ``"replay"``.
        mode: ``"replay"``: the tape alone answers, and is only read. ``"auto"``: it answers what it holds,
            the engine the rest. ``"record"``: the engine answers everything once; replies of earlier
            recordings are replaced. Several processes that record one run together use ``"auto"``.
        model: Which model to replay where there is no engine and the tape holds several.
        revision: Which revision, likewise.

    Attributes:
        model: Name of the model; in a replay without engine, the one on the tape.
        revision: Its revision, likewise.
        hits: Requests answered from the tape.
        misses: Requests that had to be asked, or were not found.

    Raises:
        ConfigError: If the mode is unknown, an engine or a tape is missing, the file is not a tape, or it
            does not say which of several models to replay.
        RecordError: If the file is damaged.
        EngineError: If another process keeps it locked.
    """

    def __init__(
        self,
        engine: ChatEngine | None,
        path: str | os.PathLike[str],
        mode: TapeMode = "auto",
        *,
        model: str | None = None,
        revision: str | None = None,
    ) -> None:
        if mode not in get_args(TapeMode):
            raise unknown_name("tape mode", mode, get_args(TapeMode))
        if engine is None and mode != "replay":
            raise ConfigError(
                f"A tape in mode {mode!r} needs an engine to ask; without one use mode='replay'."
            )
        self.engine, self.mode = engine, mode
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._store = acquire(path, write=mode != "replay")
        self.path = self._store.path
        try:
            self.model, self.revision = self._identity(model, revision)
            self._watermark = self._store.mark() if mode == "record" else 0
        except BaseException:
            release(self._store)
            raise

    def __repr__(self) -> str:
        return (
            f"Tape({str(self.path)!r}, mode={self.mode!r}, model={self.model!r}, revision={self.revision!r})"
        )

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order.

        Raises:
            TapeMiss: If a replayed tape does not hold a request.
            ConfigError: If a request cannot be written as JSON.
            RecordError: If the file is damaged.
            EngineError: If the tape is closed or locked, or the engine breaks down as a whole.
        """
        if not requests:
            return []
        store = self._open_store()
        texts = [canonical(r, self.model, self.revision) for r in requests]
        keys = [hashlib.sha256(text.encode("ascii")).digest() for text in texts]
        wanted = {key: i for i, key in reversed(list(enumerate(keys)))}
        held = store.get(list(wanted), after=self._watermark)
        missing = sorted(i for key, i in wanted.items() if key not in held)
        with self._lock:
            self.misses += len(missing)
            self.hits += len(requests) - len(missing)
        if missing and (self.mode == "replay" or self.engine is None):
            raise self._miss(requests[missing[0]], keys[missing[0]], len(missing))
        fresh = self._ask(store, requests, texts, keys, missing) if missing else {}
        replayed = {key: _decode(reply, self.path) for key, reply in held.items()}
        replayed |= {key: replace(r, cached=not r.error, usage=_counts(r)) for key, r in fresh.items()}
        return [fresh[k] if wanted[k] == i and k in fresh else replayed[k] for i, k in enumerate(keys)]

    def stats(self) -> dict[str, Any]:
        """Return what `stats` says of the file, and the hits and misses of this tape."""
        return {**_stats(self._open_store()), "hits": self.hits, "misses": self.misses}

    def close(self) -> None:
        """Close the file and the engine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._pid == os.getpid():
            release(self._store)
        if self.engine is not None:
            close(self.engine)

    def _open_store(self) -> TapeStore:
        if self._closed:
            raise EngineError(f"The tape {str(self.path)!r} was closed; open it again.")
        if self._pid != os.getpid():  # after a fork: a connection of this process's own
            self._lock = threading.Lock()
            self._store, self._pid = acquire(self.path, write=self.mode != "replay"), os.getpid()
        return self._store

    def _identity(self, model: str | None, revision: str | None) -> tuple[str, str]:
        if self.engine is not None:
            return identity_of(self.engine)
        known: list[tuple[str, str]] = self._store.models()
        fitting = [m for m in known if model in (None, m[0]) and revision in (None, m[1])]
        if len(fitting) == 1:
            return fitting[0]
        names = ", ".join(f"{m!r} (revision {r!r})" for m, r in known) or "nothing"
        raise ConfigError(
            f"The tape {str(self.path)!r} holds {names}; model={model!r}, revision={revision!r} is "
            f"{'none' if not fitting else 'more than one'} of them. Name one that it holds."
        )

    def _ask(
        self,
        store: TapeStore,
        requests: Sequence[ChatRequest],
        texts: Sequence[str],
        keys: Sequence[bytes],
        missing: Sequence[int],
    ) -> dict[bytes, ChatReply]:
        """Ask the engine for what is missing, keep the answers, and return them as they will be replayed."""
        assert self.engine is not None
        replies = self.engine.complete([requests[i] for i in missing])
        if len(replies) != len(missing):
            raise EngineError(
                f"{self.engine!r} got {len(missing)} requests and returned {len(replies)} replies."
            )
        got = dict(zip((keys[i] for i in missing), replies, strict=True))
        text_of = {keys[i]: texts[i] for i in missing}
        rows = {
            k: (text_of[k], _encode(r)) for k, r in got.items() if not r.error or r.error_kind in _KEPT_ERRORS
        }
        kept = store.put(self.model, self.revision, rows, self._watermark) if rows else {}
        return {
            k: replace(_decode(kept[k], self.path), cached=False, usage=r.usage) if k in kept else r
            for k, r in got.items()
        }

    def _miss(self, request: ChatRequest, key: bytes, count: int) -> TapeMiss:
        last = request.messages[-1]["content"] if request.messages else ""
        others = f" (and {count - 1} more)" if count > 1 else ""
        return TapeMiss(
            f"The tape {str(self.path)!r} does not hold request {key.hex()[:12]} to {self.model!r} (revision "
            f"{self.revision!r}), which ends with {last[:80]!r}{others}. Replay the run with the package "
            "version, configuration, seed and policy that recorded it, or record what is missing with "
            "tape_mode='auto'."
        )


def canonical(request: ChatRequest, model: str, revision: str) -> str:
    """Return the canonical JSON of a request, in ASCII: what a tape addresses it by.

    A schema keeps the order of its keys, because an engine generates the fields in that order.

    Raises:
        ConfigError: If it cannot be written as JSON.
    """
    fields: dict[str, Any] = {
        "v": 1,
        "model": model,
        "revision": revision,
        "messages": [dict(sorted(m.items(), reverse=True)) for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": float(request.temperature),
        "top_p": float(request.top_p),
        "seed": request.seed,
        "stop": list(request.stop),
        "schema": request.schema,
        "regex": request.regex,
        "choices": list(request.choices),
    }
    try:
        return json.dumps(fields, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"A request cannot be written as JSON ({error}); use plain values and finite numbers."
        ) from error


def _counts(reply: ChatReply) -> dict[str, int]:
    return {name: reply.usage[name] for name in _USAGE if name in reply.usage}


def _encode(reply: ChatReply) -> str:
    logprobs = reply.logprobs
    if logprobs is not None and not all(map(math.isfinite, logprobs)):
        logprobs = None  # JSON has no infinity; tokens and text are what a replay needs
    fields = {
        "text": reply.text,
        "error": reply.error,
        "error_kind": reply.error_kind,
        "finish_reason": reply.finish_reason,
        "usage": _counts(reply),
        "tokens": reply.tokens,
        "logprobs": logprobs,
    }
    return json.dumps({k: v for k, v in fields.items() if v is not None}, separators=(",", ":"))


def _decode(text: str, path: Path) -> ChatReply:
    try:
        fields = json.loads(text)
        for name in ("tokens", "logprobs"):
            if name in fields:
                fields[name] = tuple(fields[name])
        return ChatReply(cached=True, **fields)
    except (ValueError, TypeError) as error:
        raise RecordError(
            f"A reply on the tape {str(path)!r} cannot be read: {error}. Record it again."
        ) from error


def stats(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a tape holds, after a check of the whole file.

    Returns:
        ``path``, ``bytes``, ``replies`` and, for each of ``models``: ``model``, ``revision``, ``replies``,
        ``prompt_tokens``, ``completion_tokens``, ``first`` and ``last`` (UTC times of recording) and ``used``
        (day of the last use by a tape that may write).

    Raises:
        ConfigError: If there is no tape at the path.
        RecordError: If it is damaged.
    """
    store = acquire(path, write=False)
    try:
        if store.query("PRAGMA quick_check(1)") != [("ok",)]:
            raise RecordError(
                f"The tape {str(path)!r} is damaged. Restore it from a copy, or record it again."
            )
        return _stats(store)
    finally:
        release(store)


def _stats(store: TapeStore) -> dict[str, Any]:
    rows = store.query(
        "SELECT m.model, m.revision, count(*), "
        "coalesce(sum(json_extract(r.reply, '$.usage.prompt_tokens')), 0), "
        "coalesce(sum(json_extract(r.reply, '$.usage.completion_tokens')), 0), "
        "min(r.created), max(r.created), max(r.used) "
        "FROM replies r JOIN models m ON m.id = r.model GROUP BY m.id ORDER BY m.model, m.revision"
    )
    names = ("model", "revision", "replies", *_USAGE, "first", "last", "used")
    models = [dict(zip(names, (*row[:5], *map(_time, row[5:7]), _day(row[7])), strict=True)) for row in rows]
    return {
        "path": str(store.path),
        "bytes": store.path.stat().st_size,
        "replies": sum(m["replies"] for m in models),
        "models": models,
    }


def export(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> int:
    """Write a tape as JSON lines in ASCII, in the order of recording; return the number of lines.

    Each line has ``key`` (sha256 in hex), ``request``, ``reply``, ``created`` and ``used``. The file is
    replaced as a whole, or not at all.

    Raises:
        ConfigError: If there is no tape at the path, or the output cannot be written.
        RecordError: If the tape is damaged.
    """
    target = Path(out)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    kept = Path(path).resolve()
    if target.resolve() in (kept, *(kept.with_name(f"{kept.name}{end}") for end in ("-wal", "-shm"))):
        raise ConfigError(f"{target} is the tape itself; write the lines to another file.")
    store = acquire(path, write=False)
    count = 0
    try:
        with part.open("w", encoding="ascii", newline="\n") as file:
            for key, request, reply, created, used in store.rows(
                "SELECT key, request, reply, created, used FROM replies ORDER BY id"
            ):
                times = f'"created":"{_time(created)}","used":"{_day(used)}"'
                file.write(f'{{"key":"{key.hex()}","request":{request},"reply":{reply},{times}}}\n')
                count += 1
        part.replace(target)
    except OSError as error:
        raise ConfigError(f"{str(target)!r} cannot be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
        release(store)
    return count


def prune(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    revision: str | None = None,
    unused_since: datetime.date | None = None,
    dry_run: bool = False,
) -> int:
    """Take replies off a tape that fit all given conditions; return how many.

    Args:
        path: The tape.
        model: Of this model.
        revision: Of this revision.
        unused_since: Last used before this day. Recording counts as use, and so does an ``"auto"`` run; a
            replay leaves no trace.
        dry_run: Only count.

    Raises:
        ConfigError: If no condition is given, there is no tape at the path, or it holds no such model.
        EngineError: If another process keeps it locked.
    """
    conditions = {
        "model IN (SELECT id FROM models WHERE model = ?)": model,
        "model IN (SELECT id FROM models WHERE revision = ?)": revision,
        "used < ?": (unused_since - _EPOCH).days if unused_since is not None else None,
    }
    given = {sql: value for sql, value in conditions.items() if value is not None}
    if not given:
        raise ConfigError("Nothing says what to prune; give a model, a revision or a day (unused_since).")
    where, values = " AND ".join(given), tuple(given.values())
    release(acquire(path, write=False))  # a missing file is an error, not a new tape
    store = acquire(path, write=True)
    try:
        models = [m for m, _ in store.models()]
        if model is not None and model not in models:
            raise unknown_name(f"model of the tape {str(path)!r}", model, models)
        if dry_run:
            return int(store.query(f"SELECT count(*) FROM replies WHERE {where}", values)[0][0])
        gone = store.change(
            [
                (f"DELETE FROM replies WHERE {where}", values),
                ("DELETE FROM models WHERE id NOT IN (SELECT model FROM replies)", ()),
            ]
        )
        store.query("VACUUM")
        return gone
    finally:
        release(store)


def _time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(days: int) -> str:
    return (_EPOCH + datetime.timedelta(days=days)).isoformat()


__all__ = ["Tape", "TapeMode", "canonical", "export", "prune", "stats"]
