"""What patterns of replies are filled with: what the user said and named, the latest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.listening.hearing import feeling_in
from empathy_gym.simulators.listening.wording import (
    clauses,
    lower_first,
    names,
    sentences,
    things,
    upper_first,
)

LIMIT: Final = re.compile(
    r"\b(?:leave|keep|rather not|don't want to)\b.{0,40}?\b(?:out|into|about)\b", re.IGNORECASE
)
"""How somebody says what is to be left out."""


def slots(messages: Sequence[Message]) -> dict[str, str]:
    """Return the slots of a conversation's patterns; ``phrases.yaml`` says what they stand for."""
    said = [m["content"] for m in messages if m["role"] == "user"]
    avoided = " ".join(
        m.group() + line[m.end() : m.end() + 40] for line in said for m in LIMIT.finditer(line)
    ).lower()
    used = " ".join(m["content"] for m in messages if m["role"] == "assistant").lower()
    told = [" ".join(sentences(line)[at > 0 :]) for at, line in enumerate(said)][::-1]
    named = [t for text in told for t in things(text) if t not in avoided]
    quotes = [c for text in told for c in clauses(text, 4, 8) if not LIMIT.search(c)]
    fresh = [c for c in quotes if c.lower() not in used] or quotes or ["that's how it went"]
    mine = [c for c in fresh if c.lower().startswith("you ")] or ["you kept going"]
    people = [n for line in reversed(said) for n in names(line) if n.lower() not in avoided]
    quote, own = lower_first(fresh[0]), lower_first(mine[0])
    # What a clause has in it already is not named beside it.
    beside = [t for t in named if t not in f"{quote} {own}".lower()]
    a, b = [*([t for t in beside if t not in used] or beside), "all of that", "the rest of it"][:2]
    return {
        "a": a,
        "b": b,
        "q": quote,
        "y": own,
        "Q": upper_first(quote),
        "Y": upper_first(own),
        "n": people[0] if people else "",
        "f": feeling_in(told[0]),
    }
