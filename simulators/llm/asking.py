"""Asking a model in batches, with a bounded number of re-asks for answers that cannot be used."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, ErrorKind, model_of
from empathy_gym.simulators.errors import EngineError
from empathy_gym.simulators.llm.fence import shown

T = TypeVar("T")

MAX_QUOTED: Final = 400
"""Characters of an answer that cannot be used which the re-ask shows."""
REPLY_KINDS: Final = frozenset({"context", "rejected", "answer"})
"""Kinds of failure that the reply itself may have caused; the others are the transport's or the engine's."""


class BadAnswer(Exception):
    """An answer that cannot be used, and why; caught by `ask`, never seen outside."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that came to nothing.

    Attributes:
        kind: The engine's kind of error; ``"answer"`` if every answer was unusable.
        cause: One line.
    """

    kind: ErrorKind | str
    cause: str

    @property
    def of_reply(self) -> bool:
        """Whether the text that was asked about may be the cause."""
        return self.kind in REPLY_KINDS


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One thing to ask.

    Attributes:
        request: The first request.
        read: Turns a completion into a value, or raises `BadAnswer`.
        retry: How to say that an answer cannot be used; has the placeholder ``{problem}``.
    """

    request: ChatRequest
    read: Callable[[ChatReply], T]
    retry: str


class Counts:
    """Thread-safe counts of what had to be repaired or given up, by kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, kind: str, amount: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[kind] += amount

    def snapshot(self) -> dict[str, int]:
        """Return the counts so far, by kind in alphabetical order."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def ask(
    engine: ChatEngine, questions: Sequence[Question[T]], *, repairs: int, counts: Counts | None = None
) -> list[T | Failure]:
    """Return what each question came to: one engine call for all of them, one more for each round of repairs.

    Args:
        engine: Who answers.
        questions: What to ask.
        repairs: Most re-asks of one question, 0 or more.
        counts: Where requests, unusable answers and failures are counted.

    Raises:
        EngineError: If the engine breaks the contract of one reply for each request.
    """
    results: list[T | Failure | None] = [None] * len(questions)
    asked = {i: question.request for i, question in enumerate(questions)}
    for left in range(repairs, -1, -1):
        if not asked:
            break
        replies = _complete(engine, asked, counts)
        again: dict[int, ChatRequest] = {}
        for i, reply in replies.items():
            if reply.error is not None:
                results[i] = _failed(reply, counts)
                continue
            try:
                results[i] = questions[i].read(reply)
            except BadAnswer as problem:
                if counts is not None:
                    counts.add("unusable")
                results[i] = Failure("answer", f"no usable answer: {problem}")
                if left:
                    again[i] = corrected(questions[i], reply.text, str(problem))
        asked = again
    return [result for result in results if result is not None]


def _complete(
    engine: ChatEngine, asked: Mapping[int, ChatRequest], counts: Counts | None
) -> dict[int, ChatReply]:
    if counts is not None:
        counts.add("requests", len(asked))
    replies = engine.complete(list(asked.values()))
    if len(replies) != len(asked):
        raise EngineError(f"{model_of(engine)} got {len(asked)} requests and gave {len(replies)} replies.")
    return dict(zip(asked, replies, strict=True))


def _failed(reply: ChatReply, counts: Counts | None) -> Failure:
    failure = Failure(reply.error_kind or "engine", str(reply.error))
    if counts is not None:
        counts.add(f"engine:{failure.kind}")
    return failure


def corrected(question: Question[T], answer: str, problem: str) -> ChatRequest:
    """Return the request that asks again, with the unusable answer as the model's own, cut."""
    return dataclasses.replace(
        question.request,
        messages=(
            *question.request.messages,
            {"role": "assistant", "content": shown(answer, MAX_QUOTED) or "(empty)"},
            {"role": "user", "content": question.retry.replace("{problem}", problem)},
        ),
    )
