"""What is measured of responses beside their reward: agreement in empathy, variety, likeness, length.

The measures are EmpRL's (arXiv 2408.02976): empathy F1 between the levels of responses and references, Dist-1 and
Dist-2 (Li et al. 2016, "A Diversity-Promoting Objective Function"), BLEU by sacrebleu where that is installed,
perplexity where a policy can give the probability of a text.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import LEVELS, MECHANISMS
from empathy_gym.simulators.dialogue import derive_seed

Levels = NDArray[np.int64]
_TOKEN: Final = re.compile(r"[\w']+|[^\w\s]")
Z: Final = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


def confusion(truth: Levels, read: Levels) -> NDArray[np.int64]:
    """Return confusion matrices, rows the truth, flattened: shape (..., levels * levels), summed over the first axis.

    Args:
        truth: Levels of references, shape (n, ...).
        read: Levels of responses, shape (n, ...).
    """
    cells = one_hot(truth, read)
    return np.asarray(cells.sum(axis=0))


def one_hot(truth: Levels, read: Levels) -> NDArray[np.int64]:
    """Return for every pair of levels the cell of the confusion matrix it is in, shape (..., levels * levels)."""
    cell = truth * len(LEVELS) + read
    return np.asarray(cell[..., None] == np.arange(len(LEVELS) ** 2), dtype=np.int64)


def f1_of(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return macro-F1 of confusion matrices, shape (...): the mean over levels that occur on either side.

    Args:
        cells: Counts, rows the truth, shape (..., levels * levels).
    """
    tables = cells.reshape(*cells.shape[:-1], len(LEVELS), len(LEVELS))
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    both = tables.sum(axis=-2) + tables.sum(axis=-1)
    occurs = np.maximum((both > 0).sum(axis=-1), 1)
    return np.asarray((2 * right / np.maximum(both, 1)).sum(axis=-1) / occurs)


def macro_f1(truth: Levels, read: Levels) -> float:
    """Return the macro-F1 of one mechanism, over the levels that occur.

    Args:
        truth: Shape (n,).
        read: Shape (n,).
    """
    return float(f1_of(confusion(truth, read)))


def empathy_f1(truth: Levels, read: Levels) -> dict[str, float]:
    """Return the macro-F1 of each mechanism, and ``mean``.

    Args:
        truth: Levels of references, shape (n, 3 mechanisms).
        read: Levels of responses, shape (n, 3 mechanisms).
    """
    values = f1_of(confusion(truth, read))
    return {**dict(zip(MECHANISMS, values.tolist(), strict=True)), "mean": float(values.mean())}


def f1_without(truth: Levels, read: Levels, clusters: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean empathy F1 without each exchange in turn, shape (number of exchanges,), in order of their names.

    Args:
        truth: Levels of references, shape (n, 3 mechanisms).
        read: Levels of responses, shape (n, 3 mechanisms).
        clusters: Exchange of each pair, shape (n,).
    """
    numbers = {name: i for i, name in enumerate(sorted(set(clusters)))}
    place = np.array([numbers[name] for name in clusters], dtype=np.int64)
    cells = np.zeros((len(numbers), len(MECHANISMS), len(LEVELS) ** 2), dtype=np.int64)
    np.add.at(cells, place, one_hot(truth, read))
    return np.asarray(f1_of(cells.sum(axis=0) - cells).mean(axis=1))


def jackknife_interval(
    value: float, without: NDArray[np.float64], bounds: tuple[float, float]
) -> tuple[float, float]:
    """Return a value's 95 % interval from what it is without each exchange in turn (Efron and Stein 1981).

    A bootstrap would not do: a level that occurs once is not in a third of its samples, and macro-F1 is then another
    measure, the mean over fewer levels.

    Args:
        value: On all exchanges.
        without: Without each, shape (n,).
        bounds: Ends that the value cannot pass.
    """
    n = len(without)
    if n < 2:
        return bounds
    error = math.sqrt((n - 1) / n * float(np.square(without - without.mean()).sum()))
    return max(bounds[0], value - Z * error), min(bounds[1], value + Z * error)


def distinct(responses: Sequence[str], n: int) -> float:
    """Return Dist-n: distinct n-grams of all responses by n-grams in all, 0.0 where there are none.

    Args:
        responses: Shape (m,).
        n: Words of an n-gram; punctuation counts as words, case does not.
    """
    found: set[tuple[str, ...]] = set()
    total = 0
    for response in responses:
        words = _TOKEN.findall(response.lower())
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        found.update(grams)
        total += len(grams)
    return len(found) / total if total else 0.0


def bleu(responses: Sequence[str], references: Sequence[str]) -> float | None:
    """Return sacrebleu's corpus BLEU (0-100), or None where it is not installed (extra ``llm``)."""
    if importlib.util.find_spec("sacrebleu") is None:
        return None
    sacrebleu: Any = importlib.import_module("sacrebleu")
    return float(sacrebleu.corpus_bleu(list(responses), [list(references)]).score)


def mean_words(responses: Sequence[str]) -> float:
    """Return the mean number of words between spaces."""
    return float(np.mean([len(response.split()) for response in responses])) if responses else 0.0


def derangement(ids: Sequence[str], seed: int) -> list[int]:
    """Return for each of n >= 2 different things the number of another: none keeps its own.

    Things are put into an order that the seed draws, and each gets the next one's.

    Args:
        ids: What tells the things apart, shape (n,).
        seed: Seed of the order.
    """
    order = sorted(range(len(ids)), key=lambda i: (derive_seed(seed, "shuffled", ids[i]), ids[i]))
    found = [0] * len(ids)
    for at, i in enumerate(order):
        found[i] = order[(at + 1) % len(order)]
    return found
