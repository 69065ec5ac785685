"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from empathy_gym.benchmarks.console import safe
from empathy_gym.benchmarks.rule_analysis import TARGETS, Analysis, mean
from empathy_gym.benchmarks.summary import MAX_FAULT_RATE, UNQUALIFIED, Row
from empathy_gym.benchmarks.verifier import Report
from empathy_gym.simulators.scenario import Scenario

SHOWN = 10
"""Damaged lines and mismatches that are printed; the rest is counted."""


def bench_table(rows: Sequence[Row], *, title: str, scoring: str, determinism: str) -> Table:
    """Return the table of a run.

    Args:
        rows: Ranked rows.
        title: Environment, split and size of the run.
        scoring: Who decides the numbers.
        determinism: Grade of repeatability.
    """
    faulty = any(row.faults for row in rows)
    caption = [f"Scored by {scoring}; determinism: {determinism}. Emotion 0-100, higher is better."]
    caption.append("Mean over scenarios, 95 % bootstrap interval over scenarios.")
    if faulty:
        caption.append(
            "'faults at 0' is the mean with every fault counted as 0; above "
            f"{MAX_FAULT_RATE:.0%} faults a row is not ranked."
        )
    if any(row.qualification == UNQUALIFIED for row in rows):
        caption.append(
            "The user's model is unqualified (no report of 'empathy-gym simulators check' says that it passes): "
            "nothing is ranked."
        )
    table = Table(title=safe(title), caption=safe(" ".join(caption)), title_justify="left")
    table.caption_justify = "left"
    table.add_column("#")
    table.add_column("policy", overflow="fold", min_width=16)
    for name in ("final emotion", "95 % interval", "success %", "failure %", "turns", "episodes", "faults"):
        table.add_column(name, justify="right", no_wrap=True)
    if faulty:
        table.add_column("faults at 0", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        cells: list[str | Text] = [str(row.rank or "-"), safe(row.policy), *_numbers(row)]
        if faulty:
            cells.append(_number(row.mean_with_faults_at_zero))
        notes = [f"{flag} in {count} episodes" for flag, count in row.safety.items()]
        if row.unranked is not None:
            notes.append(f"not ranked: {row.unranked}")
        table.add_row(*cells, safe("; ".join(notes)), style="dim" if row.unranked else "")
    return table


def _numbers(row: Row) -> list[str]:
    low, high = row.ci95 or (None, None)
    return [
        _number(row.mean_final_emotion),
        "-" if row.ci95 is None else f"{_number(low)} - {_number(high)}",
        _percent(row.success_rate),
        _percent(row.failure_rate),
        _number(row.mean_turns),
        str(row.episodes),
        str(row.faults),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def usage_lines(usage: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what models were asked, one line a role."""
    return [
        f"{role}: {u['requests']:,} requests ({u['cached']:,} from the tape, {u['failures']:,} failed), "
        f"{u['prompt_tokens']:,} prompt and {u['completion_tokens']:,} completion tokens"
        for role, u in usage.items()
    ]


def report_lines(report: Report) -> list[str]:
    """Return what a verification found, in sentences."""
    lines = [
        f"{report.matched} of {report.episodes} episodes match their rule "
        f"({report.turns} turns, {report.numbers - report.wrong} of {report.numbers} numbers)."
    ]
    if report.readings:
        lines.append(
            f"Read afresh: {report.readings - report.misread} of {report.readings} levels and lines match."
        )
    for name, count in sorted(report.readings_skipped.items()):
        lines.append(f"{count} episodes were not read afresh: read by {name}.")
    for name, count in sorted(report.unscored.items()):
        lines.append(f"{count} episodes are scored by {name!r}, not by a packaged rule: not verified.")
    if report.rewards_skipped:
        lines.append(
            f"{report.rewards_skipped} episodes have a reward of another kind: rewards not verified."
        )
    lines += report.notes
    if report.damaged:
        lines.append(f"{len(report.damaged)} cannot be verified:")
        lines += _some(report.damaged)
    if report.mismatches:
        lines.append(f"{len(report.mismatches)} do not match; the first difference of each:")
        lines += _some([str(mismatch) for mismatch in report.mismatches])
    return lines


def _some(items: Sequence[str]) -> list[str]:
    rest = len(items) - SHOWN
    return [f"  {item}" for item in items[:SHOWN]] + ([f"  ... and {rest} more."] if rest > 0 else [])


def scenario_table(scenarios: Sequence[Scenario]) -> Table:
    """Return the table of some scenarios. It names needs: it is for people, not for policies."""
    table = Table(title=f"{len(scenarios)} scenarios", title_justify="left")
    for name in ("id", "split", "topic", "need", "name", "age", "temperament", "language", "claims"):
        table.add_column(name, no_wrap=True, min_width=16 if name == "id" else None)
    for s in scenarios:
        claims = ", ".join(f"{claim.kind} {claim.truth}" for claim in s.situation.claims)
        cells = (s.id, s.split, s.topic, s.need, s.persona.name, s.persona.age, s.persona.temperament)
        table.add_row(*(safe(cell) for cell in (*cells, s.language, claims)))
    return table


def scenario_text(scenario: Scenario) -> list[str]:
    """Return a scenario in readable lines."""
    p, s = scenario.persona, scenario.situation
    lines = [
        f"{scenario.id}  ({scenario.split}, {scenario.language}, {scenario.topic})",
        f"{p.name}, {p.age}, {p.occupation}; {p.temperament}: {p.style}",
        f"What happened: {s.summary}",
        f"Says they want: {scenario.goal}",
        f"Needs: {scenario.need}",
        f"Starts at emotion {scenario.initial_emotion}, trust {scenario.initial_trust}",
        "Openings:",
        *(f"  - {line}" for line in scenario.openings),
    ]
    for layer in (1, 2, 3):
        lines.append(f"Facts, layer {layer}:")
        lines += [f"  {fact.id}  {fact.text}" for fact in s.facts if fact.layer == layer]
    lines.append("Feelings:")
    lines += [f"  {f.id}  {f.name}{'' if f.held else ' (denied)'}: {f.text}" for f in s.feelings]
    for kind in ("attempts", "constraints", "strengths", "perspectives", "boundaries", "requests"):
        items = getattr(s, kind)
        lines += [f"{kind.capitalize()}:", *(f"  {item.id}  {item.text}" for item in items)] if items else []
    for claim in s.claims:
        lines.append(
            f"Claim {claim.id} ({claim.kind}, {claim.truth}; settled by {', '.join(claim.evidence)}):"
        )
        lines += [f"  {claim.text}", *(f"  fair: {line}" for line in claim.fair_readings)]
    return lines


def weight_table(table: Mapping[str, Any]) -> Table:
    """Return a rule table's weights by need and act."""
    needs = table["needs"]
    acts = list(next(iter(needs.values()))["weights"])
    shown = Table(title="Points a level by need, before doubling", title_justify="left")
    shown.add_column("need", no_wrap=True)
    for act in acts:
        shown.add_column(act, justify="right")
    shown.add_column("insight about")
    shown.add_column("a step of progress")
    for need, row in needs.items():
        steps = " or ".join(f"{step['act']} {step['level']}" for step in row["progress"])
        weights = (f"{row['weights'][act]:+d}" if row["weights"][act] else "0" for act in acts)
        shown.add_row(need, *weights, row["insight_kind"] or "-", steps)
    return shown


def constants_table(table: Mapping[str, Any]) -> Table:
    """Return everything else of a rule table: names and numbers."""
    shown = Table(title="Costs, caps and thresholds (points, whatever the need)", title_justify="left")
    shown.add_column("name", no_wrap=True)
    shown.add_column("value")
    for name, value in _flat("", {k: v for k, v in table.items() if k not in ("needs", "name", "version")}):
        shown.add_row(name, str(value))
    return shown


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [item for key, inner in value.items() for item in _flat(f"{prefix}.{key}".strip("."), inner)]
    return [(prefix, value)]


def analysis_table(rows: Sequence[Analysis]) -> Table:
    """Return the table of a rule analysis at one difficulty, with means and targets."""
    table = Table(
        title=f"Final emotion on levels alone, difficulty {rows[0].difficulty}", title_justify="left"
    )
    for name in ("need", "best", "greedy", "myopia gap", "need-blind", "constant"):
        table.add_column(name, justify="left" if name == "need" else "right")
    for row in rows:
        cells = (row.best, row.greedy, row.myopia_gap, row.blind, row.constant)
        table.add_row(row.need, *map(str, cells))
    means = [mean(rows, column) for column in ("best", "greedy", "myopia_gap", "blind", "constant")]
    table.add_section()
    table.add_row("mean", *(f"{value:.1f}" for value in means))
    limits = f">= {TARGETS['best']}", "", "", f"<= {TARGETS['blind']}", f"<= {TARGETS['constant']}"
    table.add_row("target", *limits)
    return table


def analysis_json(rows: Sequence[Analysis]) -> dict[str, Any]:
    """Return an analysis at one difficulty as plain values: means over needs, and a row a need."""
    columns = ("best", "greedy", "myopia_gap", "blind", "constant")
    return {
        "mean": {column: mean(rows, column) for column in columns},
        "needs": {row.need: {column: getattr(row, column) for column in columns} for row in rows},
    }


def missed_targets(rows: Sequence[Analysis]) -> list[str]:
    """Return the targets that an analysis at one difficulty misses, in words."""
    missed = []
    for column, target in TARGETS.items():
        value = mean(rows, column)
        if (value < target) if column == "best" else (value > target):
            missed.append(f"{rows[0].difficulty}: {column} is {value:.1f}, target {target}")
    return missed
