"""The learning table of EmpRL's training: the warm start against PPO, beside policies that learn nothing.

    python -m empathy_gym.benchmarks.emprl_learning --out benchmarks/results/emprl-learning

A small T5 is built once; each seed then has a warm start and a run of PPO of its own. Both answer every exchange of
`test` several times, sampled as in training. The paired intervals are over exchanges, seeds and repeats averaged first.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from empathy_gym.agents.trainers.seq2seq.recipe import read_recipe, settings_of
from empathy_gym.benchmarks.console import reporting, run_alone
from empathy_gym.benchmarks.learning_files import check_out, put_table
from empathy_gym.benchmarks.response_bench import ResponseBench, ResponseBenchConfig
from empathy_gym.benchmarks.response_records import Reading, ResponseRecord, parse_response
from empathy_gym.benchmarks.response_scores import jackknife_interval
from empathy_gym.benchmarks.response_summary import ResponseRow, compared, summarise
from empathy_gym.rewards.identifiers import MECHANISMS, Identifier, load_identifier
from empathy_gym.simulators.exchanges.exchange import LINE
from empathy_gym.simulators.files import read_json_lines

WARM, PPO, UNTRAINED = "T5 after the warm start", "T5 after PPO", "T5 untrained"
BESIDE: Final = ("scripted:empty", "scripted:gibberish", "scripted:template", "scripted:listener")
"""Policies that do not learn, in the same run."""
KEPT: Final = 0.8
"""Share of the warm start's Dist-2 that is to be kept."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a table is made from.

    Attributes:
        work: Folder for models and runs.
        model: A model's folder or hub id, or ``"tiny"``.
        seeds: Seeds of training.
        settings: ``KEY=VALUE`` of the recipe.
        terms: The environment's optional terms while training.
        reporting: Who reports: ``"structure"`` or folders of identifiers; the first one's table is the main one.
        repeats: Responses to each exchange of `test`, per seed.
        guard: Whether the table pays nothing for what is no language.
        limit: Only the first exchanges of `test`; all if None.
    """

    work: Path
    model: str = "tiny"
    seeds: tuple[int, ...] = (0, 1)
    settings: tuple[str, ...] = ()
    terms: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reporting: tuple[str, ...] = ("structure",)
    repeats: int = 4
    guard: bool = True
    limit: int | None = None


def learn(plan: Plan) -> dict[str, Any]:
    """Train, answer, and return the table as plain values.

    Raises:
        EmpathyGymError: As training and bench do.
    """
    base, seconds = _base(plan)
    runs = []
    for seed in plan.seeds:
        started, resumed = time.process_time(), (plan.work / f"seed-{seed}" / "run.json").exists()
        runs.append(_trained(plan, base, seed))
        if not resumed:
            seconds[f"seed {seed}"] = time.process_time() - started
    answered, payer = _answered(plan)
    tables = [_table(answered, payer, reporter) for reporter in plan.reporting]
    return {
        "model": plan.model,
        "seeds": list(plan.seeds),
        "recipe": read_recipe(None, plan.settings, base=_default(base)).model_dump(mode="json"),
        "terms": dict(plan.terms),
        "tables": tables,
        "runs": runs,
        "cpu_seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def _default(base: str) -> Any:
    from empathy_gym.benchmarks.emprl import default_recipe

    return default_recipe(base)


def _base(plan: Plan) -> tuple[str, dict[str, float]]:
    """Return the model all seeds begin with, built once, and how long that took."""
    from empathy_gym.agents.trainers.seq2seq.checkpoint import save_model
    from empathy_gym.benchmarks.emprl import SCRATCH, TINY, build_tiny, untrained_actor

    if not (plan.work / "untrained").exists():
        plan.work.mkdir(parents=True, exist_ok=True)
        save_model(untrained_actor(), plan.work / "untrained", {SCRATCH: True})
    if plan.model != TINY:
        return plan.model, {}
    started, there = time.process_time(), (plan.work / "base").exists()
    if not there:
        build_tiny(plan.work / "base")
    spent = time.process_time() - started
    return str(plan.work / "base"), {} if there else {"building the small T5": spent}


def _trained(plan: Plan, base: str, seed: int) -> dict[str, Any]:
    """Train one seed, or go on with it, and return what its metrics say."""
    from empathy_gym.benchmarks.emprl import Training, train

    out = plan.work / f"seed-{seed}"
    recipe = read_recipe(None, [*plan.settings, f"seed={seed}"], base=_default(base))
    train(base, out, recipe, Training(rewards=plan.terms), resume=(out / "run.json").exists())
    rows = [row for row in read_json_lines(out / "metrics.jsonl") if row["phase"] == "ppo"]
    learned = [row for row in rows if "kl_full" in row]
    curve = [{k: row[k] for k in ("step", "validation_reward", "validation_distinct_2")} for row in rows
             if "validation_reward" in row]  # fmt: skip
    tenth = max(1, len(learned) // 10)
    return {
        "seed": seed,
        "first_reward": _mean(learned[:tenth], "reward"),
        "last_reward": _mean(learned[-tenth:], "reward"),
        "largest_kl": max((row["kl"] for row in learned), default=0.0),
        "last_kl": _mean(learned[-tenth:], "kl"),
        "largest_kl_full": max((row["kl_full"] for row in learned), default=0.0),
        "validation": curve,
    }


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows) if rows else 0.0


def _answered(plan: Plan) -> tuple[dict[str, list[ResponseRecord]], str]:
    """Let every policy answer `test`; return records by the name of a row, and who pays."""
    by_name: dict[str, list[ResponseRecord]] = {}
    payer = ""
    for number, seed in enumerate(plan.seeds):
        names = {
            f"hf:{plan.work / f'seed-{seed}' / 'warm'}": WARM,
            f"hf:{plan.work / f'seed-{seed}' / 'best'}": PPO,
            f"hf:{plan.work / 'untrained'}": UNTRAINED,
        }
        # What does not learn is the same for every seed.
        specs = (*names, *BESIDE) if number == 0 else tuple(names)[:2]
        bench = ResponseBench(
            ResponseBenchConfig(
                policies=specs,
                repeats=plan.repeats,
                reporting=plan.reporting[0],
                guard=plan.guard,
                limit=plan.limit,
            )
        )
        payer = f"{bench.setting.reward.fingerprint} ({bench.setting.reward.identifier.family})"
        folder = plan.work / f"answers-{seed}"
        bench.run(folder)
        for line in (folder / "episodes.jsonl").read_bytes().splitlines():
            record = parse_response(line, str(folder))
            name = names.get(record.policy, record.policy)
            if number == 0 or name in (WARM, PPO):
                place = record.repeat + plan.repeats * number
                changed = record.model_copy(update={"policy": name, "repeat": place})
                by_name.setdefault(name, []).append(changed)
    return {name: sorted(found, key=_identity) for name, found in by_name.items()}, payer


def _table(answered: Mapping[str, Sequence[ResponseRecord]], payer: str, reporter: str) -> dict[str, Any]:
    """Return rows and differences as one reporter reads them."""
    identifier = load_identifier(reporter)
    by_name = {name: read_afresh(records, identifier) for name, records in answered.items()}
    rows = {name: summarise(name, found) for name, found in by_name.items()}
    gained = compared(by_name[PPO], by_name[WARM])
    kept = rows[PPO].distinct_2 / rows[WARM].distinct_2 if rows[WARM].distinct_2 else 0.0
    return {
        "scoring": f"Paid by {payer}; reported by {Path(reporter).name}: {identifier.fingerprint} ({identifier.family})",
        "rows": [_row(rows[name], by_name[name]) for name in rows],
        "ppo_less_warm_start": {
            **{name: dataclasses.asdict(value) for name, value in gained.items()},
            "accuracy": _accuracy_gain(by_name[PPO], by_name[WARM]),
        },
        "distinct_2_kept": kept,
    }


def read_afresh(records: Sequence[ResponseRecord], identifier: Identifier) -> list[ResponseRecord]:
    """Return records with another reporter's readings, of the responses where they were given and where they were moved.

    Args:
        records: Of one policy.
        identifier: The reporter.
    """
    exchanges = {record.exchange: record for record in records}
    answers = [exchanges[id_] for id_ in sorted(exchanges)]
    wanted = identifier.levels([LINE.join(r.context) for r in answers], [r.reference for r in answers])
    levels = {record.exchange: _levels(row) for record, row in zip(answers, wanted.tolist(), strict=True)}
    read = identifier.levels([LINE.join(r.context) for r in records], [r.text for r in records])
    moved = [exchanges[r.control.exchange] if r.control else r for r in records]
    there = identifier.levels([LINE.join(r.context) for r in moved], [r.text for r in records])
    found = []
    for record, own, at in zip(records, read.tolist(), there.tolist(), strict=True):
        report = Reading(
            identifier=identifier.fingerprint, levels=_levels(own), reference_levels=levels[record.exchange]
        )
        control = record.control and record.control.model_copy(
            update={"levels": _levels(at), "reference_levels": levels[record.control.exchange]}
        )
        found.append(record.model_copy(update={"report": report, "control": control}))
    return found


def _levels(row: Sequence[int]) -> dict[str, int]:
    return dict(zip(MECHANISMS, row, strict=True))


def _identity(record: ResponseRecord) -> tuple[str, str, int]:
    return record.identity


def _row(row: ResponseRow, records: Sequence[ResponseRecord]) -> dict[str, Any]:
    return {**row.to_json(), "accuracy": sum(map(_hits, records)) / len(records)}


def _hits(record: ResponseRecord) -> float:
    """Return the share of mechanisms in which the reporter reads the reference's level in the response."""
    said, wanted = record.report.levels, record.report.reference_levels
    return sum(said[m] == wanted[m] for m in MECHANISMS) / len(MECHANISMS)


def _accuracy_gain(after: Sequence[ResponseRecord], before: Sequence[ResponseRecord]) -> dict[str, Any]:
    """Return the difference in accuracy with its paired jackknife interval over exchanges."""
    import numpy as np

    from empathy_gym.benchmarks.statistics import cluster_means

    means = [cluster_means([_hits(r) for r in part], [r.exchange for r in part]) for part in (after, before)]
    gain = means[0] - means[1]
    without = (gain.sum() - gain) / max(1, len(gain) - 1)
    value = float(gain.mean())
    return {"value": value, "ci95": list(jackknife_interval(value, np.asarray(without), (-1.0, 1.0)))}


# -- the report ------------------------------------------------------------------------------------------


def markdown(found: Mapping[str, Any], command: str) -> list[str]:
    """Return the table as Markdown lines."""
    lines = ["# EmpRL's training: PPO against the warm start", "", f"    {command}", ""]
    for table in found["tables"]:
        lines += [
            table["scoring"], "",
            "| policy | reward [95 %] | empathy F1 | levels right % | moved F1 | Dist-2 % | words | perplexity |",
            "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        lines += [
            _line(row) for row in sorted(table["rows"], key=lambda r: (not r["privileged"], -r["reward"]))
        ]
        gained = table["ppo_less_warm_start"]
        lines += ["", f"PPO less warm start, {len(found['seeds'])} seeds, paired over exchanges: " + ", ".join(
            f"{label} {gained[name]['value']:+.3f} [{gained[name]['ci95'][0]:+.3f}, {gained[name]['ci95'][1]:+.3f}]"
            for name, label in (("reward", "reward"), ("f1", "empathy F1"), ("accuracy", "levels right"))
        ) + f"; Dist-2 kept {100 * table['distinct_2_kept']:.0f} %.", ""]  # fmt: skip
    for run in found["runs"]:
        lines.append(
            f"Seed {run['seed']}: reward while training {run['first_reward']:.3f} to {run['last_reward']:.3f}; KL at "
            f"the end {run['last_kl']:.2f} nats a response, at most {run['largest_kl']:.2f} "
            f"({run['largest_kl_full']:.2f} over the whole vocabulary)."
        )
    spent = ", ".join(f"{name} {value:.0f}" for name, value in found["cpu_seconds"].items())
    return [*lines, *(["", f"Processor seconds of what was trained in this run: {spent}."] if spent else [])]


def _line(row: Mapping[str, Any]) -> str:
    low, high = row["reward_ci95"]
    moved = "-" if row["moved_f1"] is None else f"{row['moved_f1']:.3f}"
    perplexity = "-" if row["perplexity"] is None else f"{row['perplexity']:.1f}"
    return (
        f"| {row['policy']} | {row['reward']:.3f} [{low:.3f}, {high:.3f}] | {row['empathy_f1']['mean']:.3f} | "
        f"{100 * row['accuracy']:.1f} | {moved} | {100 * row['distinct_2']:.1f} | {row['words']:.1f} | {perplexity} |"
    )


@reporting
def emprl_learning(
    out: Annotated[Path, typer.Option("--out", help="JSON and Markdown go to OUT.json and OUT.md.")],
    work: Annotated[Path, typer.Option(help="Folder for models and runs.")] = Path("runs/emprl-learning"),
    model: Annotated[str, typer.Option(help="Folder or hub id of an encoder-decoder, or tiny.")] = "tiny",
    seed: Annotated[list[int] | None, typer.Option(help="Seeds of training; 0 and 1 by default.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe.")] = None,
    reward: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of optional terms in training.")] = None,
    reporting_by: Annotated[
        list[str] | None,
        typer.Option("--reporting", help="Who reports; structure by default. Repeat for more."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Responses to each exchange, per seed.", min=1)] = 4,
    limit: Annotated[int | None, typer.Option(help="Only the first exchanges of test.")] = None,
    threads: Annotated[int, typer.Option(help="Of PyTorch.", min=1)] = 1,
) -> None:
    """Train several seeds by EmpRL and write the learning table. Stopped, the same command goes on."""
    from empathy_gym.simulators.engines.prompting import require

    check_out(out)
    require("torch", "llm").set_num_threads(threads)
    plan = Plan(
        work,
        model,
        tuple(seed or (0, 1)),
        tuple(setting or ()),
        settings_of(reward or (), "--reward"),
        tuple(reporting_by or ("structure",)),
        repeats,
        limit=limit,
    )
    put_table(out, "emprl_learning", learn(plan), markdown)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments of the process, and return the exit status."""
    return run_alone(emprl_learning, "emprl-learning", argv)


if __name__ == "__main__":
    sys.exit(main())
