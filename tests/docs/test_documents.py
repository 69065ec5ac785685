"""Every Python block and every command of README and docs runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        for i, (language, text) in enumerate(BLOCK.findall(document.read_text("utf-8"))):
            if language in languages:
                found.append((f"{document.name}#{i}", text))
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(("name", "code"), blocks("python"))
def test_a_python_block_runs(name: str, code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{name}:\n{done.stderr}"


@pytest.mark.parametrize(("name", "script"), blocks("sh", "bash", "console"))
def test_every_command_of_a_shell_block_runs(name: str, script: str, tmp_path: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = [line.split(" # ")[0].strip() for line in script.splitlines() if line.strip()]
    assert commands, f"{name}: an empty block"
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            # make runs the tests, this one included: here only the target is looked up; CI runs them.
            assert set(words[1:]) <= targets, f"{name}: no target {words[1:]} in the Makefile"
            continue
        done = subprocess.run(
            words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600, input=""
        )
        assert done.returncode == 0, f"{name}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_relative_links_of_documents_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: no {target}"
