"""Asking policies: for responses, and for how likely they find a text. Whatever they raise is one error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from empathy_gym.agents import Conversation, Reply
from empathy_gym.benchmarks.response_records import Likelihood
from empathy_gym.simulators.errors import EmpathyGymError


def ask(policy: Any, spec: str, conversations: Sequence[Conversation]) -> list[Reply]:
    """Return a policy's replies.

    Args:
        policy: The policy.
        spec: How it was named, for errors.
        conversations: What it is asked.

    Raises:
        EmpathyGymError: If it raises, or returns anything but one reply for each conversation.
    """
    keys = [conversation.key for conversation in conversations]
    _tell(policy, spec, "begin", keys)
    given = _call(policy, spec, "act", conversations)
    _tell(policy, spec, "end", keys)
    if isinstance(given, str | bytes) or not isinstance(given, Sequence) or len(given) != len(conversations):
        got = len(given) if isinstance(given, list | tuple) else type(given).__name__
        raise EmpathyGymError(
            f"The policy {spec!r} got {len(conversations)} conversations and returned {got}; it must return one "
            "reply for each, in order."
        )
    replies = [Reply(reply) if isinstance(reply, str) else reply for reply in given]
    for reply in replies:
        if not isinstance(reply, Reply) or (reply.error is None and not isinstance(reply.text, str)):
            raise EmpathyGymError(
                f"The policy {spec!r} returned a {type(reply).__name__}; a reply is a str or an "
                "empathy_gym.agents.Reply."
            )
    return replies


def likelihoods_of(
    policy: Any, spec: str, conversations: Sequence[Conversation], texts: Sequence[str]
) -> Sequence[Likelihood | None]:
    """Return how likely a policy finds texts as its replies, or None for each where it cannot say.

    Args:
        policy: One with ``score(conversations, texts)``, which returns for each text the natural logarithm of its
            probability and its number of tokens; any other cannot say.
        spec: How it was named, for errors.
        conversations: What is answered.
        texts: One for each.

    Raises:
        EmpathyGymError: If it raises, or returns anything else.
    """
    if not callable(getattr(policy, "score", None)):
        return [None] * len(texts)
    given = _call(policy, spec, "score", conversations, texts)
    try:
        found = [Likelihood(log_probability=float(value), tokens=int(tokens)) for value, tokens in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != len(texts) or not all(math.isfinite(each.log_probability) for each in found):
        raise EmpathyGymError(
            f"The policy {spec!r} got {len(texts)} texts in score(); it must return (log probability, tokens) for "
            "each, both finite."
        )
    return found


def _tell(policy: Any, spec: str, method: str, keys: list[str]) -> None:
    if keys and callable(getattr(policy, method, None)):
        _call(policy, spec, method, keys)


def _call(policy: Any, spec: str, method: str, *arguments: Any) -> Any:
    """Call the policy: the one boundary behind which anything may be raised."""
    try:
        return getattr(policy, method)(*arguments)
    except Exception as error:
        raise EmpathyGymError(
            f"The policy {spec!r} failed in {method}(): {type(error).__name__}: {error}"
        ) from error
