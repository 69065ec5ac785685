"""What is said where Stable-Baselines3 is not installed, or a file is none of its own."""

from __future__ import annotations

import json
import sys
import zipfile

import pytest
from typer.testing import CliRunner

from empathy_gym.agents import load_policy
from empathy_gym.agents.trainers.sb3_files import NOTE, algorithm_of, read_note
from empathy_gym.simulators.errors import ConfigError, MissingExtraError

GOOD = {"schema_version": 1, "env": "EmpathyStrategy-v0", "algo": "ppo"}


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, value in members.items():
            file.writestr({"note": NOTE}.get(name, name), json.dumps(value))
    return path


@pytest.fixture
def without(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in ("stable_baselines3", "sb3_contrib")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("stable_baselines3", "sb3_contrib"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("adapters.sb3", "trainers.sb3", "trainers.sb3_callback"):
        monkeypatch.delitem(sys.modules, f"empathy_gym.agents.{name}", raising=False)


def test_a_missing_library_is_named_with_its_extra(without, tmp_path):
    path = archive(tmp_path / "model.zip", note=GOOD, data={})
    with pytest.raises(MissingExtraError, match=r"pip install 'empathy-gym\[sb3\]'"):
        load_policy(f"sb3:{path}")
    from empathy_gym.cli import app

    done = CliRunner().invoke(app, ["train", "sb3", "--out", str(tmp_path / "run")])
    assert done.exit_code == 2 and "empathy-gym[sb3]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_note_is_checked_before_anything_is_loaded(without, tmp_path):
    for changes, what in (
        ({"env": "EmpathyStrategy-v1"}, 'env = "EmpathyStrategy-v1"; here it is "EmpathyStrategy-v0"'),
        ({"algo": "sac"}, "trained by 'sac'"),
        ({"schema_version": 2}, "schema version 2; this version reads 1"),
    ):
        path = archive(tmp_path / "model.zip", note={**GOOD, **changes}, data={})
        with pytest.raises(ConfigError, match=what) as error:
            load_policy(f"sb3:{path}")
        assert "\n" not in str(error.value)


def test_the_algorithm_of_a_model_without_a_note_is_that_of_its_policy(tmp_path):
    for module, algo in (
        ("stable_baselines3.common.policies", "ppo"),
        ("stable_baselines3.dqn.policies", "dqn"),
        ("sb3_contrib.common.maskable.policies", "maskable-ppo"),
        ("sb3_contrib.common.recurrent.policies", "recurrent-ppo"),
    ):
        path = archive(tmp_path / "model.zip", data={"policy_class": {"__module__": module}})
        assert read_note(path) is None and algorithm_of(path) == algo
    path = archive(
        tmp_path / "model.zip", data={"policy_class": {"__module__": "stable_baselines3.sac.policies"}}
    )
    with pytest.raises(ConfigError, match="is not supported"):
        algorithm_of(path)
