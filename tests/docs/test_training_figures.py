"""The learning tables of docs/training-sb3.md and docs/training.md are those in benchmarks/results."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TABLE = re.compile(r"(?<=<!-- learning table -->\n).*?(?=<!-- end of learning table -->)", re.DOTALL)


def test_the_document_has_the_table_of_the_results():
    found = TABLE.search((ROOT / "docs" / "training-sb3.md").read_text("utf-8"))
    assert found is not None
    assert found.group().strip() == (RESULTS / "strategy-learning.md").read_text("utf-8").strip()


def test_the_results_say_what_they_are_of():
    told = json.loads((RESULTS / "strategy-learning.json").read_text("ascii"))
    assert {"config", "open_loop", "versions", "rows", "differences"} <= set(told)
    rows = {row["name"]: row for row in told["rows"]}
    text = (RESULTS / "strategy-learning.md").read_text("utf-8")
    for name, row in rows.items():
        assert f"| {name} | {row['emotion']:.1f} |" in text


def test_the_document_on_language_models_has_the_tables_and_curves_of_the_results():
    found = TABLE.search((ROOT / "docs" / "training.md").read_text("utf-8"))
    assert found is not None
    told = (RESULTS / "chat-learning.md").read_text("utf-8")
    # The heading and the command stand in the document's own words.
    assert found.group().strip() == told[told.index("## ") :].strip()


def test_the_conversations_of_that_document_are_those_of_the_results():
    talks = (RESULTS / "chat-learning-talks.md").read_text("utf-8")
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    shown = [line for line in text.splitlines() if line.startswith(("**User:**", "**Policy:**"))]
    assert len(shown) >= 3 * 2 * 6
    assert not [line for line in shown if line not in talks]


def test_the_results_on_language_models_are_paired():
    told = json.loads((RESULTS / "chat-learning.json").read_text("ascii"))
    for part in told["difficulties"].values():
        assert {row["episodes"] for row in part["rows"]} == {part["rows"][0]["episodes"]}
        assert part["rows"][0]["policy"] == told["base"]
