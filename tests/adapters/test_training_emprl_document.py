"""The blocks of docs/training-emprl.md that need PyTorch run, one after another in one folder."""

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
DOCUMENT = ROOT / "docs" / "training-emprl.md"
BLOCK = re.compile(r"^```(python|sh) llm\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_block_runs(tmp_path: Path) -> None:
    found = BLOCK.findall(DOCUMENT.read_text("utf-8"))
    assert {language for language, _ in found} == {"python", "sh"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    for language, text in found:
        if language == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            commands = [shlex.split(line) for line in text.splitlines()]
            assert {words[0] for words in commands} == {"empathy-gym"}
            commands = [[sys.executable, "-m", "empathy_gym", *words[1:]] for words in commands]
        for words in commands:
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
            )
            assert done.returncode == 0, f"{' '.join(words)[:300]}\n{done.stderr[-2000:]}"


def test_the_table_of_the_recipe_is_true() -> None:
    from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL, SMALL

    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \| ([^|]+) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    checked = 0
    for names, emprl, small in rows:
        for recipe, shown in ((EMPRL, emprl), (SMALL, emprl if small == "the same" else small)):
            for name, value in zip(re.findall(r"\w+", names), shown.split(", "), strict=True):
                assert getattr(recipe, name) == float(value), name
                checked += 1
    assert checked >= 30
