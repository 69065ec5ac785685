"""The command line: a mistake is one line and a status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import empathy_gym
from empathy_gym.cli import app, main

BENCH = ["bench", "--policy", "scripted:echo", "--limit", "2"]


def run(capsys, *argv):
    """Return status, standard output and standard error of a command."""
    status = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["bnch"], "Did you mean 'bench'?"),
        ([*BENCH, "--splt", "test"], "Did you mean '--split'?"),
        ([*BENCH, "--split", "tset"], "Did you mean 'test'?"),
        ([*BENCH, "--env", "EmpathyChat-v9"], "Did you mean 'EmpathyChat-v0'?"),
        ([*BENCH, "--difficulty", "hrad"], "Did you mean 'hard'?"),
        ([*BENCH, "--policy", "scripted:listner"], "Did you mean 'listener'?"),
        ([*BENCH, "--policy", "no.such.module:attr"], "no.such.module:attr"),
        ([*BENCH, "--reward", "dlta"], "Did you mean 'delta'?"),
        ([*BENCH, "--think", "onn"], "Did you mean 'on'?"),
        ([*BENCH, "--simulator", "embeded"], "Did you mean 'embedded'?"),
        ([*BENCH, "--repeats", "many"], "--repeats"),
        ([*BENCH, "--repeats", "0"], "repeats is 0"),
        ([*BENCH, "--max-turns", "0"], "max_turns is 0"),
        ([*BENCH, "--initial-emotion", "101"], "initial_emotion is 101"),
        ([*BENCH, "--batch-size", "0"], "batch_size is 0"),
        ([*BENCH, "--split", "test", "--scenarios", "train"], "give one of them"),
        (["bench"], "No policy"),
        (["verify"], "Missing argument"),
        (["verify", "nowhere.jsonl"], "no file 'nowhere.jsonl'"),
        (["play", "--split", "tran"], "Did you mean 'train'?"),
        (["play", "--scenario", "nobody"], "Unknown scenario 'nobody'"),
        (["play", "--difficulty", "esay"], "Did you mean 'easy'?"),
        (["scenarios", "show", "nobody"], "Unknown scenario 'nobody'"),
        (["scenarios", "list", "--split", "tets"], "Did you mean 'test'?"),
        (["scenarios", "list", "--need", "prais"], "Did you mean 'praise'?"),
        (["rule", "shwo"], "Did you mean 'show'?"),
        (["rule", "analyse", "--difficulty", "nrmal"], "Did you mean 'normal'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *argv, *(["--out", "o"] if argv[0] == "bench" else []))
    assert status == 2 and out == ""
    assert message in err and err.count("\n") == 1 and err.startswith("Error: ") and "Traceback" not in err


def test_errors_have_their_status_under_typers_own_runner_too():
    result = CliRunner().invoke(app, [*BENCH, "--difficulty", "hrad"])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)


def test_help_and_version(capsys):
    for argv in ([], ["--help"]):
        status, out, _ = run(capsys, *argv)
        assert status == 0
        for command in ("bench", "verify", "play", "demo", "throughput", "scenarios", "rule"):
            assert command in out
    assert run(capsys, "--version")[1] == f"empathy-gym {empathy_gym.__version__}\n"


def test_bench_prints_a_table_and_verify_passes_it(capsys, tmp_path):
    status, out, _ = run(capsys, *BENCH, "--policy", "scripted:oracle", "--out", tmp_path / "o")
    assert status == 0 and "scripted:echo" in out and "not ranked: privileged" in out
    assert "Scored by rule" in out and "determinism: exact" in out and "95 %" in out
    status, out, _ = run(capsys, "verify", tmp_path / "o", "--perceive")
    assert status == 0 and "4 of 4 episodes match their rule" in out and "Read afresh" in out


def test_bench_json_is_the_summary(capsys, tmp_path):
    status, out, err = run(capsys, *BENCH, "--out", tmp_path / "o", "--json", "--quiet")
    assert status == 0 and err == ""
    assert json.loads(out) == json.loads((tmp_path / "o" / "summary.json").read_text())


def test_another_run_into_a_folder_is_refused_in_one_line_and_overwrites_on_request(capsys, tmp_path):
    assert run(capsys, *BENCH, "--out", tmp_path / "o")[0] == 0
    status, _, err = run(capsys, *BENCH, "--seed", 1, "--out", tmp_path / "o")
    assert status == 2 and "config.seed" in err and err.count("\n") == 1
    assert run(capsys, *BENCH, "--seed", 1, "--out", tmp_path / "o", "--overwrite")[0] == 0


def test_verify_names_what_does_not_match_with_status_1(capsys, tmp_path):
    run(capsys, *BENCH, "--out", tmp_path)
    file = tmp_path / "episodes.jsonl"
    record = json.loads(file.read_text().splitlines()[0])
    record["turns"][0]["emotion"] += 5
    file.write_text(json.dumps(record) + "\n{torn")
    status, out, _ = run(capsys, "verify", file)
    assert status == 1 and "0 of 1 episodes match" in out
    assert "episodes.jsonl:1: " in out and "turn 1, emotion: recorded" in out and "episodes.jsonl:2: " in out
    status, out, _ = run(capsys, "verify", file, "--json")
    assert status == 1 and json.loads(out)["ok"] is False


def test_verify_of_an_empty_file_says_so_with_status_1(capsys, tmp_path):
    (tmp_path / "e.jsonl").touch()
    status, out, _ = run(capsys, "verify", tmp_path / "e.jsonl")
    assert status == 1 and "is empty" in out


def test_scenarios_are_listed_shown_and_validated(capsys, tmp_path):
    status, out, _ = run(capsys, "scenarios", "list", "--split", "test", "--json")
    listed = json.loads(out)
    assert status == 0 and {entry["split"] for entry in listed} == {"test"}
    status, out, _ = run(capsys, "scenarios", "show", listed[0]["id"])
    assert status == 0 and f"Needs: {listed[0]['need']}" in out and "Facts, layer 3" in out
    _, out, _ = run(capsys, "scenarios", "show", listed[0]["id"], "--json")
    good = tmp_path / "good.jsonl"
    good.write_text(json.dumps(json.loads(out)) + "\n")
    assert run(capsys, "scenarios", "validate", good)[0] == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema_version: 1\nslug: [\n")
    status, out, err = run(capsys, "scenarios", "validate", good, bad)
    assert status == 1 and "good.jsonl: 1 scenarios, valid" in out and f"{bad}:" in err


def test_scenarios_are_counted(capsys):
    status, out, _ = run(capsys, "scenarios", "stats", "--json")
    stats = json.loads(out)
    assert status == 0 and stats["scenarios"] == sum(stats["needs"].values())
    status, out, _ = run(capsys, "scenarios", "stats")
    assert status == 0 and "heldout-temperament" in out and "fault ~ culture" in out
    assert f"{stats['scenarios']:,}" in out


def test_the_rule_is_shown_readably_and_as_json(capsys):
    status, out, _ = run(capsys, "rule", "show")
    assert status == 0 and "fair_fault" in out and "ceilings" in out
    _, out, _ = run(capsys, "rule", "show", "--json")
    assert json.loads(out)["needs"]["praise"]["weights"]["affirmation"] == 2


def test_rule_analyse_fails_where_a_target_is_missed(capsys, monkeypatch):
    from empathy_gym.benchmarks import rule_analysis

    def analyse(rule, difficulty):
        return [rule_analysis.Analysis("praise", difficulty, best=best, greedy=70, blind=50, constant=30)]

    monkeypatch.setattr(rule_analysis, "analyse", analyse)
    best = 90
    status, out, _ = run(capsys, "rule", "analyse", "--json")
    assert status == 0 and set(json.loads(out)["difficulties"]) == {"easy", "normal", "hard"}
    best = 83
    status, out, err = run(capsys, "rule", "analyse", "--difficulty", "hard")
    assert status == 1 and "target missed: hard: best is 83.0" in err and "myopia gap" in out


def test_play_ends_with_its_input(capsys, monkeypatch):
    lines = iter(["That sounds exhausting.", "/why", "/quit"])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    status, out, _ = run(capsys, "play", "--seed", "3")
    assert status == 0 and "turn 1/8" in out and "Change" in out and "Goodbye." in out


def subprocess_of(*argv, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize("module", [["empathy_gym", "bench"], ["empathy_gym.benchmarks.run"]])
def test_both_ways_of_starting_a_bench_are_the_same(tmp_path, module):
    process = subprocess_of(*module, *BENCH[1:], "--out", str(tmp_path), "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and json.loads(out)[0]["policy"] == "scripted:echo"
    process = subprocess_of(*module, *BENCH[1:], "--split", "tset", "--out", str(tmp_path))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and err.count("\n") == 1 and "Did you mean 'test'?" in err


def test_two_processes_with_different_hash_seeds_leave_the_same_bytes(tmp_path):
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        process = subprocess_of(
            "empathy_gym",
            *BENCH,
            "--policy",
            "scripted:listener",
            "--out",
            str(tmp_path / seed),
            env=environment,
        )
        process.communicate(timeout=120)
        assert process.returncode == 0
    for name in ("episodes.jsonl", "summary.json", "manifest.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_verify_takes_scenarios_that_are_not_bundled(capsys, tmp_path):
    from empathy_gym.simulators.library.compiler import load_scenarios

    data = load_scenarios("test")[0].model_dump(mode="json")
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({**data, "id": "", "goal": "Something else."}) + "\n")
    assert run(capsys, *BENCH, "--scenarios", own, "--out", tmp_path / "o")[0] == 0
    status, out, _ = run(capsys, "verify", tmp_path / "o")
    assert status == 1 and "give the file it is from with --scenarios" in out
    assert run(capsys, "verify", tmp_path / "o", "--scenarios", own, "--perceive")[0] == 0


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path):
    (tmp_path / "slow_policy.py").write_text(
        "import time\n"
        "class Slow:\n"
        "    def act(self, conversations):\n"
        "        open('acting', 'w').close()\n"
        "        time.sleep(0.05)\n"
        "        return ['Hm.' for _ in conversations]\n"
    )
    command = [
        "empathy_gym",
        "bench",
        "--policy",
        "scripted:empty",
        "--policy",
        "slow_policy:Slow",
        "--out",
        "o",
    ]
    command += ["--batch-size", "2", "--limit", "20"]
    place = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path)}}
    # A shell's background jobs are started with the signal ignored, and so would be what they start.
    process = subprocess_of(
        *command, **place, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    limit = time.monotonic() + 60
    while not (tmp_path / "acting").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "of 40 episodes are in o. Run the same command again" in err
    assert "Traceback" not in err
    there = (tmp_path / "o" / "episodes.jsonl").read_bytes()
    assert there.count(b"\n") >= 20
    again = subprocess_of(*command, **place)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0 and "Continuing o: " in err
    assert there.splitlines()[0] in (tmp_path / "o" / "episodes.jsonl").read_bytes()


def test_starting_the_command_imports_no_model_library():
    heavy = "'torch', 'transformers', 'httpx', 'moodsona'"
    code = f"import sys, empathy_gym.cli; print([m for m in ({heavy}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
