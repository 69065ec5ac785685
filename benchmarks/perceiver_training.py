"""Training the heads of the embedded perceiver on labelled replies.

Beside the labelled replies, the lines that situations of the split give to listeners are used: each shows one level
of one field, and counts for that field alone. Nothing of `test` is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from empathy_gym.benchmarks.labelled import LabelledReply, load_replies
from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.dialogue import PerceptionRequest, known_of, request_with
from empathy_gym.simulators.embedded.fitting import FitSpec
from empathy_gym.simulators.embedded.hashed import hashed_rows
from empathy_gym.simulators.embedded.learned import FIELDS, SPEC, dense
from empathy_gym.simulators.embedded.linear import LinearHeads, train
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import bundled_situations
from empathy_gym.simulators.scenario import content_hash
from empathy_gym.simulators.situation import Situation

SPLITS: Final = ("train", "validation")
HOW: Final = FitSpec(penalty=0.5, balance=0.5)
LINE_WEIGHT: Final = 0.25
"""What a line of a situation counts, beside a labelled reply's 1: they are many, and alike in style."""
UNKNOWN: Final = 99
"""Marks a field of which a line says nothing."""
SHOWS: Final = {
    "topics": ("exploration", 2),
    "feelings": ("feeling", 2),
    "attempts": ("advice", 2),
    "constraints": ("advice", 2),
    "strengths": ("affirmation", 2),
    "perspectives": ("insight", 2),
}
"""What the listener's lines of an item show."""


def train_heads(folder: str | Path | None = None, splits: Sequence[str] = SPLITS) -> LinearHeads:
    """Train heads.

    Args:
        folder: Folder of labelled replies; the packaged one if None.
        splits: Splits of the situations that are learned from.

    Raises:
        ConfigError: If there is nothing to learn from, or `test` is asked for.
        ScenarioError: If a file is not valid.
    """
    if "test" in splits:
        raise ConfigError("Heads are not trained on 'test': it is what they are evaluated on.")
    replies = [reply for reply in load_replies(folder) if reply.split in splits]
    if not replies:
        raise ConfigError(f"There are no labelled replies of {', '.join(splits)}.")
    lines = [*_lines(splits), *_single_lines()]
    requests = [reply.request for reply in replies] + [request for request, _, _ in lines]
    structure = EmbeddedPerceiver(learned=False)
    levels = [appraisal.levels() for appraisal in structure.perceive(requests)]
    texts = [request.reply for request in requests]
    rows = hashed_rows(SPEC, texts, None, dense(texts, levels))
    targets = {name: (LEVELS[name], _wanted(name, replies, lines), HOW) for name in FIELDS}
    weights = np.array([1.0] * len(replies) + [LINE_WEIGHT] * len(lines))
    return train(SPEC, rows, targets, _provenance(replies, len(lines), splits, structure), weights=weights, bits=8)


def _wanted(
    name: str, replies: Sequence[LabelledReply], lines: Sequence[tuple[PerceptionRequest, str, int]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = [reply.levels[name] for reply in replies]
    return np.array(labels + [level if field == name else UNKNOWN for _, field, level in lines], dtype=np.int64)


def _lines(splits: Sequence[str]) -> Iterator[tuple[PerceptionRequest, str, int]]:
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


def _single_lines() -> Iterator[tuple[PerceptionRequest, str, int]]:
    """Yield the lines that were written to show one level of one field, and those that nearly do."""
    for file in sorted((resources.files("empathy_gym.benchmarks") / "data" / "lines").iterdir(), key=str):
        for field, by_level in yaml.safe_load(file.read_text("utf-8")).items():
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


def _provenance(
    replies: Sequence[LabelledReply], lines: int, splits: Sequence[str], structure: EmbeddedPerceiver
) -> dict[str, object]:
    written = [[r.situation, r.request.reply, dict(r.levels)] for r in replies]
    return {
        "from": "Labelled replies and lines of situations written for empathy-gym; no other text.",
        "splits": list(splits),
        "replies": len(replies),
        "lines": lines,
        "content": content_hash(written)[:16],
        "structure": structure.fingerprint,
    }
