"""Whether a reply is something a person would say: guards that come before everything else."""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Sequence
from typing import Final

from empathy_gym.simulators.embedded.features import (
    MAX_CHARACTERS,
    Sentence,
    load,
    normalise,
    read_data,
    stem,
    tokenise,
    words_data,
)
from empathy_gym.simulators.embedded.lines import Line, copied_share
from empathy_gym.simulators.embedded.phrases import clear

WALL: Final = 1200
"""Characters beyond which nobody would say it."""
ABSURD: Final = 8000

_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_OTHER_SCRIPT: Final = re.compile(r"[\u0370-\u1fff\u3040-\u30ff\uac00-\ud7af]")
_MARK: Final = re.compile(r"[^\w\s.,;:'\"?!()\u2018-\u201d\u2013\u2014\u2026-]")
_CONTROL: Final = re.compile(
    r"ignore\s+(?:all\s+|the\s+|any\s+|my\s+|your\s+)*(?:previous|above|prior|earlier|preceding)\b"
    r"|disregard\s+(?:all\s+|the\s+|any\s+|your\s+)*(?:previous|above|prior|earlier|instructions|rules)"
    r"|\b(?:set|put|raise|change|update|increase|make)\s+(?:the\s+|your\s+|my\s+|user\s+|user's\s+)*"
    r"(?:emotion|trust|score|mood|reward|need_progress|progress|rating)\s*(?:\w+\s+)?(?:to|=|:|by)\s*(?:the\s+)?(?:\d|max|full|high)"
    r"|\b(?:emotion|trust|score|reward|need_progress|grounding|warmth|appraisal|stance|rating)\w*\s*(?:=|:|\+=|is\s+now|->)\s*[+-]?\d"
    r"|</?\s*(?:user|assistant|system|think|thinking|inst|im_start|im_end|s|html|div|script|b|p|br|tool|function|prompt|eos)\b[^>]{0,80}>"
    r"|\[/?\s*(?:inst|sys|system|user|assistant|end)\s*\]|<\|[^|>\n]{0,40}\|>|<<\s*/?sys\s*>>"
    r"|(?:^|\n)\s*(?:system|developer|instruction|instructions)\s*:"
    r"|```|\{\s*[\"'][\w ]{1,40}[\"']\s*:|\[\s*\{|\bsystem prompt\b"
    r"|\byou are now (?:in )?(?:developer|dan|debug|admin|jailb)"
    r"|\b(?:give|award|grant|assign)\s+(?:me|this|it|the\s+\w+)\s+(?:the\s+|a\s+)?(?:full|max|maximum|perfect|highest|top|100)\s*"
    r"(?:score|points|marks|emotion|rating|reward)?\b.{0,20}(?:score|points|marks|emotion|rating|reward|100)"
    r"|\bchange\s*:\s*[+-]\s?\d|\bend of (?:the )?(?:dialogue|conversation|prompt|simulation)\b"
    r"|\bas (?:the|an) (?:evaluator|judge|grader|scorer)\b",
    re.IGNORECASE,
)
_TRIGGERS: Final = tuple(
    "< [ { ``` << : = -> ignore disregard emotion trust score mood reward progress rating prompt evaluator "
    "judge grader scorer dialogue conversation simulation developer jailb".split()
)
_FAKE_TURN: Final = re.compile(
    r"(?:^|[\n.!?\"])\s*(?:\*{0,2})(?:user|human|assistant|therapist|client|counsell?or|patient|seeker|supporter|listener|chatbot|ai|bot|npc)(?:\*{0,2})\s*:",
    re.IGNORECASE,
)
_PRONOUN_TURN: Final = re.compile(r"(?:^|[\n.!?])\s*(?:me|you|him|her|them|q|a|b)\s*:", re.IGNORECASE)
_BULLET: Final = re.compile(
    r"(?:^|\n)\s*(?:[-*\u2022\u2023\u25cf]\s+|\(?\d{1,2}[.)]\s+|\(?[a-h][)]\s+|#{1,4}\s)"
)

Verdict = tuple[int, str | None]
PLAIN: Final[Verdict] = (2, None)


@functools.cache
def word_list() -> tuple[str, ...]:
    """Return the common English words of the data file."""
    lines = read_data("common.txt").splitlines()
    return tuple(word for line in lines for word in line.split("#")[0].split())


@functools.cache
def common_words() -> frozenset[str]:
    """Return the stems of common English words."""
    data = words_data()
    return frozenset(stem(word) for word in [*word_list(), *data.function, *data.weak, *data.interjections])


@functools.cache
def transitions() -> frozenset[tuple[str, str]]:
    """Return the pairs of function words that follow one another in English."""
    found: set[tuple[str, str]] = set()
    for line in read_data("transitions.txt").splitlines():
        words = line.split("#")[0].split()
        found.update((words[0], second) for second in words[1:])
    return frozenset(found)


@functools.cache
def foreign_words() -> dict[str, frozenset[str]]:
    """Return function words of other languages that use Latin letters."""
    languages = load("languages.yaml")["latin"].items()
    return {name: frozenset(tokenise(normalise(text))[0]) for name, text in languages}


def form(
    text: str,
    sentences: Sequence[Sentence],
    language: str,
    line: Line,
    said: Sequence[Line],
    vocabulary: Sequence[Container[str]],
) -> Verdict:
    """Return the level of the field ``form`` and the guard that lowered it.

    Args:
        text: The reply.
        sentences: Its sentences.
        language: ISO 639-1 code of the user's language.
        line: The reply, reduced.
        said: The user's lines.
        vocabulary: Sets of stems that count as words besides the common ones.
    """
    head = text[:MAX_CHARACTERS]
    words = [word for sentence in sentences for word in sentence.words]
    if len(text) > ABSURD and len(text.strip()) > ABSURD:
        return 0, "wall"
    if not words:
        return (1, "language") if len(_OTHER_SCRIPT.findall(head)) >= 5 else (0, "empty")
    low = head.lower()
    if any(trigger in low for trigger in _TRIGGERS) and _CONTROL.search(head):
        return 0, "control_text"
    if ":" in head and (_FAKE_TURN.search(head) or len(_PRONOUN_TURN.findall(head)) >= 2):
        return 0, "fake_turn"
    han = 0 if head.isascii() else len(_HAN.findall(head))
    if 2 * han > len(words):
        return _chinese(head, language)
    verdict = _diversity(words, line) or _copy(line, said)
    if verdict is None and language in ("en", "zh"):
        # What is plausible is known for English alone; for a Chinese user it is judged before it is refused.
        verdict = _plausible(sentences, words, said, vocabulary)
    if verdict is not None:
        return verdict
    if language == "zh":
        return 1, "language"
    if len(text) > WALL or (("\n" in head or "2" in head) and len(_BULLET.findall(head)) >= 2):
        return 1, "wall"
    # Words of ordinary text take six characters with their space: only what is more is looked at closely.
    if head.isascii() and len(head) < 8 * len(words) and head.count("!") < 5:
        return PLAIN
    marks = len(_MARK.findall(head)) + head.count("!")
    return (1, None) if marks >= 5 and marks * 4 > len(head) - marks else PLAIN


def _diversity(words: Sequence[str], line: Line) -> Verdict | None:
    total = len(words) - 2
    if total >= 10 and 100 * len(line.folded) < 62 * total:
        return 0, "diversity"
    if 6 <= len(words) and 3 * len(set(words)) <= len(words):
        return 0, "diversity"
    return None


def _copy(line: Line, said: Sequence[Line]) -> Verdict | None:
    copied, total = copied_share(line, said)
    return (0, "copy") if total >= 6 and 100 * copied >= 60 * total else None


def _plausible(
    sentences: Sequence[Sentence],
    words: Sequence[str],
    said: Sequence[Line],
    vocabulary: Sequence[Container[str]],
) -> Verdict | None:
    """Judge whether the words are words, and in an order that English allows."""
    common, function = common_words(), words_data().function
    stems = [one for sentence in sentences for one in sentence.stems]
    strange = [one for one in stems if one not in common and not any(one in v for v in vocabulary)]
    known = len(stems) - sum(not any(one in line.stems for line in said) for one in strange)
    if len(words) >= 4 and 4 * known < 3 * len(words):
        for listed in foreign_words().values():
            hits = sum(word in listed for word in words)
            if 4 * hits >= len(words) and 4 * hits > 3 * known:
                return 1, "language"
    if 100 * known < (50 if len(stems) > 3 else 1) * len(stems):
        return 0, "implausible"
    connected = sum(word in function for word in words)
    if len(words) >= 9 and 100 * connected < (20 if len(words) >= 14 else 10) * len(words):
        return 0, "implausible"
    return (0, "implausible") if _salad(sentences) else None


def _salad(sentences: Sequence[Sentence]) -> bool:
    """Whether function words follow one another as they do not in English.

    A pair that grammar forbids counts two, one that has not been seen and that no rule allows counts one.
    """
    order = word_order()
    odd = forbidden = total = 0
    for sentence in sentences:
        total += len(sentence.words)
        breaks = frozenset(sentence.breaks[1:])
        before = "^"
        for at, word in enumerate([*sentence.words, "$"] if sentence.last else sentence.words):
            here = word if word in order.words else ""
            if before and here and at not in breaks:
                weight = order.weight(before, here)
                odd += weight
                forbidden += weight == 2
            before = here
    return odd >= 3 and (7 * odd >= total or (forbidden > 0 and 8 * odd >= total))


class WordOrder:
    """Which function words follow one another: pairs seen in text, and rules between classes of words."""

    def __init__(self) -> None:
        order = load("words.yaml")["order"]
        self._seen = transitions()
        self._class = {word: name for name, text in order["classes"].items() for word in text.split()}
        self._never = {(first, after) for first, text in order["never"].items() for after in text.split()}
        self._fine = {(first, after) for first, text in order["fine"].items() for after in text.split()}
        self.words = frozenset([*words_data().function, *self._class, "$"])
        self._weights: dict[tuple[str, str], int] = {("^", "$"): 0}

    def weight(self, first: str, after: str) -> int:
        """Return how odd a pair is: 0, 1 or 2."""
        known = self._weights.get((first, after))
        if known is None:
            classes = self._class.get(first, first), self._class.get(after, after)
            fine = (first, after) in self._seen or classes in self._fine
            known = 0 if fine else 2 if classes in self._never else 1
            self._weights[first, after] = known
        return known


@functools.cache
def word_order() -> WordOrder:
    """Return the rules of word order, loaded once."""
    return WordOrder()


def _chinese(text: str, language: str) -> Verdict:
    """Judge a Chinese reply by its function characters and by how many are distinct."""
    if language != "zh":
        return 1, "language"
    characters = _HAN.findall(text)
    common = frozenset(load("languages.yaml")["han"])
    if len(characters) >= 6 and 100 * sum(c in common for c in characters) < 22 * len(characters):
        return 0, "implausible"
    if len(characters) >= 20 and 4 * len(set(characters)) < len(characters):
        return 0, "diversity"
    return (1, "wall") if len(text) > WALL // 2 else PLAIN


def safety(sentences: Sequence[Sentence]) -> str | None:
    """Return ``policy_harm``, ``crisis_check`` or None; idioms and refusals are neither."""
    for sentence in sentences:
        if clear(sentence.hits, "harm", "harm_not"):
            return "policy_harm"
    for sentence in sentences:
        if clear(sentence.hits, "crisis", "crisis_not"):
            return "crisis_check"
    return None
