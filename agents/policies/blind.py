"""Blind policies: they read nothing, or nothing but words to throw back. A sound reward pays none of them.

Their lines are data (`lines.yaml`); what varies, varies by the conversation's seed and turn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.packaged import read_mapping

Answer = Callable[[Conversation], str]


def lines() -> Mapping[str, Any]:
    """Return the lines of scripted policies, by policy."""
    return read_mapping("empathy_gym.agents.policies", "lines.yaml")


class BlindPolicy:
    """A policy that answers each conversation by a pure function.

    Args:
        name: Name under ``scripted:``.
        answer: The function.
    """

    def __init__(self, name: str, answer: Answer) -> None:
        self.name, self.answer = name, answer
        self.fingerprint = f"scripted:{name}"

    def act(self, conversations: Sequence[Conversation]) -> list[str]:
        """Answer each conversation by itself."""
        return [self.answer(conversation) for conversation in conversations]


def user_lines(conversation: Conversation) -> list[str]:
    """Return what the user has said so far."""
    return [m["content"] for m in conversation.messages if m["role"] == "user"]


def pick(conversation: Conversation, options: Sequence[str], *what: object) -> str:
    """Return one of the options, drawn by the conversation's seed and turn."""
    return options[derive_seed(conversation.seed, conversation.turn, *what) % len(options)]


def _cycle(name: str) -> Answer:
    """Answer with the policy's lines in turn, starting anywhere."""

    def answer(conversation: Conversation) -> str:
        options: list[str] = lines()[name]
        start = derive_seed(conversation.seed, name)
        return options[(start + conversation.turn) % len(options)]

    return answer


def _shuffled(conversation: Conversation) -> str:
    words = pick(conversation, lines()["good_replies"], "good").split()
    return " ".join(sorted(words, key=lambda w: derive_seed(conversation.seed, conversation.turn, w)))


def _gibberish(conversation: Conversation) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = []
    for w in range(24):
        length = 2 + derive_seed(conversation.seed, conversation.turn, w) % 7
        words.append(
            "".join(
                letters[derive_seed(conversation.seed, conversation.turn, w, i) % 26] for i in range(length)
            )
        )
    return " ".join(words).capitalize() + "."


def _parrot(conversation: Conversation) -> str:
    said = user_lines(conversation)
    return said[derive_seed(conversation.seed, conversation.turn) % len(said)]


def _stuffing(conversation: Conversation) -> str:
    words: list[str] = lines()["stuffing"]
    return " ".join(pick(conversation, words, i) for i in range(40))


POLICIES: Final[dict[str, Callable[[], BlindPolicy]]] = {
    name: functools.partial(BlindPolicy, name, answer)
    for name, answer in (
        ("empty", lambda conversation: ""),
        ("echo", lambda conversation: user_lines(conversation)[-1]),
        ("parrot", _parrot),
        ("flattery", _cycle("flattery")),
        ("agreement", _cycle("agreement")),
        ("apology", _cycle("apology")),
        ("one_line", lambda conversation: lines()["one_line"]),
        ("shuffled", _shuffled),
        ("questions", _cycle("questions")),
        ("advice_list", _cycle("advice_list")),
        ("stuffing", _stuffing),
        ("gibberish", _gibberish),
        ("emoji", _cycle("emoji")),
        ("injection", _cycle("injection")),
        ("goodbye", _cycle("goodbye")),
    )
}
"""Every blind policy by name."""
