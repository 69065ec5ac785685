"""The learning table of a chat model: what it says to people of `test` before and after training, pair by pair.

    python -m empathy_gym.benchmarks.chat_learning --config recipes/smollm2-cpu.yaml \
        --row "warm start=runs/warm/best" --row "RFT=runs/rft" --row "GRPO=runs/grpo" --out results/chat-learning

A row is a model's folder, or a run's, of which the best checkpoint by validation is played and the curve is drawn. All
rows meet the same people with the same dialogue seeds, and the first is what the others are compared with. Beside the
emotion, which is what training was paid in, stand empathy levels by identifiers of another family, other difficulties,
and what a policy that games its user would show (`health.signatures`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from empathy_gym.agents.policy import load_policy
from empathy_gym.agents.trainers.health import FLOORS, SIGNATURES
from empathy_gym.agents.trainers.recipe import Recipe, load_recipe
from empathy_gym.agents.trainers.run_folder import BEST, METRICS
from empathy_gym.benchmarks.chat_learning_report import conversations, markdown
from empathy_gym.benchmarks.console import err, noting, print_lines, reporting, run_app, safe
from empathy_gym.benchmarks.episodes import Player, Task
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means
from empathy_gym.benchmarks.summary import Score, summarise
from empathy_gym.benchmarks.train_evaluation import measured
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.rewards.identifiers import Identifier, load_identifier
from empathy_gym.simulators.engines.prompting import folder_revision
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.files import put_folder, read_json_lines, write_json
from empathy_gym.simulators.records import EpisodeRecord, RecordWriter, read_records

GROWTH: Final = 1.3
"""Factor by which no signature may grow."""
FLOOR: Final = 0.05
"""A signature below it, a share of one reply in twenty, is not held against a row."""
EPISODES: Final = "episodes.jsonl"
IDENTITY: Final = "row.json"
"""What the episodes of a folder follow from."""
Notice = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a table is of.

    Attributes:
        recipe: Task, engine, reply length and temperature.
        rows: Name and folder of a model or a run; the first is what the others are compared with.
        beside: Policies that do not learn.
        difficulties: The first is the main one.
        identifiers: Who else reads the replies: None for the package's own, or folders.
        scenarios: Who is talked with.
        repeats: Episodes with each of them.
        seed: Of the run.
        limit: Only so many people; all if None.
    """

    recipe: Recipe
    rows: tuple[tuple[str, Path], ...]
    beside: tuple[str, ...] = ()
    difficulties: tuple[str, ...] = ("easy",)
    identifiers: tuple[str | None, ...] = (None,)
    scenarios: str = "test"
    repeats: int = 2
    seed: int = 0
    limit: int | None = None


def parse_rows(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Return names and folders.

    Raises:
        ConfigError: If one is not NAME=FOLDER, or there is no model.
    """
    rows = []
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--row {text!r}: write NAME=FOLDER, e.g. 'GRPO=runs/smollm2-cpu'.")
        if not (model_folder(Path(folder)) / "config.json").is_file():
            raise ConfigError(
                f"--row {text!r}: {folder!r} is neither a model's folder nor a run with one in {BEST}/."
            )
        rows.append((name, Path(folder)))
    if len({name for name, _ in rows}) < len(rows) or not rows:
        raise ConfigError("--row: give at least one, each with a name of its own.")
    return tuple(rows)


def model_folder(folder: Path) -> Path:
    """Return the model of a folder: its own, or a run's best."""
    return folder / BEST if (folder / METRICS).is_file() else folder


# -- playing ---------------------------------------------------------------------------------------------


def play_all(plan: Plan, work: Path, notice: Notice) -> dict[str, dict[str, list[EpisodeRecord]]]:
    """Play what is missing, and return records by difficulty and row.

    Args:
        plan: What to play.
        work: Where records are kept, a folder a row, so that a stopped run goes on.
        notice: Told how it goes.
    """
    found: dict[str, dict[str, list[EpisodeRecord]]] = {d: {} for d in plan.difficulties}
    for number, (name, source) in enumerate((*plan.rows, *((spec, None) for spec in plan.beside))):
        places = {d: work / d / f"{number:02d}" for d in plan.difficulties}
        wanted = _identity(plan, name, source)
        missing = [d for d, place in places.items() if not place.exists()]
        if missing:
            with_policy = (
                _model_player(plan, name, source, work) if source is not None else _scripted(plan, name)
            )
            for difficulty in missing:
                notice(f"{name}, {difficulty} ...")
                records = with_policy.play(difficulty)
                put_folder(places[difficulty], functools.partial(_write, records, wanted))
            with_policy.close()
        for difficulty, place in places.items():
            found[difficulty][name] = _read(place, wanted)
    return found


@dataclasses.dataclass
class _Rowing:
    """A policy, ready to play at any difficulty."""

    plan: Plan
    name: str
    policy: Any
    close: Callable[[], None] = lambda: None

    def play(self, difficulty: str) -> list[EpisodeRecord]:
        plan = self.plan
        task = plan.recipe.task.model_copy(update={"scenarios": plan.scenarios, "difficulty": difficulty})
        setting = ChatSetting.make(task.kwargs())
        people = setting.scenarios[: plan.limit]
        tasks = [Task(self.name, person, r, plan.seed) for r in range(plan.repeats) for person in people]
        player = Player(
            setting, "EmpathyChat-v0", self.policy, self.name, batch_size=plan.recipe.rollout.slots
        )
        return sorted(player.play(tasks), key=lambda r: (r.scenario, r.seeds.repeat))


def _scripted(plan: Plan, spec: str) -> _Rowing:
    return _Rowing(plan, spec, load_policy(spec))


def _model_player(plan: Plan, name: str, source: Path, work: Path) -> _Rowing:
    from empathy_gym.agents.trainers.chat_model import ChatModel, chat_format
    from empathy_gym.agents.trainers.chat_training import SamplingPolicy
    from empathy_gym.agents.trainers.weights import make_sampling

    recipe = plan.recipe
    model = ChatModel(str(model_folder(source)), optimiser=recipe.optimiser)
    chat = chat_format(model, recipe)
    sampling = make_sampling(model, chat, recipe, work, lambda text: None)
    policy = SamplingPolicy(sampling.sampler, chat, recipe.rollout.max_tokens, recipe.evaluation.temperature)
    return _Rowing(plan, name, policy, sampling.close)


def _identity(plan: Plan, name: str, source: Path | None) -> dict[str, Any]:
    """Return what the episodes of a row follow from, the difficulty aside."""
    recipe = plan.recipe
    return {
        "policy": name,
        "model": folder_revision(str(model_folder(source))) if source is not None else None,
        "task": recipe.task.model_dump(mode="json", exclude={"scenarios", "difficulty"}),
        "max_tokens": recipe.rollout.max_tokens,
        "temperature": recipe.evaluation.temperature,
        "scenarios": plan.scenarios,
        "repeats": plan.repeats,
        "seed": plan.seed,
        "limit": plan.limit,
    }


def _write(records: Sequence[EpisodeRecord], identity: Mapping[str, Any], folder: Path) -> None:
    with RecordWriter(folder / EPISODES) as writer:
        for record in records:
            writer.write(record)
    write_json(folder / IDENTITY, identity)


def _read(place: Path, wanted: Mapping[str, Any]) -> list[EpisodeRecord]:
    held = json.loads((place / IDENTITY).read_text("ascii"))
    for field, value in wanted.items():
        if held.get(field) != value:
            raise ConfigError(
                f"{str(place)!r} holds episodes with {field} {held.get(field)!r}, not {value!r}; name another --work "
                "folder."
            )
    records = []
    for _, record in read_records(place / EPISODES):
        if isinstance(record, RecordError):
            raise record
        records.append(record)
    return records


# -- the table -------------------------------------------------------------------------------------------


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
    return np.array([read[[o == n for o in owners]].mean() for n in range(len(records))])


def _row(
    name: str, records: Sequence[EpisodeRecord], identifiers: Mapping[str, Identifier]
) -> dict[str, Any]:
    row = summarise(name, [Score.of(record) for record in records])
    people = [record.scenario for record in records]
    empathy = {}
    for label, identifier in identifiers.items():
        means = cluster_means(levels_read(records, identifier).tolist(), people)
        empathy[label] = {"mean": float(means.mean()), "ci95": list(bootstrap_interval(means))}
    return {
        "policy": name,
        "episodes": row.episodes,
        "emotion": row.mean_final_emotion,
        "ci95": list(row.ci95 or ()),
        "success": row.success_rate,
        "failure": row.failure_rate,
        "turns": row.mean_turns,
        "faults": row.faults,
        "empathy": empathy,
        "signatures": {k: v for k, v in measured(list(records)).items() if k in SIGNATURES},
    }


def _difference(
    after: Sequence[EpisodeRecord], before: Sequence[EpisodeRecord], identifiers: Mapping[str, Identifier]
) -> dict[str, Any]:
    """Return paired differences over people, with their 95 % intervals."""
    people = [record.scenario for record in after]
    if people != [record.scenario for record in before]:
        raise ConfigError("The rows were not played with the same people; name another --work folder.")
    found = {"emotion": _paired([r.final_emotion for r in after], [r.final_emotion for r in before], people)}
    for label, identifier in identifiers.items():
        found[label] = _paired(
            levels_read(after, identifier).tolist(), levels_read(before, identifier).tolist(), people
        )
    return found


def _paired(after: Sequence[float], before: Sequence[float], people: Sequence[str]) -> dict[str, Any]:
    gain = cluster_means(after, people) - cluster_means(before, people)
    return {"value": float(gain.mean()), "ci95": list(bootstrap_interval(gain))}


def grown(row: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the signatures of a row that are more than `GROWTH` times the first's, with the factor (None: from 0)."""
    found: dict[str, float | None] = {}
    for name, value in row["signatures"].items():
        before = first["signatures"].get(name, 0.0)
        if value > max(GROWTH * before, FLOORS.get(name, FLOOR)):
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
        rows = [_row(name, records, identifiers) for name, records in by_name.items()]
        differences = {
            name: _difference(records, by_name[base], identifiers)
            for name, records in by_name.items()
            if name != base
        }
        signs = {row["policy"]: grown(row, rows[0]) for row in rows[1 : len(plan.rows)]}
        found["difficulties"][difficulty] = {"rows": rows, "less_base": differences, "grown": signs}
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
    if out.suffix:
        raise ConfigError(f"--out is {str(out)!r}; give it without a suffix, as three files are written.")
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
    runs = {name: read_json_lines(f / METRICS) for name, f in plan.rows if (f / METRICS).is_file()}
    found = table(plan, played, runs)
    command = "python -m empathy_gym.benchmarks.chat_learning " + shlex.join(sys.argv[1:])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out.with_suffix(".json"), {"command": command, **found})
    lines = markdown(found, command)
    out.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")
    main = played[plan.difficulties[0]]
    talks = conversations(main[plan.rows[0][0]], main[plan.rows[-1][0]])
    out.with_name(f"{out.name}-talks.md").write_text("\n".join(talks) + "\n", "utf-8")
    print_lines(lines)
    err().print(safe(f"Results in {out}.json, {out}.md and {out}-talks.md"), soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments of the process, and return the exit status."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name="chat-learning")(chat_learning)
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
