"""What `empathy-gym bench` does for EmpathyResponse-v0: run, show progress, print the table."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from empathy_gym.benchmarks.console import noting, out, print_json, run_shown, safe
from empathy_gym.benchmarks.response_bench import ENV_ID, ResponseBench, ResponseBenchConfig
from empathy_gym.benchmarks.response_summary import Difference, ResponseRow
from empathy_gym.rewards.identifiers import MECHANISMS
from empathy_gym.simulators.errors import ConfigError

CHAT_ONLY: Final = (
    "difficulty", "max_turns", "initial_emotion", "reward", "think", "simulator", "simulator_config",
)  # fmt: skip
"""Options of the conversations, which have no meaning for a single response."""


def response_config(config: Mapping[str, Any], given: Mapping[str, Any]) -> ResponseBenchConfig:
    """Return the configuration of a run from the options of `bench`.

    Args:
        config: Fields of `runner.BenchConfig`.
        given: The options for this environment alone: identifier, reporting, guard, baseline.

    Raises:
        ConfigError: If an option for conversations was given.
    """
    from empathy_gym.benchmarks.runner import BenchConfig

    for name in CHAT_ONLY:
        if config[name] != BenchConfig.model_fields[name].default:
            raise ConfigError(
                f"--{name.replace('_', '-')} is for conversations; {ENV_ID} is a single response."
            )
    shared = {name: config[name] for name in ("policies", "repeats", "seed", "limit")}
    set_ = {name: value for name, value in given.items() if value is not None}
    return ResponseBenchConfig.model_validate({**shared, "exchanges": config["scenarios"], **set_})


def run_response_bench(
    config: ResponseBenchConfig,
    folder: Path,
    *,
    batch_size: int = 64,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Run, show progress, and print the table.

    Args:
        config: What to run.
        folder: Folder for the results.
        batch_size: Exchanges at a time.
        overwrite: Whether to throw away what the folder holds.
        quiet: Whether to leave out progress and notices.
        as_json: Whether to print the summary as JSON instead of a table.

    Raises:
        EmpathyGymError: As `ResponseBench` does.
        typer.Exit: With status 130 when interrupted.
    """
    ready = ResponseBench(config)
    play = functools.partial(ready.run, folder, batch_size=batch_size, overwrite=overwrite)
    rows = run_shown(play, len(ready.tasks), folder, what="responses", quiet=quiet)
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    title = f"{ENV_ID}, {config.exchanges}, {len(ready.exchanges)} exchanges x {config.repeats}, seed {config.seed}"
    for table in response_tables(rows, title, ready.scoring, config.baseline):
        out().print(table)
    noting(quiet)(f"Results in {folder}")


def response_tables(
    rows: Sequence[ResponseRow], title: str, scoring: str, baseline: str | None = None
) -> list[Table]:
    """Return the tables of a run: what was paid and reported, the text, and the differences from a baseline.

    Args:
        rows: The rows.
        title: Environment, source and size of the run.
        scoring: Who pays and who reports.
        baseline: What the policies are compared with, if anything.
    """
    tables = [_empathy_table(rows, title, scoring), _text_table(rows)]
    if baseline is not None:
        tables.append(_difference_table(rows, baseline))
    return tables


def _empathy_table(rows: Sequence[ResponseRow], title: str, scoring: str) -> Table:
    caption = (
        f"{scoring}. Reward: mean over exchanges, 95 % bootstrap interval. F1: macro-F1 over levels of responses "
        "against references, in percent, 95 % jackknife interval over exchanges. 'moved' is the same response held "
        "against another exchange: what it keeps there it has not got from what was told. 'reference' and 'shuffled' "
        "are no policies."
    )
    table = _table(title, caption)
    names = ("reward", "95 % interval", "moved", "F1", "95 % interval", *MECHANISMS, "moved", "failed")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            safe(row.policy),
            f"{row.reward:.3f}",
            _span(row.reward_ci95, 1, 3),
            "-" if row.moved_reward is None else f"{row.moved_reward:.3f}",
            f"{100 * row.empathy_f1['mean']:.1f}",
            _span(row.f1_ci95, 100, 1),
            *(f"{100 * row.empathy_f1[name]:.1f}" for name in MECHANISMS),
            "-" if row.moved_f1 is None else f"{100 * row.moved_f1:.1f}",
            str(row.failed),
            style="dim" if row.privileged else "",
        )
    return table


def _text_table(rows: Sequence[ResponseRow]) -> Table:
    missing = all(row.bleu is None for row in rows)
    notes = ["BLEU needs sacrebleu: pip install 'empathy-gym[llm]'."] if missing else []
    notes.append("Perplexity is of the references, where the policy gives probabilities.")
    table = _table("The text of the responses", " ".join(notes))
    for name in ("words", "Dist-1 %", "Dist-2 %", "BLEU", "perplexity", "responses"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            safe(row.policy),
            f"{row.words:.1f}",
            f"{100 * row.distinct_1:.1f}",
            f"{100 * row.distinct_2:.1f}",
            "no sacrebleu" if row.bleu is None else f"{row.bleu:.2f}",
            "-" if row.perplexity is None else f"{row.perplexity:.2f}",
            str(row.responses),
            style="dim" if row.privileged else "",
        )
    return table


def _difference_table(rows: Sequence[ResponseRow], baseline: str) -> Table:
    table = _table(
        f"Less {baseline}",
        "On the same exchanges, with paired 95 % intervals: bootstrap (reward), jackknife (F1).",
    )
    for name in ("reward", "95 % interval", "F1", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.vs_baseline is not None:
            reward, f1 = row.vs_baseline["reward"], row.vs_baseline["f1"]
            table.add_row(safe(row.policy), *_difference(reward, 1, 3), *_difference(f1, 100, 1))
    return table


def _table(title: str, caption: str) -> Table:
    table = Table(title=safe(title), caption=safe(caption), title_justify="left")
    table.caption_justify = "left"
    table.add_column("policy", overflow="fold")
    return table


def _difference(found: Difference, scale: float, digits: int) -> tuple[str, str]:
    return f"{scale * found.value:+.{digits}f}", _span(found.ci95, scale, digits)


def _span(ends: tuple[float, float], scale: float, digits: int) -> str:
    low, high = ends
    between = " to " if low < 0 else " - "
    return f"{scale * low:.{digits}f}{between}{scale * high:.{digits}f}"
