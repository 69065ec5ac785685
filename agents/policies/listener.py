"""A listener that reads only the conversation: restates, reflects, asks, and changes course when it falls flat.

It stands for what a careful script can do without understanding anybody: it leaves room above it. Everything it
knows about what helps, it reads off how warmly the user's next line begins.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, lines, user_lines
from empathy_gym.agents.policies.hints import hinted
from empathy_gym.agents.policies.phrasebook import Entry, look_up, reaction_in, untold
from empathy_gym.agents.policies.wording import (
    FEELINGS,
    clauses,
    lower_first,
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
    r"\b(bye|good-?bye|good ?night|heading off|i should go|i'd better go|i'll go|i'm off|going to go|get going|see you|"
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
    if conversation.turn and _GOODBYE.search(last.lower()) and len(words(last)) < 30:
        return _turn_of(conversation, lines()["listener"]["bye"])
    entry = look_up(said)
    asked = bool(conversation.turn) and (_asks(last) or bool(entry and entry.at_issue))
    mode = _mode(said)
    wanted = _wanted(last)
    if mode == "suggest" and any("advice" in line.lower() or "tips" in line.lower() for line in said):
        mode = "comfort"
    # Of a lie the phrase book has a fair word to say, if it knows the user.
    if wanted is not None and not (wanted == "lie" and asked and entry is not None):
        no = _turn_of(conversation, lines()["listener"]["declines"][wanted])
        rest = (
            _from_book(conversation, entry, mode, False) if entry else _by_pattern(conversation, said, mode)
        )
        return f"{no} {rest}"
    if entry is not None:
        return _from_book(conversation, entry, mode, asked)
    return _by_pattern(conversation, said, "honest" if asked else mode)


def _from_book(conversation: Conversation, entry: Entry, mode: str, asked: bool) -> str:
    """Return a reply of lines from the phrase book that were not said yet."""
    spoken = "\n".join(m["content"] for m in conversation.messages if m["role"] == "assistant")

    def next_of(options: Sequence[str]) -> str:
        return next((line for line in options if line not in spoken), "")

    fact, ask = next_of(entry.facts), next_of(entry.topics)
    care = _turn_of(conversation, lines()["listener"]["care"])
    if asked:
        unsure = f"{next_of(entry.voiced)} {next_of(lines()['listener']['unsure'])}".strip()
        more = "" if mode in ("ask", "vent", "fair") else next_of(_ways(entry).get(mode, entry.feelings))
        return f"{care} {next_of(entry.fair) or unsure} {more}".strip()
    felt = next_of(entry.feelings) or fact
    if mode == "vent":
        return f"{felt} {ask}".strip()
    if mode == "fair":
        return f"{care} {next_of(entry.fair) or next_of(entry.sizing) or ask}".strip()
    if mode == "comfort":
        return f"{felt} {next_of(lines()['listener']['comfort'])}".strip()
    return f"{fact} {next_of(_ways(entry)[mode]) or ask}".strip()


def _ways(entry: Entry) -> dict[str, list[str]]:
    return {
        "ask": entry.topics,
        "affirm": entry.affirming,
        "read": entry.reading,
        "weigh": entry.weighing,
        "suggest": entry.suggesting,
        "fair": [*entry.fair, *entry.sizing],
    }


def _by_pattern(conversation: Conversation, said: Sequence[str], mode: str) -> str:
    """Return a reply for a user the phrase book does not know: a clause, a thing, a person, a probable feeling."""
    phrases, slots = lines()["listener"], _slots(conversation, said)
    if mode in ("read", "suggest") and not slots["n"]:
        mode = "weigh"
    if mode in ("ask", "comfort", "vent"):
        return _be_with(conversation, slots)
    return _turn_of(conversation, phrases["honest" if mode == "fair" else mode]).format(**slots)


def _be_with(conversation: Conversation, slots: Mapping[str, str]) -> str:
    """Reflect what was probably felt, or restate; ask every other time."""
    phrases = lines()["listener"]
    if conversation.turn % 3 == 2:
        return _turn_of(conversation, phrases["reflect"]).format(**slots)
    first = _turn_of(conversation, phrases["reflect" if conversation.turn % 3 else "restate"]).format(**slots)
    ask = _turn_of(conversation, phrases["ask_name" if slots["n"] and conversation.turn % 2 else "ask_thing"])
    return f"{first} {ask.format(**slots)}"


def _mode(said: Sequence[str]) -> str:
    """Return the way of helping: the one the user hints at; else each in turn, and one that helped is kept to.

    What was tried before follows from the user's answers alone, so that the policy needs no memory.
    """
    credit = dict.fromkeys(MODES, 0)
    mode = MODES[0]
    for at, answer in enumerate(said[1:]):
        # After a question the answer is to what was said on that, not to the way of helping.
        if not (at and _asks(said[at])):
            credit[mode] += {"moved": 1, "eased": -1}.get(reaction(answer), -2)
        for hint, worth in zip(_hinted(answer), HINTED, strict=False):
            credit[hint] += worth
        mode = max(MODES, key=lambda m: (credit[m], -MODES.index(m)))
    return mode


def _asks(line: str) -> bool:
    """Whether a line ends with an outright question; a question that hints at something else is none."""
    end = " ".join(sentences(line)[-2:]).lower()
    return (end.endswith("?") and not _hinted(line)) or ("?" in end and bool(_ASKED.search(end)))


def _wanted(line: str) -> str | None:
    """Return what the end of a line asks for that is to be declined: a promise to be there, say; None if nothing."""
    end = " ".join(sentences(line)[-2:]).lower().replace("’", "'")
    return next((kind for kind, cue in _requests().items() if cue.search(end)), None)


@functools.cache
def _requests() -> Mapping[str, re.Pattern[str]]:
    return {kind: re.compile(rf"\b(?:{cue})") for kind, cue in lines()["listener"]["requests"].items()}


@functools.lru_cache(maxsize=4096)
def _hinted(answer: str) -> tuple[str, ...]:
    """Return the ways of helping that the end of an answer speaks for; what is known to be a fact speaks for none."""
    rest = untold(answer)
    if rest is None:
        return hinted(" ".join(sentences(answer)[-3:]), STRANGER)
    return hinted(rest, 0) if rest else ()


STRANGER: Final = 4
"""Doublings of the odds by which the words of a user whom the phrase book does not know have to speak for a hint."""


def reaction(line: str) -> str:
    """Return how a user's line begins: ``"moved"``, ``"eased"`` or ``"cool"``.

    A reaction that the phrase book knows, or else whether its first two sentences have more warm words than cool.
    """
    known = reaction_in(line)
    if known is not None:
        return (
            "moved"
            if known.startswith(("moved", "held"))
            else "eased"
            if known.startswith("eased")
            else "cool"
        )
    opening = " ".join(sentences(line)[:2]).lower().replace("’", "'")
    return "moved" if len(_WARM.findall(opening)) > len(_COOL.findall(opening)) else "cool"


def _slots(conversation: Conversation, said: Sequence[str]) -> dict[str, str]:
    """Return what the phrases are filled with: what the user said and named, the latest first."""
    avoided = " ".join(
        m.group() + line[m.end() : m.end() + 40] for line in said for m in _LIMIT.finditer(line)
    ).lower()
    used = " ".join(m["content"] for m in conversation.messages if m["role"] == "assistant").lower()
    told = [" ".join(sentences(line)[at > 0 :]) for at, line in enumerate(said)][::-1]
    named = [t for text in told for t in things(text) if t not in avoided]
    a, b = [*([t for t in named if t not in used] or named), "all of that", "the rest of it"][:2]
    quotes = [c for text in told for c in clauses(text, 4, 8)]
    fresh = [c for c in quotes if c.lower() not in used] or quotes or ["that's how it went"]
    mine = [c for c in fresh if c.lower().startswith("you ")] or ["you kept going"]
    people = [n for line in reversed(said) for n in names(line) if n.lower() not in avoided]
    quote, own = lower_first(fresh[0]), lower_first(mine[0])
    return {
        "a": a,
        "b": b,
        "q": quote,
        "y": own,
        "Q": upper_first(quote),
        "Y": upper_first(own),
        "n": people[0] if people else "",
        "f": _feeling(told[0]),
    }


def _feeling(text: str) -> str:
    """Return the feeling a text names, or else the one its words speak for most."""
    plain = text.lower().replace("’", "'")
    named = [w for w in map(str.lower, words(text)) if w in FEELINGS]
    if named:
        return named[0]
    guesses: Mapping[str, str] = lines()["listener"]["guesses"]
    counts = {f: sum(cue in plain for cue in cues.split("|") if cue) for f, cues in guesses.items()}
    best = max(counts.values())
    return next(f for f in counts if counts[f] == best) if best else "hurt"


def _turn_of(conversation: Conversation, options: Sequence[str]) -> str:
    """Return each option in its turn, so that no phrase comes back soon."""
    return options[(conversation.seed + conversation.turn) % len(options)]
