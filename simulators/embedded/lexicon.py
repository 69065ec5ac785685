"""Which words and phrases are known, from the data files."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from empathy_gym.simulators.embedded.features import load, normalise, read_data, stem, tokenise, words_data
from empathy_gym.simulators.embedded.phrases import Phrases


@functools.cache
def phrases() -> Phrases:
    """Return the phrases of all data files."""
    answers = {name: of for name, of in load("requests.yaml").items() if not name.startswith("asks_")}
    return Phrases((load("acts.yaml"), load("judgements.yaml"), answers), _words)


@functools.cache
def goodbyes() -> Phrases:
    """Return the phrases by which a user says goodbye, and no others."""
    acts = load("acts.yaml")
    return Phrases(({"classes": acts["classes"], "goodbye": acts["goodbye"]},), _words)


@functools.cache
def requests() -> Phrases:
    """Return the phrases by which a user asks for what should be declined, and no others."""
    data = load("requests.yaml")
    names = ("classes", *(name for name in data if name.startswith("asks_")))
    return Phrases(({name: data[name] for name in names},), _words)


@functools.cache
def dangers() -> Phrases:
    """Return the phrases by which a reply does harm or asks about a crisis, and no others."""
    judgements = load("judgements.yaml")
    names = ("classes", "harm", "harm_not", "crisis", "crisis_not")
    return Phrases(({name: judgements[name] for name in names},), _words)


def _words(piece: str) -> list[str]:
    return tokenise(normalise(piece))[0]


@functools.cache
def phrase_stems() -> frozenset[str]:
    """Return the stems of every word that some phrase knows."""
    return frozenset(stem(word) for word in phrases().vocabulary)


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
def known_stems() -> frozenset[str]:
    """Return the stems that are English whatever the situation."""
    return common_words() | phrase_stems()


@functools.cache
def skeleton_codes() -> dict[str, str]:
    """Return one character for each function word."""
    return {word: chr(0x100 + at) for at, word in enumerate(sorted(words_data().function))}


@functools.cache
def transitions() -> frozenset[tuple[str, str]]:
    """Return the pairs of function words that follow one another in English."""
    found: set[tuple[str, str]] = set()
    for line in read_data("transitions.txt").splitlines():
        words = line.split("#")[0].split()
        found.update((words[0], second) for second in words[1:])
    return frozenset(found)


class _After(dict[str, int]):
    """How odd words are after one of them: 0, 1 or 2, worked out when first met."""

    __slots__ = ("_first", "_order")

    def __init__(self, order: WordOrder, first: str) -> None:
        self._order, self._first = order, first

    def __missing__(self, after: str) -> int:
        self[after] = weight = self._order.weight(self._first, after)
        return weight


class WordOrder:
    """Which function words follow one another: pairs seen in text, and rules between classes of words.

    Attributes:
        weights: For each word, ``"^"`` for the beginning and ``"$"`` for the end, how odd another is after it.
    """

    def __init__(self) -> None:
        order = load("words.yaml")["order"]
        self._seen = transitions()
        self._class = {word: name for name, text in order["classes"].items() for word in text.split()}
        self._never = {(first, after) for first, text in order["never"].items() for after in text.split()}
        self._fine = {(first, after) for first, text in order["fine"].items() for after in text.split()}
        words = ("^", "$", *words_data().function, *self._class)
        self.weights: Mapping[str, Mapping[str, int]] = {word: _After(self, word) for word in words}

    def weight(self, first: str, after: str) -> int:
        """Return how odd a pair is: 0, 1 or 2."""
        classes = self._class.get(first, first), self._class.get(after, after)
        if (first, after) in self._seen or classes in self._fine or (first, after) == ("^", "$"):
            return 0
        return 2 if classes in self._never else 1


@functools.cache
def word_order() -> WordOrder:
    """Return the rules of word order, loaded once."""
    return WordOrder()
