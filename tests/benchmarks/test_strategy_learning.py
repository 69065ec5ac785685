"""The search for a fixed sequence, and the table of what learning is worth; without Stable-Baselines3."""

from __future__ import annotations

import json

import numpy as np
import pytest

from empathy_gym.agents import load_policy
from empathy_gym.benchmarks.open_loop import LENGTH, search
from empathy_gym.benchmarks.strategy_learning import (
    Played,
    TableConfig,
    best_of,
    comparisons,
    markdown,
    paired,
    run_table,
)
from empathy_gym.benchmarks.strategy_play import evaluator
from empathy_gym.benchmarks.summary import Score
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios

SOME = {"scenarios": "validation"}
HIDDEN = (3, 1, 4, 1, 5, 2, 0, 6)


def matching(pairs):
    """A made task: the emotion is the share of places as in a hidden sequence, success takes four ends of 1."""
    return [
        (100.0 * sum(a == b for a, b in zip(s, HIDDEN, strict=True)) / LENGTH, s[4:] == (1, 1, 1, 1))
        for s, _ in pairs
    ]


def test_the_search_finds_more_than_the_best_draw_and_is_the_same_again():
    people = load_scenarios("validation")[:30]
    found = search(matching, people, range(7), searches=400, seed=1)
    assert found == search(matching, people, range(7), searches=400, seed=1)
    # Coordinate ascent solves a task without interactions.
    assert found[0].aim == "emotion" and found[0].sequence == HIDDEN and found[0].emotion == 100.0


def test_the_search_for_successes_takes_less_emotion_for_them():
    people = load_scenarios("validation")[:10]
    emotion, success = search(matching, people, (1, 2), searches=250, seed=1)
    assert emotion.success == 0.0 and success.success == 1.0 and success.emotion < emotion.emotion
    assert success.sequence[4:] == (1, 1, 1, 1) and success.sequence[1] == HIDDEN[1]


def score(person, emotion, outcome="timeout"):
    return Score("p", person, 0, emotion, outcome, True, 8, 0.0, False, "rule", "exact")


def row(name, emotions, success=0):
    runs = [
        [score(f"s{i}", e, "success" if i < success else "timeout") for i, e in enumerate(one)]
        for one in emotions
    ]
    return Played.of(name, runs)


def test_rows_are_compared_person_by_person_over_the_mean_of_seeds():
    learner = row("ppo", [[60, 70, 50], [80, 90, 70]], success=2)
    other = row("constant close", [[40, 50, 30]])
    assert learner.by_seed == ((60.0, 2 / 3), (80.0, 2 / 3))
    assert paired(learner, other, "emotions") == (30.0, 30.0, 30.0)
    mean, low, high = paired(learner, other, "successes")
    assert mean == pytest.approx(2 / 3) and low <= mean <= high


def test_the_constant_compared_with_is_the_best_of_its_kind():
    rows = [
        row("random", [[1, 2]]), row("constant a", [[40, 50]]), row("constant b", [[10, 10]], success=1),
        row("open loop", [[5, 5]]), row("ppo", [[90, 90]], success=2),
    ]  # fmt: skip
    assert best_of(rows, "constant").name == "constant a"
    assert best_of(rows, "constant", "successes").name == "constant b"
    others = {(c.other, c.what) for c in comparisons(rows) if c.kind == "constant"}
    assert others == {("constant a", "emotions"), ("constant b", "successes")}
    assert "; constant a) | " in markdown(rows) and "; constant b) |" in markdown(rows)


def test_the_markdown_has_a_line_for_every_row_and_comparison():
    rows = [
        row("random", [[1, 2]]),
        row("constant a", [[4, 5]]),
        row("open loop", [[5, 5]]),
        row("ppo", [[9, 9]]),
    ]
    lines = markdown(rows).splitlines()
    assert sum(line.startswith("| ppo |") for line in lines) == 1 + 3
    assert "| ppo | 9.0 | 9.0 to 9.0 | 0.0% | 0.0% to 0.0% |" in markdown(rows)


def config(**changes):
    given = {
        "steps": 1,
        "tuned_steps": 1,
        "seeds": "0",
        "only": None,
        "searches": 30,
        "split": "test",
        "limit": 2,
    }
    return TableConfig.of(**{**given, **changes})


def test_baselines_need_no_library_and_the_search_is_kept(tmp_path, monkeypatch):
    from empathy_gym.benchmarks import strategy_learning

    monkeypatch.setattr(strategy_learning, "LEARNERS", {})
    small = {"sequences": {"emotion": ["question", "reflection", "close"], "success": ["reflection"]}}
    (tmp_path / "open-loop-30.json").write_text(json.dumps(small))
    text = run_table(config(), tmp_path).read_text("utf-8")
    assert text.startswith("Tuned learners 1 steps; seeds 0; 30 random sequences")
    assert "open loop for emotion: question, reflection, close." in text
    assert sum(line.startswith("| constant ") for line in text.splitlines()) == 11
    written = json.loads((tmp_path / "table.json").read_text("ascii"))
    assert np.isfinite([r["emotion"] for r in written["rows"]]).all() and len(written["rows"]) == 14


@pytest.mark.parametrize(
    ("changes", "what"), [({"seeds": "0,x"}, "whole numbers"), ({"only": ["pp"]}, "Did you mean")]
)
def test_a_wrong_argument_is_one_clear_line(changes, what):
    with pytest.raises(ConfigError, match=what):
        config(**changes)


def test_an_evaluation_that_seeks_success_counts_it_beside_the_emotion():
    plain, seeking = evaluator(SOME, 40), evaluator(SOME, 40, seeks_success=True)
    policy = load_policy("strategy:reflection")
    one, other = plain(policy), seeking(policy)
    assert one["success"] == other["success"] > 0
    assert other["score"] == one["score"] + 100 * one["success"]
