from __future__ import annotations

import numpy as np
import pytest

from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means, kendall_tau


def test_repeats_of_a_scenario_are_averaged_before_scenarios_are():
    means = cluster_means([10, 20, 90], ["a", "a", "b"])
    assert means.tolist() == [15, 90]


def test_the_interval_of_two_values_is_their_whole_range():
    # Resampled means are 0, 50 and 100 with probabilities 1/4, 1/2 and 1/4: both tails are beyond 2.5 %.
    assert bootstrap_interval(np.array([0.0, 100.0])) == (0.0, 100.0)


def test_a_narrow_level_of_two_values_is_their_mean():
    assert bootstrap_interval(np.array([0.0, 100.0]), level=0.4) == (50.0, 50.0)


def test_the_interval_of_equal_values_is_that_value():
    assert bootstrap_interval(np.array([42.0] * 7)) == (42.0, 42.0)


def test_the_interval_follows_the_normal_theory_for_many_values():
    values = np.random.default_rng(1).normal(50, 10, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1)
    assert high == pytest.approx(values.mean() + half, abs=0.1)


def test_the_interval_is_the_same_every_time_and_changes_with_the_seed():
    values = np.arange(40.0) ** 1.5
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval(np.array([]))


def test_tau_is_1_for_the_same_order_and_minus_1_for_the_reverse():
    assert kendall_tau([1, 2, 3, 4], [10, 20, 21, 99]) == pytest.approx(1)
    assert kendall_tau([1, 2, 3, 4], [9, 7, 5, 1]) == pytest.approx(-1)


def test_tau_loses_a_third_by_one_swap_of_neighbours_in_four():
    # 5 pairs agree, 1 does not: (5 - 1) / 6.
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(2 / 3)


def test_ties_count_for_neither_side():
    # 4 pairs agree, one is tied on each side: 4 / sqrt(5 * 5).
    assert kendall_tau([1, 2, 2, 3], [1, 2, 3, 3]) == pytest.approx(0.8)
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0


@pytest.mark.parametrize(("first", "second"), [([1], [1]), ([1, 2], [1, 2, 3]), ([], [])])
def test_tau_needs_two_rankings_of_the_same_things(first, second):
    with pytest.raises(ValueError, match="two rankings"):
        kendall_tau(first, second)
