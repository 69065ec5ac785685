"""`empathy-gym bench`, also as ``python -m empathy_gym.benchmarks.run``."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empathy_gym.benchmarks.console import noting, out, print_json, reporting, run_alone, run_shown
from empathy_gym.simulators.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from empathy_gym.benchmarks.runner import Bench
    from empathy_gym.simulators.engines.ledger import Prices

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
    simulator: Annotated[str, typer.Option(help="embedded, llm or module:attr.")] = "embedded",
    simulator_config: Annotated[
        str | None, typer.Option(help="Path of a YAML file, or '{engine: ...}'.")
    ] = None,
    qualification: Annotated[
        list[Path] | None, typer.Option(help="Report of 'simulators check' that the user's model passes.")
    ] = None,
    identifier: Annotated[
        str | None,
        typer.Option(help="EmpathyResponse-v0: who pays; a folder that 'identifiers train' wrote."),
    ] = None,
    reporting: Annotated[
        str | None,
        typer.Option(
            help="EmpathyResponse-v0: who reports F1; structure (the default), shipped or a folder."
        ),
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="EmpathyResponse-v0: pay nothing for what is no language.")
    ] = False,
    baseline: Annotated[
        str | None, typer.Option(help="EmpathyResponse-v0: the policy that others are compared with.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate requests, tokens and cost; ask no model.")
    ] = False,
    price_prompt: Annotated[
        float | None, typer.Option(help="With --dry-run: price of a million prompt tokens.")
    ] = None,
    price_completion: Annotated[float | None, typer.Option(help="Likewise, of generated tokens.")] = None,
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
    single = {"identifier": identifier, "reporting": reporting, "guard": guard or None, "baseline": baseline}
    if env.removeprefix("empathy_gym:") == "EmpathyResponse-v0":
        if dry_run or qualification:
            raise ConfigError("--dry-run and --qualification are for users that a language model plays.")
        run_single_turn(
            config, single, out_dir, batch_size=batch_size, overwrite=overwrite, quiet=quiet, as_json=as_json
        )
        return
    for name, value in single.items():
        if value is not None:
            raise ConfigError(f"--{name} is for --env EmpathyResponse-v0, not {env}.")
    if dry_run:
        estimate_bench(config, prices_of(price_prompt, price_completion), as_json=as_json)
        return
    run_bench(
        config,
        out_dir,
        reports=qualification or (),
        batch_size=batch_size,
        overwrite=overwrite,
        quiet=quiet,
        as_json=as_json,
    )


def run_single_turn(config: dict[str, Any], single: dict[str, Any], folder: Path, **how: Any) -> None:
    """Run EmpathyResponse-v0.

    Args:
        config: Fields of `runner.BenchConfig`.
        single: Options for this environment alone.
        folder: Folder for the results.
        how: Further arguments of `response_command.run_response_bench`.

    Raises:
        EmpathyGymError: As `response_command.run_response_bench` does.
    """
    from empathy_gym.benchmarks.response_command import response_config, run_response_bench

    run_response_bench(response_config(config, single), folder, **how)


def prices_of(prompt: float | None, completion: float | None) -> Prices | None:
    """Return the prices of two options, of which a missing one is 0; None if both are missing."""
    from empathy_gym.simulators.engines.ledger import Prices

    return None if prompt is None and completion is None else Prices(prompt or 0.0, completion or 0.0)


def estimate_bench(config: dict[str, Any], prices: Prices | None, *, as_json: bool = False) -> None:
    """Print what a run would ask of models and cost, without building an engine.

    Args:
        config: Fields of `runner.BenchConfig`.
        prices: What tokens cost.
        as_json: Whether to print JSON instead of a table.

    Raises:
        ConfigError: If a name or a number is not valid.
    """
    from empathy_gym.benchmarks.cost import estimate_run, print_estimate
    from empathy_gym.benchmarks.runner import BenchConfig

    result = estimate_run(BenchConfig.model_validate(config), prices)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        print_estimate(result, out())


def run_bench(
    config: dict[str, Any],
    folder: Path,
    *,
    reports: Sequence[Path] = (),
    batch_size: int = 64,
    overwrite: bool | None = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Run, show progress, and print the table.

    Args:
        config: Fields of `runner.BenchConfig`.
        folder: Folder for the results.
        reports: Saved reports of `empathy-gym simulators check`.
        batch_size: Conversations at a time.
        overwrite: Whether to throw away what the folder holds; None: only what another run has left.
        quiet: Whether to leave out progress and notices.
        as_json: Whether to print the summary as JSON instead of a table.

    Raises:
        EmpathyGymError: As `runner.Bench` does.
        typer.Exit: With status 130 when interrupted.
    """
    from empathy_gym.benchmarks.runner import Bench, BenchConfig
    from empathy_gym.benchmarks.tables import bench_table, usage_lines

    ready = Bench(BenchConfig.model_validate(config), reports)
    play = functools.partial(ready.run, folder, batch_size=batch_size, overwrite=overwrite)
    rows = run_shown(play, len(ready.tasks), folder, what="episodes", quiet=quiet)
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    user = ready.setting.user
    out().print(bench_table(rows, title=_title(ready), scoring=ready.scoring, determinism=user.determinism))
    notice = noting(quiet)
    for line in usage_lines(ready.usage):
        notice(line)
    notice(f"Results in {folder}")


def _title(ready: Bench) -> str:
    config, setting = ready.config, ready.setting
    return (
        f"{ready.env_id}, {config.scenarios}, {setting.difficulty}, {len(ready.scenarios)} scenarios x "
        f"{config.repeats}, {setting.max_turns} turns, seed {config.seed}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bench` with the arguments of the process, and return the exit status."""
    return run_alone(bench, "bench", argv)


if __name__ == "__main__":
    sys.exit(main())
