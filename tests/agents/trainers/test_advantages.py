"""Advantages as pure numbers: sums, baselines, and an unbiased gradient on a problem small enough to enumerate."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_gym.agents.trainers.advantages import (
    generalised_advantages,
    most_telling,
    trajectory_advantages,
    turn_advantages,
    varies,
)

REWARDS = st.lists(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=5), min_size=2, max_size=6)


@given(REWARDS)
def test_the_mean_over_a_group_is_zero_at_every_turn(rewards) -> None:
    table = turn_advantages(rewards)
    assert table.shape == (len(rewards), max(map(len, rewards)))
    assert np.abs(table.mean(axis=0)).max() < 1e-12


def test_a_turn_is_compared_with_what_siblings_still_get(
    rewards=((0.1, 0.2), (0.4,), (0.0, -0.1, 0.3)),
) -> None:
    table = turn_advantages(rewards)
    # Returns to go: 0.3, 0.2, 0 / 0.4, 0, 0 / 0.2, 0.2, 0.3.
    assert table[0].tolist() == pytest.approx([0.3 - 0.3, 0.2 - 0.1, 0.0 - 0.15])
    assert table[1].tolist() == pytest.approx([0.4 - 0.25, 0.0 - 0.2, 0.0 - 0.15])
    assert table[2].tolist() == pytest.approx([0.2 - 0.35, 0.2 - 0.1, 0.3 - 0.0])


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=8), st.booleans())
def test_trajectory_advantages_sum_to_zero_and_keep_the_order(totals, std) -> None:
    found = trajectory_advantages(totals, std=std)
    assert abs(found.sum()) < 1e-9
    if varies(totals):
        assert found[int(np.argmax(totals))] == found.max()
        if std:
            assert found.std(ddof=1) == pytest.approx(1.0, abs=1e-2) or np.std(totals) < 1e-4
    else:
        assert not found.any()


def test_a_group_without_variance_has_no_advantages() -> None:
    assert not trajectory_advantages([0.3, 0.3, 0.3], std=True).any()
    assert not varies([0.3, 0.3 + 1e-9]) and varies([0.3, 0.31])


# A task of two turns: action 1 in the first ends the episode. Logits of the policy, by turn and first action.
LOGITS = np.array([0.3, -0.4])
REWARD = {(1,): [0.2], (0, 0): [-0.1, 0.5], (0, 1): [-0.1, -0.3]}


def probability(logit: float, action: int) -> float:
    p = 1.0 / (1.0 + math.exp(-logit))
    return p if action else 1.0 - p


def score(logit: float, action: int) -> float:
    """Derivative of the log-probability of an action."""
    return action - probability(logit, 1)


def chance(actions: tuple[int, ...]) -> float:
    return math.prod(probability(LOGITS[t], a) for t, a in enumerate(actions))


def true_gradient() -> np.ndarray:
    gradient = np.zeros(2)
    for actions, rewards in REWARD.items():
        for t, action in enumerate(actions):
            gradient[t] += chance(actions) * sum(rewards) * score(LOGITS[t], action)
    return gradient


@pytest.mark.parametrize("size", [2, 3])
def test_the_turn_level_gradient_is_the_enumerated_one(size) -> None:
    expected = np.zeros(2)
    for group in itertools.product(REWARD, repeat=size):
        weight = math.prod(map(chance, group))
        table = turn_advantages([REWARD[actions] for actions in group])
        for row, actions in zip(table, group, strict=True):
            for t, action in enumerate(actions):
                expected[t] += weight * row[t] * score(LOGITS[t], action) / size
    assert expected == pytest.approx(true_gradient(), abs=1e-12)


@pytest.mark.parametrize("size", [2, 4])
def test_the_trajectory_level_gradient_is_the_enumerated_one_but_for_the_groups_size(size) -> None:
    """The mean contains the sibling itself, which shrinks the gradient by (G - 1) / G and turns it nowhere."""
    expected = np.zeros(2)
    for group in itertools.product(REWARD, repeat=size):
        weight = math.prod(map(chance, group))
        found = trajectory_advantages([sum(REWARD[actions]) for actions in group], std=False)
        for advantage, actions in zip(found, group, strict=True):
            for t, action in enumerate(actions):
                expected[t] += weight * advantage * score(LOGITS[t], action) / size
    assert expected == pytest.approx(true_gradient() * (size - 1) / size, abs=1e-12)


def test_generalised_advantages_by_hand() -> None:
    rewards, values = np.array([0.0, 1.0, 0.5]), np.array([0.2, 0.4, 0.1])
    deltas = [0.0 + 0.9 * 0.4 - 0.2, 1.0 + 0.9 * 0.1 - 0.4, 0.5 - 0.1]
    advantages, targets = generalised_advantages(rewards, values, gamma=0.9, lam=0.5)
    last = deltas[2]
    middle = deltas[1] + 0.45 * last
    assert advantages.tolist() == pytest.approx([deltas[0] + 0.45 * middle, middle, last])
    assert targets.tolist() == pytest.approx((advantages + values).tolist())


def test_with_lambda_and_gamma_one_a_target_is_what_is_still_to_come() -> None:
    rewards = np.array([0.0, 0.25, 0.0, 0.5])
    _, targets = generalised_advantages(rewards, np.array([0.3, 0.1, 0.9, 0.2]), gamma=1.0, lam=1.0)
    assert targets.tolist() == pytest.approx([0.75, 0.75, 0.5, 0.5])


@given(st.lists(st.integers(-40, 60), min_size=2, max_size=7), st.integers(2, 7))
def test_the_most_telling_siblings_are_those_whose_returns_vary_most(totals, count) -> None:
    chosen = most_telling(totals, count)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, len(totals))
    best = max(
        float(np.var([totals[i] for i in some]))
        for some in itertools.combinations(range(len(totals)), len(chosen))
    )
    assert float(np.var([totals[i] for i in chosen])) == pytest.approx(best)
