"""A language-model user through every door of the package: one environment, many, a bench, a verification."""

from __future__ import annotations

import itertools
import json
import logging

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import data_equivalence

from empathy_gym.benchmarks.runner import Bench, BenchConfig
from empathy_gym.benchmarks.verify import verify
from empathy_gym.envs import unbatch_info
from empathy_gym.simulators.config import build_user

CHAT = "EmpathyChat-v0"
COMBINATIONS = list(itertools.product(("rubric", "embedded"), ("roleplay", "written")))
REPLIES = [
    "So that is how it went. What did you do then?",
    "I'm glad you told me. No wonder you were upset.",
    "That must have been hard to hear.",
]


def config_of(perceiver, speaker, **more):
    return {"engine": "scripted:agreeable", "perceiver": perceiver, "speaker": speaker, **more}


def play(kwargs, seed):
    """Play an episode; return what every call returned, and stop where it ends."""
    env = gym.make(CHAT, **kwargs)
    steps = [env.reset(seed=seed)]
    for reply in REPLIES:
        steps.append(env.step(reply))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


def bench(config, out, policies=("scripted:listener",), **more):
    run = Bench(
        BenchConfig(policies=policies, simulator="llm", simulator_config=json.dumps(config), limit=4, **more)
    )
    return run, run.run(out)


def grade_of(perceiver, speaker, mode):
    if (perceiver, speaker) == ("embedded", "written"):
        return "exact"
    return "replay" if mode == "replay" else "rule-only"


@pytest.mark.parametrize(("perceiver", "speaker"), COMBINATIONS)
@pytest.mark.parametrize("mode", ["live", "replay"])
def test_one_environment_and_a_vector_of_them_agree(perceiver, speaker, mode, tmp_path):
    live = {"simulator": "llm", "simulator_config": config_of(perceiver, speaker)}
    kwargs = live
    if mode == "replay":
        tape = {"tape": str(tmp_path / "t.sqlite")}
        recording = config_of(perceiver, speaker, **tape, tape_mode="record")
        for seed in range(5, 8):
            play({**live, "simulator_config": recording}, seed)
        kwargs = {"simulator": "llm", "simulator_config": {**recording, "tape_mode": "replay"}}
    envs = gym.make_vec(CHAT, 3, **kwargs)
    observations, infos = envs.reset(seed=5)
    batched = [(observations, infos)]
    for reply in REPLIES:
        batched.append(envs.step((reply,) * 3))
    for i in range(3):
        steps = play(kwargs, 5 + i)
        assert {s[-1]["determinism"] for s in steps} == {grade_of(perceiver, speaker, mode)}
        assert {s[-1]["scored_by"] for s in steps} == {"rule"}
        assert len(steps) == len(batched)  # none has ended, so that none has gone on with another one
        for number, step in enumerate(steps):
            assert batched[number][0][i] == step[0]
            assert unbatch_info(batched[number][-1], i) == step[-1]


@pytest.mark.parametrize(("perceiver", "speaker"), COMBINATIONS)
def test_a_bench_is_replayed_byte_for_byte_and_verified(perceiver, speaker, tmp_path):
    tape = {"tape": str(tmp_path / "t.sqlite")}
    config = config_of(perceiver, speaker, **tape, tape_mode="record")
    run, rows = bench(config, tmp_path / "a")
    asks = (perceiver, speaker) != ("embedded", "written")
    assert run.manifest()["determinism"] == grade_of(perceiver, speaker, "live")
    assert rows[0].qualification == ("unqualified" if asks else None) and (rows[0].rank is None) == asks
    replaying = {"perceiver": perceiver, "speaker": speaker, **tape, "tape_mode": "replay"}
    if not asks:
        (tmp_path / "t.sqlite").unlink(missing_ok=True)
        replaying = config
    again, _ = bench(replaying, tmp_path / "b")
    assert again.manifest()["determinism"] == grade_of(perceiver, speaker, "replay")
    for name in ("episodes.jsonl", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    grades = {json.loads(line)["determinism"] for line in (tmp_path / "b" / "episodes.jsonl").open()}
    assert grades == {grade_of(perceiver, speaker, "replay")}
    report = verify(tmp_path / "b", perceive=True, user=build_user("llm", replaying))
    assert report.ok and report.episodes == report.matched == 4
    assert report.readings > 0 and not report.readings_skipped
    assert verify(tmp_path / "a").ok


def test_what_is_not_on_a_tape_is_recorded_as_the_rules_alone(tmp_path):
    bench(config_of("rubric", "roleplay"), tmp_path)
    grades = {json.loads(line)["determinism"] for line in (tmp_path / "episodes.jsonl").open()}
    assert grades == {"rule-only"}


def test_a_level_changed_on_record_is_found_by_reading_the_tape(tmp_path):
    config = config_of("rubric", "roleplay", tape=str(tmp_path / "t.sqlite"), tape_mode="auto")
    bench(config, tmp_path / "a")
    file = tmp_path / "a" / "episodes.jsonl"
    lines = [json.loads(line) for line in file.open()]
    levels = lines[0]["turns"][0]["appraisal"]["levels"]
    levels["grounding"] = 3 - levels["grounding"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    user = build_user("llm", {**config, "tape_mode": "replay"})
    report = verify(tmp_path / "a", perceive=True, user=user)
    assert not report.ok and report.misread >= 1


@pytest.mark.parametrize(("perceiver", "speaker"), COMBINATIONS)
def test_a_spec_survives_json(perceiver, speaker):
    kwargs = {"simulator": "llm", "simulator_config": config_of(perceiver, speaker)}
    env = gym.make(CHAT, **kwargs)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec and again.unwrapped.setting.user is env.unwrapped.setting.user
    one, two = play(kwargs, 3), play(again.spec.kwargs, 3)
    assert data_equivalence(one, two, exact=True)


def test_no_secret_reaches_a_spec_a_record_a_log_or_an_error(tmp_path, monkeypatch, caplog, capfd):
    secret = "sk-very-secret-value"
    monkeypatch.setenv("SOME_KEY", secret)
    caplog.set_level(logging.DEBUG)
    config = {
        "engine": "openai:m@http://127.0.0.1:9/v1",
        "api_key_env": "SOME_KEY",
        "retries": 0,
        "timeout_s": 0.5,
        "tape": str(tmp_path / "t.sqlite"),
    }
    run, rows = bench(config, tmp_path / "o", max_turns=2)
    assert rows[0].faults == 4 and rows[0].unranked == "unqualified"
    env = gym.make(CHAT, simulator="llm", simulator_config=config)
    _, info = env.reset(seed=1)
    _, reward, terminated, truncated, after = env.step(REPLIES[0])
    assert (reward, terminated, truncated) == (0.0, False, True) and after["sim_fault"]
    seen = [env.spec.to_json(), json.dumps([info, after]), repr(env.unwrapped.setting.user.perceiver.engine)]
    seen += [p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file()]
    seen += [caplog.text, *capfd.readouterr(), run.setting.user.fingerprint]
    assert not any(secret in text for text in seen)


def test_tokens_of_user_and_policy_are_counted_apart_and_add_up_over_runs(tmp_path):
    config = config_of("rubric", "roleplay")
    policies = ("scripted:listener", "empathy_test_parts:Counting")
    bench(config, tmp_path, policies=policies)
    usage = json.loads((tmp_path / "manifest.json").read_text())["usage"]
    turns = [len(json.loads(line)["turns"]) for line in (tmp_path / "episodes.jsonl").open()]
    assert usage["policy"]["requests"] == sum(turns[4:])
    assert usage["policy"]["prompt_tokens"] == 3 * usage["policy"]["requests"]
    assert usage["speaker"]["requests"] >= sum(turns) >= usage["perceiver"]["requests"] > 0
    bench(config, tmp_path, policies=policies)  # everything is there already
    assert json.loads((tmp_path / "manifest.json").read_text())["usage"] == usage
