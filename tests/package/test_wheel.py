"""The built wheel, installed in a fresh virtual environment, plays an episode."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EPISODE = """
import sys
import gymnasium as gym
import empathy_gym
env = gym.make("EmpathyChat-v0")
obs, info = env.reset(seed=3)
done = False
while not done:
    obs, reward, terminated, truncated, info = env.step("What happened then?")
    done = terminated or truncated
assert obs and info["outcome"] is not None
assert "envs" not in sys.modules and "simulators" not in sys.modules
assert "site-packages" in empathy_gym.__file__, empathy_gym.__file__
print("played", info["outcome"])
"""


def run(*command: str, cwd: Path) -> str:
    # Only what is installed may be found, whatever path the tests themselves were started with.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=400, env=env)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from the sdist, so that no link of the checkout is followed."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT), cwd=out)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_data_and_types_and_no_link(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "empathy_gym/py.typed",
        "empathy_gym/simulators/tables/rule-v0.yaml",
        "empathy_gym/simulators/library/names.yaml",
        "empathy_gym/agents/policies/lines.yaml",
        "empathy_gym/envs/instructions/en.md",
        "empathy_gym/rewards/data/identifiers.npz",
        "empathy_gym/simulators/exchanges/sample.jsonl",
        "empathy_gym/rewards/data/identifier_sentences.yaml",
    ):
        assert needed in names
    assert any(n.startswith("empathy_gym/simulators/library/situations/") for n in names)
    assert not [n for n in names if n.startswith(("tests/", "src/", "envs/", "simulators/"))]


def test_the_wheel_plays_an_episode_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    constraints = str(ROOT / "constraints" / "cpu.txt")
    run(python, "-m", "pip", "install", "-q", "-c", constraints, str(wheel), cwd=tmp_path)
    assert "played" in run(python, "-W", "error", "-c", EPISODE, cwd=tmp_path)
    assert "empathy-gym" in run(str(tmp_path / "venv" / "bin" / "empathy-gym"), "--version", cwd=tmp_path)
