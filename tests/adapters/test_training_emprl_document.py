"""What docs/training-emprl.md tells of the recipe is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.adapters

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "training-emprl.md"


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
