"""The figures in README and docs are those that this version gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from figures import (
    COUNTS,
    LIBRARY,
    README,
    SHOWN,
    TABLE,
    TRANSCRIPTS,
    conversations,
    demo_table,
    library_counts,
    run_demo,
    run_held_out,
)

from empathy_gym.benchmarks.suites import BLIND
from empathy_gym.benchmarks.verify import verify
from empathy_gym.simulators.library.compiler import load_temperaments
from empathy_gym.simulators.scenario import NEEDS


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_the_table_in_the_readme_is_what_the_demo_prints(demo: Path) -> None:
    (table,) = TABLE.findall(README.read_text("utf-8"))
    assert table == demo_table(demo)


def test_the_counts_of_the_library_are_those_in_its_guide() -> None:
    assert COUNTS.findall(LIBRARY.read_text("utf-8")) == [library_counts()]


def test_the_transcripts_are_what_the_oracle_says(demo: Path, tmp_path: Path) -> None:
    assert TRANSCRIPTS.read_text("utf-8") == conversations(demo, run_held_out(tmp_path / "other"))


def test_the_transcripts_show_every_temperament_and_every_need() -> None:
    assert {temperament for _, temperament in SHOWN} == {t.id for t in load_temperaments()}
    assert {need for need, _ in SHOWN} == set(NEEDS)


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
