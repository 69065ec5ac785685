"""How well a perceiver agrees with labelled replies: accuracy, macro-F1 and kappa of each field.

Intervals are bootstrap intervals over situations: replies to the same situation are not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empathy_gym.benchmarks.labelled import FIELDS, LabelledReply
from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import Fault
from empathy_gym.simulators.errors import ConfigError

RESAMPLES: Final = 1_000
Levels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FieldScore:
    """Agreement on one field.

    Attributes:
        field: The field.
        n: Replies.
        accuracy: Share of replies with the very level, 0-1.
        macro_f1: Mean F1 over the levels that are met in the labels, 0-1.
        low: Lower end of the 95 % interval of macro-F1.
        high: Upper end.
        kappa: Quadratic-weighted kappa; None where labels and levels are all alike.
        kappa_low: Lower end of its 95 % interval.
        kappa_high: Upper end.
        majority_accuracy: Accuracy of the most frequent label.
        majority_f1: Its macro-F1.
        confusion: Rows are labels, columns levels, both in the order of `LEVELS`.
    """

    field: str
    n: int
    accuracy: float
    macro_f1: float
    low: float
    high: float
    kappa: float | None
    kappa_low: float
    kappa_high: float
    majority_accuracy: float
    majority_f1: float
    confusion: tuple[tuple[int, ...], ...]


def macro_f1(labels: Levels, levels: Levels) -> float:
    """Return the mean F1 over the labels that are met.

    Args:
        labels: Shape (n,), n >= 1.
        levels: Shape (n,).
    """
    scores = []
    for label in np.unique(labels):
        both = int(np.sum((labels == label) & (levels == label)))
        either = int(np.sum(labels == label)) + int(np.sum(levels == label))
        scores.append(2 * both / either)
    return float(np.mean(scores))


def weighted_kappa(labels: ArrayLike, levels: ArrayLike) -> float | None:
    """Return Cohen's kappa with quadratic weights (Cohen 1968), from -1 to 1.

    Args:
        labels: Shape (n,).
        levels: Shape (n,).

    Returns:
        None if there is nothing to agree on: no reply, or only one level anywhere.
    """
    labels, levels = np.asarray(labels), np.asarray(levels)
    if not len(labels):
        return None
    seen = float(np.mean((labels - levels) ** 2))
    # The mean over all pairs of a label and a level, by moments.
    chance = float(np.var(labels) + np.var(levels) + (np.mean(labels) - np.mean(levels)) ** 2)
    return None if chance == 0 else 1 - seen / chance


def resampled(clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> list[NDArray[np.intp]]:
    """Return index arrays of resampled clusters."""
    names = sorted(set(clusters))
    members = {name: np.array([i for i, c in enumerate(clusters) if c == name]) for name in names}
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(names), (resamples, len(names)))
    return [np.concatenate([members[names[k]] for k in draw]) for draw in draws]


def score_field(
    name: str, labels: Sequence[int], levels: Sequence[int], clusters: Sequence[str]
) -> FieldScore:
    """Return the agreement on a field.

    Args:
        name: The field.
        labels: Labels, shape (n,), n >= 1.
        levels: What was read, shape (n,).
        clusters: Situation of each reply, shape (n,).
    """
    y, z = np.array(labels, dtype=np.int64), np.array(levels, dtype=np.int64)
    most = Counter(labels).most_common(1)[0][0]
    samples = resampled(clusters)
    boot = np.percentile([macro_f1(y[i], z[i]) for i in samples], [2.5, 97.5])
    kappas = np.percentile([weighted_kappa(y[i], z[i]) or 0.0 for i in samples], [2.5, 97.5])
    pairs = Counter(zip(labels, levels, strict=True))
    return FieldScore(
        field=name,
        n=len(y),
        accuracy=float(np.mean(y == z)),
        macro_f1=macro_f1(y, z),
        low=float(boot[0]),
        high=float(boot[1]),
        kappa=weighted_kappa(y, z),
        kappa_low=float(kappas[0]),
        kappa_high=float(kappas[1]),
        majority_accuracy=float(np.mean(y == most)),
        majority_f1=macro_f1(y, np.full_like(y, most)),
        confusion=tuple(tuple(pairs[a, b] for b in LEVELS[name]) for a in LEVELS[name]),
    )


def evaluate(perceiver: Any, replies: Sequence[LabelledReply]) -> list[FieldScore]:
    """Let a perceiver read labelled replies, and return the agreement by field.

    Raises:
        ConfigError: If there is no reply, or a reply came to a fault.
    """
    if not replies:
        raise ConfigError("There are no labelled replies to read.")
    read = perceiver.perceive([reply.request for reply in replies])
    for reading in read:
        if isinstance(reading, Fault):
            raise ConfigError(f"A labelled reply could not be read: {reading.cause}.")
    return scored([reply.levels for reply in replies], read, [reply.situation for reply in replies])


def scored(
    labels: Sequence[Mapping[str, int]], read: Sequence[Appraisal], clusters: Sequence[str]
) -> list[FieldScore]:
    """Return the agreement by field of readings with labels."""
    levels = [appraisal.levels() for appraisal in read]
    return [
        score_field(name, [one[name] for one in labels], [one[name] for one in levels], clusters)
        for name in FIELDS
    ]


def swaps(score: FieldScore) -> float:
    """Return the share of clear stances that are read as their opposite: -2 as 2, or 2 as -2."""
    order = LEVELS["stance"]
    low, high = order.index(-2), order.index(2)
    rows = score.confusion
    clear = sum(rows[low]) + sum(rows[high])
    return (rows[low][high] + rows[high][low]) / clear if clear else 0.0


def mean_kappa(scores: Sequence[FieldScore]) -> float:
    """Return the mean kappa of the fields that have one."""
    return float(np.mean([score.kappa for score in scores if score.kappa is not None]))
