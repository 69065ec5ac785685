"""What the rule rewards: knowing the need, not a formula."""

from __future__ import annotations

import itertools

import pytest

from empathy_gym.benchmarks.rule_analysis import (
    TARGETS,
    Analysis,
    abstract_scenario,
    analyse,
    best_value,
    blind_values,
    catalogue,
    constant_values,
    greedy_value,
    mean,
    sequence_value,
)
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import DIFFICULTIES, NEEDS

RULE = TableRule()
TURNS = 8


@pytest.mark.parametrize("need", NEEDS)
def test_whoever_knows_the_need_gets_far_at_the_hardest(need: str) -> None:
    scenario = abstract_scenario(need, "hard")
    assert best_value(RULE, scenario, TURNS, width=3) >= TARGETS["best"]


def test_no_formula_gets_far_at_the_easiest() -> None:
    scenarios = [abstract_scenario(need, "easy") for need in NEEDS]
    constant = constant_values(RULE, scenarios, TURNS)
    assert sum(constant) / len(NEEDS) <= TARGETS["constant"]
    blind = blind_values(RULE, scenarios, TURNS, width=1)
    assert sum(blind) / len(NEEDS) <= TARGETS["blind"]


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_the_full_analysis_meets_its_targets(difficulty: str) -> None:
    rows = analyse(RULE, difficulty)
    assert [row.need for row in rows] == list(NEEDS)
    assert all(row.best >= TARGETS["best"] for row in rows)
    assert mean(rows, "best") >= TARGETS["best"]
    assert mean(rows, "blind") <= TARGETS["blind"]
    assert mean(rows, "constant") <= TARGETS["constant"]


def test_the_best_is_no_worse_than_greed_or_any_fixed_sequence() -> None:
    scenario = abstract_scenario("venting", "normal")
    best = best_value(RULE, scenario, TURNS, width=8)
    assert best >= greedy_value(RULE, scenario, TURNS)
    for reply in catalogue()[::20]:
        assert best >= sequence_value(RULE, scenario, itertools.repeat(reply), TURNS)


def test_one_need_alone_makes_the_blind_search_an_informed_one() -> None:
    scenario = abstract_scenario("praise", "normal")
    (blind,) = blind_values(RULE, [scenario], 3, width=4)
    assert blind <= best_value(RULE, scenario, 3, width=40)
    assert blind >= sequence_value(RULE, scenario, [catalogue()[0]] * 3, 3)


def test_a_sequence_of_nothing_earns_nothing() -> None:
    scenario = abstract_scenario("advice", "normal")
    assert sequence_value(RULE, scenario, [Appraisal()] * TURNS, TURNS) < scenario.initial_emotion
    assert sequence_value(RULE, scenario, [], TURNS) == scenario.initial_emotion


def test_the_myopia_gap_is_what_greed_loses() -> None:
    row = Analysis(need="advice", difficulty="easy", best=90, greedy=70, blind=40, constant=20)
    assert row.myopia_gap == 20
    assert mean([row, row], "greedy") == 70


def test_the_catalogue_holds_flattery_and_every_kind_of_move() -> None:
    replies = catalogue()
    assert len(set(replies)) == len(replies)
    for field in ("feeling", "warmth", "exploration", "insight", "advice", "affirmation"):
        assert any(getattr(reply, field) == 2 for reply in replies)
    assert {reply.stance for reply in replies} == {-2, 0, 1, 2}
