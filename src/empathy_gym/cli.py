"""The command ``empathy-gym``. What a command does is in `benchmarks`, imported when the command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from empathy_gym.benchmarks.audit_command import audit
from empathy_gym.benchmarks.console import (
    FAILURE,
    USAGE,
    complain,
    episode_bar,
    err,
    out,
    print_json,
    print_lines,
    reporting,
    run_app,
    safe,
    status_of,
)
from empathy_gym.benchmarks.identifiers_command import identifiers_app
from empathy_gym.benchmarks.model_commands import (
    models_app,
    rescore_variance,
    simulators_app,
    tape_app,
    throughput,
)
from empathy_gym.benchmarks.perceiver_commands import perceiver_app
from empathy_gym.benchmarks.run import bench, run_bench
from empathy_gym.benchmarks.train_commands import train_app
from empathy_gym.benchmarks.train_emprl_command import build_t5
from empathy_gym.benchmarks.why_command import why
from empathy_gym.simulators.errors import ConfigError, ScenarioError, unknown_name
from empathy_gym.simulators.scenario import DIFFICULTIES

app = typer.Typer(
    name="empathy-gym",
    help="Conversations with simulated users who have feelings: play, bench, verify.",
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)
scenarios_app = typer.Typer(help="The simulated users.", no_args_is_help=False)
rule_app = typer.Typer(help="The rule that decides the emotion.", no_args_is_help=False)
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(rule_app, name="rule")
app.add_typer(simulators_app, name="simulators")
app.add_typer(tape_app, name="tape")
app.add_typer(models_app, name="models")
app.add_typer(perceiver_app, name="perceiver")
app.add_typer(identifiers_app, name="identifiers")
app.add_typer(train_app, name="train")
models_app.command("build-t5")(build_t5)
app.command("audit")(audit)
app.command("bench")(bench)
app.command("why")(why)
app.command("throughput")(throughput)
app.command("rescore-variance")(rescore_variance)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Difficulty = Annotated[str | None, typer.Option(help="easy, normal or hard.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status.

    Args:
        argv: The arguments; those of the process if None.
    """
    return run_app(app, argv)


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        import empathy_gym

        print_lines([f"empathy-gym {empathy_gym.__version__}"])
        raise typer.Exit
    if context.invoked_subcommand is None:
        print_lines([context.get_help()])


# -- verify, demo, play ----------------------------------------------------------------------


@app.command()
@reporting
def verify(
    file: Annotated[Path, typer.Argument(help="A JSON Lines file of records, or a bench folder.")],
    perceive: Annotated[bool, typer.Option("--perceive", help="Read the replies afresh, too.")] = False,
    scenarios: Annotated[
        str | None, typer.Option(help="File the scenarios are from, if not bundled.")
    ] = None,
    simulator_config: Annotated[
        str | None,
        typer.Option(help="With --perceive: of the language-model user that read, with its tape."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that the numbers of a record follow from it by the rule.

    Exit status 0: everything matches. 1: something does not, or a line is damaged.
    """
    import dataclasses

    from empathy_gym.benchmarks.tables import report_lines
    from empathy_gym.benchmarks.verify import verify as check
    from empathy_gym.simulators.config import build_user
    from empathy_gym.simulators.library.compiler import load_scenarios

    if simulator_config is not None and not perceive:
        raise ConfigError("--simulator-config says who reads the replies afresh; give --perceive, too.")
    user = None if simulator_config is None else build_user("llm", simulator_config)
    known = load_scenarios(scenarios) if scenarios else ()
    report = check(file, scenarios=known, perceive=perceive, user=user)
    if as_json:
        data = dataclasses.asdict(report)
        data["mismatches"] = [str(mismatch) for mismatch in report.mismatches]
        print_json({"ok": report.ok, **data})
    else:
        print_lines(report_lines(report))
    if not report.ok:
        raise typer.Exit(FAILURE)


@app.command()
@reporting
def transcript(
    file: Annotated[Path, typer.Argument(help="A JSON Lines file of records, or a bench folder.")],
    policy: Annotated[str | None, typer.Option(help="Only episodes of this policy.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Only episodes with this scenario.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many episodes.")] = None,
) -> None:
    """Print recorded episodes as conversations, in Markdown."""
    from empathy_gym.benchmarks.transcript import transcripts

    for lines in transcripts(file, policy=policy, scenario=scenario, limit=limit):
        print_lines([*lines, ""])


@app.command()
@reporting
def demo(
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the results.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what --out holds.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no notices.")] = False,
) -> None:
    """Run every scripted policy on the test split: offline, no model, about a minute."""
    from empathy_gym.benchmarks.suites import DEMO

    folder = out_dir or Path(DEMO.out)
    # What an earlier version has left in the demo's own folder is nobody's results.
    run_bench(DEMO.config(), folder, overwrite=overwrite or (None if out_dir is None else False), quiet=quiet)
    print_lines(
        [
            "",
            "Next:",
            f"  empathy-gym verify {folder} --perceive    # check every number, and read every reply again",
            "  empathy-gym play                         # be the policy yourself",
        ]
    )


@app.command()
@reporting
def play(
    scenario: Annotated[str | None, typer.Option(help="Id; somebody of the split by default.")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or a path.")] = "train",
    seed: Annotated[int | None, typer.Option(help="Who it is and what they say; random by default.")] = None,
    difficulty: Difficulty = None,
    max_turns: Annotated[int | None, typer.Option(help="Cap on scored replies; 8 by default.")] = None,
    show_emotion: Annotated[
        bool, typer.Option("--show-emotion/--hide-emotion", help="Show the emotion after every reply.")
    ] = True,
) -> None:
    """Be the policy: talk with a simulated user in the terminal. Nothing is stored."""
    import numpy as np

    from empathy_gym.benchmarks.play import Game
    from empathy_gym.envs.setting import ChatSetting, integer
    from empathy_gym.simulators.library.compiler import find_scenario

    number = None if seed is None else integer("seed", seed, 0)
    setting = ChatSetting.make({"scenarios": split, "difficulty": difficulty, "max_turns": max_turns})
    drawn = setting.draw(np.random.default_rng(number))
    chosen = drawn.scenario if scenario is None else find_scenario(scenario, setting.scenarios)
    Game(setting, out(), input, show_emotion=show_emotion).play(chosen, drawn.seed)


@app.command()
@reporting
def difficulty(
    split: Annotated[str, typer.Option(help="train, validation, test or a path.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Only the first scenarios, by id.")] = None,
    repeats: Annotated[int, typer.Option(help="Episodes of each frozen policy for each scenario.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    target: Annotated[Path | None, typer.Option("--out", help="JSON file for what was found.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that easy, normal and hard are apart for eight frozen policies, and that each leaves a gradient.

    Exit status 1 if a line of the table fails.
    """
    from empathy_gym.benchmarks.difficulty import difficulty_table, measure
    from empathy_gym.simulators.files import write_json

    bar, show = episode_bar(None, quiet=quiet)
    with bar:
        found = measure(split, limit=limit, repeats=repeats, seed=seed, progress=show)
    if target is not None:
        write_json(target, found.to_json())
    if as_json:
        print_json(found.to_json())
    else:
        out().print(difficulty_table(found))
    failed = [line.name for line in found.lines if not line.passed]
    if failed:
        complain(f"{len(failed)} of {len(found.lines)} lines fail: {'; '.join(failed)}")
        raise typer.Exit(FAILURE)


# -- scenarios -------------------------------------------------------------------------------------------


@scenarios_app.command("list")
@reporting
def scenarios_list(
    split: Annotated[str | None, typer.Option(help="train, validation, test or a path; all splits.")] = None,
    need: Annotated[str | None, typer.Option(help="Only this need.")] = None,
    as_json: AsJson = False,
) -> None:
    """List scenarios. It names needs: for people, not for policies."""
    from empathy_gym.benchmarks.tables import scenario_table
    from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
    from empathy_gym.simulators.scenario import NEEDS

    if need is not None and need not in NEEDS:
        raise unknown_name("need", need, NEEDS)
    found = [s for name in ([split] if split else PARTS) for s in load_scenarios(name)]
    found = [s for s in found if need in (None, s.need)]
    if as_json:
        print_json([{"id": s.id, "split": s.split, "topic": s.topic, "need": s.need} for s in found])
        return
    out().print(scenario_table(found))


@scenarios_app.command("show")
@reporting
def scenarios_show(
    scenario: Annotated[str, typer.Argument(help="Id.")],
    source: Annotated[
        str | None, typer.Option("--scenarios", help="File it is from, if not bundled.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one scenario: person, facts, feelings, claims, need."""
    from empathy_gym.benchmarks.tables import scenario_text
    from empathy_gym.simulators.library.compiler import find_scenario, load_scenarios

    found = find_scenario(scenario, load_scenarios(source) if source else ())
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_lines(scenario_text(found))


@scenarios_app.command("validate")
@reporting
def scenarios_validate(
    sources: Annotated[
        list[str],
        typer.Argument(help="YAML, JSONL, a folder of YAML files, or the name of a split or plug-in."),
    ],
) -> None:
    """Check scenarios, and name file, line and field of every problem."""
    from empathy_gym.benchmarks.validation import validity

    statuses = set()
    for source in sources:
        try:
            print_lines([validity(source)])
        except (ScenarioError, ConfigError) as error:
            statuses.add(status_of(error) if isinstance(error, ConfigError) else FAILURE)
            for line in str(error).splitlines():
                complain(line)
    if statuses:
        raise typer.Exit(FAILURE if FAILURE in statuses else USAGE)


@scenarios_app.command("speech")
@reporting
def scenarios_speech(
    episodes: Annotated[int, typer.Option(min=20, help="Episodes to play.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Who talks with whom, and what they say.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how users talk: repeats, shared lines, variety, what temperament changes, what is answered.

    Exit status 1 if a target is missed.
    """
    from empathy_gym.benchmarks.speech import measure, speech_tables

    with err().status(f"playing {episodes} episodes ..."):
        report = measure(episodes, seed)
    if as_json:
        print_json(report.as_json())
    else:
        for table in speech_tables(report):
            out().print(table)
    for line in report.missed:
        complain(f"target missed: {line}")
    if report.missed:
        raise typer.Exit(FAILURE)


@scenarios_app.command("stats")
@reporting
def scenarios_stats(as_json: AsJson = False) -> None:
    """Count the bundled users: situations, splits, needs, temperaments, lines; and what goes with what."""
    from empathy_gym.benchmarks.library_stats import library_stats, stats_tables

    stats = library_stats()
    if as_json:
        print_json(stats)
        return
    for table in stats_tables(stats):
        out().print(table)


# -- rule ------------------------------------------------------------------------------------------------


@rule_app.command("show")
@reporting
def rule_show(as_json: AsJson = False) -> None:
    """Print the rule table: weights by need, costs, ceilings, thresholds."""
    from empathy_gym.benchmarks.tables import constants_table, weight_table
    from empathy_gym.simulators.rule import TableRule

    rule = TableRule()
    if as_json:
        print_json({"fingerprint": rule.fingerprint, "hash": rule.hash, **rule.table})
        return
    console = out()
    console.print(safe(f"{rule.fingerprint}  (sha256 {rule.hash})"))
    console.print(weight_table(rule.table))
    console.print(constants_table(rule.table))


@rule_app.command("analyse")
@reporting
def rule_analyse(difficulty: Difficulty = None, as_json: AsJson = False) -> None:
    """Search what the rule rewards on levels alone: best, need-blind and constant policies, myopia gap.

    Takes about a minute a difficulty. Exit status 1 if a target is missed.
    """
    from empathy_gym.benchmarks.rule_analysis import TARGETS, analyse
    from empathy_gym.benchmarks.tables import analysis_json, analysis_table, missed_targets
    from empathy_gym.simulators.rule import TableRule

    if difficulty is not None and difficulty not in DIFFICULTIES:
        raise unknown_name("difficulty", difficulty, DIFFICULTIES)
    rule, missed, found = TableRule(), [], {}
    for level in [difficulty] if difficulty else DIFFICULTIES:
        with err().status(f"searching, {level} ..."):
            rows = analyse(rule, level)
        missed += missed_targets(rows)
        found[level] = analysis_json(rows)
        if not as_json:
            out().print(analysis_table(rows))
    if as_json:
        print_json({"rule": rule.fingerprint, "targets": TARGETS, "missed": missed, "difficulties": found})
    for line in missed:
        complain(f"target missed: {line}")
    if missed:
        raise typer.Exit(FAILURE)


if __name__ == "__main__":
    sys.exit(main())
