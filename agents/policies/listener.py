"""A listener that reads only the conversation: restates, reflects, asks, changes course when it falls flat.

It stands for what a careful script can do without understanding anybody: it leaves room above it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, lines, pick, user_lines
from empathy_gym.agents.policies.wording import (
    FEELINGS,
    STOP,
    clauses,
    content_words,
    lower_first,
    names,
    sentences,
    swapped,
    upper_first,
    words,
)
from empathy_gym.agents.policy import Conversation

_ASKED: Final = re.compile(
    r"\b(honest|honestly|straight|truth|am i|was i|did i|do you think|you think|fault|wrong)\b"
)
_GOODBYE: Final = re.compile(
    r"\b(bye|good ?night|heading off|i should go|i'd better go|i'll go|i'm off|going to go|get going|see you|"
    r"take care|call it a night|have to go|leave it there)\b"
)
_WARMER: Final = re.compile(
    r"\b(exactly|yeah|yes|that's it|thank|thanks|helps|true|lighter|easier|better|good to|glad|right|fair|"
    r"nice|kind)\b"
)
_LEAVE_OUT: Final = re.compile(r"\b(?:leave|keep|rather not)\b.{0,40}?\b(?:out|into|about)\b", re.IGNORECASE)

MODES: Final = ("be_with", "affirm", "read", "suggest")


class ListenerPolicy(BlindPolicy):
    """Restates, reflects a feeling, asks about a person or a thing; answers an outright question fairly."""

    def __init__(self) -> None:
        super().__init__("listener", _listen)


def _listen(conversation: Conversation) -> str:
    said = user_lines(conversation)
    last = said[-1]
    if _GOODBYE.search(last.lower()) and len(words(last)) < 40 and conversation.turn:
        return pick(conversation, lines()["listener"]["bye"], "bye")
    clause = _fresh_clause(conversation, last)
    if conversation.turn and last.rstrip().endswith("?") and _ASKED.search(last.lower()):
        return pick(conversation, lines()["listener"]["honest"], "honest").format(c=lower_first(clause))
    restated = _turn_of(conversation, lines()["listener"]["restate"]).format(
        c=lower_first(clause), C=upper_first(clause)
    )
    return f"{restated} {_second_move(conversation, said)}"


def _second_move(conversation: Conversation, said: Sequence[str]) -> str:
    """Stay with the user; after two cool answers in a row, try another way of helping for a while."""
    avoided = {
        w.lower() for line in said for m in _LEAVE_OUT.finditer(line) for w in words(line[m.start() :])[:12]
    }
    people = [n for n in reversed(names(" ".join(said))) if n.lower() not in avoided]
    things = [w for w in content_words(said[-1]) if w.islower() and w not in avoided and w not in FEELINGS]
    name, thing = (people or ["they"])[0], (things or ["whole business"])[0]
    mode = MODES[_cool_answers(said) // 2 % len(MODES)]
    if mode == "affirm":
        return _turn_of(conversation, lines()["listener"]["affirm"])
    if mode == "read" and people:
        return _turn_of(conversation, lines()["listener"]["wonder"]).format(n=name)
    if mode == "suggest" and people and not any("advice" in line.lower() for line in said):
        return _turn_of(conversation, lines()["listener"]["suggest"]).format(n=name, a=thing)
    felt = [w.lower() for line in reversed(said) for w in words(line) if w.lower() in FEELINGS]
    reflected = _turn_of(conversation, lines()["listener"]["reflect"]).format(f=felt[0]) if felt else ""
    ask = _turn_of(
        conversation,
        lines()["listener"]["ask_name"]
        if people and conversation.turn % 2 == 0
        else lines()["listener"]["ask_noun"],
    )
    return f"{reflected} {ask.format(n=name, a=thing)}".strip()


def _cool_answers(said: Sequence[str]) -> int:
    """Return how many answers so far opened without any warmth."""
    return sum(not _WARMER.search(" ".join(sentences(line)[:2]).lower()) for line in said[1:])


def _fresh_clause(conversation: Conversation, line: str) -> str:
    earlier = " ".join(m["content"] for m in conversation.messages if m["role"] == "assistant").lower()
    found = [c for c in clauses(line) if c.lower() not in earlier]
    if found:
        return found[0]
    content = [w for w in words(line) if w.lower() not in STOP][:6]
    return swapped(" ".join(content)) or "that's where it stands"


def _turn_of(conversation: Conversation, options: Sequence[str]) -> str:
    """Return each option in its turn, so that no phrase comes back soon."""
    start = conversation.seed % len(options)
    return options[(start + conversation.turn) % len(options)]
