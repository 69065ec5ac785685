"""Verification has to find what was changed, and must not be stopped by what is damaged."""

from __future__ import annotations

import json

import pytest

from empathy_gym import ConfigError
from empathy_gym.benchmarks.verify import verify

PARTS = "empathy_bench_parts"


@pytest.fixture
def run(tmp_path, bench):
    bench(tmp_path, "scripted:listener", "scripted:flattery", limit=4)
    return tmp_path


def change(folder, edit, number=2):
    """Edit the record on a line, counted from 1, and return the file."""
    file = folder / "episodes.jsonl"
    lines = file.read_text("ascii").splitlines()
    record = json.loads(lines[number - 1])
    edit(record)
    lines[number - 1] = json.dumps(record)
    file.write_text("\n".join(lines) + "\n", "ascii")
    return file


def only_mismatch(report):
    assert not report.ok and not report.damaged and len(report.mismatches) == 1
    assert report.matched == report.episodes - 1
    return report.mismatches[0]


def test_an_untouched_run_verifies_and_is_counted(run):
    report = verify(run, perceive=True)
    assert report.ok and report.episodes == report.matched == 8
    assert report.turns == sum(len(json.loads(line)["turns"]) for line in open(run / "episodes.jsonl"))
    assert report.numbers > 10 * report.turns and report.readings >= 16 * report.turns


@pytest.mark.parametrize("name", ["emotion", "trust", "change", "need_progress"])
def test_one_changed_number_is_found_and_named(run, name):
    file = change(run, lambda record: record["turns"][1].update({name: record["turns"][1][name] + 1}))
    found = only_mismatch(verify(file))
    assert (found.where, found.turn, found.field) == (f"{file}:2", 2, name)
    assert found.recorded == found.recomputed + 1
    assert "scripted:listener" in str(found) and "turn 2" in str(found) and name in str(found)


def test_a_changed_term_is_found(run):
    file = change(run, lambda record: record["turns"][0]["terms"].update(warmth=9))
    assert only_mismatch(verify(file)).field == "terms.warmth"


def test_a_removed_term_is_found(run):
    file = change(run, lambda record: record["turns"][0]["terms"].pop("patience"))
    assert only_mismatch(verify(file)).field == "terms.patience"


def test_a_changed_level_is_found_by_the_rule(run):
    def edit(record):
        levels = record["turns"][0]["appraisal"]["levels"]
        levels["control"] = 3 if levels["control"] == 0 else 0

    found = only_mismatch(verify(change(run, edit)))
    assert found.turn == 1


@pytest.mark.parametrize("name", ["reward", "final_emotion", "outcome", "initial", "opening"])
def test_whatever_follows_from_the_record_is_compared(run, name):
    def edit(record):
        if name == "reward":
            record["turns"][-1]["reward"] += 0.01
        elif name == "initial":
            record["initial"]["trust"] += 1
        else:
            record[name] = {
                "final_emotion": record["final_emotion"] + 1,
                "outcome": "closed",
                "opening": "Hi.",
            }[name]

    assert only_mismatch(verify(change(run, edit))).field in (name, "trust")


def test_a_turn_that_was_cut_off_the_end_is_found(run):
    assert not verify(change(run, lambda record: record["turns"].pop())).ok


def test_final_rewards_are_recomputed_too(tmp_path, bench):
    bench(tmp_path, "scripted:listener", limit=2, reward="final")
    assert verify(tmp_path).ok
    file = change(
        tmp_path, lambda record: record["turns"][-1].update(reward=1.0, reward_terms={"final": 1.0})
    )
    assert only_mismatch(verify(file)).field == "reward_terms.final"


def test_every_registered_reward_is_recomputed(tmp_path, bench):
    bench(tmp_path, "scripted:listener", limit=2, reward="delta+success")
    report = verify(tmp_path)
    assert report.ok and report.rewards_skipped == 0
    file = change(tmp_path, lambda record: record["turns"][-1]["reward_terms"].update(success=1.0))
    assert only_mismatch(verify(file)).field == "reward_terms.success"


FORGED = {
    "reward": lambda record: record.update(reward="final"),
    "difficulty": lambda record: record["env_kwargs"].update(difficulty="hard"),
    "max_turns": lambda record: record["env_kwargs"].update(max_turns=3),
    "initial.emotion": lambda record: record["env_kwargs"].update(initial_emotion=7),
    "rule_hash": lambda record: record.update(rule_hash=record["rule_hash"][:2]),
    "fingerprint": lambda record: record.update(
        fingerprint=record["fingerprint"].replace("rule=", "rule=my-")
    ),
}
"""What a record says of itself, made to say something else."""


@pytest.mark.parametrize("name", FORGED)
def test_a_record_that_contradicts_itself_is_found(run, name):
    assert only_mismatch(verify(change(run, FORGED[name]))).field == name


def test_a_start_that_is_not_the_users_own_is_found(run):
    file = change(run, lambda record: record["initial"].update(emotion=record["initial"]["emotion"] + 9))
    assert only_mismatch(verify(file)).field == "initial.emotion"


@pytest.mark.parametrize("name", ["heard", "line", "action", "reward"])
def test_what_a_scored_turn_cannot_lack_is_missed(run, name):
    file = change(run, lambda record: record["turns"][1].update({name: None}))
    found = only_mismatch(verify(file))
    assert (found.turn, found.field, found.recorded) == (2, name, None)


def test_words_taken_out_do_not_keep_levels_from_being_read_afresh(run):
    """Where nothing is left to be read, whatever levels stand there would pass."""

    def edit(record):
        for turn in record["turns"]:
            turn.update(heard=None, action=None)

    assert not verify(change(run, edit), perceive=True).ok


def test_who_cannot_be_read_afresh_does_not_pass(run):
    def edit(record):
        reader = record["fingerprint"].partition(";")[0]
        record["fingerprint"] = record["fingerprint"].replace(reader, "perceiver=somebody@else")

    file = change(run, edit)
    assert verify(file).ok
    report = verify(file, perceive=True)
    assert not report.ok and report.readings_skipped == {"somebody@else": 1} and not report.mismatches


def test_a_level_that_changes_no_number_is_found_by_reading_afresh(run):
    def edit(record):
        record["turns"][0]["appraisal"]["evidence"] = {"warmth": "made up"}

    file = change(run, edit)
    assert verify(file).ok
    report = verify(file, perceive=True)
    assert not report.ok and report.misread == 1
    assert report.mismatches[0].field == "evidence" and report.mismatches[0].turn == 1


def test_words_put_into_the_users_mouth_are_found_by_reading_afresh(run):
    file = change(run, lambda record: record["turns"][-1].update(line="You were wonderful."))
    assert verify(file).ok
    report = verify(file, perceive=True)
    assert [m.field for m in report.mismatches] == ["line"]


def test_a_heard_text_that_is_not_what_was_written_is_found(run):
    assert not verify(change(run, lambda record: record["turns"][0].update(heard="something kinder"))).ok


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (b"{broken", "not a whole line of JSON"),
        (b'{"schema_version": 2}', "schema version 2"),
        (b'{"schema_version": 1, "episode": 3}', "not an episode record"),
        (b"[" * 100_000, "not a whole line of JSON"),
        (b"\xff\xfe", "not a whole line of JSON"),
        (b"null", "not an episode record"),
    ],
)
def test_a_damaged_line_is_named_and_the_rest_still_verified(run, damage, named):
    file = run / "episodes.jsonl"
    lines = file.read_bytes().splitlines()
    lines[2] = damage
    file.write_bytes(b"\n".join(lines) + b"\n")
    report = verify(file)
    assert not report.ok and report.episodes == report.matched == 7
    assert len(report.damaged) == 1
    assert report.damaged[0].startswith(f"{file}:3: ") and named in report.damaged[0]


def test_an_impossible_level_is_a_damaged_record(run):
    file = change(run, lambda record: record["turns"][0]["appraisal"]["levels"].update(warmth=5))
    report = verify(file)
    assert len(report.damaged) == 1 and "warmth" in report.damaged[0] and report.matched == 7


@pytest.mark.parametrize(("field", "value"), [("rule_hash", "0" * 64), ("scenario", "nobody")])
def test_a_record_of_an_unknown_rule_or_scenario_is_named_and_the_rest_verified(run, field, value):
    report = verify(change(run, lambda record: record.update({field: value})))
    assert not report.ok and report.matched == 7 and repr(value)[:20] in report.damaged[0]


def test_records_that_no_packaged_rule_scored_are_counted_apart(tmp_path, bench):
    bench(tmp_path, f"{PARTS}:plain", limit=2, simulator=f"{PARTS}:FlakyPerceiver")
    report = verify(tmp_path / "episodes.jsonl")
    assert report.unscored == {"custom": 2} and report.episodes == 0
    assert not report.ok and "nothing was verified" in report.notes[0]


def test_an_empty_file_says_so_and_does_not_pass(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    report = verify(tmp_path / "empty.jsonl")
    assert not report.ok and "is empty" in report.notes[0]


def test_a_missing_file_is_a_mistake_of_the_users(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        verify(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("name", ["mean_final_emotion", "episodes", "faults", "mean_turns"])
def test_a_summary_that_does_not_follow_from_the_episodes_is_found(run, name):
    rows = json.loads((run / "summary.json").read_text())
    rows[1][name] += 1
    (run / "summary.json").write_text(json.dumps(rows))
    report = verify(run)
    assert not report.ok and [m.field for m in report.mismatches] == [name]
    assert verify(run / "episodes.jsonl").ok


def test_a_summary_with_a_row_too_many_or_too_few_is_found(run):
    rows = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps([*rows, {**rows[0], "policy": "made:up"}]))
    assert not verify(run).ok
    (run / "summary.json").write_text(json.dumps(rows[:1]))
    assert not verify(run).ok


def test_a_folder_with_an_episode_missing_does_not_pass(run):
    file = run / "episodes.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert not verify(run).ok


def test_a_folder_that_lacks_a_whole_policy_does_not_pass(run):
    file = run / "episodes.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    rows = json.loads((run / "summary.json").read_text())
    kept = [{**row, "rank": 1} for row in rows if row["policy"] == "scripted:listener"]
    (run / "summary.json").write_text(json.dumps(kept))
    report = verify(run)
    assert [(m.field, m.recorded, m.recomputed) for m in report.mismatches] == [("episodes", 8, 4)]
    assert not report.ok
