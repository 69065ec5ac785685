"""Records: whatever was said comes back as it was, and damage is named."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import empathy_gym
from empathy_gym import RecordError
from empathy_gym.envs.spaces import MAX_LENGTH
from empathy_gym.simulators.records import (
    MAX_ACTION,
    EpisodeRecord,
    EpisodeRecorder,
    RecordWriter,
    parse_line,
    plain,
    read_records,
)

TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def recorded(*actions: str, usage=None, options=None, **kwargs) -> EpisodeRecord:
    env = gym.make("EmpathyChat-v0", **kwargs).unwrapped
    recorder = EpisodeRecorder(
        env_id="EmpathyChat-v0",
        env_kwargs=kwargs,
        user=env.user,
        reward=kwargs.get("reward", "delta"),
        policy="me",
    )
    env.reset(seed=5, options=options)
    recorder.begin(env.dialogue, instruction_hash="0" * 64, seed=5)
    for action in actions:
        _, reward, _, _, info = env.step(action)
        recorder.step(action, env.dialogue, reward, info["reward_terms"])
    return recorder.record(usage)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, TEXT)
def test_any_text_survives_writing_and_reading(first, second):
    record = recorded(first, second)
    line = record.to_line()
    assert line.isascii() and "\n" not in line
    again = parse_line(line, "here")
    assert again == record and again.to_line() == line
    assert [turn.action for turn in again.turns] == [first, second]


def test_lone_surrogates_survive():
    record = recorded("a \ud800 b \udfff")
    again = parse_line(record.to_line().encode(), "here")
    assert again.turns[0].action == again.turns[0].heard == "a \ud800 b \udfff"


def test_a_record_says_under_what_it_came_about():
    record = recorded("hm", difficulty="hard", max_turns=5, reward="final", initial_emotion=30)
    assert record.env_kwargs == {
        "difficulty": "hard",
        "max_turns": 5,
        "reward": "final",
        "initial_emotion": 30,
    }
    assert (record.difficulty, record.max_turns, record.reward) == ("hard", 5, "final")
    assert record.initial.emotion == 30 and record.seeds.env == 5
    assert record.rule_hash and record.rule_hash[:12] in record.fingerprint
    assert record.scored_by == "rule" and record.determinism == "exact"
    assert record.package_version == empathy_gym.__version__


def test_a_turn_has_the_numbers_the_environment_gave():
    env = gym.make("EmpathyChat-v0").unwrapped
    env.reset(seed=5)
    _, reward, _, _, info = env.step("That must have hurt. What did she say?")
    turn = recorded("That must have hurt. What did she say?").turns[0]
    assert turn.reward == reward and turn.emotion == info["emotion"] and turn.trust == info["trust"]
    assert turn.line == info["messages"][-1]["content"] and turn.need_progress == info["need_progress"]
    assert turn.appraisal.levels == info["appraisal"]
    assert turn.reward_terms == {name: value for name, value in info["reward_terms"].items() if value}
    assert sum(turn.terms.values()) == turn.change == info["emotion"] - 40


def test_a_longer_action_is_cut_where_the_environment_cuts_it_and_marked():
    assert MAX_ACTION == MAX_LENGTH
    turn = recorded("a" * (MAX_ACTION + 1)).turns[0]
    assert turn.cut and len(turn.action) == len(turn.heard) == MAX_ACTION
    assert not recorded("a" * 100).turns[0].cut


def test_a_malformed_action_is_kept_and_was_not_heard():
    record = recorded("no tags at all", think=True)
    turn = record.turns[0]
    assert (
        turn.action == "no tags at all"
        and turn.heard is None
        and turn.appraisal is None
        and turn.line is None
    )
    assert record.outcome == "format" and turn.change == -40 and turn.reward_terms == {"format": -0.4}


def test_thinking_is_kept_in_the_action_and_left_out_of_what_was_heard():
    turn = recorded("<think>she is sad</think>I see.", think=True).turns[0]
    assert turn.action == "<think>she is sad</think>I see." and turn.heard == "I see."


def test_replies_before_recording_began_have_neither_action_nor_reward():
    env = gym.make("EmpathyChat-v0").unwrapped
    env.reset(seed=5)
    env.step("I see.")
    record = recorded("And then?", options={"dialogue": env.dialogue})
    assert [(t.action, t.heard) for t in record.turns] == [(None, "I see."), ("And then?", "And then?")]
    assert record.turns[0].reward is None and record.turns[0].emotion == env.dialogue.emotion


def test_a_recorder_can_be_used_again_and_refuses_to_record_nothing():
    env = gym.make("EmpathyChat-v0").unwrapped
    recorder = EpisodeRecorder(env_id="e", env_kwargs={}, user=env.user, reward="delta")
    with pytest.raises(RecordError, match="begin"):
        recorder.record()
    records = []
    for _ in range(2):
        env.reset(seed=1)
        recorder.begin(env.dialogue, instruction_hash="0")
        _, reward, _, _, info = env.step("hm")
        recorder.step("hm", env.dialogue, reward, info["reward_terms"])
        records.append(recorder.record())
    assert records[0] == records[1]


def test_whatever_is_not_plain_is_recorded_as_plain(tmp_path):
    assert plain({"path": tmp_path, "list": (1, None), "odd": {1: object}}) == {
        "path": str(tmp_path), "list": [1, None], "odd": {"1": str(object)},
    }  # fmt: skip


def test_records_are_frozen_and_refuse_unknown_fields():
    record = recorded("hm")
    with pytest.raises(ValidationError):
        record.outcome = "success"
    with pytest.raises(RecordError, match=r"here: not an episode record \(extra"):
        parse_line(json.dumps({**json.loads(record.to_line()), "extra": 1}), "here")


def test_a_writer_appends_and_leaves_a_torn_line_on_its_own(tmp_path):
    file, record = tmp_path / "new" / "folder" / "e.jsonl", recorded("hm")
    with RecordWriter(file) as writer:
        writer.write(record)
    with open(file, "ab") as torn:
        torn.write(b'{"schema_ver')
    with RecordWriter(file) as writer:
        writer.write(record)
    found = list(read_records(file))
    assert [number for number, _ in found] == [1, 2, 3]
    assert found[0][1] == found[2][1] == record
    assert isinstance(found[1][1], RecordError) and f"{file}:2: " in str(found[1][1])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"nowhere.jsonl: cannot be read"):
        list(read_records(tmp_path / "nowhere.jsonl"))
