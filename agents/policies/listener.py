"""A listener that reads only the conversation: restates, reflects, asks, and changes course when it falls flat.

It stands for what a careful script can do without understanding anybody: it leaves room above it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, pick, user_lines
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

_ASKED: Final = re.compile(r"\b(honest|honestly|straight|truth|am i|was i|did i|do you think|you think|fault|wrong)\b")
_GOODBYE: Final = re.compile(
    r"\b(bye|good ?night|heading off|i should go|i'd better go|i'll go|i'm off|going to go|get going|see you|take care|"
    r"call it a night|have to go|leave it there)\b"
)
_WARMER: Final = re.compile(
    r"\b(exactly|yeah|yes|that's it|thank|thanks|helps|true|lighter|easier|better|good to|glad|right|fair|nice|kind)\b"
)
_LEAVE_OUT: Final = re.compile(r"\b(?:leave|keep|rather not)\b.{0,40}?\b(?:out|into|about)\b", re.IGNORECASE)

RESTATE: Final = (
    "So {c}.", "Right, so {c}.", "{C}. That stays with a person.", "And then {c}.", "Hang on, {c}. Okay.",
    "{C}, and you've been carrying that about since.", "I see: {c}.", "{C}. That's the bit I keep looking at.",
    "Let me get this straight, {c}.", "Okay. {C}.",
)  # fmt: skip
REFLECT: Final = (
    "No wonder that left you {f}.", "Of course you're {f} about it.", "Anybody would be {f} after that.",
    "You're {f}, and with reason.", "I'd have been {f} myself.", "That would leave me {f} as well.",
    "It makes sense that you're {f}.", "Being {f} over that isn't strange at all.",
)  # fmt: skip
ASK_NAME: Final = (
    "What did {n} say when it came up?", "How were things with {n} before this?", "What do you make of {n} in all this?",
    "How has {n} been with you since?", "What would you want {n} to know?", "When did you last speak to {n} properly?",
    "What was {n} like about it?", "What is it about {n} that gets under your skin?",
)  # fmt: skip
ASK_NOUN: Final = (
    "What happened with the {a} after that?", "What was the {a} like for you?", "How did the {a} come about?",
    "What does the {a} mean to you, if that isn't too odd a question?", "When did the {a} start to matter this much?",
    "What part of the {a} keeps coming back?", "How do you picture the {a} from here?", "What went on around the {a}?",
)  # fmt: skip
AFFIRM: Final = (
    "You could have let that slide and you didn't. That took patience.", "That was thoughtful of you, even now.",
    "That can't have been easy to do, and it was fair of you.", "There's some courage in that, you know.",
)  # fmt: skip
WONDER: Final = (
    "I wonder if {n} was afraid of how that talk would go, more than anything.",
    "Maybe {n} didn't know how to say it, and said nothing because of that.",
    "It could be that {n} meant to protect somebody, however badly it came out.",
    "Perhaps {n} was avoiding something that has little to do with you.",
)  # fmt: skip
SUGGEST: Final = (
    "Maybe you could ask {n} about the {a} when it's quiet, instead of in passing.",
    "Would it help to say one plain sentence about the {a} to {n}, and leave it at that?",
    "What if you put the {a} in a short note to {n}, so nobody has to answer on the spot?",
)  # fmt: skip
HONEST: Final = (
    "Honestly, I think part of it is yours and part of it isn't. You told me {c}, and that counts for something. It's "
    "still fair that it hurts.",
    "I can see why you ask, and I'm not sure it was all one person. From what you told me, {c}. Some of it is theirs "
    "and some of it may be yours.",
    "I'd be fair to both sides here: {c}, and at the same time they had a part in it. I understand that it stings.",
)  # fmt: skip
BYE: Final = ("Take care, and good luck with it.", "Go well. I'm glad you told me.", "Sleep well, and good luck.")
MODES: Final = ("be_with", "affirm", "read", "suggest")


class ListenerPolicy(BlindPolicy):
    """Restates a clause, reflects a feeling, asks about a person or a thing; answers an outright question fairly."""

    def __init__(self) -> None:
        super().__init__("listener", _listen)


def _listen(conversation: Conversation) -> str:
    said = user_lines(conversation)
    last = said[-1]
    if _GOODBYE.search(last.lower()) and len(words(last)) < 40 and conversation.turn:
        return pick(conversation, BYE, "bye")
    clause = _fresh_clause(conversation, last)
    if conversation.turn and last.rstrip().endswith("?") and _ASKED.search(last.lower()):
        return pick(conversation, HONEST, "honest").format(c=lower_first(clause))
    restated = _turn_of(conversation, RESTATE).format(c=lower_first(clause), C=upper_first(clause))
    return f"{restated} {_second_move(conversation, said)}"


def _second_move(conversation: Conversation, said: Sequence[str]) -> str:
    """Stay with the user; after two cool answers in a row, try another way of helping for a while."""
    avoided = {w.lower() for line in said for m in _LEAVE_OUT.finditer(line) for w in words(line[m.start() :])[:12]}
    people = [n for n in reversed(names(" ".join(said))) if n.lower() not in avoided]
    things = [w for w in content_words(said[-1]) if w.islower() and w not in avoided and w not in FEELINGS]
    name, thing = (people or ["they"])[0], (things or ["whole business"])[0]
    mode = MODES[_cool_answers(said) // 2 % len(MODES)]
    if mode == "affirm":
        return _turn_of(conversation, AFFIRM)
    if mode == "read" and people:
        return _turn_of(conversation, WONDER).format(n=name)
    if mode == "suggest" and people and not any("advice" in line.lower() for line in said):
        return _turn_of(conversation, SUGGEST).format(n=name, a=thing)
    felt = [w.lower() for line in reversed(said) for w in words(line) if w.lower() in FEELINGS]
    reflected = _turn_of(conversation, REFLECT).format(f=felt[0]) if felt else ""
    ask = _turn_of(conversation, ASK_NAME if people and conversation.turn % 2 == 0 else ASK_NOUN)
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
