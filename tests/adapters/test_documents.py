"""The blocks of README and docs that need Stable-Baselines3 or PyTorch run, those of a document in one folder."""

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
BLOCK = re.compile(r"^```(python|sh) (?:sb3|llm|train)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    document
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(document.read_text("utf-8"))
]


def test_the_documents_of_the_trainers_have_blocks() -> None:
    assert {"README.md", "training-sb3.md", "training-emprl.md"} <= {document.name for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_block_runs(document: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    for language, text in BLOCK.findall(document.read_text("utf-8")):
        if language == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            lines = [shlex.split(line.split(" # ")[0]) for line in text.splitlines()]
            assert {words[0] for words in lines} == {"empathy-gym"}
            commands = [[sys.executable, "-m", "empathy_gym", *words[1:]] for words in lines]
        for words in commands:
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, input=""
            )
            assert done.returncode == 0, (
                f"{' '.join(words)[:300]}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
            )
