"""The commands ``empathy-gym perceiver``: how well replies are read, and how sure the labels are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from empathy_gym.benchmarks.console import out, print_json, print_lines, reporting
from empathy_gym.simulators.appraisal import LEVELS

if TYPE_CHECKING:
    from empathy_gym.benchmarks.perception import FieldScore

perceiver_app = typer.Typer(help="The reading of replies: agreement with labels.", no_args_is_help=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Replies = Annotated[Path | None, typer.Option(help="Folder of labelled replies; the package's by default.")]


@perceiver_app.command("eval")
@reporting
def evaluate(
    split: Annotated[
        str, typer.Option(help="Split of the situations: train, validation, test or all.")
    ] = "test",
    replies: Replies = None,
    structure: Annotated[bool, typer.Option("--structure", help="Without the learned heads.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the embedded perceiver read labelled replies, and compare field by field."""
    from empathy_gym.benchmarks.labelled import load_replies
    from empathy_gym.benchmarks.perception import evaluate as run
    from empathy_gym.benchmarks.perception import mean_kappa, swaps
    from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver

    found = load_replies(replies, None if split == "all" else split)
    scores = run(EmbeddedPerceiver(learned=not structure), found)
    if as_json:
        print_json({score.field: dataclasses.asdict(score) for score in scores})
        return
    out().print(_table(f"{len(found):,} labelled replies, {split}", scores))
    stance = next(score for score in scores if score.field == "stance")
    out().print(_confusion(stance))
    print_lines(
        [f"Clear stances read as their opposite: {swaps(stance):.1%}. Mean kappa: {mean_kappa(scores):.2f}."]
    )


@perceiver_app.command("train")
@reporting
def train(
    target: Annotated[Path, typer.Option("--out", help="File for the weights.")],
    replies: Replies = None,
) -> None:
    """Train the heads on labelled replies of train and validation, and write their weights."""
    from empathy_gym.benchmarks.perceiver_training import train_heads

    heads = train_heads(replies)
    heads.heads.save(target)
    about = heads.heads.provenance
    print_lines([f"Heads from {about['replies']:,} replies and {about['lines']:,} lines in {target}"])


@perceiver_app.command("families")
@reporting
def families(replies: Replies = None, as_json: AsJson = False) -> None:
    """Train without each harmful family of replies in turn, and say how much of its harm is noticed."""
    from empathy_gym.benchmarks.perceiver_training import leave_one_family_out

    found = leave_one_family_out(replies)
    if as_json:
        print_json([dataclasses.asdict(score) for score in found])
        return
    table = Table(title="harm noticed in a family of replies, situations of test", title_justify="left")
    for name in ("family", "field"):
        table.add_column(name)
    for name in ("n", "structure", "heads without it", "heads", "false alarms without it"):
        table.add_column(name, justify="right")
    for s in found:
        shares = (s.structure, s.without, s.learned, s.alarms)
        table.add_row(s.family, s.field, str(s.n), *(f"{share:.0%}" for share in shares))
    out().print(table)


@perceiver_app.command("agreement")
@reporting
def agreement(as_json: AsJson = False) -> None:
    """Compare the first labels with second ones, made from the rubric alone and without sight of the first."""
    from empathy_gym.benchmarks.labelled import FIELDS, second_labels
    from empathy_gym.benchmarks.perception import score_field

    pairs = second_labels()
    scores = [
        score_field(
            name,
            [reply.levels[name] for reply, _ in pairs],
            [second[name] for _, second in pairs],
            [reply.situation for reply, _ in pairs],
        )
        for name in FIELDS
    ]
    if as_json:
        print_json({score.field: dataclasses.asdict(score) for score in scores})
    else:
        out().print(_table(f"{len(pairs)} replies labelled twice, by one author", scores))


def _confusion(score: FieldScore) -> Table:
    levels = LEVELS[score.field]
    table = Table(title=f"{score.field}: labels in rows, levels read in columns", title_justify="left")
    for name in ("", *(f"{level:+d}" for level in levels)):
        table.add_column(name, justify="right")
    for level, row in zip(levels, score.confusion, strict=True):
        table.add_row(f"{level:+d}", *(str(count) for count in row))
    return table


def _table(title: str, scores: Sequence[FieldScore]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("field")
    names = (
        "accuracy",
        "macro-F1",
        "95 % interval",
        "kappa",
        "95 % interval",
        "majority: accuracy",
        "macro-F1",
    )
    for name in names:
        table.add_column(name, justify="right")
    for s in scores:
        kappa = "-" if s.kappa is None else f"{s.kappa:.2f}"
        table.add_row(
            s.field, f"{s.accuracy:.3f}", f"{s.macro_f1:.3f}", f"{s.low:.2f} - {s.high:.2f}", kappa,
            f"{s.kappa_low:.2f} - {s.kappa_high:.2f}", f"{s.majority_accuracy:.3f}", f"{s.majority_f1:.3f}",
        )  # fmt: skip
    return table
