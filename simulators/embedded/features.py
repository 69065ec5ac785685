"""Text made comparable: characters, words and stems. Integers and tables only.

Nothing here depends on a Unicode version, on hashing order or on a locale: the tables are written out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from empathy_gym.simulators.packaged import packaged_text, read_yaml

HOME: Final = "empathy_gym.simulators.embedded"
"""Where the data files lie."""
MAX_CHARACTERS: Final = 4000
"""Characters of a reply that are read; what lies beyond is charged as a wall of text."""


def load(name: str) -> Any:
    """Return a data file as loaded by the safe YAML loader."""
    return read_yaml(HOME, f"data/{name}")


def read_data(name: str) -> str:
    """Return the text of a data file."""
    return packaged_text(HOME, f"data/{name}")


# -- characters ----------------------------------------------------------------------------------


def _character_table() -> dict[int, str]:
    table = {c: chr(c + 32) for c in range(ord("A"), ord("Z") + 1)}
    plain = {
        "a": "àáâãäåāăąÀÁÂÃÄÅĀĂĄ", "c": "çćčÇĆČ", "d": "ďđĎĐ",
        "e": "èéêëēėęěÈÉÊËĒĖĘĚ", "g": "ğĞ",
        "i": "ìíîïīıÌÍÎÏĪİ",
        "l": "łŁ", "n": "ñńňÑŃŇ", "o": "òóôõöøōőÒÓÔÕÖØŌŐ", "r": "řŘ", "s": "śşšŚŞŠ",
        "t": "ťţŤŢ",
        "u": "ùúûüūůűÙÚÛÜŪŮŰ",
        "y": "ýÿÝŸ", "z": "źżžŹŻŽ", "ss": "ßẞ", "ae": "æÆ", "oe": "œŒ",
        "'": "\u2018\u2019\u201b\u02bc\u00b4`\u2032\uff07", '"': "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033",
        "-": "\u2010\u2011\u2012\u2212", " , ": "\u2013\u2014\u2015", "...": "\u2026",
        " ": "\u00a0\u2007\u202f\u3000\t\r",
        "": "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u0000",
    }  # fmt: skip
    table.update({ord(c): to for to, characters in plain.items() for c in characters})
    for code in range(0xFF01, 0xFF5F):  # full-width forms
        ascii_ = chr(code - 0xFEE0)
        table[code] = table.get(ord(ascii_), ascii_)
    return table


CHARACTERS: Final = _character_table()
LOOKALIKES: Final = str.maketrans("аеорсхуікмтнвАЕОРСХУІКМТНВοαερτν", "aeopcxyikmthbaeopcxyikmthboaeptv")
"""Cyrillic and Greek letters that pass for Latin ones inside a Latin text."""
_FOREIGN_LETTER: Final = re.compile(r"[\u0370-\u04ff]")


# What people type for "would have", "it's" and "you're", told by the word that follows. Most text has none of it,
# which the words in front tell at once.
_TYPED: Final = (
    (" of", re.compile(r"\b(would|could|should|might|must) of\b"), r"\1 have"),
    (
        "its ",
        re.compile(
            r"\bits (?=(?:on|not|a|an|the|been|just|so|really|hard|all|ok|okay|your|his|her|their|my|best"
            r"|tough"
            r"|very|too|because|like|that|what|kind|going|about|fine|good|bad|sad|only|also|still|never|always|no|awful|unfair"
            r"|partly|mostly)\b)"
        ),
        "it is ",
    ),
    (
        "your ",
        re.compile(
            r"\byour (?=(?:right|not|so|the|a|an|being|going|just|very|really|too|amazing|doing|allowed"
            r"|overreacting|welcome|strong|brave|absolutely|completely|totally|wrong|still|upset|feeling|always)\b)"
        ),
        "you are ",
    ),
)


def _retyped(text: str) -> str:
    for mark, pattern, meant in _TYPED:
        if mark in text:
            text = pattern.sub(meant, text)
    return text


def normalise(text: str) -> str:
    """Return lower-case text with plain quotes, dashes and letters; unknown characters stay."""
    if text.isascii():
        return _retyped(text.lower())
    if _FOREIGN_LETTER.search(text) and len(re.findall(r"[A-Za-z]", text)) > len(
        _FOREIGN_LETTER.findall(text)
    ):
        text = text.translate(LOOKALIKES)
    return _retyped(text.translate(CHARACTERS))


# -- words ---------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+(?:[.,:]\d+)*|[\u4e00-\u9fff]|[,;:()]|(?<= )-+(?= )")
_BREAKS: Final = frozenset(",;:()-")
_REMEMBERED: Final = 65536


class Words:
    """The hand-written word lists, as sets and tables."""

    def __init__(self) -> None:
        data: Mapping[str, Any] = load("words.yaml")
        self.contractions: dict[str, tuple[str, ...]] = {
            k: tuple(v.split()) for k, v in data["contractions"].items()
        }
        self.suffixes: dict[str, str] = data["suffixes"]
        self.is_after = frozenset(data["is_after"])
        self.irregular: dict[str, str] = {_text(k): _text(v) for k, v in data["irregular"].items()}
        self.fold: dict[str, str] = data["fold"]
        self.function = frozenset(" ".join(data["function"]).split())
        self.weak = frozenset(data["weak"].split())
        self.particulars = frozenset(data["particulars"].split())
        self.interjections = frozenset(data["interjections"].split())


def _text(value: Any) -> str:
    # YAML reads some words (yes, no, on, off) as booleans unless quoted.
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


@functools.cache
def words_data() -> Words:
    """Return the word lists, loaded once."""
    return Words()


def expand(token: str) -> tuple[str, ...]:
    """Return the words of a token: ``don't`` is ``do not``, ``Ruth's`` ``ruth s``, ``4,500`` ``4500``."""
    data = words_data()
    if token[0] in "0123456789":
        return (token.replace(",", "").replace(":", " ").replace(".", " ").split()[0],)
    known = data.contractions.get(token)
    if known is not None:
        return known
    if "'" not in token:
        return (token,)
    head, _, tail = token.partition("'")
    if tail == "s":
        return (head, "is") if head in data.is_after else (head, "s")
    if tail == "t" and head.endswith("n"):
        return (head[:-1], "not")
    return (head, data.suffixes.get(tail, tail))


class _Expanded(dict[str, tuple[str, ...]]):
    """Tokens as they were expanded before; a mark at which a clause begins has no words. Quicker than a call."""

    def __missing__(self, token: str) -> tuple[str, ...]:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[token] = words = () if token[0] in _BREAKS else expand(token)
        return words


_expanded: Final = _Expanded()


def tokenise(text: str) -> tuple[list[str], list[int]]:
    """Return the words of a normalised text, and the positions at which a clause begins."""
    tokens = _TOKEN.findall(text)
    if _BREAKS.isdisjoint(tokens) and " -" not in text:
        return list(chain.from_iterable(map(_expanded.__getitem__, tokens))), [0]
    words: list[str] = []
    breaks = [0]
    for token in tokens:
        expanded = _expanded[token]
        if expanded:
            words += expanded
        elif breaks[-1] != len(words):
            breaks.append(len(words))
    return words, breaks


class _Stems(dict[str, str]):
    """Stems of the words met before. Every word of every line is looked up: that is quicker than a call."""

    def __missing__(self, word: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[word] = found = _stem(word)
        return found


_stems: Final = _Stems()


def stem(word: str) -> str:
    """Return a crude stem: inflections of a word share it, different words rarely do."""
    return _stems[word]


def stems(words: Sequence[str]) -> tuple[str, ...]:
    """Return the stems of words."""
    return tuple(map(_stems.__getitem__, words))


def _stem(word: str) -> str:
    data = words_data()
    word = data.fold.get(word, word)
    if word in data.irregular:
        return data.irregular[word]
    if len(word) < 4 or not word.isalpha():
        return word
    return _tail(_verbal(_singular(word)))


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


_VOWEL: Final = re.compile(r"[aeiouy]")


def _verbal(word: str) -> str:
    data = words_data()
    if word in data.irregular:
        return data.irregular[word]
    for ending in ("ingly", "edly", "ing", "ed"):
        head = word[: -len(ending)]
        if word.endswith(ending) and len(head) >= 3 - (ending == "ed") and _VOWEL.search(head):
            return head
    return word


def _tail(word: str) -> str:
    for ending in ("ness", "ment"):
        if word.endswith(ending) and len(word) - len(ending) >= 5:
            word = word[: -len(ending)]
            word = word[:-1] + "y" if word.endswith("i") else word
    if word.endswith("ly") and len(word) > 5:
        word = word[:-2]
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word
