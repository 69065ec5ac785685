"""Measures of responses: against cases worked out by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from empathy_gym.benchmarks import response_scores as scores

TRUTH = np.array([[0, 0, 0], [1, 2, 0], [2, 0, 1], [0, 2, 0]])
READ = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 2], [0, 2, 0]])


def test_macro_f1_is_the_mean_over_levels_that_occur_on_either_side():
    assert scores.macro_f1(TRUTH[:, 0], READ[:, 0]) == pytest.approx((1.0 + 2 / 3 + 0.0) / 3)
    assert scores.macro_f1(np.array([0, 0]), np.array([0, 0])) == 1.0
    assert scores.macro_f1(np.array([0, 0]), np.array([1, 0])) == pytest.approx((2 / 3 + 0) / 2)
    found = scores.empathy_f1(TRUTH, READ)
    assert found["IP"] == pytest.approx((4 / 5 + 2 / 3) / 2) and found["EX"] == pytest.approx(1 / 3)
    assert found["mean"] == pytest.approx(sum(found[m] for m in ("ER", "IP", "EX")) / 3)
    assert scores.empathy_f1(TRUTH, TRUTH)["mean"] == 1.0


def test_f1_without_each_exchange_is_f1_of_the_rest():
    clusters = ["b", "a", "c", "b"]
    without = scores.f1_without(TRUTH, READ, clusters)
    for value, name in zip(without, ["a", "b", "c"], strict=True):
        rest = [i for i, cluster in enumerate(clusters) if cluster != name]
        assert value == pytest.approx(scores.empathy_f1(TRUTH[rest], READ[rest])["mean"])


def test_the_jackknife_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(3).normal(size=50)
    without = (values.sum() - values) / 49
    low, high = scores.jackknife_interval(values.mean(), without, (-9.0, 9.0))
    error = values.std(ddof=1) / np.sqrt(50)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=1e-4
    )
    assert scores.jackknife_interval(0.5, without[:1], (0.0, 1.0)) == (0.0, 1.0)
    assert scores.jackknife_interval(0.99, np.array([0.0, 1.0]), (0.0, 1.0))[1] == 1.0


def test_distinct_counts_words_and_pairs_whatever_their_case():
    said = ["I am so so sorry.", "i AM here"]
    assert scores.distinct(said, 1) == pytest.approx(6 / 9)  # i am so sorry . here
    assert scores.distinct(said, 2) == pytest.approx(6 / 7)
    assert scores.distinct([""], 2) == scores.distinct([], 1) == 0.0
    assert scores.mean_words(said) == 4.0 and scores.mean_words([]) == 0.0


@pytest.mark.parametrize("n", [2, 3, 64])
def test_shuffling_leaves_nothing_in_its_place_and_uses_everything_once(n):
    ids = [f"id{i}" for i in range(n)]
    moved = scores.derangement(ids, 0)
    assert sorted(moved) == list(range(n)) and all(to != i for i, to in enumerate(moved))
    assert n < 9 or moved != scores.derangement(ids, 1)
    other = scores.derangement(list(reversed(ids)), 0)
    assert [ids[::-1][to] for to in other][::-1] == [ids[to] for to in moved], (
        "whatever the order they come in"
    )


def test_bleu_is_sacrebleus_or_none():
    found = scores.bleu(["the cat sat on the mat today"], ["the cat sat on the mat today"])
    if importlib.util.find_spec("sacrebleu") is None:
        assert found is None
    else:
        assert found == pytest.approx(100.0)
