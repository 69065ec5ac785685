"""What is printed, and what is measured."""

from __future__ import annotations

import dataclasses
import importlib.util
import io

import pytest
from rich.console import Console

from empathy_gym.benchmarks.rule_analysis import Analysis
from empathy_gym.benchmarks.summary import Score, rows_of
from empathy_gym.benchmarks.tables import analysis_table, bench_table, missed_targets
from empathy_gym.benchmarks.throughput import measure, varied_replies

SCORE = Score("p", "s0", 0, 50, "timeout", True, 8, 0.1, False, "rule", "exact")


def scores(policy, emotions, faults=0, **fields):
    found = [
        dataclasses.replace(SCORE, policy=policy, scenario=f"s{i}", emotion=emotion, **fields)
        for i, emotion in enumerate(emotions)
    ]
    for i in range(faults):
        found[i] = dataclasses.replace(found[i], outcome="fault", scored=False)
    return found


def printed(table):
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()


def table_of(*groups):
    rows = rows_of(score for group in groups for score in group)
    return rows, printed(bench_table(rows, title="T", scoring="rule (x)", determinism="exact"))


def test_rows_are_sorted_by_mean_and_ranked():
    rows, text = table_of(scores("low", [10, 20]), scores("high", [80, 90]), scores("mid", [50, 50]))
    assert [(row.policy, row.rank) for row in rows] == [("high", 1), ("mid", 2), ("low", 3)]
    assert text.index("high") < text.index("mid") < text.index("low")


def test_two_percent_of_faults_are_ranked_and_more_are_not():
    rows, text = table_of(scores("some", [50] * 100, faults=2), scores("many", [90] * 100, faults=3))
    assert [(row.policy, row.rank, row.faults) for row in rows] == [("some", 1, 2), ("many", None, 3)]
    assert "not ranked: faults above 2%" in text and "faults at 0" in text


def test_the_bound_counts_faults_as_zero_and_the_mean_leaves_them_out():
    rows, text = table_of(scores("p", [50] * 100, faults=2))
    assert rows[0].mean_final_emotion == 50 and rows[0].mean_with_faults_at_zero == 49
    assert "49.0" in text


def test_a_row_of_faults_only_has_no_mean():
    rows, _ = table_of(scores("p", [50] * 3, faults=3))
    assert rows[0].mean_final_emotion is None and rows[0].ci95 is None and rows[0].rank is None
    assert rows[0].to_json()["mean_with_faults_at_zero"] == 0


def test_privileged_rows_are_marked_and_come_last():
    rows, text = table_of(scores("oracle", [99, 99], privileged=True), scores("p", [5, 5]))
    assert [row.rank for row in rows] == [1, None] and "not ranked: privileged" in text


def test_no_column_of_faults_at_zero_where_there_are_none():
    assert "faults at 0" not in table_of(scores("p", [50]))[1]


def test_the_caption_names_scoring_and_grade():
    text = table_of(scores("p", [50]))[1]
    assert "Scored by rule (x)" in text and "determinism: exact" in text


def test_a_policys_name_is_not_read_as_markup():
    assert "[red]evil[/red]" in table_of(scores("[red]evil[/red]", [50]))[1]


def test_a_missed_target_of_the_rule_is_named():
    good = [Analysis("praise", "easy", best=90, greedy=80, blind=50, constant=30)]
    assert missed_targets(good) == [] and "10" in printed(analysis_table(good))
    bad = [Analysis("praise", "easy", best=80, greedy=80, blind=61, constant=46)]
    assert [line.split(" is ")[0] for line in missed_targets(bad)] == [
        "easy: best",
        "easy: blind",
        "easy: constant",
    ]


def test_replies_for_measuring_are_varied_and_of_one_length():
    replies = varied_replies(500)
    assert len(set(replies)) == 500 and all(180 <= len(reply) <= 200 for reply in replies)
    assert replies == varied_replies(500)


@pytest.mark.slow
def test_a_measurement_has_its_keys():
    measured = measure(seconds=0.2)
    for key in ("vector_turns_per_second", "single_turns_per_second", "peak_memory_mb", "import_seconds"):
        assert measured[key] > 0
    installed = importlib.util.find_spec("moodsona") is not None
    assert (measured["moodsona_turns_per_second"] is not None) == installed
