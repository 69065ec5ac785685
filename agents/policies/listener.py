"""A listener that reads only the conversation: restates, reflects, asks, and changes course when it falls flat.

It stands for what a careful script can do without understanding anybody: it leaves room above it. Everything it
knows about what helps, it reads off how warmly the user's next line begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, user_lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.listening.hearing import (
    asks,
    hinted_in,
    phrases,
    reaction,
    request_in,
    says_goodbye,
)
from empathy_gym.simulators.listening.phrasebook import Entry, look_up
from empathy_gym.simulators.listening.slots import slots

MODES: Final = ("ask", "comfort", "affirm", "read", "weigh", "suggest", "fair", "vent")
"""Ways of helping, in the order in which they are tried."""
HINTED: Final = (3, 1)
"""What a hint is worth to the way of helping it speaks for most, and to the next."""


class ListenerPolicy(BlindPolicy):
    """Restates, reflects, asks; tries another way of helping when the user stays cool; answers when asked."""

    def __init__(self) -> None:
        super().__init__("listener", _listen)


def _listen(conversation: Conversation) -> str:
    said = user_lines(conversation)
    last = said[-1]
    if conversation.turn and says_goodbye(last):
        return _turn_of(conversation, phrases()["bye"])
    entry = look_up(said)
    asked = bool(conversation.turn) and (asks(last) or bool(entry and entry.at_issue))
    mode = _mode(said)
    wanted = request_in(last)
    if mode == "suggest" and any("advice" in line.lower() or "tips" in line.lower() for line in said):
        mode = "comfort"
    # Of a lie the phrase book has a fair word to say, if it knows the user.
    if wanted is not None and not (wanted == "lie" and asked and entry is not None):
        no = _turn_of(conversation, phrases()["declines"][wanted])
        rest = _from_book(conversation, entry, mode, False) if entry else _by_pattern(conversation, mode)
        return f"{no} {rest}"
    if entry is not None:
        return _from_book(conversation, entry, mode, asked)
    return _by_pattern(conversation, "honest" if asked else mode)


def _from_book(conversation: Conversation, entry: Entry, mode: str, asked: bool) -> str:
    """Return a reply of lines from the phrase book that were not said yet."""
    spoken = "\n".join(m["content"] for m in conversation.messages if m["role"] == "assistant")

    def next_of(options: Sequence[str]) -> str:
        return next((line for line in options if line not in spoken), "")

    fact, ask = next_of(entry.facts), next_of(entry.topics)
    care = _turn_of(conversation, phrases()["care"])
    if asked:
        unsure = f"{next_of(entry.voiced)} {next_of(phrases()['unsure'])}".strip()
        more = "" if mode in ("ask", "vent", "fair") else next_of(_ways(entry).get(mode, entry.feelings))
        return f"{care} {next_of(entry.fair) or unsure} {more}".strip()
    felt = next_of(entry.feelings) or fact
    if mode == "vent":
        return f"{felt} {ask}".strip()
    if mode == "fair":
        return f"{care} {next_of(entry.fair) or next_of(entry.sizing) or ask}".strip()
    if mode == "comfort":
        return f"{felt} {next_of(phrases()['comfort'])}".strip()
    return f"{fact} {next_of(_ways(entry)[mode]) or ask}".strip()


def _ways(entry: Entry) -> dict[str, Sequence[str]]:
    return {
        "ask": entry.topics,
        "affirm": entry.affirming,
        "read": entry.reading,
        "weigh": entry.weighing,
        "suggest": entry.suggesting,
        "fair": [*entry.fair, *entry.sizing],
    }


def _by_pattern(conversation: Conversation, mode: str) -> str:
    """Return a reply for a user the phrase book does not know: a clause, a thing, a person, a probable feeling."""
    filled = slots(conversation.messages)
    if mode in ("read", "suggest") and not filled["n"]:
        mode = "weigh"
    if mode in ("ask", "comfort", "vent"):
        return _be_with(conversation, filled)
    return _turn_of(conversation, phrases()["honest" if mode == "fair" else mode]).format(**filled)


def _be_with(conversation: Conversation, filled: Mapping[str, str]) -> str:
    """Reflect what was probably felt, or restate; ask every other time."""

    def pattern(name: str) -> str:
        return _turn_of(conversation, phrases()[name]).format(**filled)

    if conversation.turn % 3 == 2:
        return pattern("reflect")
    first = pattern("reflect" if conversation.turn % 3 else "restate")
    return f"{first} {pattern('ask_name' if filled['n'] and conversation.turn % 2 else 'ask_thing')}"


def _mode(said: Sequence[str]) -> str:
    """Return the way of helping: the one the user hints at; else each in turn, and one that helped is kept to.

    What was tried before follows from the user's answers alone, so that the policy needs no memory.
    """
    credit = dict.fromkeys(MODES, 0)
    mode = MODES[0]
    for at, answer in enumerate(said[1:]):
        # After a question the answer is to what was said on that, not to the way of helping.
        if not (at and asks(said[at])):
            credit[mode] += {"moved": 1, "eased": -1}.get(reaction(answer), -2)
        for hint, worth in zip(hinted_in(answer), HINTED, strict=False):
            credit[hint] += worth
        mode = max(MODES, key=lambda m: (credit[m], -MODES.index(m)))
    return mode


def _turn_of(conversation: Conversation, options: Sequence[str]) -> str:
    """Return each option in its turn, so that no phrase comes back soon."""
    return options[(conversation.seed + conversation.turn) % len(options)]
