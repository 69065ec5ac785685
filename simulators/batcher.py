"""Many coroutines, one batched user: calls that arrive together are answered together.

A coroutine-per-episode caller awaits one reply at a time, while a user works best on batches. `AsyncUser`
collects calls for a few milliseconds and hands them to the user in one batch, in a thread of its own, so no
event loop is ever blocked and calls may come from several loops.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal

from empathy_gym.simulators.dialogue import BeginRequest, Dialogue
from empathy_gym.simulators.errors import ConfigError, EngineError
from empathy_gym.simulators.user import User

_IDLE_S: Final = 1.0
"""A thread without work for this long ends, the next call starts another: nothing leaks unclosed."""

Kind = Literal["begin", "respond"]


@dataclass(slots=True, eq=False)
class _Call:
    kind: Kind
    arguments: tuple[Any, ...]
    future: concurrent.futures.Future[Dialogue] = field(default_factory=concurrent.futures.Future)
    at: float = field(default_factory=time.monotonic)


class AsyncUser:
    """Answers coroutines with a batched user.

    Results do not depend on who shares a batch, because a user's results do not. An exception reaches the
    call that caused it and no other: where a batch fails, its calls are made again one by one. A cancelled
    call leaves the batch if it has not been sent, and its result is dropped otherwise.

    Args:
        user: The user.
        max_batch: Most calls in a batch, at least 1.
        max_wait_ms: Milliseconds that a call waits for others to join it, 0 or more.
        workers: Batches in flight at once, at least 1. More than one helps where the model is a remote
            server; a user that runs a model in process is called by one thread at a time with 1.

    Raises:
        ConfigError: If an argument is not valid.
    """

    def __init__(
        self, user: User, max_batch: int = 64, max_wait_ms: float = 5.0, *, workers: int = 1
    ) -> None:
        for name, value in (("max_batch", max_batch), ("workers", workers)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be an integer of at least 1.")
        if not 0.0 <= max_wait_ms < float("inf"):
            raise ConfigError(f"max_wait_ms is {max_wait_ms!r}; it must be a number of 0 or more.")
        if not (hasattr(user, "begin") and hasattr(user, "respond")):
            raise ConfigError(f"{type(user).__name__} is not a user; it needs 'begin' and 'respond'.")
        self.user, self.max_batch, self.max_wait_ms, self.workers = user, max_batch, max_wait_ms, workers
        self._reset()
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncUser({self.user!r}, max_batch={self.max_batch}, max_wait_ms={self.max_wait_ms:g})"

    async def begin(self, request: BeginRequest) -> Dialogue:
        """Start a dialogue.

        Raises:
            ConfigError: If the request is not valid.
            EngineError: If this was closed.
        """
        return await self._submit("begin", request)

    async def respond(self, dialogue: Dialogue, reply: str) -> Dialogue:
        """Take one reply in a dialogue and return the dialogue after it.

        Raises:
            ConfigError: If the dialogue has ended or the reply is not a text.
            EngineError: If this was closed.
        """
        if not isinstance(reply, str):
            raise ConfigError(f"The reply is a {type(reply).__name__}; it must be a str.")
        if dialogue.ended:
            raise ConfigError(f"The dialogue has ended ({dialogue.outcome}); begin a new one.")
        return await self._submit("respond", dialogue, reply)

    def close(self) -> None:
        """Answer what has been asked, then end. Closing twice does nothing.

        Blocks until then; from a coroutine use `aclose`.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    async def aclose(self) -> None:
        """Close without blocking the loop."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> AsyncUser:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0

    async def _submit(self, kind: Kind, *arguments: Any) -> Dialogue:
        if self._pid != os.getpid():
            self._reset()  # after a fork: the parent's threads and calls are not here
        call = _Call(kind, arguments)
        with self._condition:
            if self._closed:
                raise EngineError("This AsyncUser was closed; make a new one.")
            self._queue.append(call)
            if not self._idle and len(self._threads) < self.workers:
                thread = threading.Thread(target=self._work, name="empathy-gym-batcher", daemon=True)
                self._threads.add(thread)
                thread.start()
            self._condition.notify_all()
        return await asyncio.wrap_future(call.future)

    def _work(self) -> None:
        while batch := self._next_batch():
            for kind in ("begin", "respond"):
                self._run(kind, [c for c in batch if c.kind == kind])

    def _next_batch(self) -> list[_Call]:
        """Wait for calls and return a batch of them; an empty one ends the thread."""
        with self._condition:
            self._idle += 1
            self._condition.wait_for(lambda: self._queue or self._closed, _IDLE_S)
            self._idle -= 1
            if not self._queue:
                self._threads.discard(threading.current_thread())
                return []
            until = self._queue[0].at + self.max_wait_ms / 1000
            full: Callable[[], bool] = lambda: len(self._queue) >= self.max_batch or self._closed  # noqa: E731
            self._condition.wait_for(full, max(until - time.monotonic(), 0.0))
            # Another thread may have taken the calls while this one waited: then come back for more.
            taken = [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]
        return taken or self._next_batch()

    def _run(self, kind: Kind, calls: Sequence[_Call]) -> None:
        live = [call for call in calls if call.future.set_running_or_notify_cancel()]
        if not live:
            return
        try:
            results = self._call(kind, live)
        except Exception as error:
            # The boundary: whatever a user raises belongs to a waiter, never to this thread.
            self._one_by_one(kind, live, error)
            return
        for call, result in zip(live, results, strict=True):
            call.future.set_result(result)

    def _one_by_one(self, kind: Kind, calls: Sequence[_Call], error: Exception) -> None:
        for call in calls:
            try:
                if len(calls) == 1:
                    raise error
                (result,) = self._call(kind, [call])
            except Exception as own:  # the same boundary
                call.future.set_exception(own)
            else:
                call.future.set_result(result)

    def _call(self, kind: Kind, calls: Sequence[_Call]) -> list[Dialogue]:
        columns = [list(column) for column in zip(*(call.arguments for call in calls), strict=True)]
        results = list(functools.partial(getattr(self.user, kind))(*columns))
        if len(results) != len(calls):
            raise ConfigError(
                f"The user got {len(calls)} calls of {kind!r} and returned {len(results)} dialogues."
            )
        return results
