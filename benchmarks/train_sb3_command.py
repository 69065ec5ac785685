"""`empathy-gym train sb3` and `empathy-gym train sb3-table`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from empathy_gym.benchmarks.console import (
    INTERRUPTED,
    complain,
    err,
    noting,
    out,
    print_json,
    reporting,
    safe,
)

if TYPE_CHECKING:
    from rich.progress import Progress

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[
    int, typer.Option(min=1, help="Threads of PyTorch: networks this small learn fastest on one.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no notices.")]


@reporting
def sb3(
    env: Annotated[str, typer.Option(help="Environment id; one of text is refused.")] = "EmpathyStrategy-v0",
    algo: Annotated[str, typer.Option(help="ppo, dqn, maskable-ppo or recurrent-ppo.")] = "ppo",
    steps: Annotated[int, typer.Option(help="Environment steps.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/sb3"),
    num_envs: Annotated[int, typer.Option(help="Conversations at a time.")] = 16,
    scenarios: Annotated[str, typer.Option(help="Who to learn from: train, a path, or a plug-in.")] = "train",
    validation: Annotated[str, typer.Option(help="Who to evaluate with.")] = "validation",
    validation_limit: Annotated[int | None, typer.Option(help="Only the first of them, by id.")] = None,
    reward: Annotated[str, typer.Option(help="delta, final, a registered name or module:attr.")] = "delta",
    difficulty: Annotated[str | None, typer.Option(help="easy, normal (the default) or hard.")] = None,
    max_turns: Annotated[int | None, typer.Option(help="Cap on scored replies; 8 by default.")] = None,
    initial_emotion: Annotated[int | None, typer.Option(help="0-100; the scenario's by default.")] = None,
    intensity: Annotated[bool, typer.Option("--intensity", help="Actions with an intensity.")] = False,
    hide: Annotated[
        list[str] | None, typer.Option(help="Key of the observation to show as zeros. Repeat for more.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of the algorithm, key=value. Repeat for more.")
    ] = None,
    stock: Annotated[
        bool,
        typer.Option("--stock", help="Start from Stable-Baselines3's defaults, not from this package's."),
    ] = False,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 20_000,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations.")] = 20_000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Write logs for TensorBoard.")
    ] = True,
    threads: Threads = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a policy on EmpathyStrategy-v0 with Stable-Baselines3 (the extra sb3).

    Writes last.zip, best.zip (by the mean final emotion on --validation), step-*.zip and logs to --out. Each zip is a
    policy: empathy-gym bench --policy sb3:FOLDER/best.zip. Stopped by Ctrl-C, the same command with --resume goes on.
    """
    from empathy_gym.agents.trainers.sb3 import train
    from empathy_gym.agents.trainers.sb3_settings import TrainConfig, read_settings
    from empathy_gym.benchmarks.strategy_play import SEEKS_SUCCESS, evaluator
    from empathy_gym.simulators.engines.prompting import require

    config = TrainConfig(
        env=env,
        algo=algo,
        steps=steps,
        seed=seed,
        num_envs=num_envs,
        scenarios=scenarios,
        reward=reward,
        difficulty=difficulty,
        max_turns=max_turns,
        initial_emotion=initial_emotion,
        intensity=intensity,
        hidden=tuple(hide or ()),
        stock=stock,
        settings=read_settings(settings or ()),
        checkpoint_every=checkpoint_every,
        evaluate_every=evaluate_every,
    ).checked()
    require("torch", "sb3").set_num_threads(threads)
    bar, show = step_bar(steps, quiet=quiet)
    evaluate = evaluator(
        {**config.env_kwargs(), "scenarios": validation},
        limit=validation_limit,
        seeks_success=reward == SEEKS_SUCCESS,
    )
    try:
        with bar:
            done = train(
                config,
                out_dir,
                evaluate=evaluate,
                resume=resume,
                tensorboard=tensorboard,
                progress=show,
                notice=noting(quiet),
            )
    except KeyboardInterrupt:
        complain(f"interrupted: {out_dir}/last.zip is kept. The same command with --resume goes on.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(
            {"steps": done.steps, "best": done.best, "last": str(done.last), "path": str(done.best_path)}
        )
        return
    best = done.best
    out().print(
        safe(
            f"{done.steps:,} steps. Best on {validation}, at step {best['step']:,.0f}: "
            f"{'emotion + success' if reward == SEEKS_SUCCESS else 'final emotion'} "
            f"{best['score']:.1f}, success {best['success']:.1%}.\nNext: empathy-gym bench --policy "
            f"sb3:{done.best_path} --env EmpathyStrategy-v0"
        ),
        soft_wrap=True,
    )


def step_bar(total: int, *, quiet: bool) -> tuple[Progress, Callable[[int, float | None], None]]:
    """Return a progress bar over environment steps, and what moves it; shown in a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = err()
    bar = Progress(
        TextColumn("{task.fields[mean]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=terminal,
        disable=quiet or not terminal.is_terminal,
    )
    task = bar.add_task("", mean="", total=total)

    def show(step: int, mean: float | None) -> None:
        bar.update(task, completed=min(step, total), mean="" if mean is None else f"return {mean:+.3f}")

    return bar, show


@reporting
def sb3_table(
    steps: Annotated[int, typer.Option(help="Steps of the stock PPO.")] = 24_000,
    tuned_steps: Annotated[int, typer.Option(help="Steps of the tuned algorithms.")] = 200_000,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between.")] = "0,1,2",
    only: Annotated[
        list[str] | None, typer.Option(help="Only these learners, e.g. stock-ppo. Repeat for more.")
    ] = None,
    searches: Annotated[int, typer.Option(help="Random open-loop sequences to search.")] = 20_000,
    split: Annotated[str, typer.Option(help="Who to report on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Only the first of them, by id.")] = None,
    target: Annotated[Path, typer.Option("--out", help="Folder for results, and for the runs.")] = Path(
        "runs/strategy-learning"
    ),
    threads: Threads = 1,
    quiet: Quiet = False,
) -> None:
    """Train stock and tuned learners and compare them with random, constant and open-loop strategies.

    A run that was stopped goes on where it was.
    """
    from empathy_gym.benchmarks.strategy_learning import TableConfig, run_table
    from empathy_gym.simulators.engines.prompting import require

    config = TableConfig.of(
        steps=steps,
        tuned_steps=tuned_steps,
        seeds=seeds,
        only=only,
        searches=searches,
        split=split,
        limit=limit,
    )
    require("torch", "sb3").set_num_threads(threads)
    path = run_table(config, target, notice=noting(quiet))
    out().print(safe(path.read_text("utf-8")), soft_wrap=True)
