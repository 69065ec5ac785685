from __future__ import annotations

import copy
import json
import pickle

import gymnasium as gym
import pytest

from empathy_gym import ConfigError
from empathy_gym.envs import RecordEpisodes
from empathy_gym.envs.instructions import instruction_hash
from empathy_gym.simulators.records import read_records


def _records(path):
    return [record for _, record in read_records(path)]


def test_every_episode_that_ends_is_one_line(make, episode, tmp_path):
    path = tmp_path / "runs" / "episodes.jsonl"
    env = RecordEpisodes(make(), path)
    played = [episode(env, seed=seed) for seed in range(4)]
    records = _records(path)
    assert len(path.read_text("ascii").splitlines()) == len(records) == 4
    for seed, (record, steps) in enumerate(zip(records, played, strict=True)):
        last = steps[-1][-1]
        assert record.seeds.env == seed and record.scenario == last["scenario"]
        assert record.outcome == last["outcome"] and record.final_emotion == last["emotion"]
        assert record.opening == steps[0][0]
        assert [t.action for t in record.turns] == [f"reply {i + 1}" for i in range(len(record.turns))]
        assert [t.line for t in record.turns] == [step[0] for step in steps[1:]]
        assert [t.reward for t in record.turns] == [step[1] for step in steps[1:]]
        assert [t.appraisal.levels for t in record.turns] == [step[-1]["appraisal"] for step in steps[1:]]
        assert record.env_id == "EmpathyChat-v0" and record.reward == "delta"
        assert record.env_kwargs == {"simulator": "empathy_test_parts:ExactPerceiver"}
        assert record.instruction_hash == instruction_hash(env.unwrapped.instruction)
        assert record.fingerprint == env.unwrapped.user.fingerprint


def test_the_same_episode_gives_the_same_line(make, episode, tmp_path):
    for name in ("one", "two"):
        episode(RecordEpisodes(make(), tmp_path / name), seed=3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_raw_action_is_kept_beside_what_was_heard(make, tmp_path):
    env = RecordEpisodes(make(think=True, max_turns=3), tmp_path / "r")
    env.reset(seed=0)
    env.step("<think>plan \ud800</think>hello \udfff")
    env.step("no tags")
    first, second = _records(tmp_path / "r")[0].turns
    assert (first.action, first.heard) == ("<think>plan \ud800</think>hello \udfff", "hello \udfff")
    assert (second.action, second.heard, second.line) == ("no tags", None, None)
    assert second.reward_terms == {"format": second.reward} and second.emotion == 0


def test_a_longer_action_is_recorded_as_cut(make, tmp_path):
    env = RecordEpisodes(make(max_turns=1), tmp_path / "r")
    env.reset(seed=0)
    env.step("a" * 1_048_577)
    turn = _records(tmp_path / "r")[0].turns[0]
    assert turn.cut and turn.action == turn.heard == "a" * 1_048_576


@pytest.mark.parametrize("reply", ["simulator fault", "policy fault"])
def test_a_fault_is_recorded_with_its_kind(make, tmp_path, reply):
    env = RecordEpisodes(make(simulator="empathy_test_parts:FaultPerceiver"), tmp_path / "r")
    env.reset(seed=0)
    env.step(reply)
    record = _records(tmp_path / "r")[0]
    assert record.turns[0].faults[0].kind == reply.split()[0]
    assert record.truncated == (reply == "simulator fault")


def test_an_episode_that_is_given_up_is_not_written(make, episode, tmp_path):
    env = RecordEpisodes(make(), tmp_path / "r")
    env.reset(seed=0)
    env.step("hello")
    episode(env, seed=1)
    assert [record.seeds.env for record in _records(tmp_path / "r")] == [1]


def test_a_resumed_episode_records_what_was_said_before_without_action_or_reward(make, episode, tmp_path):
    env = RecordEpisodes(make(), tmp_path / "r")
    env.reset(seed=0)
    env.step("hello")
    episode(env, options={"dialogue": env.unwrapped.dialogue})
    first, second, *_ = _records(tmp_path / "r")[0].turns
    assert (first.action, first.reward, first.heard) == (None, None, "hello")
    assert second.action == "reply 1" and second.reward is not None


def test_recording_changes_nothing_and_survives_copying_and_the_spec(make, episode, tmp_path):
    env = RecordEpisodes(make(), tmp_path / "r", policy="numbers")
    assert episode(env, seed=2) == episode(make(), seed=2)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    for other in (again, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        episode(other, seed=2)
    lines = (tmp_path / "r").read_text("ascii").splitlines()
    assert len(lines) == 4 and len(set(lines)) == 1 and json.loads(lines[0])["policy"] == "numbers"


def test_only_single_chat_environments_are_recorded(make_vec, tmp_path):
    for env in (make_vec(2), gym.make("CartPole-v1"), None):
        with pytest.raises(ConfigError, match="RecordEpisodes"):
            RecordEpisodes(env, tmp_path / "r")


def test_a_file_that_cannot_be_written_is_found_out_before_an_episode(make, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    for path, says in ((tmp_path, "it is a folder"), (tmp_path / "file" / "x.jsonl", "is a file")):
        with pytest.raises(ConfigError, match=says):
            RecordEpisodes(make(), path)
