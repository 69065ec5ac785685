"""The prose of the bundled users: that no need shows in how somebody begins, and that nobody talks like another."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from empathy_gym.benchmarks.library_stats import reactions, spoken_lines, user_lines, variants
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.library.compiler import PARTS, bundled_situations, load_scenarios
from empathy_gym.simulators.rule import TableRule, opening_facts
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User, stated_boundaries

SITUATIONS = {source.slug: user_lines(source) for source in bundled_situations()}
LINES = sorted({line for lines in (*SITUATIONS.values(), *reactions().values()) for line in lines})
Told = list[tuple[str, str]]


def words(line: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", line.lower())


# -- the need does not show in the first line -------------------------------------------------------------------


def first_lines(scenario: Scenario) -> Iterator[str]:
    """Yield what a user can begin with: an opening, the first fact, the limits stated with them."""
    facts = opening_facts(scenario)
    told = {fact.id for fact in facts}
    limits = [b.text for b in scenario.situation.boundaries if b.voiced_by is None or b.voiced_by in told]
    for opening in scenario.openings:
        yield " ".join([opening, *(fact.text for fact in facts), *limits])


class NaiveBayes:
    """A multinomial naive Bayes classifier of lines, by their words."""

    def __init__(self, lines: Told) -> None:
        self.labels = sorted({label for _, label in lines})
        self.at = {word: i for i, word in enumerate(sorted({w for line, _ in lines for w in words(line)}))}
        counts = np.ones((len(self.labels), len(self.at)))
        seen = np.zeros(len(self.labels))
        for line, label in lines:
            row = self.labels.index(label)
            seen[row] += 1
            np.add.at(counts[row], [self.at[w] for w in words(line)], 1)
        self.word = np.log(counts / counts.sum(axis=1, keepdims=True))
        self.prior = np.log(seen / seen.sum())

    def label(self, line: str) -> str:
        known = [self.at[w] for w in words(line) if w in self.at]
        return self.labels[int((self.prior + self.word[:, known].sum(axis=1)).argmax())]

    def accuracy(self, lines: Told) -> float:
        return sum(self.label(line) == label for line, label in lines) / len(lines)


def chance(lines: Told) -> float:
    """Return what guessing the most frequent label gets right."""
    return max(Counter(label for _, label in lines).values()) / len(lines)


def beginnings(split: str) -> Told:
    return [(line, s.need) for s in load_scenarios(split) for line in first_lines(s)]


def hints(split: str) -> Told:
    sources = [source for source in bundled_situations() if source.split == split]
    return [(line, need) for source in sources for need, spoken in source.hints.items() for line in spoken]


@pytest.mark.parametrize("split", ["validation", "test", "heldout-temperament"])
def test_a_classifier_of_first_lines_does_no_better_than_chance(split: str) -> None:
    held_out = beginnings(split)
    assert NaiveBayes(beginnings("train")).accuracy(held_out) <= chance(held_out) + 0.05


def test_the_classifier_finds_a_need_where_it_shows() -> None:
    assert NaiveBayes(hints("train")).accuracy(hints("test")) > chance(hints("test")) + 0.3


def test_what_the_classifier_reads_is_what_a_user_begins_with() -> None:
    user = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker())
    for scenario in load_scenarios("test")[::11]:
        assert user.begin([BeginRequest(scenario, seed=1)])[0].last_line in set(first_lines(scenario))
        assert set(stated_boundaries(scenario, set())) <= {b.text for b in scenario.situation.boundaries}


# -- nothing is said twice ----------------------------------------------------------------------------------------

SHINGLE, SHORT, NEAR = 4, 7, 0.5
"""Words of a shingle; lines with fewer words are left out; share of shingles from which two lines are near."""


def near_duplicates(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs of (source, line) whose lines share half their shingles or more."""
    shingles = []
    holders = defaultdict(list)
    for at, (_, line) in enumerate(lines):
        said = words(line)
        shingles.append({tuple(said[i : i + SHINGLE]) for i in range(len(said) - SHINGLE + 1)})
        for shingle in shingles[-1] if len(said) >= SHORT else ():
            holders[shingle].append(at)
    shared = Counter(pair for ats in holders.values() for pair in itertools.combinations(ats, 2))
    return [
        (f"{lines[a][0]}: {lines[a][1]}", f"{lines[b][0]}: {lines[b][1]}")
        for (a, b), count in shared.items()
        if count >= NEAR * len(shingles[a] | shingles[b])
    ]


def test_near_duplicates_are_found() -> None:
    one = "I said I was sorry to her, and she put the kettle on."
    assert near_duplicates([("a", one), ("b", one.replace("the kettle on", "the radio on"))])
    assert not near_duplicates([("a", one), ("b", "She put the kettle on, and nobody said a word about it.")])


def test_no_line_of_the_library_is_nearly_one_of_another_situation_or_temperament() -> None:
    sources = {**SITUATIONS, **reactions()}
    found = near_duplicates([(name, line) for name, lines in sources.items() for line in sorted(lines)])
    assert not [(a, b) for a, b in found if a.split(":")[0] != b.split(":")[0]]


def test_nobody_says_nearly_the_same_twice() -> None:
    # Twins are looked at one by one: what differs between them nobody says both of.
    for source in bundled_situations():
        common = {*source.openings, *itertools.chain.from_iterable(source.hints.values())}
        for situation in variants(source):
            lines = sorted(common | spoken_lines(situation))
            assert not near_duplicates([(source.slug, line) for line in lines])
    for name, lines in reactions().items():
        assert not near_duplicates([(name, line) for line in sorted(lines)])


def test_no_line_stands_in_two_situations() -> None:
    count = Counter(line for lines in SITUATIONS.values() for line in lines)
    assert not [line for line, times in count.items() if times > 1]


# -- variety --------------------------------------------------------------------------------------------------------


def distinct_2(lines: Sequence[str]) -> float:
    pairs = [pair for line in lines for pair in itertools.pairwise(words(line))]
    return len(set(pairs)) / len(pairs)


def test_samples_of_user_lines_are_varied() -> None:
    rng = random.Random(7)
    assert np.mean([distinct_2(rng.sample(LINES, 50)) for _ in range(100)]) >= 0.6


@pytest.fixture(scope="module")
def episodes() -> list[Dialogue]:
    """Random users, answered with random lines written for their situation, good ones and ill-timed ones."""
    rng = random.Random(11)
    every = [scenario for part in PARTS for scenario in load_scenarios(part)]
    user = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker())
    dialogues = user.begin([BeginRequest(s, seed=i) for i, s in enumerate(rng.sample(every, 100))])
    say = {s.id: [line for item in s.situation.items() for line in item.say] for s in every}
    for _ in range(8):
        going = [d for d in dialogues if not d.ended]
        heard = iter(user.respond(going, [rng.choice(say[d.scenario]) for d in going]))
        dialogues = [d if d.ended else next(heard) for d in dialogues]
    return dialogues


def said(dialogue: Dialogue) -> list[str]:
    return [m["content"] for m in dialogue.messages if m["role"] == "user"]


def test_samples_of_what_users_said_in_episodes_are_varied(episodes: list[Dialogue]) -> None:
    rng = random.Random(13)
    lines = [line for dialogue in episodes for line in said(dialogue)]
    assert np.mean([distinct_2(rng.sample(lines, 50)) for _ in range(100)]) >= 0.6


def test_episodes_of_different_situations_share_hardly_a_line(episodes: list[Dialogue]) -> None:
    def pieces(dialogue: Dialogue) -> set[str]:
        """Return the sentences said: lines are put together of authored ones."""
        return {p for line in said(dialogue) for p in re.split(r"(?<=[.!?])\s+", line) if len(p.split()) > 2}

    spoken = [(d.source.situation.summary, pieces(d)) for d in episodes]
    pairs = [(a, b) for (x, a), (y, b) in itertools.combinations(spoken, 2) if x != y]
    shares = [len(a & b) / min(len(a), len(b)) for a, b in pairs]
    assert np.mean(shares) <= 0.05
    assert all(len(set(said(d))) == len(said(d)) for d in episodes)


# -- readable English ---------------------------------------------------------------------------------------------


def syllables(word: str) -> int:
    return max(1, len(re.findall(r"[aeiouy]+", word)) - (word.endswith("e") and not word.endswith("le")))


def test_lines_are_whole_sentences_in_plain_characters() -> None:
    for line in LINES:
        assert re.match(r"['\"(]?[A-Z0-9£]", line) and re.search(r"[.!?]['\")]*$", line), line
        assert line == " ".join(line.split()) and not re.search(r"\s[.,;!?]", line), line
        assert re.fullmatch(r"[\x20-\x7e£éèêçöüäñ–’½°]+", line), line


@pytest.mark.parametrize("name", [*SITUATIONS, *reactions()])
def test_lines_are_easy_to_read(name: str) -> None:
    lines = sorted({**SITUATIONS, **reactions()}[name])
    sentences = [words(s) for line in lines for s in re.split(r"(?<=[.!?])\s+", line) if words(s)]
    spoken = [word for sentence in sentences for word in sentence]
    ease = 206.835 - 1.015 * len(spoken) / len(sentences) - 84.6 * sum(map(syllables, spoken)) / len(spoken)
    assert ease >= 70, f"Flesch reading ease {ease:.0f}"
    assert len(spoken) / len(sentences) <= 26  # one of the temperaments hardly stops for breath
    assert max(len(words(line)) for line in lines) <= 80
