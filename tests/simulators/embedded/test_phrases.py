"""The language of patterns, and how little of it is remembered."""

from __future__ import annotations

import random

import pytest

from empathy_gym.simulators.embedded import phrases as module
from empathy_gym.simulators.embedded.lexicon import phrases
from empathy_gym.simulators.embedded.phrases import Phrases, clear

CLASSES = {"who": "you|they|your friend"}


def found(pattern: str, text: str, begins=(0,)) -> list[str]:
    words = text.split()
    hits = Phrases([{"classes": CLASSES, "x": [pattern]}], str.split).find(words, begins)
    return sorted({" ".join(words[start:end]) for start, end in hits.get("x", ())})


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("why not", "so why not ask", ["why not"]),
        ("why not", "why ever not", []),
        ("(how|what) about", "how about what about", ["how about", "what about"]),
        ("(very )?good", "very good", ["good", "very good"]),
        ("(so |)tired", "so tired", ["so tired", "tired"]),
        ("(very)* good", "very very good", ["good", "very good", "very very good"]),
        ("(very)+ good", "very very good", ["very good", "very very good"]),
        ("@who should", "your friend should", ["your friend should"]),
        ("you _ that", "you said that", ["you said that"]),
        ("you _ that", "you that", []),
        ("you .. that", "you that", ["you that"]),
        ("you .. that", "you never said that", ["you never said that"]),
        ("you .. that", "you have never said that", []),
        ("^ just", "just go", ["just"]),
        ("^ just", "go just", []),
        ("go $", "just go", ["go"]),
        ("go $", "go home", []),
    ],
)
def test_the_language(pattern: str, text: str, expected: list[str]) -> None:
    assert found(pattern, text) == expected


def test_a_clause_begins_where_it_is_said_to() -> None:
    assert found("^ just", "fine just go", begins=(0, 1)) == ["just"]


def test_what_leads_nowhere_is_not_followed_into_the_end() -> None:
    """The end of a sentence is no word: any one word does not stand for it."""
    assert found("go _", "just go") == [] and found("go .. $", "just go") == ["go"]


def test_a_group_that_is_not_closed_is_refused() -> None:
    with pytest.raises(ValueError, match="unbalanced"):
        Phrases([{"classes": {}, "x": ["(how about"]}], str.split)


def test_spans_that_something_overlaps_are_not_clear() -> None:
    hits = {"x": ((0, 2), (4, 6)), "not_x": ((1, 3),)}
    assert clear(hits, "x", "not_x") == [(4, 6)] and clear(hits, "y", "not_x") == []


def test_word_salad_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten on the way changes nothing of what is found."""
    everything = phrases()
    vocabulary = sorted(everything.vocabulary - {module.END})
    rng = random.Random(0)
    salad = [[rng.choice(vocabulary) for _ in range(30)] for _ in range(300)]
    first = [everything.find(words, (0, 7)) for words in salad]
    monkeypatch.setattr(module, "MOST", 500)
    everything._forget()
    assert [everything.find(words, (0, 7)) for words in salad] == first
    kept = sum(map(len, everything._states.values()))
    assert kept <= 500
