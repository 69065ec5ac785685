"""Means with bootstrap intervals over scenarios.

Episodes with the same scenario are not independent, so repeats are averaged first and scenarios are resampled
(a cluster bootstrap). The generator's seed is fixed: the same values give the same interval everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
SEED: Final = 0
_CHUNK: Final = 4_000_000
"""Numbers drawn at a time: bounds memory, and does not change what is drawn."""


def cluster_means(values: Sequence[float], clusters: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each cluster.

    Args:
        values: Shape (n,).
        clusters: Name of the cluster of each value, shape (n,).

    Returns:
        Shape (number of clusters,), in the order of their names.
    """
    by_cluster: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        by_cluster.setdefault(cluster, []).append(value)
    return np.array([np.mean(by_cluster[name]) for name in sorted(by_cluster)], dtype=np.float64)


def bootstrap_interval(
    values: NDArray[np.float64], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean.

    Args:
        values: Independent values, shape (n,), n >= 1.
        level: Share of the resampled means that lie within.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there is no value.
    """
    n = len(values)
    if n == 0:
        raise ValueError("bootstrap_interval needs at least one value")
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // n)
    means = np.concatenate(
        [
            values[rng.integers(0, n, (min(size, resamples - done), n))].mean(axis=1)
            for done in range(0, resamples, size)
        ]
    )
    low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def paired_interval(after: NDArray[np.float64], before: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean difference of two measures of the same things, and the ends of its bootstrap interval.

    Args:
        after: Shape (n,), n >= 1.
        before: The same things', shape (n,).
    """
    gain = after - before
    return (float(gain.mean()), *bootstrap_interval(gain))


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Kendall's tau-b of two rankings: 1 for the same order, -1 for the reverse.

    Args:
        first: Shape (n,), n >= 2.
        second: The same things' values in another ranking, shape (n,).

    Returns:
        Tau-b, which allows for ties; 0 where one side has nothing but ties.

    Raises:
        ValueError: If the lengths differ or there are fewer than two values.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(
            f"kendall_tau needs two rankings of the same things, got {len(first)} and {len(second)}"
        )
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (first, second))
    pairs = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / pairs) if pairs else 0.0
