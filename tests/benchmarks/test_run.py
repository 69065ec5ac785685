"""Running policies: what is written, that it is the same every time, and that nothing is lost."""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys

import pytest
from rich.console import Console

from empathy_gym import ConfigError, EmpathyGymError, RecordError
from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.benchmarks.runner import Bench, BenchConfig
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means
from empathy_gym.benchmarks.tables import bench_table
from empathy_gym.benchmarks.transcript import WITHHELD, transcripts
from empathy_gym.benchmarks.verify import verify
from empathy_gym.cli import main
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.records import read_records

COLUMNS = (
    "policy", "episodes", "mean_final_emotion", "ci95", "success_rate", "failure_rate", "mean_turns", "faults"
)  # fmt: skip
PARTS = "empathy_bench_parts"


def records(folder):
    found = [record for _, record in read_records(folder / "episodes.jsonl")]
    assert not any(isinstance(record, RecordError) for record in found)
    return found


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_two_runs_leave_the_same_bytes(tmp_path, bench):
    for name in ("a", "b"):
        bench(tmp_path / name, "scripted:listener", "scripted:shuffled", repeats=2, seed=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {"episodes.jsonl", "summary.json", "manifest.json"}


def test_another_seed_leaves_other_episodes(tmp_path, bench):
    for seed in (0, 1):
        bench(tmp_path / str(seed), "scripted:listener", seed=seed)
    first, second = (records(tmp_path / name) for name in ("0", "1"))
    assert [r.opening for r in first] != [r.opening for r in second]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_results_do_not_depend_on_the_batch_size(tmp_path, bench, batch_size):
    bench(tmp_path / "all", "scripted:listener", "scripted:flattery", repeats=2)
    bench(tmp_path / "few", "scripted:listener", "scripted:flattery", repeats=2, batch_size=batch_size)
    assert contents(tmp_path / "all") == contents(tmp_path / "few")


def test_every_scenario_is_played_as_often_as_asked_and_seeds_are_paired(tmp_path, bench):
    bench(tmp_path, "scripted:listener", "scripted:apology", limit=4, repeats=3)
    played = records(tmp_path)
    ids = [scenario.id for scenario in load_scenarios("test")[:4]]
    for policy in ("scripted:listener", "scripted:apology"):
        mine = [r for r in played if r.policy == policy]
        assert [(r.scenario, r.seeds.repeat) for r in mine] == [(id_, n) for id_ in ids for n in range(3)]
    seeds = [
        {r.seeds.dialogue for r in played if (r.scenario, r.seeds.repeat) == (i, n)}
        for i in ids
        for n in range(3)
    ]
    assert all(len(group) == 1 for group in seeds)
    assert len(set.union(*seeds)) == 12


def test_the_summary_has_its_columns_and_follows_from_the_episodes(tmp_path, bench):
    bench(tmp_path, "scripted:listener", "scripted:one_line", repeats=2)
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert isinstance(rows, list) and [tuple(row)[: len(COLUMNS)] for row in rows] == [COLUMNS, COLUMNS]
    for row in rows:
        mine = [r for r in records(tmp_path) if r.policy == row["policy"]]
        means = cluster_means([r.final_emotion for r in mine], [r.scenario for r in mine])
        assert row["episodes"] == len(mine) == 10
        assert row["mean_final_emotion"] == pytest.approx(statistics.mean(r.final_emotion for r in mine))
        assert row["ci95"] == pytest.approx(list(bootstrap_interval(means)))
        assert row["success_rate"] == sum(r.outcome == "success" for r in mine) / 10
        assert row["failure_rate"] == sum(r.outcome == "failure" for r in mine) / 10
        assert row["mean_turns"] == pytest.approx(statistics.mean(len(r.turns) for r in mine))
        assert row["faults"] == 0


def test_the_manifest_says_what_the_run_was(tmp_path, bench):
    bench(tmp_path, "scripted:listener", seed=5, difficulty="hard")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    record = records(tmp_path)[0]
    assert manifest["config"]["policies"] == ["scripted:listener"]
    assert manifest["config"]["difficulty"] == record.difficulty == "hard"
    assert manifest["seed"] == 5 and manifest["scenario_count"] == 5 and manifest["episodes"] == 5
    assert manifest["rule_hash"] == record.rule_hash and manifest["fingerprint"] == record.fingerprint
    assert manifest["instruction_hashes"] == {"en": record.instruction_hash}
    assert manifest["scored_by"] == "rule" and manifest["determinism"] == "exact"
    assert len(manifest["library_hash"]) == 64 and manifest["numpy"] and manifest["python"]


# -- going on --------------------------------------------------------------------------------------------


def test_a_run_that_was_cut_in_mid_line_goes_on_and_ends_with_the_same_bytes(tmp_path, bench):
    bench(tmp_path / "whole", "scripted:listener", "scripted:echo")
    bench(tmp_path / "cut", "scripted:listener", "scripted:echo")
    file = tmp_path / "cut" / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:6]) + lines[6][:100])
    (tmp_path / "cut" / "summary.json").unlink()
    notices = []
    bench(tmp_path / "cut", "scripted:listener", "scripted:echo", notice=notices.append)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")
    assert "episodes.jsonl:7: a torn line of 100 bytes" in notices[0]
    assert "6 of 10 episodes are there" in notices[1]


def test_episodes_that_were_lost_anywhere_are_played_again(tmp_path, bench):
    bench(tmp_path / "whole", "scripted:listener")
    bench(tmp_path / "gap", "scripted:listener")
    file = tmp_path / "gap" / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[4] + lines[1])
    bench(tmp_path / "gap", "scripted:listener")
    assert contents(tmp_path / "whole") == contents(tmp_path / "gap")


def test_nothing_that_ended_before_ctrl_c_is_lost(tmp_path, bench, parts):
    policies = ("scripted:empty", f"{PARTS}:Interrupting")
    parts.countdown[0] = 2
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path / "cut", *policies)
    assert len(records(tmp_path / "cut")) == 5
    bench(tmp_path / "cut", *policies)
    bench(tmp_path / "whole", *policies)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_a_finished_run_is_not_played_again(tmp_path, bench, parts):
    bench(tmp_path, f"{PARTS}:Spy")
    parts.reset()
    rows = bench(tmp_path, f"{PARTS}:Spy")
    assert parts.seen == [] and rows[0].episodes == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "config.seed"),
        ({"repeats": 2}, "config.repeats"),
        ({"difficulty": "easy"}, "config.difficulty"),
    ],
)
def test_another_run_into_the_same_folder_is_refused_naming_what_differs(tmp_path, bench, change, named):
    bench(tmp_path, "scripted:echo", limit=2)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=named):
        bench(tmp_path, "scripted:echo", limit=2, **change)
    assert contents(tmp_path) == before
    bench(tmp_path, "scripted:echo", limit=2, overwrite=True, **change)


def test_a_damaged_line_in_the_middle_stops_a_run_and_is_named(tmp_path, bench):
    bench(tmp_path, "scripted:echo")
    file = tmp_path / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"{broken\n" + b"".join(lines[2:]))
    with pytest.raises(RecordError, match=r"episodes.jsonl:2"):
        bench(tmp_path, "scripted:echo")


def test_a_folder_that_is_a_file_is_refused(tmp_path, bench):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        bench(tmp_path / "file", "scripted:echo")
    assert (tmp_path / "file").read_text() == "mine"


# -- policies --------------------------------------------------------------------------------------------


def test_a_policy_sees_messages_and_turn_and_nothing_that_would_tell_the_score(tmp_path, bench, parts):
    bench(tmp_path, f"{PARTS}:Spy", seed=11)
    played = {record.scenario: record for record in records(tmp_path)}
    secrets = {str(value) for r in played.values() for value in (r.scenario, r.seeds.dialogue)}
    for conversation in parts.seen:
        assert not hasattr(conversation, "emotion") and not hasattr(conversation, "scenario")
        text = repr(conversation)
        assert not any(secret in text for secret in secrets)

    assert b"tampered" not in (tmp_path / "episodes.jsonl").read_bytes()


def test_keys_are_unique_per_episode_and_begin_and_end_frame_them(tmp_path, bench, parts):
    bench(tmp_path, f"{PARTS}:Spy", repeats=2, batch_size=3)
    begun = [key for what, keys in parts.events for key in keys if what == "begin"]
    ended = [key for what, keys in parts.events for key in keys if what == "end"]
    assert len(begun) == len(set(begun)) == 10 and sorted(begun) == sorted(ended)
    assert {c.key for c in parts.seen} == set(begun)


def test_a_privileged_policy_gets_the_dialogues_and_is_never_ranked(tmp_path, bench, parts):
    rows = bench(tmp_path, f"{PARTS}:Peeking", "scripted:echo")
    peeking = next(row for row in rows if "Peeking" in row.policy)
    assert len(parts.seen) > 0 and all(d.scenario for d in parts.seen)
    assert peeking.privileged and peeking.rank is None and peeking.unranked == "privileged"
    assert rows[0].policy == "scripted:echo" and rows[0].rank == 1
    assert all(record.privileged == ("Peeking" in record.policy) for record in records(tmp_path))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("Raising", "RuntimeError: out of paper"),
        ("OneTooFew", "got 5 conversations and returned 4"),
        ("Bare", "returned a str from act"),
        ("Numbers", "returned a int"),
    ],
)
def test_a_policy_that_breaks_is_named(tmp_path, bench, policy, message):
    with pytest.raises(EmpathyGymError, match=message) as caught:
        bench(tmp_path, f"{PARTS}:{policy}")
    assert f"'{PARTS}:{policy}'" in str(caught.value)


def test_hostile_replies_are_recorded_as_they_were_and_verify(tmp_path, bench, parts):
    bench(tmp_path, f"{PARTS}:Hostile", limit=40)
    said = {turn.action for record in records(tmp_path) for turn in record.turns}
    assert said == set(parts.HOSTILE)
    assert (tmp_path / "episodes.jsonl").read_bytes().isascii()
    assert verify(tmp_path, perceive=True).ok


def test_think_mode_keeps_the_raw_action_and_counts_a_malformed_one_as_failure(tmp_path, bench):
    rows = bench(tmp_path, f"{PARTS}:plain", think=True)
    record = records(tmp_path)[0]
    assert (
        record.outcome == "format"
        and record.turns[0].heard is None
        and "That sounds" in record.turns[0].action
    )
    assert rows[0].mean_final_emotion == 0 and rows[0].failure_rate == 1 and rows[0].faults == 0
    assert verify(tmp_path).ok


# -- faults ----------------------------------------------------------------------------------------------


def test_a_reply_that_is_an_error_is_a_fault_of_the_policy(tmp_path, bench):
    row = bench(tmp_path, f"{PARTS}:Silent", limit=20)[0]
    faulted = [record for record in records(tmp_path) if record.outcome == "fault"]
    assert 0 < row.faults == len(faulted) < 20
    for record in faulted:
        assert record.final_emotion == 0 and record.sim_fault == "policy: context overflow"
        assert record.turns[-1].action is None and record.turns[-1].reward_terms == {"fault": -0.4}
    assert row.unranked == "faults above 2%" and row.rank is None
    assert verify(tmp_path).ok


def test_token_usage_is_summed(tmp_path, bench):
    bench(tmp_path, f"{PARTS}:RarelySilent", limit=2)
    for record in records(tmp_path):
        assert record.usage == {"tokens": 2 * len(record.turns)}


def simulated(tmp_path, bench, parts, times):
    config = {"simulator": f"{PARTS}:FlakyPerceiver", "limit": 4}
    bench(tmp_path / "clean", f"{PARTS}:plain", **config)
    clean = records(tmp_path / "clean")
    parts.faults[clean[1].opening] = times
    row = bench(tmp_path / "flaky", f"{PARTS}:plain", **config)[0]
    return clean, records(tmp_path / "flaky"), row


def test_a_fault_of_the_simulator_is_retried_with_the_same_scenario_and_seed(tmp_path, bench, parts):
    clean, flaky, row = simulated(tmp_path, bench, parts, times=2)
    assert [r.attempts for r in flaky] == [1, 3, 1, 1] and row.faults == 0
    assert [r.turns for r in clean] == [r.turns for r in flaky]


def test_a_fault_that_stays_has_no_score_and_counts_as_zero_in_the_bound(tmp_path, bench, parts):
    clean, flaky, row = simulated(tmp_path, bench, parts, times=3)
    assert flaky[1].outcome == "fault" and flaky[1].truncated and flaky[1].turns[-1].reward == 0.0
    rest = [r.final_emotion for r in clean if r.scenario != flaky[1].scenario]
    assert row.faults == 1 and row.episodes == 4
    assert row.mean_final_emotion == pytest.approx(statistics.mean(rest))
    assert row.mean_with_faults_at_zero == pytest.approx(sum(rest) / 4)


def test_a_simulator_that_is_not_the_packaged_rule_is_never_ranked(tmp_path, bench):
    row = bench(tmp_path, f"{PARTS}:plain", simulator=f"{PARTS}:FlakyPerceiver")[0]
    assert row.scored_by == "custom" and row.rank is None and row.unranked == "scored by custom"


def test_replies_that_urge_harm_are_listed_and_their_words_withheld(tmp_path, bench, capsys):
    rows = bench(tmp_path, f"{PARTS}:harmful", f"{PARTS}:plain", limit=2)
    found = {row.policy: row.safety for row in rows}
    assert found == {f"{PARTS}:harmful": {"policy_harm": 2}, f"{PARTS}:plain": {}}
    assert {r["policy"]: r["safety"] for r in json.loads((tmp_path / "summary.json").read_text())} == found
    console = Console(file=io.StringIO(), width=200)
    console.print(bench_table(rows, title="t", scoring="rule", determinism="exact"))
    assert "policy_harm in 2 episodes" in console.file.getvalue()
    (record, *_) = [r for r in records(tmp_path) if r.safety]
    assert "tonight" in record.turns[0].heard
    told = ["\n".join(lines) for lines in transcripts(tmp_path)]
    assert not any("tonight" in one for one in told) and sum(WITHHELD in one for one in told) == 2
    assert main(["why", str(tmp_path), "--turn", "1", "--policy", f"{PARTS}:harmful"]) == 0
    assert "tonight" not in capsys.readouterr().out


# -- folders and files that are not one's own -------------------------------------------------------------


def policy_file(folder, reply):
    (folder / "own_policy_of_a_test.py").write_text(f"def reply(messages):\n    return {reply!r}\n", "utf-8")


def cli(folder, *argv):
    run = [
        sys.executable,
        "-P",
        "-c",
        "import sys; from empathy_gym.cli import main; sys.exit(main(sys.argv[1:]))",
    ]
    return subprocess.run([*run, *argv], cwd=folder, capture_output=True, text=True)


def test_a_policy_that_was_edited_is_another_one_and_lies_where_one_is(tmp_path):
    argv = ["bench", "--policy", "own_policy_of_a_test:reply", "--limit", "2", "--out", "out"]
    policy_file(tmp_path, "a")
    first = cli(tmp_path, *argv)
    assert first.returncode == 0, first.stderr
    again = cli(tmp_path, *argv)
    assert again.returncode == 0 and "nothing is played" in again.stderr
    policy_file(tmp_path, "That sounds hard. What happened after that?")
    edited = cli(tmp_path, *argv)
    assert (
        edited.returncode == 2 and "policy_fingerprints" in edited.stderr and "--overwrite" in edited.stderr
    )


def test_one_run_at_a_time_writes_to_a_folder(tmp_path, bench):
    with BenchFolder(tmp_path).locked(), pytest.raises(ConfigError, match="Another run is writing"):
        bench(tmp_path, "scripted:echo", limit=1)
    assert bench(tmp_path, "scripted:echo", limit=1)


def test_a_summary_of_somebody_elses_is_left_alone(tmp_path, bench):
    (tmp_path / "summary.json").write_text("precious", "utf-8")
    with pytest.raises(ConfigError, match=r"holds summary\.json but no manifest\.json"):
        bench(tmp_path, "scripted:echo", limit=1)
    assert (tmp_path / "summary.json").read_text("utf-8") == "precious"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("", "utf-8")
    argv = ["rescore-variance", "--engine", "scripted:agreeable", "--limit", "1", "--turns", "1"]
    assert main([*argv, "--method", "embedded", "--out", str(tmp_path / "file" / "rows.json")]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "Error: " in said and "file" in said


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"env": "EmpathyChat-v1"}, "Did you mean 'EmpathyChat-v0'"),
        ({"policies": ("scripted:listner",)}, "Did you mean 'listener'"),
        ({"scenarios": "tset"}, "Did you mean 'test'"),
        ({"difficulty": "hrd"}, "Did you mean 'hard'"),
        ({"reward": "dleta"}, "Did you mean 'delta'"),
        ({"repeats": 0}, "repeats is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"policies": ()}, "No policy"),
        ({"policies": ("scripted:echo", "scripted:echo")}, "named twice"),
    ],
)
def test_a_name_or_number_that_is_not_valid_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        Bench(BenchConfig(**{"policies": ("scripted:echo",), **config}))


def test_policies_over_strategies_run_on_both_environments_and_are_verified(tmp_path):
    from empathy_gym.benchmarks.verify import verify

    names = ("strategy:random", "strategy:close", "strategy:open-loop:question,reflection")
    for env in ("EmpathyStrategy-v0", "EmpathyChat-v0"):
        bench = Bench(BenchConfig(env=env, policies=names, limit=3))
        bench.run(tmp_path / env)
        report = verify(tmp_path / env, perceive=True)
        assert report.ok and report.episodes == 9
        strategies = [
            turn.strategy
            for _, record in read_records(tmp_path / env / "episodes.jsonl")
            for turn in record.turns
        ]
        assert (None in strategies) == (env == "EmpathyChat-v0")


def test_a_policy_of_words_is_refused_on_the_strategy_environment():
    with pytest.raises(
        ConfigError, match="'scripted:echo' says words, and the actions of EmpathyStrategy-v0"
    ):
        Bench(BenchConfig(env="EmpathyStrategy-v0", policies=("strategy:random", "scripted:echo")))


def test_attackers_speak_and_are_refused_on_the_strategy_environment():
    from empathy_gym.benchmarks.audit import audit

    with pytest.raises(ConfigError, match=r"EmpathyStrategy-v0 is acted on by numbers.*Use EmpathyChat-v0"):
        audit("empathy_gym:EmpathyStrategy-v0")
