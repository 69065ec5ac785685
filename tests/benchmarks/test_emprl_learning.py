"""The learning table: what several reporters read in the same responses. No model is needed for this."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_gym.benchmarks.emprl_learning import PPO, WARM, _table, markdown, read_afresh
from empathy_gym.benchmarks.response_bench import ResponseBench, ResponseBenchConfig
from empathy_gym.benchmarks.response_records import ResponseRecord, parse_response
from empathy_gym.rewards.identifiers import load_identifier

NAMES = {"scripted:listener": PPO, "scripted:template": WARM}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ResponseRecord]]:
    folder = tmp_path_factory.mktemp("answers")
    ResponseBench(ResponseBenchConfig(policies=tuple(NAMES), limit=12)).run(folder)
    found: dict[str, list[ResponseRecord]] = {}
    for line in (folder / "episodes.jsonl").read_bytes().splitlines():
        record = parse_response(line, "episodes")
        name = NAMES.get(record.policy, record.policy)
        found.setdefault(name, []).append(record.model_copy(update={"policy": name}))
    return {name: sorted(records, key=lambda r: r.identity) for name, records in found.items()}


def test_the_same_reporter_reads_the_same_again(answered: dict[str, list[ResponseRecord]]) -> None:
    for records in answered.values():
        assert read_afresh(records, load_identifier("structure")) == records


def test_another_reporter_reads_otherwise_and_changes_nothing_else(
    answered: dict[str, list[ResponseRecord]],
) -> None:
    records = answered[PPO]
    again = read_afresh(records, load_identifier(None))
    assert [r.report.levels for r in again] != [r.report.levels for r in records]
    for old, new in zip(records, again, strict=True):
        assert (old.reward, old.response, old.reading) == (new.reward, new.response, new.reading)
        # The one who pays is the one who reads here.
        assert new.report.levels == new.reading.levels
        assert new.report.reference_levels == new.reading.reference_levels


def test_the_table_compares_on_the_same_exchanges(answered: dict[str, list[ResponseRecord]]) -> None:
    table = _table(answered, "the payer", "structure")
    rows = {row["policy"]: row for row in table["rows"]}
    gained = table["ppo_less_warm_start"]
    for name, value in (("reward", "reward"), ("accuracy", "accuracy")):
        assert gained[name]["value"] == pytest.approx(rows[PPO][value] - rows[WARM][value])
        low, high = gained[name]["ci95"]
        assert low < gained[name]["value"] < high
    assert rows["reference"]["accuracy"] == 1.0 and rows["reference"]["empathy_f1"]["mean"] == 1.0
    assert table["distinct_2_kept"] == pytest.approx(rows[PPO]["distinct_2"] / rows[WARM]["distinct_2"])
    run = {
        "seed": 0, "first_reward": 0.1, "last_reward": 0.2, "last_kl": 3.0, "largest_kl": 4.0, "largest_kl_full": 5.0,
    }  # fmt: skip
    lines = markdown({"tables": [table], "seeds": [0], "runs": [run], "seconds": {"seed 0": 1.0}}, "command")
    assert len([line for line in lines if line.startswith("| ")]) == 1 + len(rows)
    assert any("reward while training 0.100 to 0.200" in line for line in lines)


def test_a_suffix_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from empathy_gym.benchmarks.emprl_learning import main

    assert main(["--out", str(tmp_path / "table.json")]) == 2
    assert "without a suffix" in capsys.readouterr().err
