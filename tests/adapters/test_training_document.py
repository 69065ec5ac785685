"""The blocks of docs/training-sb3.md that need Stable-Baselines3 run, one after another in one folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.adapters

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "training-sb3.md"
BLOCK = re.compile(r"^```(python|sh) sb3\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_block_runs(tmp_path):
    blocks = BLOCK.findall(DOCUMENT.read_text("utf-8"))
    assert len(blocks) >= 2
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    for language, text in blocks:
        if language == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            commands = [shlex.split(line) for line in text.splitlines()]
            assert {words[0] for words in commands} == {"empathy-gym"}
            commands = [[sys.executable, "-m", "empathy_gym", *words[1:]] for words in commands]
        for words in commands:
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, (
                f"{' '.join(words)[:200]}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
            )


def test_the_message_about_text_is_the_one_that_is_given():
    import gymnasium as gym

    import empathy_gym  # noqa: F401
    from empathy_gym.agents.adapters.sb3 import SB3VecEnv
    from empathy_gym.simulators.errors import ConfigError

    with pytest.raises(ConfigError) as error:
        SB3VecEnv(gym.make("EmpathyChat-v0"))
    assert str(error.value) in " ".join(DOCUMENT.read_text("utf-8").split())
