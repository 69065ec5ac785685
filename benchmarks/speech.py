"""How the bundled users talk: what they repeat, what they share, what temperament changes, what they answer.

Episodes are played by all scripted policies in turn, each with a user of its own, drawn by the seed. Besides, every
question that is written for a topic is put to a user of the situation, to see whether it is answered.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from empathy_gym.agents import load_policy
from empathy_gym.agents.policy import Conversation, Reply, conversation_of
from empathy_gym.benchmarks.episodes import is_privileged
from empathy_gym.benchmarks.suites import BLIND, REFERENCES
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.library.compiler import (
    PARTS,
    Temperament,
    bundled_situations,
    compile_situation,
    load_names,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.scenario import Scenario, Topic
from empathy_gym.simulators.user import User

TARGETS: Final[Mapping[str, tuple[str, float]]] = {
    "variants": ("at least", 6),
    "repeated": ("at most", 0),
    "shared": ("at most", 0.05),
    "distinct_2": ("at least", 0.6),
    "answered": ("at least", 0.97),
    "declined": ("at least", 0.97),
}
"""What is wanted of each figure."""
MEANING: Final[Mapping[str, str]] = {
    "variants": "lines of a reaction of a temperament, the fewest",
    "repeated": "episodes in which a line or a sentence is said twice",
    "shared": "share of sentences that two episodes of different situations have in common, mean",
    "shared_temperament": "the same, of users with the same temperament",
    "distinct_2": "distinct share of the word pairs in 50 lines, mean of 100 samples",
    "answered": "share of questions about a topic that are answered with a fact of it, where trust allows",
    "declined": "share of first questions that take trust, declined by whoever may decline",
}
MARKS: Final[Mapping[str, str]] = {
    "stops": r"\.",
    "commas": ",",
    "exclaims": "!",
    "shortened": r"\w'(?:s|t|re|ve|ll|d|m)\b",
    "hedges": r"(?i)\b(?:maybe|perhaps|probably|sorry|sort of|a bit|if that|I (?:think|suppose|hope|guess))\b",
    "I, me": r"\b(?:I|me|my)\b",
}
"""Marks by which temperaments are told apart on paper."""
EVERY: Final = 3
"""Of the situations, every so many-th is told by users of all temperaments."""
SAMPLES: Final = 100
SAMPLE: Final = 50
"""Lines of a sample of what users said."""
SHORT: Final = 3
"""Words from which a sentence counts: anybody may say "I know." twice."""


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        episodes: Episodes played.
        seed: The seed.
        figures: By the names of `MEANING`.
        questions: Questions put to users, and what became of them.
        temperaments: One row for each.
    """

    episodes: int
    seed: int
    figures: Mapping[str, float]
    questions: Mapping[str, int]
    temperaments: Sequence[Mapping[str, Any]]

    @property
    def missed(self) -> list[str]:
        """What is not as it should be, in words."""
        return [
            f"{name} is {self.figures[name]:.4g}, wanted {bound} {value:g}"
            for name, (bound, value) in TARGETS.items()
            if (self.figures[name] < value if bound == "at least" else self.figures[name] > value)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**dataclasses.asdict(self), "targets": dict(TARGETS), "missed": self.missed}


def measure(episodes: int = 500, seed: int = 0) -> Report:
    """Play and measure.

    Args:
        episodes: Episodes.
        seed: Decides who talks with whom, and what they say.
    """
    played = play(episodes, seed)
    put = questions()
    lines = [line for dialogue in played for line in spoken(dialogue)]
    shares = list(_shares(played))
    figures = {
        "variants": min(len(v) for t in load_temperaments() for v in t.reactions.values()),
        "repeated": sum(repeats(dialogue) for dialogue in played),
        "shared": _mean([share for share, _ in shares]),
        "shared_temperament": _mean([share for share, same in shares if same]),
        "distinct_2": distinct_2(lines, seed),
        "answered": put["answered"] / put["answerable"],
        "declined": put["declined"] / put["declinable"],
    }
    return Report(len(played), seed, figures, put, temperament_rows(seed))


# -- playing -----------------------------------------------------------------------------------------------------


@functools.cache
def _user() -> User:
    user: User = build_user("embedded", None)
    return user


def play(episodes: int, seed: int) -> list[Dialogue]:
    """Return episodes of all scripted policies in turn, each with another user."""
    every = [scenario for part in PARTS for scenario in load_scenarios(part)]
    rng = random.Random(seed)
    rounds = [rng.sample(every, len(every)) for _ in range(-(-episodes // len(every)))]
    users = list(itertools.chain.from_iterable(rounds))[:episodes]
    specs = (*REFERENCES, *BLIND)
    found: list[Dialogue] = []
    for at, spec in enumerate(specs):
        found += _played(spec, users[at :: len(specs)], seed)
    return found


def _played(spec: str, scenarios: Sequence[Scenario], seed: int) -> list[Dialogue]:
    policy: Any = load_policy(spec)
    user = _user()
    dialogues = user.begin(
        [BeginRequest(s, seed=derive_seed(seed, spec, s.situation.summary)) for s in scenarios]
    )
    while live := [at for at, dialogue in enumerate(dialogues) if not dialogue.ended]:
        going = [dialogues[at] for at in live]
        conversations = [_conversation(dialogue, seed) for dialogue in going]
        given = policy.act(conversations, going) if is_privileged(policy) else policy.act(conversations)
        replies = [reply.text if isinstance(reply, Reply) else reply for reply in given]
        for at, dialogue in zip(live, user.respond(going, replies), strict=True):
            dialogues[at] = dialogue
    return dialogues


def _conversation(dialogue: Dialogue, seed: int) -> Conversation:
    return conversation_of(
        dialogue, key=f"{dialogue.seed:016x}", seed=derive_seed(seed, "policy", dialogue.seed)
    )


# -- lines -------------------------------------------------------------------------------------------------------


def spoken(dialogue: Dialogue) -> list[str]:
    """Return what the user said, line by line."""
    return [m["content"] for m in dialogue.messages if m["role"] == "user"]


def _pieces(dialogue: Dialogue) -> list[str]:
    """Return the sentences said, but for very short ones: lines are put together of authored ones."""
    split = (re.split(r"(?<=[.!?])\s+", line) for line in spoken(dialogue))
    return [piece for pieces in split for piece in pieces if len(piece.split()) >= SHORT]


def repeats(dialogue: Dialogue) -> bool:
    """Return whether the user said a line or a sentence twice."""
    lines, pieces = spoken(dialogue), _pieces(dialogue)
    return len(set(lines)) < len(lines) or len(set(pieces)) < len(pieces)


def _shares(dialogues: Sequence[Dialogue]) -> Iterator[tuple[float, bool]]:
    """Yield what two episodes of different situations share, and whether their users have one temperament."""
    said = [
        (d.source.situation.summary, d.source.persona.temperament, frozenset(_pieces(d))) for d in dialogues
    ]
    for (summary, style, one), (other_summary, other_style, other) in itertools.combinations(said, 2):
        if summary != other_summary and one and other:
            yield len(one & other) / min(len(one), len(other)), style == other_style


def distinct_2(lines: Sequence[str], seed: int) -> float:
    """Return the share of word pairs that are different, mean of random samples of lines."""
    rng = random.Random(seed)
    return _mean([_distinct(rng.sample(lines, min(SAMPLE, len(lines)))) for _ in range(SAMPLES)])


def _distinct(lines: Sequence[str]) -> float:
    words = (re.findall(r"[a-z0-9']+", line.lower()) for line in lines)
    pairs = [pair for said in words for pair in itertools.pairwise(said)]
    return len(set(pairs)) / max(1, len(pairs))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


# -- temperaments ------------------------------------------------------------------------------------------------


def manner(lines: Sequence[str]) -> dict[str, float]:
    """Return how lines are written: their length in words and sentences, and marks for every hundred words.

    Args:
        lines: Lines of one temperament.
    """
    text = " ".join(lines)
    words = len(text.split())
    marks = {name: round(100 * len(re.findall(mark, text)) / words, 2) for name, mark in MARKS.items()}
    sentences = len(re.findall(r"[.!?]+(?=\s|$)", text))
    return {
        "words": round(words / len(lines), 2),
        "sentences": round(sentences / len(lines), 2),
        **marks,
    }


def temperament_rows(seed: int) -> list[dict[str, Any]]:
    """Return for each temperament how its lines are written, and what users of it tell.

    What they tell is measured on the same situations, needs and seeds for all, answered by the scripted listener.
    """
    rows = []
    for temperament in load_temperaments():
        mine = _played("scripted:listener", _as_told_by(temperament), seed)
        lines = [line for reaction in temperament.reactions.values() for line in reaction]
        told: dict[str, list[int]] = {
            "told": [len(d.state.disclosed) for d in mine],
            "deep": [len(_deep(d)) for d in mine],
            "declined": [_declined(d) for d in mine],
        }
        means = {name: round(sum(values) / len(values), 2) for name, values in told.items()}
        rows.append({"temperament": temperament.id, **manner(lines), **means})
    return rows


def _as_told_by(temperament: Temperament) -> list[Scenario]:
    """Return some situations, each with one need in turn, as users of a temperament tell them."""
    found = []
    for at, source in enumerate(bundled_situations()[::EVERY]):
        users = list(compile_situation(source, [temperament], load_names()))
        found.append(users[at % len(users)])
    return found


def _deep(dialogue: Dialogue) -> set[str]:
    """Return the facts told that take trust."""
    facts = dialogue.source.situation.facts
    return {fact.id for fact in facts if fact.layer > 1}.intersection(dialogue.state.disclosed)


def _declined(dialogue: Dialogue) -> bool:
    return "decline" in dialogue.state.asked


# -- questions ---------------------------------------------------------------------------------------------------


def questions() -> dict[str, int]:
    """Put every question written for a topic to users of its situation who trust, and to those who may decline first.

    Returns:
        Counts: asked; `read` as a question about the topic; `answerable`, where a fact of the topic is still untold;
        `answered` with one of them; `declinable`, put for the first time to somebody who may decline and would else
        tell what takes trust; `declined`.
    """
    counts = Counter(dict.fromkeys(("asked", "read", "answerable", "answered", "declinable", "declined"), 0))
    for scenario in _one_of_each():
        for topic in scenario.situation.topics:
            for question in topic.say:
                _put(trusting(scenario, "decline"), topic, question, counts)
    return dict(counts)


def _put(before: Dialogue, topic: Topic, question: str, counts: Counter[str]) -> None:
    """Put a question about a topic, and count what becomes of it: of itself, and as the first that takes trust."""
    first, after = _user().respond([trusting(before.source), before], [question] * 2)
    if before.source.knobs.declines and _deep(after):
        counts["declinable"] += 1
        counts["declined"] += _declined(first)
    reading, wanted = after.appraisals[-1], _untold(before, topic)
    counts["asked"] += 1
    counts["read"] += reading.exploration > 0 and topic.id in reading.touched
    counts["answerable"] += bool(wanted)
    counts["answered"] += not wanted.isdisjoint(after.state.disclosed)


def trusting(scenario: Scenario, *done: str) -> Dialogue:
    """Return the beginning of a talk with somebody who would tell anything to whoever asks.

    Args:
        scenario: Who.
        *done: What they do once and have done already, ``"decline"`` say.
    """
    begun = _user().begin([BeginRequest(scenario)])[0]
    state = dataclasses.replace(begun.state, trust=max(begun.state.trust, scenario.knobs.layer3), asked=done)
    return dataclasses.replace(begun, states=(state,))


def _untold(dialogue: Dialogue, topic: Topic) -> set[str]:
    told = set(dialogue.state.disclosed)
    return {fact.id for fact in dialogue.source.situation.facts if topic.id in fact.topics} - told


def _one_of_each() -> list[Scenario]:
    """Return of every situation one user who may decline and one who does not."""
    found: dict[tuple[str, bool], Scenario] = {}
    for part in PARTS:
        for scenario in load_scenarios(part):
            found.setdefault((scenario.situation.summary, scenario.knobs.declines), scenario)
    return list(found.values())


# -- tables ------------------------------------------------------------------------------------------------------


def speech_tables(report: Report) -> list[Table]:
    """Return the figures with their targets, and the temperaments, as tables."""
    figures = Table(
        title=f"How users talk: {report.episodes} episodes, seed {report.seed}", title_justify="left"
    )
    for name in ("figure", "is", "wanted"):
        figures.add_column(name, justify="left" if name == "figure" else "right", overflow="fold")
    for name, value in report.figures.items():
        bound, target = TARGETS.get(name, ("", 0))
        figures.add_row(MEANING[name], f"{value:.4g}", f"{bound} {target:g}" if bound else "")
    manners = Table(
        title="Temperaments",
        caption="Lines written for them: words and sentences of each, marks for every hundred words. Their users, on "
        "the same situations and answered by scripted:listener: facts told, those that take trust, episodes in which "
        "something is declined.",
        title_justify="left",
        caption_justify="left",
    )
    for name in report.temperaments[0]:
        manners.add_column(name.replace("_", " "), justify="left" if name == "temperament" else "right")
    for row in report.temperaments:
        manners.add_row(*(str(value) for value in row.values()))
    return [figures, manners]
