"""The sentences of a text, with what can be said of each by itself.

Nothing of a sentence ever changes, so that sentences are shared between the texts they stand in; what is only
needed of some (the phrases of a reply, say) is found when it is first asked for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, Generic, TypeVar

from empathy_gym.simulators.embedded.features import (
    MAX_CHARACTERS,
    normalise,
    stem,
    stems,
    tokenise,
    words_data,
)
from empathy_gym.simulators.embedded.lexicon import (
    common_words,
    known_stems,
    phrases,
    skeleton_codes,
    word_order,
)
from empathy_gym.simulators.embedded.phrases import Hits, Span, clear

MAX_WORDS: Final = 600
MAX_SENTENCE: Final = 40
"""Words after which a sentence without an end is cut, so that it cannot mention everything at once."""

_END: Final = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]*]*\s+|\s*\n\s*|(?<=[\u3002\uff01\uff1f])")
_PLAIN_END: Final = re.compile(r"[.!?][\"')\]*]*\s+")
"""The same where there is but plain text on one line, which is most of the time."""
_QUESTION: Final = re.compile(r"\?[\"'\u201d\u2019)\]!?.*\s]*\Z")
_CAPITAL: Final = re.compile(r"[A-Z][a-z]+")
_NAME: Final = re.compile(r"[A-Z](?<=[a-z,;] [A-Z])[a-z]{2,}")
"""A capital in the middle of a sentence."""

Value = TypeVar("Value")


class lazy(Generic[Value]):
    """An attribute worked out when it is first asked for, as `functools.cached_property` without its lock."""

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name."""
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Value:
        """Return the value, and put it where the attribute is looked up first from now on."""
        value = self._function(instance)
        # Not by way of `__dict__`, which would make a dict of its own for every instance.
        setattr(instance, self._name, value)
        return value


class Sentence:
    """One sentence. Treat as read-only.

    Attributes:
        raw: As given.
        words: Normalised words, contractions expanded.
        stems: Their stems, pronouns folded.
        breaks: Positions at which clauses begin.
        question: Whether it ends with a question mark.
        last: Whether it ends here, and is not cut for its length.
    """

    def __init__(
        self,
        raw: str,
        words: Sequence[str],
        breaks: Sequence[int],
        question: bool = False,
        last: bool = True,
    ) -> None:
        self.raw, self.words, self.breaks = raw, words, breaks
        self.stems = stems(words)
        self.question, self.last = question, last

    @lazy
    def hits(self) -> Hits:
        """Spans of the phrase categories, and of what is suggested as ``"advice"``."""
        hits = phrases().find(self.words, self.breaks)
        spans = suggestions(hits, self.question)
        if spans:
            hits["advice"] = tuple(spans)
        return hits

    @lazy
    def strange(self) -> tuple[int, ...]:
        """Positions of the words that are not known to be English."""
        known = known_stems()
        if known.issuperset(self.stems):
            return ()
        return tuple([at for at, one in enumerate(self.stems) if one not in known])

    @lazy
    def names(self) -> frozenset[str]:
        """Words with a capital that are not common."""
        found = map(str.lower, _CAPITAL.findall(self.raw))
        return frozenset(name for name in found if stem(name) not in common_words())

    @lazy
    def telling(self) -> tuple[str, ...]:
        """Stems that are not common."""
        common = common_words()
        return tuple([one for one in self.stems if one not in common and len(one) > 3])

    @lazy
    def connected(self) -> int:
        """Number of function words."""
        function = words_data().function
        return sum(map(function.__contains__, self.words))

    @lazy
    def odd(self) -> tuple[int, int]:
        """How odd the pairs of function words are together, and how many are forbidden.

        A pair that grammar forbids counts two, one that has not been seen and that no rule allows counts one.
        """
        weights, breaks = word_order().weights, self.breaks[1:]
        odd = forbidden = 0
        after: Mapping[str, int] | None = weights["^"]
        for at, word in enumerate((*self.words, "$") if self.last else self.words):
            if word not in weights:
                after = None
                continue
            if after is not None and at not in breaks:
                weight = after[word]
                odd += weight
                forbidden += weight == 2
            after = weights[word]
        return odd, forbidden

    @lazy
    def particulars(self) -> tuple[str, ...]:
        """Stems of the words that state particulars of somebody's life: listed ones, and names."""
        listed = words_data().particulars
        found = [one for word, one in zip(self.words, self.stems, strict=True) if word in listed]
        found += [
            one for name in _NAME.findall(self.raw) if (one := stem(normalise(name))) not in known_stems()
        ]
        return tuple(found)

    @lazy
    def folded(self) -> tuple[str, ...]:
        """Words with the pronouns of both sides made one, so that a swapped copy is a copy."""
        fold = words_data().fold
        return tuple(map(fold.get, self.words, self.words))

    @lazy
    def skeleton(self) -> str:
        """Function words and the mark at the end, one character each; content is one asterisk a run."""
        code = skeleton_codes()
        masked = "".join(map(code.get, self.words, repeat("*")))
        while "**" in masked:
            masked = masked.replace("**", "*")
        return masked + ("?" if self.question else ".")

    def reworded(self, words: Sequence[str]) -> Sentence:
        """Return the sentence with other words in the same places."""
        return Sentence(self.raw, tuple(words), self.breaks, self.question, self.last)

    def has(self, *categories: str) -> bool:
        """Whether any of the categories was found."""
        hits = self.hits
        for category in categories:
            if category in hits:
                return True
        return False


# CPython lays out what instances of a class hold by the first few: attributes that come up later give each instance
# a dict of its own, slower to read and one more thing to collect. So the first instance has them all.
_first: Final = Sentence("", (), ())
for _name, _value in vars(Sentence).items():
    if isinstance(_value, lazy):
        setattr(_first, _name, None)

_SUGGESTS: Final = frozenset({"advice_hard", "advice_soft", "direct", "imperative"})


def suggestions(hits: Hits, question: bool) -> list[Span]:
    """Return the spans that suggest something to do, overlapping ones made one."""
    if _SUGGESTS.isdisjoint(hits):
        return []
    spans = clear(hits, "advice_hard", "direct_not")
    spans += clear(hits, "advice_soft", "past_advice", "not_imperative")
    spans += clear(hits, "direct", "direct_not")
    if not question and "not_imperative" not in hits:
        spans += clear(hits, "imperative", "past_advice")
    merged: list[Span] = []
    for start, end in sorted(spans):
        # A suggestion runs for some words: what follows at once is the same one.
        if merged and start < merged[-1][1] + 6:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


# A reply is split when it is read and, with the same result, when it is remembered.
@functools.lru_cache(maxsize=64)
def sentences_of(text: str) -> tuple[Sentence, ...]:
    """Split a text into sentences that hold at least one word; what lies beyond the bounds is not read."""
    found: list[Sentence] = []
    total = 0
    for raw in split(text[:MAX_CHARACTERS]):
        if not raw:
            continue
        whole = _parsed(raw)
        words = len(whole.words)
        total += words
        if words > MAX_SENTENCE or total > MAX_WORDS:
            found += _cut(whole, MAX_WORDS - total + words)
            if total > MAX_WORDS:
                break
        elif words:
            found.append(whole)
    return tuple(found)


def split(text: str) -> list[str]:
    """Split a text at the ends of its sentences; what is between them may be empty."""
    if not text.isascii() or "\n" in text:
        return _END.split(text)
    parts, start = [], 0
    for end in _PLAIN_END.finditer(text):
        parts.append(text[start : end.start() + 1])
        start = end.end()
    parts.append(text[start:])
    return parts


_ONE_CLAUSE: Final = (0,)
"""Most sentences have no more: one object for all of them is less to be collected."""


def parsed(raw: str) -> Sentence:
    """Return a sentence, however long it is."""
    words, breaks = tokenise(normalise(raw))
    if breaks[-1] == len(words):
        breaks.pop()
    question = "?" in raw and _QUESTION.search(raw) is not None
    return Sentence(raw, tuple(words), _ONE_CLAUSE if breaks == [0] else tuple(breaks), question)


_parsed = functools.lru_cache(maxsize=2048)(parsed)


def _cut(sentence: Sentence, most: int) -> list[Sentence]:
    """Return the parts of a sentence that is too long, as many as have no more than some words together."""
    words, parts = sentence.words, []
    for start in range(0, len(words), MAX_SENTENCE):
        part = tuple(words[start : start + MAX_SENTENCE])
        if start + len(part) > most:
            break
        begins = (0, *(b - start for b in sentence.breaks if 0 < b - start < len(part)))
        last = start + MAX_SENTENCE >= len(words)
        parts.append(Sentence(sentence.raw, part, begins, sentence.question and last, last))
    return parts
