"""`bench --env EmpathyResponse-v0`: what it writes, resumes, compares, verifies and refuses."""

from __future__ import annotations

import json
import math

import pytest

from empathy_gym.benchmarks.response_bench import ResponseBench, ResponseBenchConfig
from empathy_gym.benchmarks.verify import verify
from empathy_gym.cli import main
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, RecordError

PARTS = "empathy_bench_parts:"
POLICIES = ("scripted:empty", "scripted:template")
FILES = ("episodes.jsonl", "summary.json", "manifest.json")


def bench(tmp_path, *, policies=POLICIES, batch_size=64, out="run", **config):
    ready = ResponseBench(ResponseBenchConfig(policies=policies, **{"limit": 12, **config}))
    return ready.run(tmp_path / out, batch_size=batch_size)


def content(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    rows = bench(folder, policies=(*POLICIES, "scripted:listener"), baseline="scripted:empty", limit=None)
    return folder / "run", {row.policy: row for row in rows}


# -- what it finds ---------------------------------------------------------------------------------------


def test_the_reference_marks_the_upper_end_and_the_shuffled_one_what_blindness_is_worth(finished):
    _, rows = finished
    reference, shuffled = rows["reference"], rows["shuffled"]
    assert reference.empathy_f1["mean"] == 1.0 and reference.reward_ci95[0] > shuffled.reward_ci95[1]
    assert reference.moved_reward == pytest.approx(shuffled.reward, abs=1e-9)
    assert reference.moved_f1 == pytest.approx(shuffled.empathy_f1["mean"], abs=1e-9)
    assert shuffled.moved_reward is None and shuffled.distinct_2 == reference.distinct_2
    assert all(rows[policy].reward < reference.reward for policy in rows if policy != "reference")


def test_a_constant_response_is_paid_the_same_on_any_context_and_read_alike(finished):
    empty = finished[1]["scripted:empty"]
    assert empty.moved_reward == pytest.approx(empty.reward) and empty.unmoved_levels == 1.0
    assert (empty.words, empty.distinct_1, empty.failed) == (0.0, 0.0, 0)


def test_differences_from_the_baseline_are_those_of_the_rows(finished):
    _, rows = finished
    assert rows["scripted:empty"].vs_baseline is None
    for policy, row in rows.items():
        if policy != "scripted:empty":
            for name, value in (("reward", row.reward), ("f1", row.empathy_f1["mean"])):
                found, base = row.vs_baseline[name], rows["scripted:empty"]
                expected = value - (base.reward if name == "reward" else base.empathy_f1["mean"])
                assert found.value == pytest.approx(expected)
                assert found.ci95[0] <= found.value <= found.ci95[1]


def test_the_guard_is_an_option_and_pays_the_empty_response_nothing(tmp_path):
    rows = {row.policy: row for row in bench(tmp_path, guard=True)}
    assert rows["scripted:empty"].reward == 0.0 < rows["reference"].reward


def test_the_optional_terms_are_paid_and_verified(tmp_path):
    weights = {"length_weight": 0.2, "repetition_weight": 0.1, "copy_weight": 0.3}
    bare = {row.policy: row.reward for row in bench(tmp_path, out="bare")}
    rows = {
        row.policy: row.reward for row in bench(tmp_path, policies=("scripted:echo", *POLICIES), **weights)
    }
    assert rows["scripted:empty"] == pytest.approx(bare["scripted:empty"] - 0.2)
    assert verify(tmp_path / "run").ok
    both = b"".join((tmp_path / name / "episodes.jsonl").read_bytes() for name in ("bare", "run"))
    (tmp_path / "both.jsonl").write_bytes(both)
    assert verify(tmp_path / "both.jsonl").ok


def test_every_record_holds_what_its_reward_follows_from(finished):
    folder, rows = finished
    records = [json.loads(line) for line in (folder / "episodes.jsonl").read_text("ascii").splitlines()]
    assert len(records) == sum(row.responses for row in rows.values()) == 5 * 64
    for record in records:
        assert record["reward"] == pytest.approx(sum(record["reward_terms"].values()), abs=1e-9)
        assert record["reward_terms"]["empathy"] == pytest.approx(math.prod(record["probabilities"].values()))
        assert record["reading"]["identifier"] != record["report"]["identifier"]
        assert record["control"] is None or record["control"]["exchange"] != record["exchange"]
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["families"] == {"paid_by": "hashed n-grams", "reported_by": "structure"}


# -- runs ------------------------------------------------------------------------------------------------


def test_equal_runs_leave_equal_bytes_whatever_the_batch(tmp_path):
    bench(tmp_path, out="one", repeats=2)
    bench(tmp_path, out="two", repeats=2, batch_size=5)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_an_interrupted_run_goes_on_and_leaves_what_a_whole_one_leaves(tmp_path):
    bench(tmp_path, out="whole")
    bench(tmp_path, out="part")
    lines = (tmp_path / "part" / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "part" / "episodes.jsonl").write_bytes(b"".join(lines[5:19]) + lines[30][:40])
    bench(tmp_path, out="part")
    assert content(tmp_path / "whole") == content(tmp_path / "part")


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    bench(tmp_path)
    with pytest.raises(ConfigError, match=r"holds a run with config.guard = False"):
        bench(tmp_path, guard=True)


def test_policies_see_the_context_and_nothing_of_the_exchange(tmp_path):
    import empathy_bench_parts as parts

    parts.reset()
    bench(tmp_path, policies=(f"{PARTS}Spy",))
    ids = {exchange.id for exchange in ResponseBench(ResponseBenchConfig(policies=POLICIES)).exchanges}
    assert len(parts.seen) == 12
    for conversation in parts.seen:
        assert conversation.max_turns == 1 and conversation.turn == 0 and conversation.instruction
        assert not any(id_ in str(conversation) for id_ in ids)
    assert len({conversation.key for conversation in parts.seen}) == 12
    # What a policy does to its messages reaches nobody.
    assert not any(
        "tampered" in line for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    )


def test_hostile_responses_are_recorded_and_verified(tmp_path):
    bench(tmp_path, policies=(f"{PARTS}Hostile",))
    assert verify(tmp_path / "run").ok


class Failing:
    def act(self, conversations):
        from empathy_gym.agents import Reply

        return [Reply("", error="engine: down") for _ in conversations]


class Scoring:
    """Gives every word of a reference one tenth."""

    def act(self, conversations):
        return ["Hm."] * len(conversations)

    def score(self, conversations, texts):
        return [(len(text.split()) * math.log(0.1), len(text.split())) for text in texts]


class BadScore(Scoring):
    def score(self, conversations, texts):
        return [(float("nan"), 1)] * len(texts)


class TooFew(Scoring):
    def act(self, conversations):
        return ["Hm."]


@pytest.fixture
def own(monkeypatch):
    import empathy_bench_parts as parts

    for policy in (Failing, Scoring, BadScore, TooFew):
        monkeypatch.setattr(parts, policy.__name__, policy, raising=False)


def test_a_failed_response_is_counted_and_paid_nothing(tmp_path, own):
    rows = {row.policy: row for row in bench(tmp_path, policies=(f"{PARTS}Failing",))}
    row = rows[f"{PARTS}Failing"]
    assert (row.failed, row.reward, row.moved_reward) == (12, 0.0, 0.0)
    assert verify(tmp_path / "run").ok


def test_perplexity_is_of_the_references_where_a_policy_gives_probabilities(tmp_path, own):
    rows = {row.policy: row for row in bench(tmp_path, policies=(f"{PARTS}Scoring", "scripted:empty"))}
    assert rows[f"{PARTS}Scoring"].perplexity == pytest.approx(10.0)
    assert rows["scripted:empty"].perplexity is None


@pytest.mark.parametrize(("name", "message"), [("BadScore", r"in score\(\)"), ("TooFew", "returned 1;")])
def test_a_policy_that_breaks_its_word_is_one_error(tmp_path, own, name, message):
    with pytest.raises(EmpathyGymError, match=message):
        bench(tmp_path, policies=(f"{PARTS}{name}",))


# -- verify ----------------------------------------------------------------------------------------------


def test_everything_follows_and_is_read_afresh_alike(finished):
    report = verify(finished[0])
    assert report.ok and report.episodes == report.matched == 5 * 64
    assert report.readings > 10 * report.episodes and not report.readings_skipped


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r["reward_terms"].update(empathy=0.9), "reward"),
        (lambda r: r.update(reward=r["reward"] + 1e-6), "reward"),
        (lambda r: r["probabilities"].update(ER=0.123), "term empathy"),
        (lambda r: r["report"]["levels"].update(EX=(r["report"]["levels"]["EX"] + 1) % 3), "levels reported"),
        (lambda r: r["reading"]["reference_levels"].update(IP=1), "levels paid of the reference"),
        (lambda r: r["control"].update(reward=0.5), "reward, moved"),
        (lambda r: r.update(response="I'm so sorry. What did she tell you?"), "levels"),
    ],
)
def test_a_changed_record_is_found_and_named(finished, tmp_path, change, field):
    lines = (finished[0] / "episodes.jsonl").read_text("ascii").splitlines()
    number = next(i for i, line in enumerate(lines) if json.loads(line)["policy"] == "scripted:template")
    record = json.loads(lines[number])
    change(record)
    lines[number] = json.dumps(record)
    (tmp_path / "episodes.jsonl").write_text("\n".join(lines) + "\n", "ascii")
    report = verify(tmp_path / "episodes.jsonl")
    assert not report.ok and report.matched == report.episodes - 1
    assert len(report.mismatches) == 1 and field in str(report.mismatches[0])
    assert f"episodes.jsonl:{number + 1}" in str(report.mismatches[0])


def test_a_changed_summary_and_a_damaged_line_are_found(finished, tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes((finished[0] / name).read_bytes())
    rows = json.loads((tmp_path / "summary.json").read_text())
    rows[2]["reward"] += 0.01
    (tmp_path / "summary.json").write_text(json.dumps(rows))
    report = verify(tmp_path)
    assert not report.ok and "reward" in str(report.mismatches[0])
    with (tmp_path / "episodes.jsonl").open("a") as file:
        file.write('{"kind": "response"}\n')
    assert any("not a record of a response" in line for line in verify(tmp_path).damaged)


def test_an_identifier_that_is_not_at_hand_is_named(finished, tmp_path):
    text = (finished[0] / "episodes.jsonl").read_text("ascii").replace('"structure-', '"elsewhere-')
    (tmp_path / "episodes.jsonl").write_text(text, "ascii")
    report = verify(tmp_path / "episodes.jsonl")
    assert report.ok and list(report.readings_skipped.values()) == [5 * 64]


def test_a_missing_record_of_an_exchange_that_was_moved_to_is_one_error(finished, tmp_path):
    lines = (finished[0] / "episodes.jsonl").read_text("ascii").splitlines()
    (tmp_path / "episodes.jsonl").write_text(lines[0] + "\n", "ascii")
    with pytest.raises(RecordError, match="is in no record of the file"):
        verify(tmp_path / "episodes.jsonl")


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_verifies(tmp_path, capsys):
    argv = [
        "bench",
        "--env",
        "EmpathyResponse-v0",
        "--policy",
        "scripted:template",
        "--limit",
        "8",
        "--quiet",
    ]
    argv += ["--baseline", "reference", "--out", str(tmp_path)]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    for text in ("EmpathyResponse-v0, test, 8 exchanges", "Less reference", "hashed n-grams", "structure"):
        assert text in printed
    assert main([*argv, "--json"]) == 0
    assert [row["policy"] for row in json.loads(capsys.readouterr().out)][:2] == ["reference", "shuffled"]
    assert main(["verify", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--policy", "scripted:template", "--difficulty", "hard"], "--difficulty is for conversations"),
        (["--policy", "scripted:template", "--max-turns", "3"], "--max-turns is for conversations"),
        (["--policy", "scripted:template", "--dry-run"], "--dry-run"),
        (["--policy", "scripted:oracle"], "needs a dialogue to look into"),
        (["--policy", "reference"], "it is no policy"),
        (["--policy", "scripted:empty", "--policy", "scripted:empty"], "named twice"),
        (["--policy", "scripted:empty", "--baseline", "scripted:emty"], "Did you mean 'scripted:empty'?"),
        (["--policy", "scripted:empty", "--reporting", "shipped"], "would report on itself"),
        (["--policy", "scripted:empty", "--identifier", "structure"], "would report on itself"),
        (["--policy", "scripted:empty", "--reporting", "nowhere"], "no weights in 'nowhere'"),
        (["--policy", "scripted:empty", "--split", "tets"], "Did you mean 'test'?"),
        (["--policy", "scripted:empty", "--limit", "0"], "limit is 0"),
        ([], "No policy"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, capsys, argv, message):
    assert main(["bench", "--env", "EmpathyResponse-v0", *argv, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "option", [["--guard"], ["--baseline", "x"], ["--identifier", "x"], ["--reporting", "x"]]
)
def test_its_options_are_not_for_conversations(tmp_path, capsys, option):
    assert main(["bench", "--policy", "scripted:empty", *option, "--out", str(tmp_path)]) == 2
    assert "is for --env EmpathyResponse-v0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["audit"])
def test_what_needs_a_conversation_says_so(capsys, command):
    assert main([command, "--env", "EmpathyResponse-v0"]) == 2
    assert "is a single response, no conversation" in capsys.readouterr().err
