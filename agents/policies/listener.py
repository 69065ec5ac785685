"""A listener that reads only the conversation: restates, reflects, asks, and changes course when it falls flat.

It stands for what a careful script can do without understanding anybody: it leaves room above it. Everything it
knows about what helps, it reads off how warmly the user's next line begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, lines, user_lines
from empathy_gym.agents.policies.wording import (
    FEELINGS,
    clauses,
    names,
    sentences,
    things,
    upper_first,
    words,
)
from empathy_gym.agents.policy import Conversation

_ASKED: Final = re.compile(
    r"\b(honest|honestly|straight|truth|am i|was i|did i|you think|fault|wrong|is it me|doing)\b"
)
_GOODBYE: Final = re.compile(
    r"\b(bye|good ?night|heading off|i should go|i'd better go|i'll go|i'm off|going to go|get going|see you|"
    r"take care|call it a night|have to go|leave it there|need to get moving|cut it there)\b"
)
_WARM: Final = re.compile(
    r"\b(exactly|yeah|yes|yep|thank|thanks|helps|helped|true|lighter|easier|better|glad|right|fair|nice|kind|good|great|"
    r"calmer|enjoying|like that|impressed|solid|decent|credit|worked|brilliant|lift|warmed|easy|sense|spot on|nodding|"
    r"less|laugh|smile|smiling|relief|relieved|comfort|lovely|counts|progress)\b"
)
_COOL: Final = re.compile(
    r"\b(no|not|nothing|nowhere|didn't|doesn't|don't|isn't|wasn't|can't|miss|missed|worse|ouch|cold|sunk|hm|hmm|stuck|"
    r"soon|skimmed|further|flat|lost|never|wrong|shame|suppose|possibly|maybe|drifted|neither|nearly|so-so)\b"
)
_LIMIT: Final = re.compile(
    r"\b(?:leave|keep|rather not|don't want to)\b.{0,40}?\b(?:out|into|about)\b", re.IGNORECASE
)

MODES: Final = ("be_with", "read", "affirm", "weigh", "suggest")
"""Ways of helping, in the order in which they are tried."""


class ListenerPolicy(BlindPolicy):
    """Restates, reflects, asks; tries another way of helping when the user stays cool; answers when asked."""

    def __init__(self) -> None:
        super().__init__("listener", _listen)


def _listen(conversation: Conversation) -> str:
    phrases = lines()["listener"]
    said = user_lines(conversation)
    last = said[-1]
    if conversation.turn and _GOODBYE.search(last.lower()) and len(words(last)) < 30:
        return _turn_of(conversation, phrases["bye"])
    slots = _slots(conversation, said)
    if conversation.turn and last.rstrip().endswith("?") and _ASKED.search(last.lower()):
        return _turn_of(conversation, phrases["honest"]).format(**slots)
    mode = _mode(said)
    if mode == "suggest" and any("advice" in line.lower() or "tips" in line.lower() for line in said):
        mode = "be_with"
    if mode in ("read", "suggest") and not slots["n"]:
        mode = "weigh"
    if mode == "be_with":
        return _be_with(conversation, slots)
    return _turn_of(conversation, phrases[mode]).format(**slots)


def _be_with(conversation: Conversation, slots: Mapping[str, str]) -> str:
    """Reflect a feeling that was named, or restate; ask every other time."""
    phrases = lines()["listener"]
    first = _turn_of(conversation, phrases["reflect" if slots["f"] else "restate"]).format(**slots)
    if conversation.turn % 2 and slots["f"]:
        return first
    ask = _turn_of(
        conversation, phrases["ask_name" if slots["n"] and conversation.turn % 4 < 2 else "ask_thing"]
    )
    return f"{first} {ask.format(**slots)}"


def _mode(said: Sequence[str]) -> str:
    """Return the way of helping: the first until the second answer, then the next one after each cool answer."""
    cool = sum(not is_warm(line) for line in said[2:])
    return MODES[cool % len(MODES)]


def is_warm(line: str) -> bool:
    """Whether a user's line begins warmly: more warm words than cool ones in its first two sentences."""
    opening = " ".join(sentences(line)[:2]).lower().replace("’", "'")
    return len(_WARM.findall(opening)) > len(_COOL.findall(opening))


def _slots(conversation: Conversation, said: Sequence[str]) -> dict[str, str]:
    """Return what the phrases are filled with: things and people the user named, the latest first."""
    avoided = " ".join(
        m.group() + line[m.end() : m.end() + 40] for line in said for m in _LIMIT.finditer(line)
    ).lower()
    used = " ".join(m["content"] for m in conversation.messages if m["role"] == "assistant").lower()
    named = [
        t
        for line in reversed(said)
        for t in things(" ".join(sentences(line)[1:]) or line)
        if t not in avoided
    ]
    fresh = [t for t in named if t not in used] or named
    fresh += ["all of that", "the rest of it", "the whole business"]
    people = [n for line in reversed(said) for n in names(line) if n.lower() not in avoided]
    felt = [w.lower() for line in reversed(said[-2:]) for w in words(line) if w.lower() in FEELINGS]
    clause = next(
        (c for line in reversed(said) for c in clauses(line) if c.startswith("you ")), "you kept going"
    )
    a, b, c = fresh[:3]
    return {
        "a": a, "b": b, "c": c, "A": upper_first(a), "n": people[0] if people else "", "f": felt[0] if felt else "",
        "S": upper_first(clause),
    }  # fmt: skip


def _turn_of(conversation: Conversation, options: Sequence[str]) -> str:
    """Return each option in its turn, so that no phrase comes back soon."""
    return options[(conversation.seed + conversation.turn) % len(options)]
