"""`empathy-gym bench`, also as ``python -m empathy_gym.benchmarks.run``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empathy_gym.benchmarks.console import INTERRUPTED, complain, err, out, reporting, run_app, safe
from empathy_gym.simulators.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from empathy_gym.benchmarks.runner import Bench

THINK = {"off": False, "on": True, "strip": "strip"}


@reporting
def bench(
    env: Annotated[str, typer.Option(help="Environment id.")] = "EmpathyChat-v0",
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy, e.g. scripted:listener or module:attr. Repeat for more.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test (the default).")] = None,
    scenarios: Annotated[
        str | None, typer.Option(help="The same as --split, or a path to YAML or JSONL.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Episodes for each scenario.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("runs/bench"),
    difficulty: Annotated[str | None, typer.Option(help="easy, normal (the default) or hard.")] = None,
    max_turns: Annotated[int | None, typer.Option(help="Cap on scored replies; 8 by default.")] = None,
    initial_emotion: Annotated[int | None, typer.Option(help="0-100; the scenario's by default.")] = None,
    reward: Annotated[str, typer.Option(help="delta, final, a registered name or module:attr.")] = "delta",
    think: Annotated[str, typer.Option(help="off, on or strip.")] = "off",
    simulator: Annotated[str, typer.Option(help="embedded or module:attr.")] = "embedded",
    simulator_config: Annotated[str | None, typer.Option(help="Path of a YAML file.")] = None,
    batch_size: Annotated[int, typer.Option(help="Conversations at a time; changes no result.")] = 64,
    limit: Annotated[int | None, typer.Option(help="Only the first scenarios, by id.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what --out holds.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no notices.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run policies on every scenario of a split.

    Writes episodes.jsonl, summary.json and manifest.json to --out. Stopped by Ctrl-C, the same command goes
    on where it was.
    """
    if split is not None and scenarios is not None and split != scenarios:
        raise ConfigError(f"--split is {split!r} and --scenarios is {scenarios!r}; give one of them.")
    if think not in THINK:
        raise unknown_name("think mode", think, THINK)
    config = {
        "env": env,
        "policies": tuple(policy or ()),
        "scenarios": split or scenarios or "test",
        "repeats": repeats,
        "seed": seed,
        "difficulty": difficulty,
        "max_turns": max_turns,
        "initial_emotion": initial_emotion,
        "reward": reward,
        "think": THINK[think],
        "simulator": simulator,
        "simulator_config": simulator_config,
        "limit": limit,
    }
    run_bench(config, out_dir, batch_size=batch_size, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_bench(
    config: dict[str, Any],
    folder: Path,
    *,
    batch_size: int = 64,
    overwrite: bool | None = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Run, show progress, and print the table.

    Args:
        config: Fields of `runner.BenchConfig`.
        folder: Folder for the results.
        batch_size: Conversations at a time.
        overwrite: Whether to throw away what the folder holds; None: only what another run has left.
        quiet: Whether to leave out progress and notices.
        as_json: Whether to print the summary as JSON instead of a table.

    Raises:
        EmpathyGymError: As `runner.Bench` does.
        typer.Exit: With status 130 when interrupted.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from empathy_gym.benchmarks.runner import Bench, BenchConfig
    from empathy_gym.benchmarks.tables import bench_table

    ready = Bench(BenchConfig.model_validate(config))
    terminal = err()
    columns = (TextColumn("{task.fields[policy]}", markup=False), BarColumn())
    bar = Progress(
        *columns,
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=terminal,
        disable=quiet or not terminal.is_terminal,
    )
    task = bar.add_task("", policy="", total=len(ready.tasks))
    finished = 0

    def progress(policy: str, done: int, total: int) -> None:
        nonlocal finished
        finished = done
        bar.update(task, completed=done, policy=safe(policy).plain)

    def notice(text: str) -> None:
        if not quiet:
            terminal.print(safe(text), soft_wrap=True)

    try:
        with bar:
            rows = ready.run(
                folder, batch_size=batch_size, overwrite=overwrite, notice=notice, progress=progress
            )
    except KeyboardInterrupt:
        complain(
            f"interrupted: {finished} of {len(ready.tasks)} episodes are in {folder}. "
            "Run the same command again to go on."
        )
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        sys.stdout.write(f"{json.dumps([row.to_json() for row in rows], indent=2)}\n")
        return
    user = ready.setting.user
    out().print(bench_table(rows, title=_title(ready), scoring=ready.scoring, determinism=user.determinism))
    notice(f"Results in {folder}")


def _title(ready: Bench) -> str:
    config, setting = ready.config, ready.setting
    return (
        f"{ready.env_id}, {config.scenarios}, {setting.difficulty}, {len(ready.scenarios)} scenarios x "
        f"{config.repeats}, {setting.max_turns} turns, seed {config.seed}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bench` with the arguments of the process, and return the exit status."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name="bench")(bench)
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
