"""Agreement with labels: the figures, the training and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from empathy_gym.benchmarks.labelled import FIELDS, load_replies, second_labels
from empathy_gym.benchmarks.perceiver_training import leave_one_family_out, train_heads
from empathy_gym.benchmarks.perception import (
    evaluate,
    macro_f1,
    mean_kappa,
    score_field,
    swaps,
    weighted_kappa,
)
from empathy_gym.cli import main
from empathy_gym.simulators.embedded.learned import default_heads
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.errors import ConfigError


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


def test_macro_f1_and_kappa_are_those_of_the_definitions() -> None:
    assert macro_f1(array(0, 0, 1, 1), array(0, 1, 1, 1)) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert macro_f1(array(0, 1), array(0, 2)) == pytest.approx(1 / 2)
    labels, levels = array(0, 1, 2, 2), array(0, 2, 2, 0)
    chance = np.mean((labels[:, None] - levels[None, :]) ** 2)
    assert weighted_kappa(labels, levels) == pytest.approx(1 - (5 / 4) / chance)
    assert weighted_kappa(array(1, 1), array(1, 1)) is None


def test_swaps_are_counted_among_clear_stances() -> None:
    score = score_field("stance", [-2, -2, 2, 2, 0], [2, -2, 2, -2, -2], ["a", "b", "c", "d", "e"])
    assert swaps(score) == 0.5


def test_the_perceiver_is_better_than_the_most_frequent_label_in_every_field() -> None:
    scores = evaluate(EmbeddedPerceiver(), load_replies(split="test"))
    assert [score.field for score in scores] == list(FIELDS)
    for score in scores:
        assert score.macro_f1 > score.majority_f1 and score.low <= score.macro_f1 <= score.high, score.field
        assert score.kappa is not None and score.kappa > 0.3, score.field
    assert mean_kappa(scores) >= 0.6


def test_heads_cost_next_to_nothing_where_there_is_no_harm() -> None:
    replies = load_replies(split="test")
    learned, structure = (
        mean_kappa(evaluate(EmbeddedPerceiver(learned=on), replies)) for on in (True, False)
    )
    assert learned >= structure - 0.005


def test_labels_agree_with_second_ones_in_every_field() -> None:
    pairs = second_labels()
    assert len(pairs) >= 300
    for name in FIELDS:
        first, second = (
            [one[name] for one in side] for side in ([r.levels for r, _ in pairs], [s for _, s in pairs])
        )
        kappa = weighted_kappa(array(*first), array(*second))
        assert kappa is not None and kappa >= 0.6, name


def test_the_packaged_weights_are_what_the_command_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "heads.npz"
    assert main(["perceiver", "train", "--out", str(file)]) == 0
    assert "replies" in capsys.readouterr().out
    fresh = train_heads()
    assert fresh.heads.provenance == default_heads().heads.provenance
    requests = [reply.request for reply in load_replies(split="test")]
    assert EmbeddedPerceiver(heads=fresh).perceive(requests) == EmbeddedPerceiver().perceive(requests)


def test_nothing_is_trained_on_test() -> None:
    with pytest.raises(ConfigError, match="not trained on 'test'"):
        train_heads(splits=("train", "test"))


@pytest.mark.slow
def test_a_family_left_out_is_seen_no_less_than_by_structure() -> None:
    for score in leave_one_family_out():
        assert score.n >= 5 and score.without >= score.structure and score.alarms <= 0.05


def test_the_commands_print_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perceiver", "eval", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(FIELDS)
    assert main(["perceiver", "eval", "--structure"]) == 0
    assert "opposite" in capsys.readouterr().out
    assert main(["perceiver", "agreement"]) == 0
    assert "labelled twice" in capsys.readouterr().out
    assert main(["perceiver", "eval", "--replies", "/nowhere"]) == 2
