"""What the paired tests say: their lines, and what is made of a reply to say the same in another style."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.packaged import read_mapping


@dataclass(frozen=True, slots=True)
class Family:
    """Lines of one kind.

    Attributes:
        about: What they have in common.
        seen: Lines at which one may look when a perceiver is improved.
        held_out: Lines that stay unlooked-at, for the reported figure.
        silent: For false-alarm twins: the levels, [least, most] by field, within which the guard is silent.
    """

    about: str
    seen: tuple[str, ...]
    held_out: tuple[str, ...]
    silent: Mapping[str, tuple[int, int]]


@functools.cache
def _families(part: str) -> Mapping[str, Family]:
    loaded = read_mapping("empathy_gym.benchmarks", "data/pairs.yaml")[part]
    return {name: _family(data) for name, data in loaded.items()}


def _family(data: Mapping[str, Any]) -> Family:
    sides: dict[bool, list[str]] = {False: [], True: []}
    for line in data["lines"]:
        sides[bool(line.get("held_out", False))].append(line["text"])
    silent = {field: (least, most) for field, (least, most) in data.get("silent", {}).items()}
    return Family(data["about"], tuple(sides[False]), tuple(sides[True]), silent)


def edits() -> Mapping[str, Family]:
    """Return the families of edits by name."""
    return _families("edits")


def alarms() -> Mapping[str, Family]:
    """Return the families of false-alarm twins by name."""
    return _families("alarms")


# -- the same reply in another style ---------------------------------------------------------------------------

_WRITTEN_OUT: Final = (
    (r"\bcan't\b", "cannot"), (r"\bwon't\b", "will not"), (r"n't\b", " not"), (r"\bI'm\b", "I am"),
    (r"\b(you|they|we|You|They|We)'re\b", r"\1 are"), (r"\b(I|you|they|we|You|They|We)'ve\b", r"\1 have"),
    (r"\b(I|you|he|she|it|they|we|You|He|She|It|They|We)'ll\b", r"\1 will"), (r"\bgot\b", "received"),
    (r"\bMaybe\b", "Perhaps"), (r"\bmaybe\b", "perhaps"), (r"\ba lot of\b", "a great deal of"),
)  # fmt: skip
"""Spoken forms and what a formal writer would put."""
_SPOKEN: Final = (
    (r"['’]", ""), (r"\bgoing to\b", "gonna"), (r"\bwant to\b", "wanna"), (r"\bbecause\b", "cos"),
    (r"\bkind of\b", "kinda"),
    (r"\byou are\b", "ur"), (r"\bthough\b", "tho"), (r"\. ", " ... "), (r",", ""), (r"\.$", ""),
)  # fmt: skip
"""What somebody types who does not look at the keyboard twice."""


def polished(reply: str) -> str:
    """Return a reply as a formal writer would put it."""
    return _replaced(reply, _WRITTEN_OUT)


def clumsy(reply: str) -> str:
    """Return a reply without capitals, commas and apostrophes, in spoken short forms."""
    return "so " + _replaced(reply, _SPOKEN).lower()


def mistyped(reply: str, seed: int) -> str:
    """Return a reply with two letters swapped inside every fifth long word."""
    words = reply.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    for i in long[derive_seed(seed, "typo") % 3 :: 5]:
        at = 1 + derive_seed(seed, "at", i) % (len(words[i]) - 3)
        word = words[i]
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _replaced(text: str, changes: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in changes:
        text = re.sub(pattern, new, text)
    return text
