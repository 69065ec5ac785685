"""Any server that speaks the OpenAI chat protocol: vLLM's, a hosted API, several of them behind one engine.

`complete` is synchronous and runs its requests concurrently on one background event loop, so it can be called
from a thread, from inside a running loop (which it blocks, as any synchronous call does), after a fork and at
interpreter exit. Exact time-outs and clean cancellation are why this is a loop and not a pool of threads.

The key is read from the environment at each request, by an `httpx.Auth`: no attribute, message or log holds
it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest
from empathy_gym.simulators.engines.connection import (
    DEFAULT_KEY_ENV,
    Endpoint,
    Runtime,
    api_key,
    base_url,
    bearer,
    check_seconds,
    retry_after,
    start_loop,
    stop_loop,
)
from empathy_gym.simulators.engines.wire import (
    Answer,
    Dialect,
    failure,
    is_wrapped,
    load_json,
    read_answer,
    request_body,
)
from empathy_gym.simulators.errors import ConfigError, EngineError, unknown_name

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("empathy_gym")

FIRST_WAIT_S: Final = 0.5
"""Bound of the first back-off; it doubles with each attempt, and the wait is drawn below it (full jitter)."""
LONGEST_WAIT_S: Final = 30.0
BYTES_PER_TOKEN: Final = 32
"""Room for one generated token in an answer; generous: an escaped character takes 6 to 12."""


class OpenAIEngine:
    """Completes requests at one or several OpenAI-compatible URLs.

    Args:
        model: The model's name on the server.
        urls: Base URLs, ``http://127.0.0.1:8000/v1`` for example; ``/v1`` is added to a URL without a path.
            No credentials, query or fragment.
        api_key_env: Name of the environment variable that holds the key; None to send none. Where the default
            one is not set, no key is sent; where another is not set, it is an error.
        revision: Revision of the model, for fingerprints and tapes; servers do not tell it.
        dialect: ``"vllm"``, ``"openai"``, or ``"auto"``: ask each URL's list of models once.
        max_concurrency: Requests in flight at once over all threads, at least 1.
        timeout_s: Seconds that one request may take from the moment it is first sent, all attempts and waits
            included. A request that takes longer is not sent again: the server is slow enough as it is.
        total_timeout_s: Seconds that one call of `complete` may take, queueing included; None for what
            `timeout_s` and `max_concurrency` allow: ceil(requests / max_concurrency) * timeout_s.
        retries: Further attempts after a lost connection, a 429, a 5xx or a body that is not JSON; 0 or more.
        max_response_bytes: Longest answer read, to which 32 bytes for each token of the request are added.
        extra_body: Fields added to every body, ``{"chat_template_kwargs": {"enable_thinking": False}}`` for
            example; None as a value takes a field out. Give a `revision` that tells such settings apart.
        seed: Seed of the private generator from which back-off waits are drawn.

    Raises:
        ConfigError: If an argument is not valid or a named key is missing.
    """

    def __init__(
        self,
        model: str,
        urls: str | Sequence[str],
        *,
        api_key_env: str | None = DEFAULT_KEY_ENV,
        revision: str = "",
        dialect: Literal["auto", "vllm", "openai"] = "auto",
        max_concurrency: int = 64,
        timeout_s: float = 30.0,
        total_timeout_s: float | None = None,
        retries: int = 3,
        max_response_bytes: int = 65_536,
        extra_body: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"The model is {model!r}; it must be the name of a model on the server.")
        if dialect not in ("auto", "vllm", "openai"):
            raise unknown_name("dialect", dialect, ("auto", "vllm", "openai"))
        check_seconds("timeout_s", timeout_s)
        if total_timeout_s is not None:
            check_seconds("total_timeout_s", total_timeout_s)
        for name, value, least in (
            ("max_concurrency", max_concurrency, 1),
            ("retries", retries, 0),
            ("max_response_bytes", max_response_bytes, 1),
        ):
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be an integer of at least {least}.")
        self.model, self.revision = model, revision
        self.api_key_env, self.dialect = api_key_env, dialect
        self.max_concurrency, self.retries = max_concurrency, retries
        self.timeout_s, self.total_timeout_s = float(timeout_s), total_timeout_s
        self.max_response_bytes = max_response_bytes
        self.extra_body = dict(extra_body or {})
        self._endpoints = [Endpoint(base_url(u)) for u in ([urls] if isinstance(urls, str) else urls)]
        if not self._endpoints:
            raise ConfigError("There is no URL; give at least one, e.g. 'http://127.0.0.1:8000/v1'.")
        api_key(api_key_env)
        self._random = random.Random(seed)
        self._turn = 0
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._closed = False
        _ENGINES.add(self)

    def __repr__(self) -> str:
        urls = [e.url for e in self._endpoints]
        return f"OpenAIEngine(model={self.model!r}, urls={urls!r}, api_key_env={self.api_key_env!r})"

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order; a failure is a reply with `error`.

        Raises:
            EngineError: If the engine was closed.
        """
        if not requests:
            return []
        runtime = self._running()
        future = asyncio.run_coroutine_threadsafe(self._complete(runtime, list(requests)), runtime.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            return [failure("engine", "The engine was closed during the request").reply] * len(requests)
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and drop the connections; requests in flight end as failures."""
        with self._lock:
            runtime, self._runtime, self._closed = self._runtime, None, True
        if runtime is not None:
            stop_loop(runtime)

    def health(self) -> dict[str, int]:
        """Return the number of failures in a row of each URL; 0 is a healthy one."""
        return {e.url: e.failures for e in self._endpoints}

    def _running(self) -> Runtime:
        with self._lock:
            if self._closed:
                raise EngineError(f"The engine of model {self.model!r} was closed; build a new one.")
            if self._runtime is None:
                # Clients are built here, not on the loop: it takes 0.2 s, which no request shall pay for.
                clients = {e.url: self._client(e.url) for e in self._endpoints}
                self._runtime = start_loop(self.max_concurrency, clients)
                weakref.finalize(self, stop_loop, self._runtime)
            return self._runtime

    def _after_fork(self) -> None:
        """Forget the parent's loop: its thread is not here. It is kept alive: no finalizer shall touch it."""
        if self._runtime is not None:
            _STALE.append(self._runtime)
        self._lock, self._runtime = threading.Lock(), None

    async def _complete(self, runtime: Runtime, requests: list[ChatRequest]) -> list[ChatReply]:
        tasks = [asyncio.ensure_future(self._one(runtime, request)) for request in requests]
        try:
            await asyncio.wait(tasks, timeout=self.total_timeout_s)
        finally:
            late = [task for task in tasks if task.cancel()]
            await asyncio.gather(*late, return_exceptions=True)
        return [self._outcome(task) for task in tasks]

    def _outcome(self, task: asyncio.Task[ChatReply]) -> ChatReply:
        if task.cancelled():
            return failure("timeout", f"Not answered within total_timeout_s={self.total_timeout_s:g} s").reply
        error = task.exception()
        if error is None:
            return task.result()
        # The boundary: a defect in here is a fault of this one request, never of the others of its batch.
        logger.error("request to %s failed unexpectedly: %s", self.model, type(error).__name__)
        return failure("engine", f"Unexpected {type(error).__name__} in the engine").reply

    async def _one(self, runtime: Runtime, request: ChatRequest) -> ChatReply:
        async with runtime.gate:
            deadline = time.monotonic() + self.timeout_s
            tried: set[Endpoint] = set()
            for attempt in range(self.retries + 1):
                endpoint = self._pick(tried)
                tried.add(endpoint)
                answer, advised = await self._attempt(runtime, endpoint, request, deadline)
                if not answer.again or attempt == self.retries:
                    break
                wait = self._wait(attempt, advised, tried)
                if time.monotonic() + wait >= deadline:
                    break
                logger.info("attempt %d at %s: %s", attempt + 1, endpoint.url, answer.reply.error)
                await asyncio.sleep(wait)
            return (
                replace(answer.reply, usage={**answer.reply.usage, "retries": attempt})
                if attempt
                else answer.reply
            )

    def _pick(self, tried: set[Endpoint]) -> Endpoint:
        """Return the next healthy URL in turn, if possible one that this request has not tried."""
        now = time.monotonic()
        healthy = [e for e in self._endpoints if e.aside_until <= now]
        fresh = [e for e in healthy if e not in tried]
        pool = fresh or healthy or [min(self._endpoints, key=lambda e: e.aside_until)]
        self._turn += 1
        chosen = pool[self._turn % len(pool)]
        if chosen.failures:
            # A URL that comes back is tested by one request at a time, not by all that wait.
            chosen.aside_until = now + self._connect_s
        return chosen

    def _wait(self, attempt: int, advised: float | None, tried: set[Endpoint]) -> float:
        """Return the seconds to wait: none if a healthy URL is left, else the server's advice or jitter."""
        now = time.monotonic()
        if any(e.aside_until <= now for e in self._endpoints if e not in tried):
            return 0.0
        if advised is not None:
            return advised
        return self._random.uniform(0.0, min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S))

    async def _attempt(
        self, runtime: Runtime, endpoint: Endpoint, request: ChatRequest, deadline: float
    ) -> tuple[Answer, float | None]:
        """Send a request once; return the answer and the seconds that the server asks to wait."""
        import httpx

        advised: float | None = None
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                dialect = await self._dialect_of(runtime, endpoint)
                body = request_body(request, self.model, dialect, self.extra_body)
                limit = self.max_response_bytes + BYTES_PER_TOKEN * max(request.max_tokens, 0)
                status, headers, raw = await self._send(runtime, endpoint, "chat/completions", body, limit)
            answer = failure("malformed", f"The answer is longer than {limit} bytes")
            if raw is not None:
                answer = read_answer(status, self._scrubbed(raw), wrapped=is_wrapped(request, dialect))
                advised = retry_after(headers.get("retry-after")) if answer.again else None
            if status in (401, 403):
                answer = failure("rejected", f"{answer.reply.error} ({self._key_note()})")
            down = status >= 500 and answer.reply.error_kind == "status"
        except TimeoutError:
            message = f"No answer within {self.timeout_s:g} s from {endpoint.url}"
            answer, down = failure("timeout", message), True
        except httpx.HTTPError as error:
            # Only the type: the text of a protocol error may quote a header, and one holds the key.
            message = f"{type(error).__name__} at {endpoint.url}"
            answer, down = failure("transport", message, again=True), True
        except (ValueError, ConfigError) as error:
            answer, down = failure("rejected", f"The request could not be sent: {error}"), False
        self._mark(endpoint, down, advised)
        return answer, advised

    def _mark(self, endpoint: Endpoint, down: bool, advised: float | None) -> None:
        now = time.monotonic()
        if down:
            endpoint.failed(now)
        else:
            endpoint.failures, endpoint.aside_until = 0, now + advised if advised else 0.0

    def _key_note(self) -> str:
        sent = "the key comes from" if api_key(self.api_key_env) else "no key was sent; one would come from"
        return f"{sent} the environment variable that api_key_env names: {self.api_key_env!r}"

    def _scrubbed(self, raw: bytes) -> bytes:
        """Take the key out of an answer: some servers repeat what they were sent."""
        key = os.environ.get(self.api_key_env or "", "").strip()
        return raw.replace(key.encode("utf-8", "replace"), b"***") if key else raw

    async def _send(
        self, runtime: Runtime, endpoint: Endpoint, path: str, body: bytes | None, limit: int
    ) -> tuple[int, httpx.Headers, bytes | None]:
        """Return status, headers and body; None for a body of more than `limit` bytes."""
        client = runtime.clients[endpoint.url]
        async with client.stream(
            "POST" if body else "GET", f"{endpoint.url}/{path}", content=body
        ) as response:
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > limit:
                    return response.status_code, response.headers, None
            return response.status_code, response.headers, bytes(raw)

    async def _dialect_of(self, runtime: Runtime, endpoint: Endpoint) -> Dialect:
        if self.dialect != "auto":
            return self.dialect
        async with runtime.probes.setdefault(endpoint.url, asyncio.Lock()):
            if endpoint.dialect is None:
                status, _, raw = await self._send(runtime, endpoint, "models", None, 1 << 20)
                if status == 429 or status >= 500:
                    return "openai"  # what it is will be seen when it is well again
                found = load_json(raw) if raw and status == 200 else None
                models = found.get("data") if isinstance(found, dict) else None
                owners = {m.get("owned_by") for m in models or () if isinstance(m, dict)}
                endpoint.dialect = "vllm" if "vllm" in owners else "openai"
            return endpoint.dialect

    def _client(self, url: str) -> httpx.AsyncClient:
        import httpx

        n = self.max_concurrency
        return httpx.AsyncClient(
            auth=bearer(self.api_key_env),
            # No compression: the bound on the answer's length has to hold before it is unpacked.
            headers={"accept-encoding": "identity", "content-type": "application/json"},
            timeout=httpx.Timeout(None, connect=self._connect_s),
            limits=httpx.Limits(max_connections=n, max_keepalive_connections=n),
            trust_env=urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    @property
    def _connect_s(self) -> float:
        """Seconds to wait for a connection: short, so that time is left for another URL."""
        return min(5.0, self.timeout_s / 3)


_ENGINES: weakref.WeakSet[OpenAIEngine] = weakref.WeakSet()
_STALE: list[Runtime] = []


def _forked() -> None:
    for engine in list(_ENGINES):
        engine._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
