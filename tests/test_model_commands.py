"""The commands about language models: what they print, write and refuse."""

from __future__ import annotations

import json

import pytest

from empathy_gym.cli import main

ENGINE = "scripted:agreeable"
BENCH = ["bench", "--policy", "scripted:listener", "--limit", "2", "--max-turns", "2", "--simulator", "llm"]


def run(capsys, *argv):
    status = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def tape(capsys, tmp_path):
    """The tape of a small run."""
    path = tmp_path / "t.sqlite"
    config = json.dumps({"engine": ENGINE, "tape": str(path), "tape_mode": "record"})
    status, *_ = run(capsys, *BENCH, "--simulator-config", config, "--out", tmp_path / "live")
    assert status == 0
    return path


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["tape", "stats", "nowhere.sqlite"], 2, "nowhere.sqlite"),
        (["tape", "stast", "x"], 2, "Did you mean 'stats'?"),
        (["tape", "prune", "nowhere.sqlite"], 2, "Nothing says what to prune"),
        (["tape", "prune", "x", "--unused-since", "yesterday"], 2, "--unused-since"),
        (["models", "fetch", "smolm2"], 2, "Did you mean 'smollm2'?"),
        (["models", "fetch", "smollm2", "--source", "hup"], 2, "Did you mean 'hub'?"),
        (["simulators", "check", "{engine: 'scripted:agreable'}"], 2, "Did you mean 'agreeable'?"),
        (["simulators", "check", "{enginee: x}"], 2, "Did you mean 'engine'?"),
        (["simulators", "check", "{engine: ["], 2, "not a mapping"),
        (["simulators", "check", "{perceiver: direct, engine: 'scripted:agreeable'}"], 2, "no levels"),
        (["rescore-variance"], 2, "No engine"),
        (["rescore-variance", "--engine", ENGINE, "--method", "drect", "--limit", "1"], 2, "drect"),
        (["throughput", "--engine", "scriptd:agreeable"], 2, "Did you mean 'scripted'?"),
        ([*BENCH], 2, "needs an engine"),
        ([*BENCH, "--dry-run"], 2, "needs an engine"),
        ([*BENCH, "--simulator-config", "no.yaml"], 2, "no.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(capsys, tmp_path, monkeypatch, argv, status, message):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(capsys, *argv)
    assert (got, out) == (status, "")
    lines = [line for line in err.splitlines() if not line.endswith(("replies", "..."))]
    assert message in err and len(lines) == 1 and lines[0].startswith("Error: ") and "Traceback" not in err


def test_a_tape_says_what_it_holds_and_can_be_exported_and_pruned(capsys, tmp_path, tape):
    status, out, _ = run(capsys, "tape", "stats", tape, "--json")
    held = json.loads(out)["replies"]
    assert status == 0 and held > 0
    assert f"{held} replies" in run(capsys, "tape", "stats", tape)[1]
    lines = tmp_path / "t.jsonl"
    assert run(capsys, "tape", "export", tape, "--out", lines)[0] == 0
    assert len(lines.read_text().splitlines()) == held
    counted = run(capsys, "tape", "prune", tape, "--model", ENGINE, "--dry-run")[1]
    assert counted.startswith(f"{held} replies would be taken")
    assert run(capsys, "tape", "prune", tape, "--unused-since", "2020-01-01")[1].startswith("0 replies taken")
    assert run(capsys, "tape", "prune", tape, "--model", ENGINE)[1].startswith(f"{held} replies taken")
    assert json.loads(run(capsys, "tape", "stats", tape, "--json")[1])["replies"] == 0


def test_a_bench_is_replayed_and_verified_from_the_command_line(capsys, tmp_path, tape):
    config = json.dumps({"tape": str(tape), "tape_mode": "replay"})
    status, out, err = run(capsys, *BENCH, "--simulator-config", config, "--out", tmp_path / "again")
    assert status == 0 and "not ranked: unqualified" in out and "nothing is ranked" in out
    assert "determinism: replay" in out and "from the tape, 0 failed" in err
    live, again = ((tmp_path / name / "episodes.jsonl").read_bytes() for name in ("live", "again"))
    assert live == again
    status, out, _ = run(capsys, "verify", tmp_path / "again", "--perceive", "--simulator-config", config)
    assert status == 0 and "2 of 2 episodes match" in out and "Read afresh" in out
    status, _, err = run(capsys, "verify", tmp_path / "again", "--simulator-config", config)
    assert status == 2 and "--perceive" in err


def test_a_report_that_passes_lets_the_rows_be_ranked(capsys, tmp_path, tape):
    report = tmp_path / "report.json"
    config = json.dumps({"engine": ENGINE})
    argv = ["--limit", "10", "--turns", "1", "--conversations", "2", "--out", report]
    status, out, _ = run(capsys, "simulators", "check", config, *argv)
    assert status == 0 and "unqualified: kappa" in out
    replay = json.dumps({"tape": str(tape), "tape_mode": "replay"})
    bench = [*BENCH, "--simulator-config", replay, "--qualification", report]
    assert "not ranked: unqualified" in run(capsys, *bench, "--out", tmp_path / "a")[1]
    passed = json.loads(report.read_text())
    assert passed["qualified"] is False
    report.write_text(json.dumps({**passed, "qualified": True}))
    out = run(capsys, *bench, "--out", tmp_path / "b")[1]
    assert "not ranked" not in out
    row = json.loads((tmp_path / "b" / "summary.json").read_text())[0]
    assert (row["qualification"], row["rank"]) == ("qualified", 1)
    assert run(capsys, "verify", tmp_path / "b")[0] == 0
    report.write_text("{}")
    assert run(capsys, *bench, "--out", tmp_path / "c")[0] == 1


def test_an_estimate_asks_nobody_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = json.dumps({"engine": "vllm:/no/such/folder"})
    policies = [
        "--policy",
        "openai:m@http://127.0.0.1:9/v1",
        "--price-prompt",
        "1",
        "--price-completion",
        "2",
    ]
    argv = [*BENCH, "--simulator-config", config, *policies, "--dry-run"]
    status, out, err = run(capsys, *argv, "--json")
    found = json.loads(out)
    assert status == 0 and err == "" and not list(tmp_path.iterdir())
    assert found["episodes"] == 4 and found["requests"] == {"perceiver": 8, "speaker": 8, "policy": 4}
    assert all(cost > 0 for cost in found["cost"].values())
    assert "policy" in run(capsys, *argv)[1]


def test_an_estimate_without_a_model_is_of_nothing(capsys, tmp_path):
    argv = ["bench", "--policy", "scripted:echo", "--limit", "2", "--dry-run", "--json"]
    assert json.loads(run(capsys, *argv)[1])["requests"] == {}


def test_scores_again_are_printed_and_written(capsys, tmp_path):
    out_file = tmp_path / "rows.json"
    argv = ["--engine", ENGINE, "--limit", "1", "--turns", "1", "--method", "compact", "--method", "embedded"]
    status, out, _ = run(capsys, "rescore-variance", *argv, "--batch", "1", "--batch", "2", "--out", out_file)
    assert status == 0 and "compact" in out and "raised by an instruction" in out
    assert [row["method"] for row in json.loads(out_file.read_text())] == ["compact", "embedded"]


def test_the_speed_of_a_user_on_a_script_and_on_a_model(capsys):
    argv = ["throughput", "--engine", ENGINE, "--users", "4", "--json"]
    found = json.loads(run(capsys, *argv, "--seconds", "0.1")[1])
    assert found["turns_per_second"] > 0 and found["tape_replay_turns_per_second"] > 0
    found = json.loads(run(capsys, *argv, "--turns", "2", "--alone", "2")[1])
    assert found["turns"] <= 8 and found["requests"] >= 2 * found["turns"] - 4
    assert found["alone_users"] == 2 and found["ratio"] > 0 and found["seconds"] > found["inside"] > 0
