"""What an HTTP engine stands on: the loop and its thread, the URLs and their health, the key's variable."""

from __future__ import annotations

import asyncio
import concurrent.futures
import email.utils
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from empathy_gym.simulators.engines.wire import Dialect
from empathy_gym.simulators.errors import ConfigError

if TYPE_CHECKING:
    import httpx

DEFAULT_KEY_ENV: Final = "OPENAI_API_KEY"
LONGEST_ASIDE_S: Final = 30.0
"""Longest time that a failing URL is left alone."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """One URL and how it has been doing. Touched by the loop's thread only."""

    url: str
    failures: int = 0
    aside_until: float = 0.0
    dialect: Dialect | None = None

    def failed(self, now: float) -> None:
        """Set the URL aside, twice as long each time."""
        self.failures += 1
        self.aside_until = now + min(2.0 ** (self.failures - 1), LONGEST_ASIDE_S)


@dataclass(slots=True)
class Runtime:
    """The loop, its thread and the clients: what a fork does not carry over."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    gate: asyncio.Semaphore
    clients: dict[str, httpx.AsyncClient]
    probes: dict[str, asyncio.Lock] = field(default_factory=dict)
    pid: int = field(default_factory=os.getpid)


def start_loop(max_concurrency: int, clients: dict[str, httpx.AsyncClient]) -> Runtime:
    """Start an event loop in a daemon thread; at most `max_concurrency` requests pass its gate at once."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="empathy-gym-openai", daemon=True)
    thread.start()
    return Runtime(loop, thread, asyncio.Semaphore(max_concurrency), clients)


def stop_loop(runtime: Runtime, patience_s: float = 2.0) -> None:
    """Cancel what is in flight, close the connections, stop the loop; twice or by a finalizer is fine."""
    loop = runtime.loop
    if runtime.pid != os.getpid() or loop.is_closed() or not runtime.thread.is_alive():
        return
    if threading.current_thread() is runtime.thread:  # a finalizer that happens to run there
        loop.call_soon(loop.stop)
        return
    shutting = asyncio.run_coroutine_threadsafe(_shut(runtime), loop)
    concurrent.futures.wait([shutting], patience_s)
    loop.call_soon_threadsafe(loop.stop)
    runtime.thread.join(patience_s)
    if not runtime.thread.is_alive():
        loop.close()


async def _shut(runtime: Runtime) -> None:
    others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.gather(*(c.aclose() for c in runtime.clients.values()), return_exceptions=True)


def bearer(env: str | None) -> Callable[[httpx.Request], httpx.Request]:
    """Return what puts the key on a request. It reads the key anew each time and keeps nothing."""

    def with_key(request: httpx.Request) -> httpx.Request:
        if key := api_key(env):
            request.headers["authorization"] = f"Bearer {key}"
        return request

    return with_key


def api_key(env: str | None) -> str | None:
    """Return the key, or None if there is none to send. No message shows any part of it.

    Raises:
        ConfigError: If a variable other than the default one is not set, or its value cannot be sent.
    """
    if env is None:
        return None
    key = os.environ.get(env, "").strip()
    if not key and env != DEFAULT_KEY_ENV:
        raise ConfigError(
            f"The environment variable {env!r} (api_key_env) is not set. Set it to the key, name another "
            "variable, or pass api_key_env=None to send no key."
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"The key in the environment variable {env!r} has characters that a header cannot hold."
        )
    return key or None


def base_url(url: object) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ConfigError: If it is not one, or carries something secret; the message does not repeat that part.
    """
    wanted = "it must look like 'http://127.0.0.1:8000/v1'"
    if not isinstance(url, str):
        raise ConfigError(f"A URL is a {type(url).__name__}; {wanted}.")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"A URL cannot be read; {wanted}.") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"The URL of {host!r} carries credentials, a query or a fragment; {wanted}. A key belongs into "
            "the environment variable that api_key_env names."
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"The URL {url!r} is not one of http or https; {wanted}.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a positive finite number of seconds.

    Raises:
        ConfigError: With the name and the value.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise ConfigError(f"{name} is {value!r}; it must be a number of seconds above 0.")


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (seconds or an HTTP date; RFC 9110, 10.2.3), or None."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
