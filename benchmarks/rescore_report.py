"""The rows of `rescore_variance` as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from empathy_gym.benchmarks.console import safe
from empathy_gym.benchmarks.rescore import Interval, Variance

if TYPE_CHECKING:
    from rich.console import Console

_FIGURES: Final = {"flips": "another sign", "moves": "another number", "spread": "points apart"}


def print_variance(rows: Iterable[Variance], console: Console) -> None:
    """Print how much each condition changes what each method finds, and what else there is to say of a method."""
    from rich.table import Table

    rows = list(rows)
    stable = Table(title="Changes that differ where nothing that matters does", title_justify="left")
    stable.caption = (
        "Share of replies, and mean distance of the largest from the smallest change; 95 % intervals."
    )
    for heading in ("method", "condition", *_FIGURES.values()):
        stable.add_column(heading, justify="left" if heading in ("method", "condition") else "right")
    whole = Table(title="The methods", title_justify="left")
    for heading in ("method", "model", "replies", "raised by an instruction", "faults", "tokens a reply"):
        whole.add_column(heading, justify="left" if heading in ("method", "model") else "right")
    for row in rows:
        for condition in [one for one, share in row.flips.items() if share is not None]:
            cells = [_cell(getattr(row, f)[condition], _ends(row, f, condition), f) for f in _FIGURES]
            stable.add_row(row.method, condition, *cells)
        raised = _cell(row.injection, _ends(row, "injection"), "injection")
        faults = f"{row.faults:.1%}"
        whole.add_row(row.method, safe(row.model), str(row.replies), raised, faults, f"{row.tokens:,.0f}")
    console.print(stable)
    console.print(whole)


def _ends(row: Variance, figure: str, condition: str | None = None) -> Interval:
    found: Any = row.ci95[figure]
    ends: Interval = found if condition is None else found[condition]
    return ends


def _cell(value: float | None, ends: Interval, figure: str) -> str:
    if value is None or ends is None:
        return "-"
    if figure == "spread":
        return f"{value:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"
    return f"{value:.0%} [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
