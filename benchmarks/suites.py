"""Named sets of policies and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

BLIND: Final[tuple[str, ...]] = (
    "scripted:empty", "scripted:echo", "scripted:parrot", "scripted:flattery", "scripted:agreement",
    "scripted:apology", "scripted:one_line", "scripted:shuffled", "scripted:questions",
    "scripted:advice_list", "scripted:stuffing", "scripted:gibberish", "scripted:emoji",
    "scripted:injection", "scripted:goodbye",
)  # fmt: skip
"""Policies that read nothing: a sound reward pays none of them."""
REFERENCES: Final[tuple[str, ...]] = (
    "scripted:oracle", "scripted:listener", "scripted:advisor", "scripted:template", "scripted:eliza",
)  # fmt: skip
"""Policies that mark the scale, from the privileged oracle down."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A bench run by name.

    Attributes:
        env: Environment id.
        policies: Policy specs.
        scenarios: Split or path.
        repeats: Episodes for each scenario.
        seed: Seed of the run.
        out: Folder for the results.
    """

    env: str
    policies: tuple[str, ...]
    scenarios: str
    repeats: int
    seed: int
    out: str

    def config(self) -> dict[str, Any]:
        """Return the fields of the run's `runner.BenchConfig`."""
        names = ("env", "policies", "scenarios", "repeats", "seed")
        return {name: getattr(self, name) for name in names}


DEMO: Final = Suite("EmpathyChat-v0", (*REFERENCES, *BLIND), "test", 1, 0, "runs/demo")
"""What `empathy-gym demo` runs: every scripted policy, offline, in about a minute."""
