"""Playing models and scripted policies with the same people, for the learning table of `chat_learning`."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.policy import Conversation, load_policy
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.agents.trainers.run_folder import BEST, METRICS
from empathy_gym.benchmarks.episodes import Player, Task
from empathy_gym.benchmarks.folder import EPISODES
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.engines.prompting import folder_revision
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.files import put_folder, write_json
from empathy_gym.simulators.records import EpisodeRecord, RecordWriter, read_records

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


def run_of(folder: Path) -> Path | None:
    """Return the run of a folder: itself, or what a model of a run stands in; None where there is none."""
    return next((place for place in (folder, folder.parent) if (place / METRICS).is_file()), None)


def model_folder(folder: Path) -> Path:
    """Return the model of a folder: its own, or a run's best."""
    return folder / BEST if (folder / METRICS).is_file() else folder


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
            with _policy(plan, name, source, work) as policy:
                for difficulty in missing:
                    notice(f"{name}, {difficulty} ...")
                    records = _play(plan, name, *_staged(plan, name, difficulty), policy)
                    put_folder(places[difficulty], functools.partial(_write, records, wanted))
        for difficulty, place in places.items():
            found[difficulty][name] = _read(place, wanted)
    return found


def _staged(plan: Plan, name: str, difficulty: str) -> tuple[ChatSetting, list[Task]]:
    """Return the task at a difficulty, and the episodes of a row."""
    task = plan.recipe.task.model_copy(update={"scenarios": plan.scenarios, "difficulty": difficulty})
    setting = ChatSetting.make(task.kwargs())
    people = setting.scenarios[: plan.limit]
    return setting, [Task(name, person, r, plan.seed) for r in range(plan.repeats) for person in people]


def _play(
    plan: Plan, name: str, setting: ChatSetting, tasks: Sequence[Task], policy: Any
) -> list[EpisodeRecord]:
    player = Player(setting, "EmpathyChat-v0", policy, name, batch_size=plan.recipe.rollout.slots)
    return sorted(player.play(tasks), key=lambda r: (r.scenario, r.seeds.repeat))


@contextmanager
def _policy(plan: Plan, name: str, source: Path | None, work: Path) -> Iterator[Any]:
    """Yield the policy of a row; what a model takes is given back behind."""
    if source is None:
        yield load_policy(name)
        return
    from empathy_gym.agents.trainers.chat_model import ChatModel, chat_format
    from empathy_gym.agents.trainers.chat_training import SamplingPolicy
    from empathy_gym.agents.trainers.weights import make_sampling

    recipe = plan.recipe
    model = ChatModel(str(model_folder(source)), optimiser=recipe.optimiser)
    chat = chat_format(model, recipe)
    with closing(make_sampling(model, chat, recipe, work, lambda text: None)) as sampling:
        yield SamplingPolicy(sampling.sampler, chat, recipe.rollout.max_tokens, recipe.evaluation.temperature)


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


class _Retelling:
    """Says to each person what was said to another one.

    Args:
        replies: By the seed that a conversation hands its policy.
    """

    def __init__(self, replies: Mapping[int, Sequence[str]]) -> None:
        self.replies = replies

    def act(self, conversations: Sequence[Conversation]) -> list[str]:
        """Return one reply for each conversation; a talk that was shorter begins anew."""
        return [self.replies[c.seed][c.turn % len(self.replies[c.seed])] for c in conversations]


def moved(plan: Plan, difficulty: str, name: str, records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """Return what the same replies come to when they are said, in their order, to the next person.

    What is gained here, too, is tone; what is gained only where the replies belong is listening.

    Args:
        plan: How the records were played.
        difficulty: Likewise.
        name: The policy.
        records: In the order of scenarios and repeats.
    """
    said = {
        (record.scenario, record.seeds.repeat): [turn.heard or "" for turn in other.turns]
        for record, other in zip(records, [*records[plan.repeats :], *records[: plan.repeats]], strict=True)
    }
    setting, tasks = _staged(plan, name, difficulty)
    policy = _Retelling({task.policy_seed: said[task.scenario.id, task.repeat] for task in tasks})
    return _play(plan, name, setting, tasks, policy)
