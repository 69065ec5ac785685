"""The figures in README and docs are those that this version gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from figures import (
    COUNTS,
    DIFFICULTIES,
    DIFFICULTY,
    DIFFICULTY_LIMIT,
    FIDELITY,
    LIBRARY,
    PERCEPTION,
    README,
    SHOWN,
    TABLE,
    TRANSCRIPTS,
    conversations,
    demo_table,
    difficulty_figures,
    library_counts,
    perception_figures,
    run_demo,
    run_held_out,
)

from empathy_gym.benchmarks.suites import BLIND
from empathy_gym.benchmarks.verify import verify
from empathy_gym.simulators.library.compiler import load_temperaments
from empathy_gym.simulators.rule import load_tables
from empathy_gym.simulators.scenario import DIFFICULTIES as BY_NAME
from empathy_gym.simulators.scenario import NEEDS


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_the_table_in_the_readme_is_what_the_demo_prints(demo: Path) -> None:
    (table,) = TABLE.findall(README.read_text("utf-8"))
    assert table == demo_table(demo)


def test_the_tables_of_agreement_are_what_the_command_finds() -> None:
    assert PERCEPTION.findall(FIDELITY.read_text("utf-8")) == [perception_figures()]


def test_the_counts_of_the_library_are_those_in_its_guide() -> None:
    assert COUNTS.findall(LIBRARY.read_text("utf-8")) == [library_counts()]


def test_the_transcripts_are_what_the_oracle_says(demo: Path, tmp_path: Path) -> None:
    assert TRANSCRIPTS.read_text("utf-8") == conversations(demo, run_held_out(tmp_path / "other"))


def test_the_transcripts_show_every_temperament_and_every_need() -> None:
    assert {temperament for _, temperament in SHOWN} == {t.id for t in load_temperaments()}
    assert {need for need, _ in SHOWN} == set(NEEDS)


@pytest.mark.slow
def test_the_table_of_difficulties_is_what_the_command_prints_and_every_line_passes() -> None:
    text = DIFFICULTY.read_text("utf-8")
    assert f"`empathy-gym difficulty --limit {DIFFICULTY_LIMIT}`" in text
    (table,) = DIFFICULTIES.findall(text)
    assert table == difficulty_figures()
    assert "| pass |" in table and "FAIL" not in table


def test_the_knobs_in_the_document_are_those_of_the_table() -> None:
    knobs = load_tables()[-1]["difficulties"]
    printed = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|", DIFFICULTY.read_text("utf-8"), re.MULTILINE
    )
    assert {name: [int(value) for value in values] for name, *values in printed} == {
        name: [knobs[difficulty][name] for difficulty in BY_NAME] for name in knobs["normal"]
    }


def test_the_policies_stand_where_the_readme_says(demo: Path) -> None:
    rows = {row["policy"]: row for row in json.loads((demo / "summary.json").read_text("utf-8"))}
    assert rows["scripted:oracle"]["mean_final_emotion"] >= 80
    assert 45 <= rows["scripted:listener"]["mean_final_emotion"] <= 70
    for name in ("scripted:template", "scripted:advisor", "scripted:eliza"):
        assert rows[name]["mean_final_emotion"] < 50 and rows[name]["success_rate"] == 0, name
    for name in BLIND:
        assert rows[name]["mean_final_emotion"] < 35 and rows[name]["success_rate"] == 0, name


def test_every_number_of_the_demo_follows_from_its_records(demo: Path) -> None:
    report = verify(demo, perceive=True)
    assert report.ok and report.episodes == sum(1 for _ in (demo / "episodes.jsonl").open())
