"""The learning table of a chat model: what it says to people of `test` before and after training, pair by pair.

    python -m empathy_gym.benchmarks.chat_learning --config recipes/smollm2-cpu.yaml \
        --row "warm start=runs/warm" --row "RFT=runs/rft/model" --row "GRPO=runs/grpo" --out results/chat-learning

A row is a model's folder, or a run's, of which the best checkpoint by validation is played; the curve of a run is drawn.
All rows meet the same people with the same dialogue seeds, and the first is what the others are compared with. Beside the
emotion, which is what training was paid in, stand what the same replies come to with somebody else ("moved": tone, not
listening), empathy levels by identifiers of another family, other difficulties, and what a policy that games its user
would show (`health.signatures`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from empathy_gym.agents.trainers.health import SIGNATURES, has_grown
from empathy_gym.agents.trainers.recipe import HealthRecipe, load_recipe
from empathy_gym.agents.trainers.run_folder import METRICS
from empathy_gym.benchmarks.chat_learning_play import Plan, moved, parse_rows, play_all, run_of
from empathy_gym.benchmarks.chat_learning_report import conversations, markdown
from empathy_gym.benchmarks.console import noting, reporting, run_alone
from empathy_gym.benchmarks.learning_files import check_out, put_table
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means, paired_interval
from empathy_gym.benchmarks.summary import Score, summarise
from empathy_gym.benchmarks.train_evaluation import measured
from empathy_gym.rewards.identifiers import Identifier, load_identifier
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.files import read_json_lines
from empathy_gym.simulators.records import EpisodeRecord

GROWTH: Final = HealthRecipe().growth
"""Factor by which no signature may grow."""
Measures = dict[str, NDArray[np.float64]]
"""Final emotion, and what each identifier reads, of each person: means over the repeats, in the order of their names."""


def levels_read(records: Sequence[EpisodeRecord], identifier: Identifier) -> NDArray[np.float64]:
    """Return the mean of the three mechanisms' levels over an episode's replies, summed; shape (episodes,)."""
    contexts, replies, owners = [], [], []
    for number, record in enumerate(records):
        line = record.opening
        for turn in record.turns:
            contexts.append(line)
            replies.append(turn.heard or "")
            owners.append(number)
            line = turn.line or line
    read = identifier.levels(contexts, replies).sum(axis=1)
    return np.bincount(owners, read, len(records)) / np.bincount(owners, minlength=len(records))


def _measures(records: Sequence[EpisodeRecord], identifiers: Mapping[str, Identifier]) -> Measures:
    people = [record.scenario for record in records]
    found = {"emotion": cluster_means([r.final_emotion for r in records], people)}
    for label, identifier in identifiers.items():
        found[label] = cluster_means(levels_read(records, identifier).tolist(), people)
    return found


def _row(
    name: str, records: Sequence[EpisodeRecord], measures: Measures, elsewhere: Measures
) -> dict[str, Any]:
    row = summarise(name, [Score.of(record) for record in records])
    return {
        "policy": name,
        "episodes": row.episodes,
        "emotion": row.mean_final_emotion,
        "ci95": list(row.ci95 or ()),
        "success": row.success_rate,
        "failure": row.failure_rate,
        "turns": row.mean_turns,
        "faults": row.faults,
        "empathy": {
            label: {"mean": float(means.mean()), "ci95": list(bootstrap_interval(means))}
            for label, means in measures.items()
            if label != "emotion"
        },
        "moved": float(elsewhere["emotion"].mean()),
        "signatures": {k: v for k, v in measured(list(records)).items() if k in SIGNATURES},
    }


def _difference(after: Measures, before: Measures) -> dict[str, Any]:
    """Return paired differences over people, with their 95 % intervals."""
    found = {}
    for label, means in after.items():
        value, *ends = paired_interval(means, before[label])
        found[label] = {"value": value, "ci95": ends}
    return found


def grown(row: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the signatures of a row that are more than `GROWTH` times the first's, with the factor (None: from 0)."""
    found: dict[str, float | None] = {}
    for name, value in row["signatures"].items():
        before = first["signatures"].get(name, 0.0)
        if has_grown(name, value, before, GROWTH):
            found[name] = value / before if before else None
    return found


def table(
    plan: Plan,
    played: Mapping[str, Mapping[str, Sequence[EpisodeRecord]]],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return all numbers as plain values.

    Args:
        plan: What was played.
        played: Records by difficulty and row.
        runs: Metrics of the rows that are runs.
    """
    identifiers = {_label(source): load_identifier(source) for source in plan.identifiers}
    base = plan.rows[0][0]
    found: dict[str, Any] = {
        "base": base,
        "difficulties": {},
        "runs": {name: curve(lines) for name, lines in runs.items()},
    }
    for difficulty, by_name in played.items():
        people = {tuple(record.scenario for record in records) for records in by_name.values()}
        if len(people) > 1:
            raise ConfigError("The rows were not played with the same people; name another --work folder.")
        own = {name: _measures(records, identifiers) for name, records in by_name.items()}
        elsewhere = {
            name: _measures(moved(plan, difficulty, name, records), {}) for name, records in by_name.items()
        }
        rows = [_row(name, records, own[name], elsewhere[name]) for name, records in by_name.items()]
        differences = {
            name: {
                **_difference(own[name], own[base]),
                "moved": _difference(elsewhere[name], elsewhere[base])["emotion"],
            }
            for name in by_name
            if name != base
        }
        signs = {row["policy"]: grown(row, rows[0]) for row in rows[1 : len(plan.rows)]}
        last = plan.rows[-1][0]
        found["difficulties"][difficulty] = {
            "rows": rows,
            "less_base": differences,
            "last": last,
            "last_less": {name: _difference(own[last], own[name]) for name, _ in plan.rows[1:-1]},
            "grown": signs,
        }
    return found


def _label(source: str | None) -> str:
    return "identifiers" if source is None else f"identifiers {Path(source).name}"


def curve(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a run's metrics say: training return and emotion by step, evaluations, tokens, seconds."""
    steps = [line for line in lines if "tokens" in line]
    seconds: dict[str, float] = {}
    for line in steps:
        for name, value in line.get("seconds", {}).items():
            seconds[name] = seconds.get(name, 0.0) + value
    return {
        "steps": len(steps),
        "tokens": steps[-1]["tokens"] if steps else 0,
        "seconds": {name: round(value) for name, value in seconds.items()},
        "training": [[line["step"], round(line["emotion"], 2)] for line in steps if "emotion" in line],
        "validation": [[ln["step"], round(ln["eval_emotion"], 2)] for ln in lines if "eval_emotion" in ln],
        "entropy": [[line["step"], round(line["entropy"], 3)] for line in steps if "entropy" in line],
        "gap": max((line["gap"] for line in steps if "gap" in line), default=None),
    }


@reporting
def chat_learning(
    config: Annotated[str, typer.Option(help="The recipe that was trained by.")],
    row: Annotated[list[str], typer.Option("--row", help="NAME=FOLDER of a model or a run. Repeat.")],
    out: Annotated[
        Path, typer.Option("--out", help="JSON and Markdown go to OUT.json, OUT.md and OUT-talks.md.")
    ],
    work: Annotated[Path, typer.Option(help="Folder for records.")] = Path("runs/chat-learning"),
    changes: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="A policy beside them. Repeat.")
    ] = None,
    difficulty: Annotated[list[str] | None, typer.Option(help="The recipe's by default. Repeat.")] = None,
    identifier: Annotated[
        list[str] | None, typer.Option(help="Folder of identifiers beside the package's own. Repeat.")
    ] = None,
    scenarios: Annotated[str, typer.Option(help="Who is talked with.")] = "test",
    repeats: Annotated[int, typer.Option(min=1, help="Episodes with each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the dialogues.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first people.")] = None,
) -> None:
    """Play models before and after training with the same people, and write the table. Stopped, it goes on."""
    check_out(out)
    recipe = load_recipe(config, changes or ())
    plan = Plan(
        recipe,
        parse_rows(row),
        tuple(policy or ()),
        tuple(difficulty or (recipe.task.difficulty,)),
        (None, *(identifier or ())),
        scenarios,
        repeats,
        seed,
        limit,
    )
    work.mkdir(parents=True, exist_ok=True)
    played = play_all(plan, work, noting(False))
    runs = {name: read_json_lines(run / METRICS) for name, f in plan.rows if (run := run_of(f)) is not None}
    main = played[plan.difficulties[0]]
    talks = conversations(main[plan.rows[0][0]], main[plan.rows[-1][0]])
    put_table(out, "chat_learning", table(plan, played, runs), markdown, {"talks": talks})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments of the process, and return the exit status."""
    return run_alone(chat_learning, "chat-learning", argv)


if __name__ == "__main__":
    sys.exit(main())
