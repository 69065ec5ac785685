"""An engine without a model: answers from a list or a function. For tests, documents and measurements."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest, ErrorKind
from empathy_gym.simulators.errors import ConfigError, EngineError, unknown_name

Script = Callable[[ChatRequest], str | ChatReply]
"""Answers one request. Pure, if runs are to be repeatable: threads may call it in any order."""

CHARS_PER_TOKEN: Final = 4
"""What `usage` counts as a token; there is no tokenizer here."""

_scripts: dict[str, tuple[Script, str]] = {}


def register_script(name: str, function: Script, *, revision: str = "") -> None:
    """Make a function available as ``engine="scripted:NAME"``.

    Registering the same function again does nothing, so a module may do it at import.

    Args:
        name: The name; letters, digits, ``-`` and ``_``.
        function: Answers one request.
        revision: Told apart in tapes and fingerprints; change it when the answers change.

    Raises:
        ConfigError: If the name is not valid or stands for another function.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"The script name {name!r} is not valid; use letters, digits, '-' and '_'.")
    if not callable(function):
        raise ConfigError(f"The script {name!r} is a {type(function).__name__}; it must be a function.")
    known = _scripts.setdefault(name, (function, revision))
    if known != (function, revision):
        raise ConfigError(f"The script name {name!r} is taken by another function; choose another name.")


def scripted(name: str, **options: float) -> ScriptedEngine:
    """Return a new engine that runs a registered script.

    Raises:
        ConfigError: If there is no such script.
    """
    if name not in _scripts:
        raise (
            unknown_name("script", name, _scripts)
            if _scripts
            else ConfigError(
                f"Unknown script {name!r}: none is registered. Call register_script({name!r}, function)."
            )
        )
    function, revision = _scripts[name]
    return ScriptedEngine(function, model=f"scripted:{name}", revision=revision, **options)  # type: ignore[arg-type]


class ScriptedEngine:
    """Answers from a script.

    Args:
        answers: A function of the request; or one text for every request; or a sequence of texts, replies and
            exceptions that is used up in order (an `EngineError` in it is raised, as by an engine that breaks
            down as a whole). After its end every reply is an error of kind ``"engine"``.
        latency: Seconds that each call of `complete` takes, whatever its size.
        model: Name of the model.
        revision: Revision of the model.
        fault_rate: Share of the requests that fail, 0 to 1, chosen by a hash of the request: the same ones in
            every run, whatever the order.
        fault_kind: How they fail.

    Attributes:
        calls: Number of requests so far.
        batches: Number of calls of `complete` so far.

    Raises:
        ConfigError: If an argument is not valid.
    """

    def __init__(
        self,
        answers: Script | str | Sequence[str | ChatReply | EngineError],
        latency: float = 0.0,
        *,
        model: str = "scripted",
        revision: str = "",
        fault_rate: float = 0.0,
        fault_kind: ErrorKind = "transport",
    ) -> None:
        if not 0.0 <= fault_rate <= 1.0:
            raise ConfigError(f"fault_rate is {fault_rate!r}; it must be between 0 and 1.")
        if not 0.0 <= latency < float("inf"):
            raise ConfigError(f"latency is {latency!r}; it must be a number of seconds, 0 or more.")
        self.model, self.revision = model, revision
        self.latency, self.fault_rate, self.fault_kind = latency, fault_rate, fault_kind
        self.calls = self.batches = 0
        self._answers = answers if callable(answers) or isinstance(answers, str) else tuple(answers)
        self._next = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ScriptedEngine(model={self.model!r})"

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order.

        Raises:
            EngineError: If the script says so.
        """
        with self._lock:
            self.calls += len(requests)
            self.batches += 1
        if self.latency and requests:
            time.sleep(self.latency)
        return [self._reply(request) for request in requests]

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _reply(self, request: ChatRequest) -> ChatReply:
        if self.fault_rate and _share(request) < self.fault_rate:
            return ChatReply(error=f"Simulated {self.fault_kind} fault", error_kind=self.fault_kind)
        answer = self._answer(request)
        if isinstance(answer, ChatReply):
            return answer
        prompt = sum(len(m["content"]) for m in request.messages)
        usage = {
            "prompt_tokens": -(-prompt // CHARS_PER_TOKEN),
            "completion_tokens": -(-len(answer) // CHARS_PER_TOKEN),
        }
        return ChatReply(text=answer, finish_reason="stop", usage=usage)

    def _answer(self, request: ChatRequest) -> str | ChatReply:
        if isinstance(self._answers, str):
            return self._answers
        if callable(self._answers):
            try:
                return self._answers(request)
            except EngineError:
                raise
            except Exception as error:
                # The boundary: a script stands for a model, and a model's failure is a reply.
                return ChatReply(
                    error=f"The script raised {type(error).__name__}: {error}", error_kind="engine"
                )
        with self._lock:
            i, self._next = self._next, self._next + 1
        if i >= len(self._answers):
            return ChatReply(error=f"The script has only {len(self._answers)} answers", error_kind="engine")
        answer = self._answers[i]
        if isinstance(answer, EngineError):
            raise answer
        return answer


def _share(request: ChatRequest) -> float:
    """Return a number in [0, 1) that depends on the request alone."""
    text = repr(([dict(m) for m in request.messages], request.seed, request.max_tokens))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
