"""`empathy-gym train emprl` and `empathy-gym models build-t5`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from empathy_gym.benchmarks.console import INTERRUPTED, complain, err, out, print_lines, reporting, safe

MADE: Final = (
    "A T5 of about a million weights, made from scratch on text of this project: not a pretrained model. It is for "
    "tests and for comparing a policy with itself."
)


@reporting
def emprl(
    model: Annotated[
        str,
        typer.Option(
            help="Folder or hub id of an encoder-decoder such as T5; 'tiny': one made from scratch."
        ),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/emprl"),
    config: Annotated[Path | None, typer.Option(help="YAML file with fields of the recipe.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe; wins over --config. Repeat.")
    ] = None,
    exchanges: Annotated[str, typer.Option(help="What is trained on: split, path, data set.")] = "train",
    validation: Annotated[str, typer.Option(help="What is evaluated on meanwhile.")] = "validation",
    identifier: Annotated[
        str | None, typer.Option(help="Who pays: a folder of identifiers, or structure; the shipped one.")
    ] = None,
    guard: Annotated[bool, typer.Option("--guard", help="Pay nothing for what is no language.")] = False,
    reward: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE of the environment's optional terms, e.g. length_weight=0.3. Repeat."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The recipe's seed; 0 by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    show_recipe: Annotated[bool, typer.Option("--show-recipe", help="Print the recipe and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no notices.")] = False,
) -> None:
    """Train an encoder-decoder by EmpRL: supervised warm start, then PPO on the empathy of its responses.

    Writes metrics.jsonl, tensorboard/, checkpoints/ and the model folders warm and best to --out; hf:OUT/best is a
    policy. Stopped by Ctrl-C, it goes on with --resume.
    """
    import yaml

    from empathy_gym.agents.trainers.seq2seq.recipe import read_recipe, settings_of
    from empathy_gym.benchmarks.emprl import TINY, Training, default_recipe, train

    settings = [*(setting or ()), *([] if seed is None else [f"seed={seed}"])]
    recipe = read_recipe(config, settings, base=default_recipe(model))
    if show_recipe:
        print_lines(yaml.safe_dump(recipe.model_dump(), sort_keys=False).splitlines())
        return
    if model == TINY and not quiet:
        err().print(safe(MADE), soft_wrap=True)
    terms = {**({"guard": True} if guard else {}), **settings_of(reward or (), "--reward")}
    training = Training(exchanges, validation, identifier, terms)
    bar = _Bar(quiet)
    try:
        with bar.bar:
            numbers = train(model, out_dir, recipe, training, resume=resume, progress=bar)
    except KeyboardInterrupt:
        complain(f"interrupted; the last checkpoint is in {out_dir}. The same command with --resume goes on.")
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        shown = ", ".join(f"{name} {numbers[name]:.3f}" for name in ("reward", "kl") if name in numbers)
        out().print(
            safe(f"Done{': last round ' + shown if shown else ''}. The policy: hf:{out_dir / 'best'}")
        )


class _Bar:
    """A progress bar that shows each phase of a run, with reward and KL.

    Args:
        quiet: Whether to show nothing; nothing is shown either where standard error is no terminal.
    """

    def __init__(self, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        terminal = err()
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=terminal,
            disable=quiet or not terminal.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, numbers="")
        self.phase = ""

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        """Show how far a phase has come."""
        if phase != self.phase:
            self.phase = phase
            self.bar.reset(self.task, total=total)
        shown = " ".join(f"{name} {numbers[name]:.3f}" for name in ("reward", "kl") if name in numbers)
        self.bar.update(self.task, description=phase, completed=done, total=total, numbers=shown)


@reporting
def build_t5(
    target: Annotated[Path, typer.Option("--out", help="Folder for the model; new or empty.")],
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.", min=0)] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the text.", min=0)] = 6,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no notices.")] = False,
) -> None:
    """Build a small T5 from scratch, with a tokenizer of its own: where no pretrained one can be had.

    It learns from text written for this project, of training splits only. It is not a pretrained model.
    """
    from empathy_gym.benchmarks.emprl import build_tiny

    bar = _Bar(quiet)
    with bar.bar:
        found = build_tiny(
            target, seed, lambda done, total: bar("building a small T5", done, total, {}), epochs=epochs
        )
    if not quiet:
        shown = ", ".join(f"{name} {value:,.6g}" for name, value in found.items())
        print_lines([MADE, f"{target}: {shown}"])
