"""The command ``empathy-gym why``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from empathy_gym.benchmarks.console import print_json, print_lines, reporting


@reporting
def why(
    file: Annotated[Path, typer.Argument(help="A JSON Lines file of records, or a bench folder.")],
    turn: Annotated[int, typer.Option(help="Number of the reply, from 1.")],
    tried: Annotated[list[str] | None, typer.Option("--try", help="A reply to try in its place.")] = None,
    policy: Annotated[str | None, typer.Option(help="The first episode of this policy.")] = None,
    scenario: Annotated[str | None, typer.Option(help="The first episode with this scenario.")] = None,
    scenarios: Annotated[
        str | None, typer.Option(help="File the scenarios are from, if not bundled.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why a recorded reply did what it did, and what would have done more. For people: it names the need."""
    from empathy_gym.benchmarks.why import episode, why_lines
    from empathy_gym.benchmarks.why import why as explain
    from empathy_gym.simulators.library.compiler import load_scenarios

    known = {s.id: s for s in load_scenarios(scenarios)} if scenarios else {}
    record = episode(file, policy=policy, scenario=scenario)
    found = explain(record, turn, tried=tried or (), scenarios=known)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        print_lines(why_lines(found))
