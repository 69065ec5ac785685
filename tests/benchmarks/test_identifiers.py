"""``empathy-gym identifiers``: training, evaluation, mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from empathy_gym.benchmarks.identifiers import agreement, split, train_on_replies
from empathy_gym.cli import main
from empathy_gym.rewards.identifiers import MECHANISMS, EmpathyIdentifier

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("EMPATHY_GYM_DATA", ROOT.parent / "shared" / "data")) / "epitome"
LINES = {
    "er": ("You should go.", "It will be fine, hang in there.", "I'm so sorry, I feel sad for you."),
    "ip": ("Try to sleep.", "I know the feeling.", "You must feel so lonely after that."),
    "ex": ("Call them.", "What happened?", "Are you lonely at your new school?"),
}


@pytest.fixture
def files(tmp_path):
    """Write three small files, and return the options that name them."""
    options = []
    for name, lines in LINES.items():
        rows = [f'p{i // 2},r{i},post {i // 2},"{lines[i % 3]} {i}",{i % 3},' for i in range(30)]
        path = tmp_path / f"{name}.csv"
        path.write_text(
            "\n".join(["sp_id,rp_id,seeker_post,response_post,level,rationales", *rows, ""]), "utf-8"
        )
        options += [f"--{name}", str(path)]
    return options


def run(capsys, *argv):
    status = main(["identifiers", *map(str, argv)])
    out, err = capsys.readouterr()
    return status, out, err


def checked(text):
    """Return evaluated figures, after a check of their form."""
    result = json.loads(text)
    assert set(result) == {*MECHANISMS, "pairs_per_second"}
    for name in MECHANISMS:
        for row in (result[name], result[name]["majority"], result[name]["baseline"]):
            for key in ("accuracy", "macro_f1"):
                low, high = row[f"{key}_ci95"]
                assert 0 <= low <= row[key] <= high <= 1
    assert result["pairs_per_second"] > 0
    return result


def test_what_is_trained_on_files_reads_them_again(capsys, files, tmp_path):
    status, out, _ = run(capsys, "train", *files, "--out", tmp_path / "w")
    assert status == 0 and "identifiers:" in out
    status, out, _ = run(capsys, "eval", *files, "--weights", tmp_path / "w", "--json")
    result = checked(out)
    assert status == 0 and all(result[name]["accuracy"] == 1.0 for name in MECHANISMS)
    assert result["ER"]["n"] == 30 and result["ER"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert "no licence" in EmpathyIdentifier(tmp_path / "w").heads.provenance["text"]


def test_folds_cross_validate_and_say_how_they_split(capsys, files):
    status, out, _ = run(capsys, "eval", *files, "--folds", "3", "--json")
    result = checked(out)
    assert status == 0 and result["IP"]["split_by"] == "sp_id" and result["IP"]["folds"] == 3
    assert all(result[name]["accuracy"] > 0.8 for name in MECHANISMS)


def test_without_weights_the_shipped_ones_are_evaluated_and_printed(capsys, files):
    status, out, _ = run(capsys, "eval", *files)
    assert status == 0 and EmpathyIdentifier().fingerprint in out
    assert "majority" in out and "same sp_id" in out and "pairs a second" in out


def test_training_on_replies_gives_the_same_weights_twice(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "situation: a\nreplies: [{text: so sorry, levels: {warmth: 2}}, {text: why, levels: {exploration: 1}}]\n"
    )
    one, two = (train_on_replies(tmp_path, composed=60) for _ in range(2))
    assert one.hash == two.hash and one.provenance["replies"] == 2 and one.provenance["composed"] == 60


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["eval"], "Missing --er, --ip, --ex"),
        (["train", "--out", "w", "--er", "FILE"], "Missing --ip, --ex"),
        (["train", "--er", "FILE", "--ip", "FILE", "--ex", "FILE"], "--out"),
        (["train", "--out", "w", "--replies", "x", "--er", "FILE"], "give one of them"),
        (["train", "--out", "w", "--replies", "nowhere"], "no labelled replies"),
        (["eval", "--weights", "w", "--folds", "3"], "give one of them"),
        (["eval", "--weights", "nowhere"], "no weights in"),
        (["eval", "--er", "none.csv", "--ip", "none.csv", "--ex", "none.csv"], "none.csv"),
        (["eval", "--folds", "1"], "--folds"),
        (["evl"], "Did you mean 'eval'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_wrong_level_names_file_and_row(capsys, files, tmp_path):
    path = tmp_path / "ip.csv"
    path.write_text(path.read_text("utf-8").replace(",2,\n", ",7,\n", 1), "utf-8")
    status, _, err = run(capsys, "eval", *files, "--json")
    assert status == 2 and "ip.csv', row 4: level is '7'" in err


def test_one_post_alone_cannot_be_split(capsys, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("seeker_post,response_post,level\na,b,0\na,c,2\n")
    options = ["--er", path, "--ip", path, "--ex", path]
    status, _, err = run(capsys, "eval", *options, "--folds", "5")
    assert status == 2 and "seeker_post" in err
    status, out, _ = run(capsys, "eval", *options, "--json")
    assert status == 0 and json.loads(out)["ER"]["baseline"] is None


def test_a_split_keeps_groups_together_and_parts_even():
    groups = [f"g{i % 17}" for i in range(100)]
    parts = split(groups, 5)
    assert all(len(set(parts[[g == name for g in groups]])) == 1 for name in set(groups))
    assert sorted(np.bincount([parts[groups.index(name)] for name in set(groups)])) == [3, 3, 3, 4, 4]


def test_agreement_is_accuracy_and_the_mean_of_f1_over_levels_that_occur():
    truth, read = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    found = agreement(truth, read, ["a", "b", "c", "d"])
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    both = agreement(np.array([0, 0]), np.array([0, 0]), ["a", "b"])
    assert (both["accuracy"], both["macro_f1"], both["macro_f1_ci95"]) == (1.0, 1.0, [1.0, 1.0])


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"EPITOME's files are not in {DATA} (EMPATHY_GYM_DATA)")
def test_the_shipped_weights_agree_with_epitomes_annotators_better_than_chance(capsys):
    names = {"er": "emotional-reactions", "ip": "interpretations", "ex": "explorations"}
    options = [part for key, name in names.items() for part in (f"--{key}", DATA / f"{name}.csv")]
    status, out, _ = run(capsys, "eval", *options, "--json")
    result = checked(out)
    assert status == 0
    for name in MECHANISMS:
        own, majority = result[name], result[name]["majority"]
        assert own["macro_f1_ci95"][0] > majority["macro_f1"] + 0.10
        assert own["accuracy_ci95"][0] > majority["accuracy"]
