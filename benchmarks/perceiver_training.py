"""Training the heads of the embedded perceiver on labelled replies.

Beside the labelled replies, the lines that situations of the split give to listeners are used: each shows one level
of one field, and counts for that field alone. Nothing of `test` is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from empathy_gym.benchmarks.labelled import LabelledReply, load_replies
from empathy_gym.simulators.dialogue import PerceptionRequest, known_of, request_with
from empathy_gym.simulators.embedded.fitting import FitSpec
from empathy_gym.simulators.embedded.hashed import hashed_rows
from empathy_gym.simulators.embedded.learned import ACCUSED, COSTS, SPEC, LearnedHeads
from empathy_gym.simulators.embedded.linear import LinearHeads, train
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.sentences import sentences_of
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import bundled_situations
from empathy_gym.simulators.packaged import read_mapping
from empathy_gym.simulators.scenario import content_hash
from empathy_gym.simulators.situation import Situation

SPLITS: Final = ("train", "validation")
HOW: Final = FitSpec(penalty=0.3, balance=0.5)
SENTENCE_WEIGHT: Final = 0.5
"""What a harmless sentence of a reply counts."""
LINE_WEIGHT: Final = 0.25
"""What a line of a situation counts, beside a labelled reply's 1: they are many, and alike in style."""
Shown = tuple[PerceptionRequest, str, int]
"""A line as a reply, the field that it shows and the level."""
SHOWS: Final = {
    "topics": ("exploration", 2),
    "feelings": ("feeling", 2),
    "attempts": ("advice", 2),
    "constraints": ("advice", 2),
    "strengths": ("affirmation", 2),
    "perspectives": ("insight", 2),
}
"""What the listener's lines of an item show."""
FAMILIES: Final = {"flatter": "affirmation", "control": "control"}
"""Harmful families of the labelled replies, and the field that is harmful in each."""


def train_heads(
    folder: str | Path | None = None, splits: Sequence[str] = SPLITS, without: str | None = None
) -> LearnedHeads:
    """Train heads.

    Args:
        folder: Folder of labelled replies; the packaged one if None.
        splits: Splits of the situations that are learned from.
        without: A harmful family of replies that is left out, and the single lines of its field with it.

    Raises:
        ConfigError: If there is nothing to learn from, or `test` is asked for.
        ScenarioError: If a file is not valid.
    """
    if "test" in splits:
        raise ConfigError("Heads are not trained on 'test': it is what they are evaluated on.")
    replies = [r for r in load_replies(folder) if r.split in splits and r.family != without]
    if not replies:
        raise ConfigError(f"There are no labelled replies of {', '.join(splits)}.")
    lines = list(_lines(splits))
    singles = [line for line in _single_lines() if line[1] != FAMILIES.get(without or "")]
    about = {
        "from": "Labelled replies, single lines and lines of situations written for empathy-gym; no other text.",
        "splits": list(splits),
        "replies": len(replies),
        "lines": len(lines) + len(singles),
        "content": content_hash([[r.situation, r.request.reply, dict(r.levels)] for r in replies])[:16],
    }
    return LearnedHeads(_accusing(replies, lines, singles, about))


def _accusing(
    replies: Sequence[LabelledReply],
    lines: Sequence[Shown],
    singles: Sequence[Shown],
    about: Mapping[str, Any],
) -> LinearHeads:
    """Train the heads that find harm in a sentence: single lines and harmful replies against what is harmless."""
    heads = {}
    for name, accused in ACCUSED.items():
        rows = [
            (request.reply, is_accused(accused, level), 1.0)
            for request, field, level in singles
            if field == name
        ]
        for reply in replies:
            if is_accused(accused, reply.levels[name]):
                rows.append((reply.request.reply, True, 1.0))
            else:
                rows += [(s, False, SENTENCE_WEIGHT) for s in _sentences(reply.request.reply)]
        rows += [
            (request.reply, False, LINE_WEIGHT)
            for request, field, level in lines
            if not (field == name and is_accused(accused, level))
        ]
        texts, harmful, weights = zip(*rows, strict=True)
        target = {name: ((0, 1), np.array(harmful, dtype=np.int64), HOW)}
        trained = train(SPEC, hashed_rows(SPEC, texts), target, {}, weights=np.array(weights), bits=8)
        heads[name] = trained.heads[name]
    return LinearHeads(SPEC, heads, dict(about))


def _sentences(text: str) -> list[str]:
    return [sentence.raw for sentence in sentences_of(text) if len(sentence.words) > 1]


def is_accused(accused: int, level: int) -> bool:
    """Whether a level is as bad as what an accusation finds, or worse."""
    return level >= accused if accused > 0 else level <= accused


def _lines(splits: Sequence[str]) -> Iterator[Shown]:
    """Yield the lines of situations, each as a reply to somebody who has told everything, with what it shows."""
    for source in bundled_situations():
        if source.split not in splits:
            continue
        situation = source.situation
        told = tuple(fact.id for fact in situation.facts)
        known = known_of(situation, told)
        for text, field, level in _shown(situation):
            opening = {"role": "user", "content": source.openings[0]}
            yield request_with(known, source.language, (opening,), text), field, level  # type: ignore[arg-type]


def _single_lines() -> Iterator[Shown]:
    """Yield the lines that were written to show one level of one field, and those that nearly do."""
    for file in sorted((resources.files("empathy_gym.benchmarks") / "data" / "lines").iterdir(), key=str):
        for field, by_level in read_mapping("empathy_gym.benchmarks", f"data/lines/{file.name}").items():
            for level, texts in by_level.items():
                for text in texts:
                    yield PerceptionRequest("", "en", (), text), field, level


def _shown(situation: Situation) -> Iterator[tuple[str, str, int]]:
    for kind, (field, level) in SHOWS.items():
        for item in getattr(situation, kind):
            for text in item.say:
                yield text, field, level
    for claim in situation.claims:
        for text in claim.fair_readings:
            yield text, "stance", 2
        if claim.truth in ("half", "false"):
            for text in claim.must_not_affirm:
                yield text, "stance", -2


# -- one family left out -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FamilyScore:
    """How much of the harm in one family of replies is noticed. Shares, 0-1.

    Attributes:
        family: Family of the labelled replies.
        field: The field that is harmful in it.
        n: Replies of the family, of situations not learned from, that are harmful in the field.
        structure: Noticed by structure alone.
        without: Noticed by structure and heads that never saw the family, nor single lines of the field.
        learned: Noticed by structure and heads that did.
        alarms: Share of the other replies at which the heads without it see harm that is not labelled.
    """

    family: str
    field: str
    n: int
    structure: float
    without: float
    learned: float
    alarms: float


def leave_one_family_out(folder: str | Path | None = None) -> list[FamilyScore]:
    """Train heads without each harmful family in turn, and see what of it they notice on situations of `test`."""
    test = load_replies(folder, "test")
    found = []
    for family, field in FAMILIES.items():
        hers = [r for r in test if r.family == family and is_harmful(field, r.levels[field])]
        others = [r for r in test if r.family != family and not is_harmful(field, r.levels[field])]
        if not hers or not others:
            raise ConfigError(f"There are no labelled replies of the family {family!r} in test.")
        without = EmbeddedPerceiver(heads=train_heads(folder, without=family))
        found.append(
            FamilyScore(
                family,
                field,
                len(hers),
                _noticed(EmbeddedPerceiver(learned=False), hers, field),
                _noticed(without, hers, field),
                _noticed(EmbeddedPerceiver(), hers, field),
                _noticed(without, others, field),
            )
        )
    return found


def is_harmful(field: str, level: int) -> bool:
    """Whether a level of a field costs."""
    return level > 0 if field in COSTS else level < 0


def _noticed(perceiver: EmbeddedPerceiver, replies: Sequence[LabelledReply], field: str) -> float:
    read = perceiver.perceive([reply.request for reply in replies])
    return sum(is_harmful(field, appraisal.levels()[field]) for appraisal in read) / len(replies)
