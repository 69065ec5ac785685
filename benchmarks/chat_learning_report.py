"""The learning table of a chat model as Markdown: tables, curves, and conversations before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from empathy_gym.agents.trainers.health import SIGNATURES
from empathy_gym.benchmarks.transcript import transcript
from empathy_gym.simulators.records import EpisodeRecord

SHOWN: Final = (0.1, 0.5, 0.9)
"""Quantiles of the gain at which a conversation is shown before and after."""


def markdown(found: Mapping[str, Any], command: str) -> list[str]:
    """Return the tables and curves as Markdown lines."""
    lines = ["# A chat model before and after training", "", f"    {command}", ""]
    for difficulty, part in found["difficulties"].items():
        lines += [f"## {difficulty}", "", *_table(found["base"], part), ""]
    for name, run in found["runs"].items():
        spent = ", ".join(f"{what} {seconds}" for what, seconds in run["seconds"].items())
        lines += [
            f"{name}: {run['steps']} steps, {run['tokens']:,} tokens sampled; seconds: {spent}.",
            "",
            *chart(f"{name}: mean final emotion", run["training"], run["validation"]),
            "",
        ]
    return lines


def _table(base: str, part: Mapping[str, Any]) -> list[str]:
    labels = list(part["rows"][0]["empathy"])
    heads = ["policy", "final emotion [95 %]", f"less {base}", "success %", f"moved; less {base}"]
    heads += [f"{label}; less {base}" for label in labels]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in part["rows"]:
        less = part["less_base"].get(row["policy"], {})
        cells = [
            row["policy"],
            f"{row['emotion']:.1f} [{row['ci95'][0]:.1f}, {row['ci95'][1]:.1f}]",
            _cell(less.get("emotion"), 1),
            f"{100 * row['success']:.1f}",
            f"{row['moved']:.1f}; {_cell(less.get('moved'), 1)}",
            *(f"{row['empathy'][x]['mean']:.2f}; {_cell(less.get(x), 2)}" for x in labels),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name, less in part["last_less"].items():
        told = ", ".join(
            f"{label} {_cell(value, 1 if label == 'emotion' else 2)}" for label, value in less.items()
        )
        lines += ["", f"{part['last']} less {name}: {told}."]
    lines += ["", f"| policy | {' | '.join(SIGNATURES)} | grown |", "|" + "---|" * (len(SIGNATURES) + 2)]
    for row in part["rows"]:
        signs = row["signatures"]
        values = [f"{signs[s]:.1f}" if s == "reply_words" else f"{100 * signs[s]:.1f} %" for s in SIGNATURES]
        more = part["grown"].get(row["policy"], {})
        told = ", ".join(name if by is None else f"{name} {by:.2f} times" for name, by in more.items()) or "-"
        lines.append(f"| {row['policy']} | {' | '.join(values)} | {told} |")
    return lines


def _cell(value: Mapping[str, Any] | None, digits: int) -> str:
    if value is None:
        return "-"
    low, high = value["ci95"]
    return f"{value['value']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def chart(
    title: str, training: Sequence[Sequence[float]], validation: Sequence[Sequence[float]]
) -> list[str]:
    """Return a Mermaid chart: the bars are episodes in training, the line is `validation`, carried on between looks."""
    if not training:
        return []
    carried: list[float] = []
    held = {step: value for step, value in validation}
    last = held.get(0, training[0][1])
    for step, _ in training:
        last = held.get(step, last)
        carried.append(last)
    values = [value for _, value in training]
    low, high = int(min(*values, *carried)) // 5 * 5, int(max(*values, *carried)) // 5 * 5 + 5
    return [
        "```mermaid",
        "xychart-beta",
        f'    title "{title}"',
        f'    x-axis "step" 1 --> {int(training[-1][0])}',
        f'    y-axis "emotion" {low} --> {high}',
        f"    bar [{', '.join(f'{v:.1f}' for v in values)}]",
        f"    line [{', '.join(f'{v:.1f}' for v in carried)}]",
        "```",
    ]


def conversations(before: Sequence[EpisodeRecord], after: Sequence[EpisodeRecord]) -> list[str]:
    """Return conversations with the same people before and after, at fixed quantiles of the gain: none is picked."""
    pairs = sorted(
        zip(before, after, strict=True),
        key=lambda p: (p[1].final_emotion - p[0].final_emotion, p[0].scenario),
    )
    lines: list[str] = []
    for quantile in SHOWN:
        first, second = pairs[int(quantile * (len(pairs) - 1))]
        gain = second.final_emotion - first.final_emotion
        lines += [f"# At the {quantile:.0%} quantile of the gain: {gain:+d}", ""]
        lines += [*transcript(first), "", *transcript(second), ""]
    return lines
