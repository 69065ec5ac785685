"""Advantages: how much better an episode, a turn or a token was than could be expected. Pure numbers, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

EPSILON: Final = 1e-6
"""Added to a standard deviation before dividing; a group without variance has no advantages at all."""


def trajectory_advantages(totals: Sequence[float], *, std: bool) -> NDArray[np.float64]:
    """Return one advantage for each sibling of a group: its return less the group's mean.

    Group-relative advantages of GRPO (Shao 2024, arXiv 2402.03300), as RLVER trains (arXiv 2507.03112).

    Args:
        totals: Returns, shape (G,).
        std: Whether to divide by the group's standard deviation (Dr. GRPO, arXiv 2503.20783, does not).

    Returns:
        Shape (G,); all 0 in a group without variance.
    """
    values = np.asarray(totals, dtype=np.float64)
    centred: NDArray[np.float64] = values - values.mean()
    if not varies(totals):
        return np.zeros_like(values)
    return centred / (values.std(ddof=1) + EPSILON) if std else centred


def turn_advantages(rewards: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the advantage of each turn: return-to-go less the mean return-to-go of the siblings at that turn.

    A[i, t] = G[i, t] - mean over j != i of G[j, t], with G = 0 for a sibling that has finished: from there on it
    gets nothing more. The baseline does not depend on what i does, so the gradient is unbiased, and at every turn
    the advantages of a group sum to 0. The discount is 1 and nothing is divided by a standard deviation.

    Args:
        rewards: Rewards of each sibling's turns, G >= 2 sequences of lengths up to T.

    Returns:
        Shape (G, T); entries behind a sibling's last turn belong to no token.
    """
    longest = max(map(len, rewards))
    padded = np.zeros((len(rewards), longest), dtype=np.float64)
    for row, values in enumerate(rewards):
        padded[row, : len(values)] = values
    to_go = padded[:, ::-1].cumsum(axis=1)[:, ::-1]
    others = (to_go.sum(axis=0, keepdims=True) - to_go) / (len(rewards) - 1)
    found: NDArray[np.float64] = to_go - others
    return found


def varies(totals: Sequence[float]) -> bool:
    """Whether the returns of a group differ at all; otherwise trajectories teach nothing."""
    return max(totals) - min(totals) > EPSILON


def most_telling(totals: Sequence[float], count: int) -> list[int]:
    """Return the places of the siblings whose returns vary most: some of the lowest and some of the highest.

    Max-variance down-sampling (PODS, arXiv 2504.13818): an update costs more than the episodes it learns from, and
    those in the middle of a group have least to tell.

    Args:
        totals: Returns, shape (G,).
        count: How many to return; all of them where there are no more.

    Returns:
        Places in ascending order; of splits that vary alike the one with fewer low returns, of equal returns the first.
    """
    order = sorted(range(len(totals)), key=lambda i: (totals[i], i))
    if count >= len(order):
        return sorted(order)
    splits = [order[:low] + order[len(order) - count + low :] for low in range(count + 1)]
    return sorted(max(splits, key=lambda chosen: float(np.var([totals[i] for i in chosen]))))


def generalised_advantages(
    rewards: NDArray[np.float64], values: NDArray[np.float64], *, gamma: float, lam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return generalised advantage estimates and returns over the sampled tokens of one episode (arXiv 1506.02438).

    Args:
        rewards: Shape (n,): each turn's reward at its last token, 0 elsewhere.
        values: The critic's, before each token, shape (n,). The episode ends behind the last one, with value 0.
        gamma: Discount of a token.
        lam: Of the exponential average.

    Returns:
        Advantages and value targets, shape (n,) each.
    """
    advantages = np.zeros_like(values, dtype=np.float64)
    ahead = following = 0.0
    for at in range(len(values) - 1, -1, -1):
        delta = rewards[at] + gamma * following - values[at]
        ahead = delta + gamma * lam * ahead
        advantages[at] = ahead
        following = values[at]
    return advantages, advantages + values
