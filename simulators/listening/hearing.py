"""How a listener takes a user's line: as warm or cool, as a question, a hint, a request or a goodbye.

What the phrase book knows counts first; a user from elsewhere is heard by a few words. All functions are pure.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from empathy_gym.simulators.listening.hints import hinted
from empathy_gym.simulators.listening.phrasebook import reaction_in, untold
from empathy_gym.simulators.listening.wording import FEELINGS, sentences, words
from empathy_gym.simulators.packaged import read_mapping

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
GOODBYE_WORDS: Final = 30
"""Words of a line that is nothing but a goodbye, at most."""
STRANGER: Final = 4
"""Doublings of the odds by which the words of a user whom the phrase book does not know have to speak for a hint."""


def phrases() -> Mapping[str, Any]:
    """Return patterns of replies, and what is listened for, by name (`phrases.yaml`)."""
    return read_mapping("empathy_gym.simulators.listening", "phrases.yaml")


@functools.lru_cache(maxsize=4096)
def hinted_in(line: str) -> tuple[str, ...]:
    """Return the ways of helping that the end of a line speaks for; what is known to be a fact speaks for none."""
    rest = untold(line)
    if rest is None:
        return hinted(" ".join(sentences(line)[-3:]), STRANGER)
    return hinted(rest, 0) if rest else ()


def asks(line: str) -> bool:
    """Whether a line ends with an outright question; a question that hints at something else is none."""
    end = " ".join(sentences(line)[-2:]).lower()
    return (end.endswith("?") and not hinted_in(line)) or ("?" in end and bool(_ASKED.search(end)))


def request_in(line: str) -> str | None:
    """Return what the end of a line asks for that is to be declined: a promise to be there, say; None if nothing."""
    end = " ".join(sentences(line)[-2:]).lower().replace("’", "'")
    return next((kind for kind, cue in _requests().items() if cue.search(end)), None)


@functools.cache
def _requests() -> Mapping[str, re.Pattern[str]]:
    return {kind: re.compile(rf"\b(?:{cue})") for kind, cue in phrases()["requests"].items()}


def says_goodbye(line: str) -> bool:
    """Whether a line is a goodbye, and a short one."""
    return bool(_GOODBYE.search(line.lower())) and len(words(line)) < GOODBYE_WORDS


def reaction(line: str) -> str:
    """Return how a user's line begins: ``"moved"``, ``"eased"`` or ``"cool"``.

    A reaction that the phrase book knows, or else whether its first two sentences have more warm words than cool.
    """
    known = reaction_in(line)
    if known is not None:
        if known.startswith(("moved", "held")):
            return "moved"
        return "eased" if known.startswith("eased") else "cool"
    return "moved" if leaning(line) > 0 else "cool"


def leaning(line: str) -> int:
    """Return how many more warm words than cool the first two sentences of a line have."""
    opening = " ".join(sentences(line)[:2]).lower().replace("’", "'")
    return len(_WARM.findall(opening)) - len(_COOL.findall(opening))


def feeling_in(text: str) -> str:
    """Return the feeling a text names, or else the one its words speak for most."""
    plain = text.lower().replace("’", "'")
    named = [w for w in map(str.lower, words(text)) if w in FEELINGS]
    if named:
        return named[0]
    guesses: Mapping[str, str] = phrases()["guesses"]
    counts = {f: sum(cue in plain for cue in cues.split("|") if cue) for f, cues in guesses.items()}
    best = max(counts.values())
    return next(f for f in counts if counts[f] == best) if best else "hurt"
