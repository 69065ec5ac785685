"""The OpenAI chat protocol as pure functions: a request to a body, an answer's bytes to a reply.

Two dialects differ in how an answer is constrained. vLLM (0.32) reads `structured_outputs`; its older
`guided_*` fields are ignored without an error, so they are never sent. Every other server gets
`response_format` alone: a regular expression or a list of choices travels as a one-field JSON object, which
`read_answer` takes apart again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest, ErrorKind

Dialect = Literal["vllm", "openai"]

ERROR_CHARS: Final = 300
"""Most characters of an error message that are kept: a server's page must not fill a log."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT: Final = re.compile(
    r"context[ _-](length|window|size)|longer than the model'?s context|prompt is too long|input is too long"
    r"|reduce the length of the (input|prompt|messages)",
    re.IGNORECASE,
)
"""How vLLM, OpenAI, SGLang, llama.cpp and others say that a request does not fit."""
_WRAPPED: Final = "answer"


class Answer(NamedTuple):
    """What came back from one attempt.

    Attributes:
        reply: The reply.
        again: Whether another attempt could do better.
    """

    reply: ChatReply
    again: bool = False


def failure(kind: ErrorKind, message: str, *, again: bool = False) -> Answer:
    """Return a failed answer; the message is cut to one line of `ERROR_CHARS` characters."""
    return Answer(ChatReply(error=one_line(message), error_kind=kind), again)


def one_line(text: str, limit: int = ERROR_CHARS) -> str:
    """Return the text with white space and control characters folded, cut to `limit` characters."""
    folded = _SPACE.sub(" ", clean(text[: 4 * limit])).strip()
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def clean(text: str) -> str:
    """Return the text with each lone surrogate replaced by U+FFFD; UTF-8 has no way to write one."""
    return _SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(k)): _clean_all(v) for k, v in value.items()}
    return [_clean_all(v) for v in value] if isinstance(value, list | tuple) else value


def request_body(request: ChatRequest, model: str, dialect: Dialect, extra: Mapping[str, Any]) -> bytes:
    """Return the JSON body of a chat completion.

    Args:
        request: The request.
        model: The model's name on the server.
        dialect: Whose extensions may be used.
        extra: Fields that are added to the body; a None takes the field out.

    Raises:
        ValueError: If something in it is not JSON, a NaN for example.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": list(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if dialect == "vllm":
        # Otherwise the server fills these from the model's generation_config.json, and the same request would
        # mean something else in process.
        body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    body |= {**_constraint(request, dialect), **extra}
    try:
        text = json.dumps(_clean_all({k: v for k, v in body.items() if v is not None}), allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return text.encode("ascii")


def _constraint(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    if request.schema is not None:
        return _json_schema(request.schema)
    if dialect == "vllm" and request.choices:
        return {"structured_outputs": {"choice": list(request.choices)}}
    if dialect == "vllm" and request.regex is not None:
        return {"structured_outputs": {"regex": request.regex}}
    if not is_wrapped(request, dialect):
        return {}
    inner = {"enum": list(request.choices)} if request.choices else {"pattern": f"^(?:{request.regex})$"}
    return _json_schema(
        {
            "type": "object",
            "properties": {_WRAPPED: {"type": "string", **inner}},
            "required": [_WRAPPED],
            "additionalProperties": False,
        }
    )


def _json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def is_wrapped(request: ChatRequest, dialect: Dialect) -> bool:
    """Return whether the answer to this request comes inside a one-field JSON object."""
    free = request.schema is None
    return free and dialect == "openai" and (bool(request.choices) or request.regex is not None)


def read_answer(status: int, raw: bytes, *, wrapped: bool = False) -> Answer:
    """Read an HTTP answer of a chat completion.

    Args:
        status: HTTP status.
        raw: The body, whole.
        wrapped: Whether the text is the one field of a JSON object.

    Returns:
        The reply: its text, or an error of kind ``"context"``, ``"status"`` (429 and 5xx), ``"rejected"``
        (any other status but 2xx) or ``"malformed"``.
    """
    if not 200 <= status < 300:
        return _refusal(status, raw)
    answer = load_json(raw)
    if not isinstance(answer, dict):
        return failure(
            "malformed", f"The server answered something that is not JSON: {_start(raw)}", again=True
        )
    if "choices" not in answer and "error" in answer:
        code = answer["error"].get("code") if isinstance(answer["error"], dict) else None
        return _refusal(code if isinstance(code, int) and 400 <= code < 600 else 500, raw)
    return _completion(answer, wrapped)


def load_json(raw: bytes) -> Any:
    """Return the value of a JSON text, or None if it is not strict JSON (NaN and infinities are not)."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _start(raw: bytes) -> str:
    return repr(one_line(raw[:400].decode("utf-8", "replace"), 80))


def _completion(answer: Mapping[str, Any], wrapped: bool) -> Answer:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict) or "content" not in message:
        fields = ", ".join(sorted(map(str, answer))[:8])
        return failure(
            "malformed", f"The answer has no choices[0].message.content; it has: {fields}", again=True
        )
    text, reason = message["content"], choice.get("finish_reason")
    if not isinstance(text, str):
        return failure("malformed", f"The answer's content is {text!r}, not text (finish_reason {reason!r})")
    if wrapped:
        inner = load_json(text.encode("utf-8", "replace"))
        text = inner.get(_WRAPPED) if isinstance(inner, dict) else None
        if not isinstance(text, str):
            return failure("malformed", f"The answer is not {{{_WRAPPED!r}: text}} as the schema says")
    return Answer(
        ChatReply(
            text=clean(text),
            finish_reason=reason if isinstance(reason, str) else None,
            usage=_usage(answer.get("usage")),
        )
    )


def _usage(value: Any) -> dict[str, int]:
    """Return the token counts that are counts; a server's oddities there never cost the answer."""
    if not isinstance(value, dict):
        return {}
    counts = {name: value.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {k: v for k, v in counts.items() if type(v) is int and v >= 0}


def _refusal(status: int, raw: bytes) -> Answer:
    message, codes = _said(raw)
    if codes & _CONTEXT_CODES or (status in (400, 413, 422, 500) and _CONTEXT.search(message)):
        return failure("context", f"Longer than the model's context ({status}): {message}")
    if status == 429 or status >= 500:
        return failure("status", f"The server answered {status}: {message}", again=True)
    return failure("rejected", f"The server refused the request with {status}: {message}")


def _said(raw: bytes) -> tuple[str, set[str]]:
    """Return an error body's message and its machine-readable codes."""
    body = load_json(raw)
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return (one_line(error) if isinstance(error, str) else _start(raw)), set()
    message = error.get("message", error.get("detail", ""))
    codes = {error[name] for name in ("code", "type") if isinstance(error.get(name), str)}
    return one_line(str(message) or _start(raw)), codes
