"""The command ``empathy-gym audit``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from empathy_gym.benchmarks.console import (
    FAILURE,
    complain,
    err,
    out,
    print_json,
    print_lines,
    reporting,
    safe,
)

if TYPE_CHECKING:
    from empathy_gym.benchmarks.attacks.search import Genome
    from empathy_gym.benchmarks.audit import Audit
    from empathy_gym.benchmarks.findings import Finding


@reporting
def audit(
    env: Annotated[str, typer.Option(help="Environment id.")] = "EmpathyChat-v0",
    difficulty: Annotated[str, typer.Option(help="easy, normal or hard.")] = "normal",
    split: Annotated[str, typer.Option(help="Split or path of the users who are attacked.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first users, by id.")] = None,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of each paired test.")] = 100,
    search: Annotated[bool, typer.Option("--search", help="Breed attackers on train, too: minutes.")] = False,
    evaluations: Annotated[int, typer.Option(min=2, help="With --search: episodes of it.")] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    save: Annotated[Path | None, typer.Option(help="With --search: file for the attackers it bred.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack the reward: blind and slot attackers, pairs that differ by one edit, false alarms; --search breeds more.

    Exit status 1 if something fails that is not in the committed list of known misses.
    """
    from empathy_gym.benchmarks.audit import audit as run

    with _bar() as bar:
        task = bar.add_task("audit")
        result = run(
            env,
            split=split,
            difficulty=difficulty,
            limit=limit,
            pairs=pairs,
            evaluations=evaluations if search else 0,
            seed=seed,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    if save is not None:
        _save(save, result.bred)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in result.findings])
    else:
        out().print(_table(result))
        print_lines(_words(result))
    for name, what in result.errors:
        complain(f"the attack {name!r} raised {what}")
    if not result.passed:
        raise typer.Exit(FAILURE)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err(), transient=True)


def _save(path: Path, genomes: Sequence[Genome]) -> None:
    head = (
        "# What the search has found so far, kept as attacks: genes of each turn. "
        "`empathy-gym audit --search --save FILE` writes this.\n"
    )
    plain = [[list(turn) for turn in genome] for genome in genomes]
    path.write_text(head + yaml.safe_dump(plain, allow_unicode=True, width=1000), "utf-8")


def _table(result: Audit) -> Table:
    table = Table(title=safe(f"{result.env}, {result.difficulty}"), title_justify="left")
    for name in ("kind", "name"):
        table.add_column(name)
    for name in ("value", "95 % interval", "limit", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("", overflow="fold")
    for finding in result.findings:
        table.add_row(*_cells(finding), style="" if finding.passed else "bold")
    return table


def _cells(finding: Finding) -> list[str]:
    share = finding.kind in ("paired", "false_alarm")
    value, low, high, limit = (
        f"{100 * number:.1f} %" if share else f"{number:.1f}"
        for number in (finding.value, finding.low, finding.high, finding.ceiling)
    )
    verdict = "pass" if finding.passed else "known miss" if finding.known else "FAIL"
    sign = ">=" if finding.kind == "paired" else "<="
    return [
        finding.kind,
        finding.name,
        value,
        f"{low} - {high}",
        f"{sign} {limit}",
        str(finding.n),
        verdict,
        finding.detail,
    ]


def _words(result: Audit) -> list[str]:
    passed = sum(finding.passed for finding in result.findings)
    known = sum(finding.known for finding in result.findings)
    lines = [f"{passed} of {len(result.findings)} passed, {known} known misses."]
    for found in result.replies:
        lines += ["", f"+{found.change}", f"  user: {found.line}", f"  reply: {found.reply}"]
    return lines
