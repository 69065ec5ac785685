"""A reply is explained by the terms of the rule, and what is said to do better does."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

from empathy_gym.benchmarks.replaying import replayed, rule_of
from empathy_gym.benchmarks.verify import verify
from empathy_gym.benchmarks.why import KNOWN_TERMS, episode, why, why_lines
from empathy_gym.cli import main
from empathy_gym.envs.strategies import STRATEGIES
from empathy_gym.envs.wrappers import RecordEpisodes
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.records import EpisodeRecord
from empathy_gym.simulators.rule import ADJUSTMENTS


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why") / "run"
    policies = ["--policy", "scripted:listener", "--policy", "scripted:eliza"]
    assert main(["bench", *policies, "--limit", "3", "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def record(bench: Path) -> EpisodeRecord:
    return episode(bench, policy="scripted:listener")


def test_the_terms_are_those_on_record_and_sum_to_the_change(record: EpisodeRecord) -> None:
    for number, turn in enumerate(record.turns, 1):
        found = why(record, number)
        assert dict(found.given.terms) == turn.terms and found.given.change == turn.change
        assert sum(found.given.terms.values()) == found.given.change
        assert found.emotion + found.given.change == turn.emotion


def test_what_is_said_to_do_better_does_so_by_the_rule(record: EpisodeRecord) -> None:
    before = replayed(record, {}, 0)
    found = why(record, 1)
    assert found.better
    for kind in found.better:
        levels = {"form": 2, **kind.levels}
        appraisal = Appraisal(**levels, insight_kind=kind.insight_kind, touched=kind.touched)
        change = rule_of(record).apply(before.source, before.state, appraisal, last=False)
        assert change.change == kind.change > found.given.change


def test_nothing_is_recommended_that_only_adds_to_what_does_as_much(record: EpisodeRecord) -> None:
    better = why(record, 1).better
    assert [kind.change for kind in better] == sorted((kind.change for kind in better), reverse=True)
    for i, kind in enumerate(better):
        for other in better[i + 1 :]:
            assert not (other.levels.items() >= kind.levels.items() and kind.insight_kind is None)


def test_replies_that_are_tried_are_ranked(record: EpisodeRecord) -> None:
    tried = ["asdf qwer zxcv", "", record.turns[0].heard or ""]
    found = why(record, 1, tried=tried)
    assert sorted(c.text or "" for c in found.tried) == sorted(tried)
    assert [c.change for c in found.tried] == sorted((c.change for c in found.tried), reverse=True)
    same = next(c for c in found.tried if c.text == record.turns[0].heard)
    assert same.change == found.given.change


def test_every_term_of_the_rule_has_a_name_that_is_explained(record: EpisodeRecord) -> None:
    assert set(ADJUSTMENTS) <= KNOWN_TERMS
    for number in range(1, len(record.turns) + 1):
        assert set(why(record, number).given.terms) <= KNOWN_TERMS


def test_it_names_the_need_the_words_and_the_items(record: EpisodeRecord) -> None:
    text = "\n".join(why_lines(why(record, 1, tried=["I see."])))
    assert "the need is" in text and "Terms:" in text and "Tried in its place:" in text


@pytest.mark.parametrize("turn", [0, 99])
def test_a_reply_that_is_not_there_is_named(record: EpisodeRecord, turn: int) -> None:
    with pytest.raises(ConfigError, match=f"no reply {turn}"):
        why(record, turn)


def test_the_command_explains_and_prints_json(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", str(bench), "--turn", "1", "--try", "Go on."]) == 0
    assert "Go on." in capsys.readouterr().out
    assert main(["why", str(bench), "--turn", "1", "--policy", "scripted:eliza", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["turn"] == 1
    assert main(["why", str(bench), "--turn", "77"]) == 2
    assert main(["why", str(bench / "nothing"), "--turn", "1"]) == 2


def led(file: Path, seed: int, *strategies: str, emotion: int | None = None) -> EpisodeRecord:
    """Lead one conversation by strategies in turn, with a close to whoever announces to go; return its record."""
    env = RecordEpisodes(gym.make("EmpathyStrategy-v0", initial_emotion=emotion), file)
    env.reset(seed=seed)
    done, turn = False, 0
    while not done:
        leaves = env.unwrapped.dialogue.state.leaving is not None
        strategy = "close" if leaves else strategies[turn % len(strategies)]
        done, turn = env.step(STRATEGIES.index(strategy))[2], turn + 1
    return episode(file)


def test_the_replies_before_a_close_are_explained_and_the_close_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "led.jsonl"
    record = led(file, 7, "question", "reflection", "restatement", "close")
    assert record.outcome == "closed" and record.turns[-1].strategy == "close"
    for number, turn in enumerate(record.turns[:-1], 1):
        assert dict(why(record, number).given.terms) == turn.terms
    assert main(["why", str(file), "--turn", str(len(record.turns))]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "closed the conversation, and such a goodbye moves nothing" in said.err
    assert verify(file, perceive=True).ok


def test_a_close_before_its_time_is_explained_as_the_plain_reply_it_came_to(tmp_path: Path) -> None:
    record = led(tmp_path / "led.jsonl", 8, "close")
    assert [turn.strategy for turn in record.turns[:2]] == ["other", "other"]
    assert why(record, 1).given.change == record.turns[0].change


def test_a_close_that_is_the_farewell_to_a_user_who_leaves_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "led.jsonl"
    record = led(file, 7, "question", "suggestion", emotion=95)
    farewell = record.turns[-1]
    assert record.outcome == "success"
    assert farewell.strategy == "close" and farewell.appraisal is not None
    assert dict(why(record, len(record.turns)).given.terms) == farewell.terms
    assert verify(file, perceive=True).ok
