"""The learning table of docs/training-sb3.md is the one in benchmarks/results."""

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
