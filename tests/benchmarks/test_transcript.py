"""Recorded episodes read as conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from empathy_gym.benchmarks.run import run_bench
from empathy_gym.benchmarks.transcript import transcripts
from empathy_gym.cli import main
from empathy_gym.simulators.errors import ConfigError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    config = {
        "policies": ("scripted:eliza", "scripted:injection"),
        "scenarios": "validation",
        "limit": 2,
        "seed": 3,
    }
    run_bench(config, out, quiet=True)
    return out


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text("utf-8").splitlines()]


def test_every_word_and_every_number_of_an_episode_is_shown(run: Path) -> None:
    record = next(r for r in records(run) if r["policy"] == "scripted:eliza")
    (text,) = ["\n".join(t) for t in transcripts(run, policy="scripted:eliza", scenario=record["scenario"])]
    assert record["opening"] in text
    for turn in record["turns"]:
        assert turn["heard"] in text and turn["line"] in text
        assert f"emotion {turn['emotion'] - turn['change']} → {turn['emotion']}" in text
        assert all(f"{name.replace('_', ' ')} {points:+d}" in text for name, points in turn["terms"].items())


def test_a_policys_text_brings_no_markup_and_no_lines_of_its_own(run: Path) -> None:
    for lines in transcripts(run, policy="scripted:injection"):
        assert sum(line.startswith("#") for line in lines) == 1
        assert not any("\n" in line for line in lines)
        assert not any("<system>" in line.replace("\\<", "") for line in lines)


def test_limit_and_policy_choose_episodes(run: Path) -> None:
    assert len(list(transcripts(run))) == 4
    assert len(list(transcripts(run, limit=1))) == 1
    assert len(list(transcripts(run / "episodes.jsonl", policy="scripted:eliza"))) == 2


def test_what_is_not_there_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy 'nobody'"):
        list(transcripts(run, policy="nobody"))
    with pytest.raises(ConfigError, match="no file"):
        list(transcripts(tmp_path / "none.jsonl"))


def test_the_command_prints_markdown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcript", str(run), "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith("## scripted:")
