"""The whole audit passes, and its figures are those in docs/fidelity.md."""

from __future__ import annotations

import re

import pytest
from figures import FIDELITY

from empathy_gym.benchmarks.audit import Audit, audit

COLUMNS = ("easy", "normal", "hard")


@pytest.fixture(scope="module", params=["normal", "hard"])
def result(request: pytest.FixtureRequest) -> Audit:
    return audit(difficulty=request.param, pairs=100)


@pytest.mark.slow
def test_nothing_fails_but_what_is_listed(result: Audit) -> None:
    assert result.passed, [finding for finding in result.findings if finding.failed]
    assert all(finding.n >= 90 for finding in result.findings if finding.kind == "paired")


@pytest.mark.slow
def test_the_pairs_in_the_document_are_those_of_the_audit(result: Audit) -> None:
    rows = {
        cells[0].strip(): cells[1:]
        for line in FIDELITY.read_text("utf-8").splitlines()
        if line.startswith("| ") and len(cells := line.strip("| ").split(" | ")) == 5
    }
    paired = [finding for finding in result.findings if finding.kind == "paired"]
    assert paired
    for finding in paired:
        cell = rows[finding.name][1 + COLUMNS.index(result.difficulty)]
        shown = re.match(r"[\d.]+", cell)
        assert shown and shown.group() == f"{finding.value:.2f}", (finding.name, cell)
        assert cell.endswith("*") != finding.passed, finding.name
