"""Which user an environment is built around, and what it may claim about the number."""

from __future__ import annotations

import sys
import threading
import types

import pytest

from empathy_gym import ConfigError
from empathy_gym.simulators.config import SimulatorConfig, build_user
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.rule import TableRule, load_tables
from empathy_gym.simulators.user import User

PARTS = "empathy_test_parts:"


@pytest.fixture
def plug_in(monkeypatch):
    """Make an object importable as a plug-in."""

    def plug_in_(name, value):
        module = types.ModuleType("empathy_test_plug_in")
        setattr(module, name, value)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return f"{module.__name__}:{name}"

    return plug_in_


def test_the_embedded_user_has_the_three_packaged_parts():
    user = build_user("embedded")
    assert type(user.perceiver) is EmbeddedPerceiver
    assert type(user.rule) is TableRule and type(user.speaker) is AuthoredSpeaker
    assert (user.scored_by, user.determinism) == ("rule", "exact")


def test_a_user_is_built_once_for_each_configuration():
    assert build_user() is build_user("embedded", {}) is build_user("embedded", SimulatorConfig())
    assert build_user("embedded", {"seed": 5}) is not build_user()
    assert build_user("embedded", {"seed": 5}) is build_user("embedded", SimulatorConfig(seed=5))


def test_threads_that_ask_at_once_get_the_same_user():
    users = []
    threads = [
        threading.Thread(target=lambda: users.append(build_user("embedded", {"seed": 777}))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(users) == 8 and len(set(map(id, users))) == 1


@pytest.mark.parametrize(
    ("name", "replaced", "scored_by", "determinism"),
    [
        ("HashPerceiver", "perceiver", "custom", "rule-only"),
        ("ExactPerceiver", "perceiver", "custom", "exact"),
        ("OwnRule", "rule", "custom", "rule-only"),
        ("OwnTable", "rule", "custom", "rule-only"),
        ("EchoSpeaker", "speaker", "rule", "rule-only"),
    ],
)
def test_a_plug_in_replaces_its_part_and_the_claims_follow(name, replaced, scored_by, determinism):
    user = build_user(PARTS + name)
    assert (user.scored_by, user.determinism) == (scored_by, determinism)
    for part, packaged in (
        ("perceiver", EmbeddedPerceiver),
        ("rule", TableRule),
        ("speaker", AuthoredSpeaker),
    ):
        assert (type(getattr(user, part)) is packaged) == (part != replaced)


@pytest.mark.parametrize("name", ["WholeUser", "composed"])
def test_a_whole_user_is_marked_as_custom_whatever_its_dialogues_say(name):
    user = build_user(PARTS + name)
    scenario = load_scenarios("train")[0]
    dialogue = user.respond(user.begin([BeginRequest(scenario)]), ["hello"])[0]
    assert (dialogue.scored_by, dialogue.determinism) == (user.scored_by, user.determinism)
    assert (user.scored_by, user.determinism) == ("custom", "rule-only")
    assert isinstance(user.fingerprint, str) and user.fingerprint


def test_a_user_of_packaged_parts_with_a_table_of_ones_own_is_custom(plug_in):
    table = {**load_tables()[-1], "debt": 5}
    user = User(EmbeddedPerceiver(), TableRule(table), AuthoredSpeaker())
    assert build_user(plug_in("user", user)).scored_by == "custom"
    packaged = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker())
    assert build_user(plug_in("packaged", packaged)).scored_by == "rule"


def test_a_user_that_calls_itself_a_replay_is_not_made_exact(plug_in):
    user = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker(), determinism="replay")
    assert build_user(plug_in("replayed", user)).determinism == "replay"


def test_a_whole_user_that_loses_a_dialogue_is_told_so(plug_in):
    class Forgetful:
        def begin(self, requests):
            return []

        def respond(self, dialogues, replies):
            return []

    user = build_user(plug_in("forgetful", Forgetful()))
    with pytest.raises(ConfigError, match="Forgetful must return 1"):
        user.begin([BeginRequest(load_scenarios("train")[0])])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embeded", "Did you mean 'embedded'"),
        ("llm", "needs an engine"),
        ("no_such_module_at_all:x", "cannot be imported"),
        (PARTS + "HashPerciever", "Did you mean 'HashPerceiver'"),
        (PARTS, "not of the form 'module:attr'"),
        (":x", "not of the form 'module:attr'"),
        (PARTS + "LengthReward", "needs 'respond' or 'perceive'"),
        (PARTS + "BrokenReward", "without arguments"),
        (PARTS + "levels_of", "without arguments"),
    ],
)
def test_a_name_that_stands_for_no_user_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        build_user(name)


def test_a_user_without_begin_is_refused(plug_in):
    half = type("Half", (), {"respond": lambda self, d, r: []})
    with pytest.raises(ConfigError, match="no 'begin'"):
        build_user(plug_in("half", half))


def test_an_unknown_grade_of_determinism_is_refused(plug_in):
    class Odd:
        determinism = "exactly"

        def speak(self, items):
            return []

    with pytest.raises(ConfigError, match="Did you mean 'exact'"):
        build_user(plug_in("odd", Odd))


@pytest.mark.parametrize("field", ["engine", "tape"])
def test_what_the_embedded_user_would_ignore_is_refused(field):
    with pytest.raises(ConfigError, match=f"simulator_config.{field}"):
        build_user("embedded", {field: "x"})


@pytest.mark.parametrize("value", [{"seed": "x"}, {"tape_mode": "rewind"}, [], 3, {"seeds": 1}])
def test_a_config_that_does_not_fit_is_refused(value):
    with pytest.raises(ConfigError, match="simulator_config"):
        SimulatorConfig.load(value)


def test_a_config_file_is_read_safely(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("!!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match="YAML"):
        SimulatorConfig.load(path)
    path.write_text("")
    assert SimulatorConfig.load(path) == SimulatorConfig()
