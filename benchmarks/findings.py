"""What an audit finds: one figure beside the most, or the least, that it may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from empathy_gym.simulators.packaged import read_yaml

KINDS: Final = ("blind", "slot", "search", "paired", "false_alarm")
_Z: Final = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an audit.

    Attributes:
        name: What was tried.
        kind: One of `KINDS`.
        value: ``"paired"``: share of pairs that moved as stated. ``"false_alarm"``: share of alarms. Others: mean
            final emotion, 0-100.
        ceiling: The least share for ``"paired"``, the greatest value for the others.
        passed: Whether the value keeps to it.
        known: Whether the miss is in the committed list (`known_misses`).
        n: Pairs, replies or episodes.
        low: Lower end of the 95 % interval.
        high: Upper end.
        detail: A few more words, e.g. the share of successes.
    """

    name: str
    kind: str
    value: float
    ceiling: float
    passed: bool
    known: bool = False
    n: int = 0
    low: float = 0.0
    high: float = 0.0
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is a miss that nobody has listed."""
        return not self.passed and not self.known


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share (Wilson 1927, JASA 22).

    Args:
        count: Cases that held, 0 to n.
        n: Cases.

    Raises:
        ValueError: If there is no case.
    """
    if n < 1 or not 0 <= count <= n:
        raise ValueError(
            f"got {count} of {n} cases; there must be at least one, and no more that held than there are"
        )
    share, z2 = count / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def known_misses() -> Sequence[Mapping[str, Any]]:
    """Return the committed list of misses: name, difficulty, figure, and what was tried."""
    loaded: Sequence[Mapping[str, Any]] = read_yaml("empathy_gym.benchmarks", "data/known_misses.yaml") or []
    return loaded


def marked(findings: Sequence[Finding], difficulty: str) -> list[Finding]:
    """Return the findings with those misses marked as known that are listed for this difficulty.

    A listed miss covers no more than it says: whatever is worse than its figure is a new miss.
    """
    listed = {(miss["name"], miss["difficulty"]): miss["figure"] for miss in known_misses()}
    return [
        replace(f, known=not f.passed and _covered(f, listed.get((f.name, difficulty)))) for f in findings
    ]


def _covered(finding: Finding, figure: float | None) -> bool:
    if figure is None:
        return False
    return finding.value >= figure if finding.kind == "paired" else finding.value <= figure
