"""Verifying a file of records, or a bench folder with its summary; `verifier` says what is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.benchmarks.response_records import holds_responses
from empathy_gym.benchmarks.response_verify import verify_responses
from empathy_gym.benchmarks.summary import Score, rows_of
from empathy_gym.benchmarks.verifier import TOLERANCE, Mismatch, Report, Verifier
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.records import read_records
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User


def verify(
    path: str | os.PathLike[str],
    *,
    scenarios: Iterable[Scenario] = (),
    perceive: bool = False,
    user: User | None = None,
) -> Report:
    """Check a file of records, or a bench folder and its summary; records of responses are read afresh in any case.

    Args:
        path: A JSON Lines file, or a folder with one.
        scenarios: Scenarios beside the bundled ones.
        perceive: Whether to read the replies afresh.
        user: Who reads them; the embedded user by default. A language-model user reads from its tape.

    Raises:
        ConfigError: If there is no such file.
        RecordError: If it cannot be read at all.
    """
    given = Path(path)
    folder = BenchFolder(given) if given.is_dir() else None
    file = folder.episodes if folder else given
    if not file.is_file():
        raise ConfigError(f"There is no file {str(file)!r} to verify.")
    if holds_responses(file):
        return verify_responses(file, folder)
    verifier = Verifier(scenarios, perceive=perceive, user=user)
    report, scores = verifier.report, []
    for number, record in read_records(file):
        report.lines += 1
        if isinstance(record, RecordError):
            report.damaged.append(str(record))
            continue
        verifier.check(record, f"{file}:{number}")
        scores.append(Score.of(record))
    verifier.finish()
    if not report.lines:
        report.notes.append(f"{file} is empty: there is nothing to verify.")
    elif not report.episodes and not report.damaged:
        report.notes.append(
            f"{file} holds no episode that was scored by a packaged rule: nothing was verified."
        )
    if folder and scores:
        _check_summary(folder, scores, report)
    return report


def _check_summary(folder: BenchFolder, scores: Sequence[Score], report: Report) -> None:
    """Compare the summary with the rows that follow from the episodes."""
    try:
        manifest = folder.read_manifest()
        expected = manifest.get("episodes")
        written = {str(row.get("policy")): row for row in folder.read_summary() if isinstance(row, dict)}
    except RecordError as error:
        report.damaged.append(str(error))
        return
    rows = rows_of(scores, manifest.get("qualification"))
    where, found = str(folder.summary), sum(row.episodes for row in rows)
    if expected != found:
        report.mismatches.append(Mismatch(str(folder.manifest), "the run", None, "episodes", expected, found))
    for row in rows:
        old = written.pop(row.policy, {})
        wrong = []
        for name, value in row.to_json().items():
            report.numbers += 1
            if not _close(old.get(name), value):
                wrong.append(Mismatch(where, f"policy {row.policy}", None, name, old.get(name), value))
        report.wrong += len(wrong)
        report.mismatches += wrong[:1]
    for policy in written:
        report.mismatches.append(Mismatch(where, f"policy {policy}", None, "episodes", "a row", "no episode"))


def _close(old: Any, new: Any) -> bool:
    """Return whether two plain values are the same up to rounding."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_close, old, new))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=0.0, abs_tol=TOLERANCE)
    return type(old) is type(new) and bool(old == new)
