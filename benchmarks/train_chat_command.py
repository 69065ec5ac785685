"""`empathy-gym train grpo`: language models trained against the users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empathy_gym.benchmarks.console import complain, episode_bar, noting, out, print_json, reporting, safe
from empathy_gym.simulators.errors import ConfigError

if TYPE_CHECKING:
    from empathy_gym.agents.trainers.chat_training import Metrics
    from empathy_gym.agents.trainers.recipe import Recipe

SHOWN = ("emotion", "return", "success", "reply_tokens", "zero_variance", "entropy", "gap", "eval_emotion")

Config = Annotated[str, typer.Option(help="A recipe: a YAML file, or the name of a bundled one.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="FIELD=VALUE, e.g. rollout.groups=4. Repeat.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/NAME by default.")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Estimate memory and time; train nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Throw away the run in --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notices.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")]


def _command(algorithm: str, about: str) -> Callable[..., None]:
    """Return the command that trains by an algorithm: all have the same options."""

    def command(
        config: Config,
        changes: Changes = None,
        out_dir: Out = None,
        dry_run: DryRun = False,
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        as_json: AsJson = False,
    ) -> None:
        _train(algorithm, config, changes or (), out_dir, dry_run, overwrite, quiet, as_json)

    command.__doc__ = about
    return reporting(command)


grpo = _command(
    "grpo",
    "Train a chat model by multi-turn GRPO. Killed at any step, the same command goes on where it was.",
)
ppo = _command(
    "ppo", "Train a chat model by multi-turn PPO, with a critic. Goes on where it was, as grpo does."
)
rft = _command(
    "rft",
    "Fine-tune a chat model on the best conversation of each group: what grpo has to beat at equal tokens.",
)


@reporting
def speed(config: Config, changes: Changes = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Measure rollouts: the engine's idle share against the bare engine, the gain over one by one, update, memory."""
    import tempfile

    from empathy_gym.agents.trainers.recipe import load_recipe
    from empathy_gym.benchmarks.rollout_speed import measure

    recipe = load_recipe(config, changes or ())

    with tempfile.TemporaryDirectory(prefix="empathy-gym-speed-") as folder:
        found = measure(recipe, Path(folder), noting(quiet))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out().print(safe(f"{name.replace('_', ' ')}: {value}"))


def _train(
    algorithm: str,
    config: str,
    changes: Sequence[str],
    out_dir: Path | None,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from empathy_gym.agents.trainers.recipe import load_recipe

    # A recipe without a word on PPO is as good for GRPO and for rejection sampling.
    swap = ["algorithm=rft"] if algorithm == "rft" else []
    recipe = load_recipe(config, [*swap, *changes])
    if recipe.algorithm != algorithm:
        raise ConfigError(
            f"The recipe says algorithm: {recipe.algorithm}; run: empathy-gym train {recipe.algorithm}."
        )
    if dry_run:
        _estimate(recipe, as_json)
        return
    folder = out_dir or Path("runs") / f"{Path(config).stem}{'-rft' * bool(swap)}"
    lines = run_recipe(recipe, folder, overwrite=overwrite, quiet=quiet)
    if as_json:
        print_json(lines)
    else:
        out().print(metrics_table(lines))


def run_recipe(
    recipe: Recipe, folder: Path, *, overwrite: bool = False, quiet: bool = False
) -> list[Metrics]:
    """Train, with progress on the terminal and curves for TensorBoard, and return the metrics of every step."""
    from empathy_gym.agents.trainers.chat_training import ChatTraining, Hooks
    from empathy_gym.benchmarks.train_evaluation import make_evaluate

    bar, show = episode_bar(None, quiet=quiet)
    notice = noting(quiet)
    with bar, curves(folder) as log:

        def report(metrics: Metrics) -> None:
            log(metrics)
            notice(_line(metrics, recipe.steps))

        evaluate = make_evaluate(recipe) if recipe.evaluation.every else None
        hooks = Hooks(evaluate=evaluate, notice=notice, progress=show, log=report)
        return ChatTraining(recipe, folder, hooks, overwrite=overwrite).run()


@contextmanager
def curves(folder: Path) -> Iterator[Any]:
    """Yield what writes metrics for TensorBoard; nothing is written where it is not installed."""
    from empathy_gym.simulators.engines.prompting import require

    try:
        make = require("torch.utils.tensorboard", "llm").SummaryWriter
    except ImportError:
        yield lambda metrics: None
        return
    writers: list[Any] = []

    def write(metrics: Metrics) -> None:
        if not writers:
            # Steps after the last checkpoint are done again; their points are purged.
            writers.append(make(str(folder / "tensorboard"), purge_step=metrics["step"]))
        for name, value in metrics.items():
            if name != "step" and isinstance(value, int | float):
                writers[0].add_scalar(name.replace("eval_", "eval/"), value, metrics["step"])
        writers[0].flush()

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


def _line(metrics: Metrics, steps: int) -> str:
    parts = [f"{name} {metrics[name]:.3g}" for name in SHOWN if name in metrics]
    seconds = [f"{name} {value:.1f} s" for name, value in metrics.get("seconds", {}).items()]
    return f"step {metrics['step']}/{steps}: {', '.join([*parts, *seconds])}"


def metrics_table(lines: Sequence[Metrics]) -> Any:
    """Return the metrics as a table: at most twenty steps, evenly spread."""
    from rich.table import Table

    table = Table(box=None)
    table.add_column("step", justify="right")
    for name in SHOWN:
        table.add_column(name, justify="right")
    stride = max(1, -(-len(lines) // 20))
    for line in [*lines[::stride], *(lines[-1:] if (len(lines) - 1) % stride else [])]:
        shown = [f"{line[name]:.3g}" if name in line else "" for name in SHOWN]
        table.add_row(str(line["step"]), *shown)
    return table


def _estimate(recipe: Recipe, as_json: bool) -> None:
    from empathy_gym.agents.trainers.estimate import estimate

    found = estimate(recipe)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out().print(safe(f"{name.replace('_', ' ')}: {value}"))
    if found.get("fits") is False:
        complain(
            "the run needs more memory than there is: lower optimiser.micro_batch, or add a lora section."
        )
