"""Which user a configuration makes, what it may claim, and what is refused."""

from __future__ import annotations

import copy

import gymnasium as gym
import pytest

from empathy_gym import ConfigError
from empathy_gym.simulators.config import SimulatorConfig, build_user
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.errors import TapeMiss
from empathy_gym.simulators.llm.direct import DirectJudge, DirectUser
from empathy_gym.simulators.llm.perceiver import RubricPerceiver
from empathy_gym.simulators.llm.speaker import RolePlaySpeaker

CHAT = "EmpathyChat-v0"
ENGINE = "scripted:agreeable"
REPLIES = ["So that is how it went. What did you do then?", "I'm glad you told me.", "That must be hard."]


def play(config, seed=7, **kwargs):
    env = gym.make(CHAT, simulator="llm", simulator_config=config, **kwargs)
    steps = [env.reset(seed=seed)]
    for reply in REPLIES:
        steps.append(env.step(reply))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


TIERS = [
    ("rubric", "roleplay", RubricPerceiver, RolePlaySpeaker, "rule", "rule-only"),
    ("rubric", "written", RubricPerceiver, AuthoredSpeaker, "rule", "rule-only"),
    ("embedded", "roleplay", EmbeddedPerceiver, RolePlaySpeaker, "rule", "rule-only"),
    ("embedded", "written", EmbeddedPerceiver, AuthoredSpeaker, "rule", "exact"),
    ("direct", "roleplay", DirectJudge, RolePlaySpeaker, "model", "rule-only"),
    ("direct", "written", DirectJudge, AuthoredSpeaker, "model", "rule-only"),
]


@pytest.mark.parametrize(("perceiver", "speaker", "reads", "says", "scored_by", "grade"), TIERS)
def test_every_combination_of_tiers_plays(perceiver, speaker, reads, says, scored_by, grade):
    config = {"engine": ENGINE, "perceiver": perceiver, "speaker": speaker}
    user = build_user("llm", config)
    assert (type(user.perceiver), type(user.speaker)) == (reads, says)
    steps = play(config)
    info = steps[-1][-1]
    assert (info["scored_by"], info["determinism"], info["sim_fault"]) == (scored_by, grade, None)
    assert len(steps) == 4 and all(step[0] for step in steps)
    assert isinstance(user, DirectUser) == (perceiver == "direct")


def test_the_default_is_a_rubric_and_role_play():
    user = build_user("llm", {"engine": ENGINE})
    assert (type(user.perceiver), type(user.speaker)) == (RubricPerceiver, RolePlaySpeaker)


def test_a_replayed_run_is_the_recorded_one_and_needs_no_model(tmp_path):
    tape = str(tmp_path / "t.sqlite")
    recorded = play({"engine": ENGINE, "tape": tape, "tape_mode": "record"})
    for engine in (ENGINE, None):
        replayed = play({"engine": engine, "tape": tape, "tape_mode": "replay"})
        assert [s[:-1] for s in replayed[1:]] == [s[:-1] for s in recorded[1:]]
        assert {s[-1]["determinism"] for s in replayed} == {"replay"}
        differing = {
            k for a, b in zip(recorded, replayed, strict=True) for k in a[-1] if a[-1][k] != b[-1][k]
        }
        assert differing <= {"determinism"}


def test_replaying_a_server_needs_neither_the_server_nor_a_key(tmp_path, monkeypatch):
    """The tape is of another model, so that the name in the engine is what is looked for."""
    tape = str(tmp_path / "t.sqlite")
    play({"engine": ENGINE, "tape": tape, "tape_mode": "record"})
    config = {
        "engine": "openai:other@http://127.0.0.1:9/v1",
        "tape": tape,
        "tape_mode": "replay",
        "api_key_env": "NO_KEY",
    }
    with pytest.raises(ConfigError, match="other"):
        build_user("llm", config)


def test_what_the_tape_does_not_hold_is_a_miss(tmp_path):
    tape = str(tmp_path / "t.sqlite")
    play({"engine": ENGINE, "tape": tape, "tape_mode": "record"})
    with pytest.raises(TapeMiss):
        play({"tape": tape, "tape_mode": "replay"}, seed=8)


def test_auto_is_not_repeatable_by_itself(tmp_path):
    config = {"engine": ENGINE, "tape": str(tmp_path / "t.sqlite")}
    assert build_user("llm", config).determinism == "rule-only"


def test_a_fallback_is_marked_and_never_ranked():
    config = {"engine": "scripted:mute", "fallback": "embedded", "speaker": "written"}
    info = play(config)[-1][-1]
    assert (info["scored_by"], info["sim_fault"]) == ("custom", None)
    assert play({"engine": "scripted:mute", "speaker": "written"})[1][-1]["outcome"] == "fault"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "needs an engine"),
        ({"perceiver": "direct"}, "needs an engine"),
        ({"engine": ENGINE, "tape_mode": "replay"}, "there is no tape"),
        ({"engine": ENGINE, "perceiver": "direct", "fallback": "embedded"}, "fall back"),
        ({"engine": ENGINE, "perceiver": "embedded", "fallback": "embedded"}, "fall back"),
        ({"engine": ENGINE, "perceiver": "direct", "answer": "compact"}, "the form of a rubric's answer"),
        ({"engine": ENGINE, "api_key_env": "KEY"}, "takes none"),
        ({"engine": "scripted:agreable"}, "Did you mean 'agreeable'"),
        ({"engine": "openapi:x@http://h"}, "Did you mean 'openai'"),
        ({"engine": ENGINE, "perceiver": "rubrik"}, "simulator_config.perceiver"),
        ({"engine": ENGINE, "temperature": float("nan")}, "temperature"),
        ({"engine": ENGINE, "timeout_s": 0}, "timeout_s"),
        ({"engine": ENGINE, "repairs": 99}, "repairs"),
        ({"engine": ENGINE, "tape_mod": "replay"}, "Did you mean 'tape_mode'"),
        ({"engine": ENGINE, "api_key": "sk-secret"}, "Did you mean 'api_key_env'"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_when_the_environment_is_made(config, message):
    with pytest.raises(ConfigError, match=message):
        gym.make(CHAT, simulator="llm", simulator_config=config)


@pytest.mark.parametrize(
    "field", ["engine", "answer", "fallback", "tape", "tape_mode", "api_key_env", "revision"]
)
def test_the_embedded_user_refuses_what_it_would_ignore(field):
    value = {"answer": "compact", "fallback": "embedded", "tape_mode": "auto"}.get(field, "x")
    with pytest.raises(ConfigError, match=f"simulator_config.{field}"):
        build_user("embedded", {field: value})
    with pytest.raises(ConfigError, match=r"simulator_config\.perceiver"):
        build_user("embedded", {"perceiver": "rubric"})


def test_a_key_put_where_its_variables_name_belongs_is_not_shown():
    key = "sk-proj-THIS.IS.SECRET"
    with pytest.raises(ConfigError) as caught:
        SimulatorConfig.load({"engine": "openai:m@http://h", "api_key_env": key})
    chain = [
        caught.value,
        caught.value.__cause__,
        caught.value.__context__ if not caught.value.__suppress_context__ else None,
    ]
    assert not [e for e in chain if e is not None and key in f"{e!r} {e}"]


def test_a_mapping_a_yaml_file_and_an_instance_make_the_same_user(tmp_path):
    path = tmp_path / "user.yaml"
    path.write_text("engine: scripted:agreeable\nanswer: compact\n", "utf-8")
    config = {"engine": ENGINE, "answer": "compact"}
    assert (
        build_user("llm", path) is build_user("llm", config) is build_user("llm", SimulatorConfig(**config))
    )


def test_a_spec_survives_copying_and_json():
    env = gym.make(CHAT, simulator="llm", simulator_config={"engine": ENGINE, "answer": "compact"})
    spec = copy.deepcopy(env.spec)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(spec.to_json()))
    assert again.reset(seed=1)[0] == env.reset(seed=1)[0]
    assert again.step(REPLIES[0])[:4] == env.step(REPLIES[0])[:4]


@pytest.mark.parametrize("answer", ["json", "compact"])
def test_a_vector_environment_plays_what_single_ones_play(answer):
    config = {"engine": ENGINE, "answer": answer}
    envs = gym.make_vec(CHAT, num_envs=3, simulator="llm", simulator_config=config)
    observed = [envs.reset(seed=7)[0], *(envs.step([reply] * 3)[0] for reply in REPLIES)]
    for i in range(3):
        alone = [step[0] for step in play(config, seed=7 + i)]
        assert [obs[i] for obs in observed][: len(alone)] == alone[:4]


def test_the_fingerprint_names_models_prompts_and_sampling():
    prints = [
        build_user("llm", {"engine": ENGINE, **more}).fingerprint
        for more in ({}, {"answer": "compact"}, {"temperature": 0.2}, {"seed": 4}, {"perceiver": "direct"})
    ]
    assert len(set(prints)) == 5 and all("scripted:agreeable@1" in text for text in prints)
    assert all(text.count(";") == 3 for text in prints)
