"""Small tools for scripted policies that read the user's words: clauses, names, content words, pronouns.

Plain string handling, on purpose: these policies stand for what can be had without understanding.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_SENTENCE: Final = re.compile(r"[^.!?…]+[.!?…]*")
_THING: Final = re.compile(
    r"\b(?:my|our|the|her|his|their|that|this)\s+(?:(?:new|old|little|whole|last|first|other|second|small)\s+)?"
    r"[a-z]+(?:'s\s+[a-z]+)?\b",
    re.IGNORECASE,
)
_CLAUSE: Final = re.compile(
    r"\s*(?:[,;:()–—]|\s-\s|\b(?:and|but|because|so|which|except|although|though|when)\b)\s*"
)

STOP: Final = frozenset(
    "a an the and or but so if then than that this these those there here it its it's is am are was "
    "were be been being i i'm i've i'd i'll me my mine myself you you're you've your yours we our us "
    "he him his she her hers they them their to of in on at by for from with without about into over "
    "under up down out off as not no nor don't didn't doesn't isn't wasn't can't couldn't won't "
    "wouldn't do does did done have has had having will would can could should shall may might must "
    "just really very quite only even still also too again ever never always some any all both each "
    "every other another such own same more most much many few little lot one two three what which "
    "who whom whose when where why how yes yeah no oh well okay ok right now today tonight yesterday "
    "tomorrow get got gets getting go goes going gone went come came say says said tell told know "
    "knew think thought like liked want wanted make made take took thing things something anything "
    "nothing somebody someone anybody nobody people because though although while since until before "
    "after back way bit sort kind maybe perhaps honestly actually sorry thanks thank sure fine that's "
    "there's let's he's she's they're we're what's who's mean feel felt".split()
)
"""Words that carry nothing worth throwing back."""

CALENDAR: Final = frozenset(
    "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays "
    "saturdays sundays january february march april may june july august september october november december "
    "christmas easter".split()
)
FEELINGS: Final = frozenset(
    "angry annoyed anxious ashamed awful bitter cross daft disappointed embarrassed envious excluded "
    "fed-up foolish frightened frustrated furious gutted guilty hurt humiliated insulted invisible "
    "jealous let-down lonely lost mad miserable nervous numb overlooked petty proud relieved "
    "resentful rotten sad scared shaken sick silly small sore stung stuck stupid tense thrown tired "
    "torn uneasy unfair upset useless worn worried worthless".split()
)

_SWAP: Final = {
    "i": "you", "i'm": "you're", "i've": "you've", "i'd": "you'd", "i'll": "you'll", "me": "you", "my":
    "your", "mine": "yours", "myself": "yourself", "am": "are", "we": "you", "our": "your", "us": "you",
    "we're": "you're",
}  # fmt: skip


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [s.strip() for s in _SENTENCE.findall(text) if s.strip()]


def words(text: str) -> list[str]:
    """Return the words of a text as written."""
    return _WORD.findall(text)


def content_words(text: str) -> list[str]:
    """Return the words that carry content, lowercased unless they are names, in order, without repeats."""
    found: dict[str, None] = {}
    for sentence in sentences(text):
        for i, word in enumerate(words(sentence)):
            if len(word) > 3 and word.lower().replace("’", "'") not in STOP:
                found[word if i and word[0].isupper() else word.lower()] = None
    return list(found)


def names(text: str) -> list[str]:
    """Return capitalised words that do not open a sentence and are no day or month, without repeats."""
    found: dict[str, None] = {}
    for sentence in sentences(text):
        for word in words(sentence)[1:]:
            plain = word.lower().replace("’", "'")
            if word[0].isupper() and len(word) > 2 and plain not in STOP | CALENDAR:
                found[word.removesuffix("'s").removesuffix("’s")] = None
    return list(found)


def things(text: str) -> list[str]:
    """Return short noun phrases of a text, pronouns swapped ("your door", "the letter"), without repeats."""
    found: dict[str, None] = {}
    for match in _THING.finditer(text):
        last = words(match.group())[-1].lower()
        if last not in STOP and last not in FEELINGS and len(last) > 2:
            found[swapped(" ".join(match.group().split()).lower().replace("’", "'"))] = None
    return list(found)


def swapped(text: str) -> str:
    """Return a text with first-person words made second-person."""

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        return _SWAP.get(word.lower().replace("’", "'"), word)

    text = _WORD.sub(swap, text)
    return re.sub(r"\byou was\b", "you were", re.sub(r"\byou am\b", "you are", text))


def clauses(text: str, shortest: int = 3, longest: int = 8) -> list[str]:
    """Return short clauses of a text, pronouns swapped, the fullest of content first."""
    found = []
    for sentence in sentences(text):
        if sentence.endswith("?"):
            continue
        for clause in _CLAUSE.split(sentence.rstrip(".!…")):
            if shortest <= len(words(clause)) <= longest:
                found.append(clause.strip("\"'“” "))
    found.sort(key=lambda clause: -len(content_words(clause)))
    return [swapped(clause) for clause in found if content_words(clause)]


def lower_first(text: str) -> str:
    """Return a clause as it stands inside a sentence: its first letter small unless it looks like a name."""
    first = words(text)[:1]
    keep = bool(first) and first[0].lower().replace("’", "'") not in STOP and first[0][0].isupper()
    return text if keep else text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    """Return a text with its first letter capital."""
    return text[:1].upper() + text[1:]
