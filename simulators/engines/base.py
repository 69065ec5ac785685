"""What a chat engine is: requests in, replies out, in order, and a failure is a reply.

Every language model of the package, the simulated user's and the policy's alike, is reached through `ChatEngine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from empathy_gym.simulators.dialogue import Message

ErrorKind = Literal["timeout", "transport", "status", "rejected", "context", "malformed", "engine"]
"""Why a request failed: no answer in time; no connection; a server error; a request the server refuses (4xx);
longer than the model's context; an answer that is not one; a failure inside the engine."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One completion to make.

    Attributes:
        messages: Chat messages, system prompt first; roles ``system``, ``user``, ``assistant``.
        max_tokens: Most tokens to generate.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Nucleus mass.
        seed: Sampling seed, or None.
        stop: Strings that end the completion.
        schema: JSON schema the text has to obey, or None.
        regex: Regular expression the text has to match as a whole, or None.
        choices: Texts one of which has to be the completion; empty for none.
    """

    messages: tuple[Message | Mapping[str, str], ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    regex: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came of a request.

    Attributes:
        text: The completion; empty if there is none.
        error: What went wrong, in one line, or None.
        error_kind: Kind of the failure, or None.
        finish_reason: ``"stop"``, ``"length"``, or what the engine says.
        usage: ``prompt_tokens`` and ``completion_tokens``.
        tokens: Token ids of the completion, where the engine gives them.
        logprobs: Log-probability of each token, where the engine gives them.
        cached: Whether it came from a tape.
    """

    text: str = ""
    error: str | None = None
    error_kind: ErrorKind | None = None
    finish_reason: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    tokens: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    cached: bool = False


@runtime_checkable
class ChatEngine(Protocol):
    """Completes batches of requests.

    One method is enough. What else an engine may have: `model`, the name of its model (`model_of`); `revision`, a
    revision or content hash of it (`revision_of`); `close()`, which frees what it holds, and nothing the second time.
    """

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order; a failure is a reply with `error`, never a hang."""
        ...


def model_of(engine: ChatEngine) -> str:
    """Return the name of an engine's model; that of its class where it tells none."""
    return str(getattr(engine, "model", None) or type(engine).__qualname__)


def revision_of(engine: ChatEngine) -> str:
    """Return the revision or content hash of an engine's model; the empty string where it tells none."""
    return str(getattr(engine, "revision", None) or "")


def identity_of(engine: ChatEngine) -> tuple[str, str]:
    """Return the name of an engine's model and its revision."""
    return model_of(engine), revision_of(engine)


def close(engine: ChatEngine) -> None:
    """Free what an engine holds, if there is anything to free."""
    closing = getattr(engine, "close", None)
    if closing is not None:
        closing()
