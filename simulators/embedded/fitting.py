"""Logistic regression on sparse rows: convex, trained with numpy alone by L-BFGS, from zero, without randomness.

Two losses: `multinomial`, a column of weights for each level, and `ordinal`, one column and a threshold between each
two neighbouring levels (the all-threshold loss of Rennie and Srebro, 2005), for levels that are steps of one thing.
Training is in floats; what is trained is quantised in `linear`, so that reading is integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from empathy_gym.simulators.embedded.hashed import UNIT, Integers, Rows

Kind = Literal["multinomial", "ordinal"]
Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

_MEMORY: Final = 12
"""Steps that L-BFGS remembers."""
_HALVINGS: Final = 30


@dataclass(frozen=True, slots=True)
class FitSpec:
    """How a head is trained.

    Args:
        kind: The loss.
        penalty: L2 penalty of the weights (not of the bias), against losses summed over examples.
        balance: 0 counts every example once, 1 gives every level the same weight in all; between, a compromise.
        iterations: At most so many steps.
        tolerance: Stop when no slope is above this share of the number of examples.
    """

    kind: Kind = "multinomial"
    penalty: float = 1.0
    balance: float = 0.0
    iterations: int = 200
    tolerance: float = 1e-4


def fit(
    rows: Rows, targets: Integers, n_levels: int, spec: FitSpec, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Train one head.

    Args:
        rows: n rows.
        targets: Places of the levels, 0 to n_levels - 1, shape (n,).
        n_levels: How many levels there are, at least 2; one that no example has is never predicted.
        spec: How.
        weights: What each example counts, shape (n,); 1 if None.

    Returns:
        Weights, shape (width, n_levels) or (width, 1) if ordinal, and bias, shape (n_levels,) or (n_levels - 1,):
        the scores of levels, or the thresholds between them.

    Raises:
        ValueError: If a target is not a place of a level, or there is no example.
    """
    if len(rows) == 0 or len(targets) != len(rows) or targets.min() < 0 or targets.max() >= n_levels:
        raise ValueError(
            f"{len(rows)} rows, {len(targets)} targets: give one of 0 to {n_levels - 1} for each row."
        )
    used, columns = np.unique(rows.indices, return_inverse=True)
    design = _Design(rows.owners, columns, rows.values / UNIT, len(rows), len(used))
    counts = example_weights(targets, n_levels, spec.balance) * (1.0 if weights is None else weights)
    n_columns, n_bias = (n_levels, n_levels) if spec.kind == "multinomial" else (1, n_levels - 1)
    loss = (
        _multinomial(targets, counts, n_levels)
        if spec.kind == "multinomial"
        else _ordinal(targets, counts, n_levels)
    )

    def objective(flat: Floats) -> tuple[float, Floats]:
        weight, bias = flat[n_bias:].reshape(n_columns, -1), flat[:n_bias]
        value, slope_scores, slope_bias = loss(design.times(weight), bias)
        slope = design.transposed_times(slope_scores) + spec.penalty * weight
        total = value + 0.5 * spec.penalty * _dot(weight.ravel(), weight.ravel())
        return total, np.concatenate([slope_bias, slope.ravel()])

    start = np.zeros(n_bias + n_columns * len(used))
    start[:n_bias] = _first_bias(targets, counts, n_levels, spec.kind)
    best = minimise(objective, start, spec.iterations, spec.tolerance * len(rows))
    weight = np.zeros((rows.width, n_columns))
    weight[used] = best[n_bias:].reshape(n_columns, -1).T
    return weight, best[:n_bias]


def example_weights(targets: Integers, n_levels: int, balance: float) -> Floats:
    """Return what each example counts: (mean level size / size of its level) ** balance, shape (n,)."""
    sizes = np.bincount(targets, minlength=n_levels)
    present = max(1, int(np.count_nonzero(sizes)))
    return np.asarray((len(targets) / (present * np.maximum(sizes, 1.0))) ** balance)[targets]


def minimise(objective: Objective, start: Floats, iterations: int, tolerance: float) -> Floats:
    """Return where a smooth convex function is smallest, by L-BFGS with backtracking.

    Args:
        objective: Value and slope at a point.
        start: Where to begin, shape (d,).
        iterations: At most so many steps.
        tolerance: Stop when no slope is larger.
    """
    point = start
    value, slope = objective(point)
    steps: list[tuple[Floats, Floats]] = []
    for _ in range(iterations):
        if np.abs(slope).max() <= tolerance:
            break
        direction = -_newton_like(slope, steps)
        descent = _dot(slope, direction)
        length = 1.0 if steps else 1.0 / max(1.0, _dot(slope, slope) ** 0.5)
        for _ in range(_HALVINGS):
            new_value, new_slope = objective(point + length * direction)
            if new_value <= value + 1e-4 * length * descent:
                break
            length *= 0.5
        else:
            break
        moved, turned = length * direction, new_slope - slope
        if _dot(moved, turned) > 1e-12:
            steps = [*steps[-_MEMORY + 1 :], (moved, turned)]
        point, value, slope = point + moved, new_value, new_slope
    return point


def _dot(a: Floats, b: Floats) -> float:
    """Return the inner product, added up by one thread in one order: BLAS splits it as the machine suggests."""
    return float(np.einsum("i,i->", a, b))


def _newton_like(slope: Floats, steps: list[tuple[Floats, Floats]]) -> Floats:
    """Return the slope times the inverse curvature that the remembered steps suggest (two-loop recursion)."""
    direction, shares = slope.copy(), []
    for moved, turned in reversed(steps):
        share = _dot(moved, direction) / _dot(moved, turned)
        direction -= share * turned
        shares.append(share)
    if steps:
        moved, turned = steps[-1]
        direction *= _dot(moved, turned) / _dot(turned, turned)
    for (moved, turned), share in zip(steps, reversed(shares), strict=True):
        direction += (share - _dot(turned, direction) / _dot(moved, turned)) * moved
    return direction


@dataclass(frozen=True, slots=True)
class _Design:
    """A sparse matrix as triples, restricted to the columns in use."""

    owner: Integers
    column: Integers
    value: Floats
    n: int
    width: int

    def times(self, weight: Floats) -> Floats:
        """Return the matrix times weights: (columns, width) -> (columns, n)."""
        return np.stack([np.bincount(self.owner, self.value * row[self.column], self.n) for row in weight])

    def transposed_times(self, scores: Floats) -> Floats:
        """Return the transposed matrix times scores: (columns, n) -> (columns, width)."""
        return np.stack(
            [np.bincount(self.column, self.value * row[self.owner], self.width) for row in scores]
        )


Loss = Callable[[Floats, Floats], tuple[float, Floats, Floats]]


def _multinomial(targets: Integers, counts: Floats, n_levels: int) -> Loss:
    """Return cross-entropy as a function of scores (levels, n) and bias (levels,), with its slopes."""
    truth = np.arange(n_levels)[:, None] == targets

    def loss(scores: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
        scores = scores + bias[:, None]
        scores -= scores.max(axis=0)
        likely = np.exp(scores)
        total = likely.sum(axis=0)
        value = _dot(counts, np.log(total) - scores[targets, np.arange(len(targets))])
        slope = (likely / total - truth) * counts
        return value, slope, slope.sum(axis=1)

    return loss


def _ordinal(targets: Integers, counts: Floats, n_levels: int) -> Loss:
    """Return the all-threshold loss as a function of scores (1, n) and thresholds (levels - 1,)."""
    side = np.where(targets > np.arange(n_levels - 1)[:, None], 1.0, -1.0)

    def loss(scores: Floats, thresholds: Floats) -> tuple[float, Floats, Floats]:
        margin = side * (scores - thresholds[:, None])
        value = float((np.logaddexp(0.0, -margin) * counts).sum())
        slope = -side * 0.5 * (1.0 - np.tanh(0.5 * margin)) * counts
        return value, slope.sum(axis=0, keepdims=True), -slope.sum(axis=1)

    return loss


def _first_bias(targets: Integers, counts: Floats, n_levels: int, kind: Kind) -> Floats:
    """Return the bias that is best where all weights are 0."""
    shares = np.bincount(targets, counts, n_levels)
    shares = np.maximum(shares, 1e-3 * shares.sum()) / shares.sum()
    if kind == "multinomial":
        return np.asarray(np.log(shares))
    above = np.clip(1.0 - np.cumsum(shares)[:-1], 1e-3, 1 - 1e-3)
    return np.asarray(np.log((1 - above) / above))
