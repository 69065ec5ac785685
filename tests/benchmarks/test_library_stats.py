"""Counts of the bundled users, and the measure of what goes together."""

from __future__ import annotations

import pytest

from empathy_gym.benchmarks.library_stats import (
    cramers_v,
    library_stats,
    listener_lines,
    stats_tables,
    user_lines,
    variants,
)
from empathy_gym.simulators.library.compiler import (
    PARTS,
    SPLITS,
    bundled_situations,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.scenario import NEEDS, TRUTHS

STATS = library_stats()


def test_cramers_v_is_one_for_what_goes_together_and_none_for_what_does_not() -> None:
    together = [(i % 3, i % 3) for i in range(90)]
    apart = [(i % 3, i // 3 % 3) for i in range(90)]
    assert cramers_v(together) == pytest.approx(1) and cramers_v(apart) == pytest.approx(0)
    assert cramers_v(together, corrected=True) > 0.95
    assert cramers_v([(1, i) for i in range(9)]) == 0


def test_cramers_v_of_a_table_worked_out_by_hand() -> None:
    table = [("a", "x")] * 30 + [("a", "y")] * 10 + [("b", "x")] * 10 + [("b", "y")] * 30
    assert cramers_v(table) == pytest.approx(0.5)
    # phi squared 0.25 - 1/79, over 2 - 1/79 - 1
    assert cramers_v(table, corrected=True) == pytest.approx(((0.25 - 1 / 79) / (1 - 1 / 79)) ** 0.5)


def test_counts_add_up() -> None:
    total = sum(len(load_scenarios(part)) for part in PARTS)
    assert STATS["scenarios"] == total == sum(row for row in STATS["needs"].values())
    assert total == sum(STATS["temperaments"].values())
    assert STATS["situations"] == len(bundled_situations()) == sum(STATS["topics"].values())
    assert list(STATS["needs"]) == list(NEEDS) and list(STATS["truths"]) == list(TRUTHS)
    assert set(STATS["temperaments"]) == {t.id for t in load_temperaments()}
    assert list(STATS["splits"]) == list(SPLITS)
    assert STATS["splits"]["heldout-need"]["situations"] == STATS["splits"]["test"]["situations"]
    assert STATS["twins"] == 4 * STATS["situations_with_twins"]


def test_lines_of_twins_are_counted_and_listeners_lines_are_others() -> None:
    source = next(source for source in bundled_situations() if source.twins)
    for situation in variants(source):
        assert {fact.text for fact in situation.facts} <= user_lines(source)
        assert {claim.fair_readings[0] for claim in situation.claims} <= listener_lines(source)
    assert not user_lines(source) & listener_lines(source)


def test_two_in_five_users_have_a_claim_that_goes_live() -> None:
    assert 0.4 <= STATS["share_with_live_claims"] <= STATS["share_with_claims"] <= 1


def test_the_tables_show_every_figure() -> None:
    counts, splits, together = stats_tables(STATS)
    assert counts.row_count == len(STATS) - 2 and splits.row_count == len(SPLITS)
    assert together.row_count == len(STATS["cramers_v"])
