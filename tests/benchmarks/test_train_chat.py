"""`empathy-gym train grpo` before any model is loaded."""

from __future__ import annotations

import importlib.util

import pytest

from empathy_gym.cli import main


def test_a_misspelt_field_is_one_line(capsys) -> None:
    assert main(["train", "grpo", "--config", "smollm2-cpu", "--set", "rolout.groups=2"]) == 2
    told = capsys.readouterr().err
    assert "unknown field 'rolout'" in told and "Did you mean 'rollout'" in told and told.count("\n") == 1


def test_a_config_that_does_not_exist_names_the_nearest(capsys) -> None:
    assert main(["train", "grpo", "--config", "smolm2-cpu"]) == 2
    assert "Did you mean 'smollm2-cpu'" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is not None, reason="torch is installed: nothing is missing"
)
def test_without_torch_the_extra_is_named(capsys, tmp_path) -> None:
    command = [
        "train",
        "grpo",
        "--config",
        "smollm2-cpu",
        "--set",
        "model=a/b",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(command) == 2
    assert "pip install 'empathy-gym[llm]'" in capsys.readouterr().err
