"""What learning is worth on EmpathyStrategy-v0: trained policies beside what needs no learning, on unseen people.

The rows: a random strategy, each strategy all the time, the best fixed sequence that a search on `train` finds
(`open_loop`), an untrained network, PPO as Stable-Baselines3 ships it, and the defaults of `empathy-gym train sb3`,
one of them blind to what was said last (is it only a sequence that it has learnt?). Learners are trained on `train`,
their checkpoint is chosen on `validation`, and all rows are played with the people of `test` with the same dialogue
seeds. Differences are paired: for each person the mean over a learner's seeds, less the other row's.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.agents.trainers.sb3_settings import TrainConfig
from empathy_gym.benchmarks.open_loop import search
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means, paired_interval
from empathy_gym.benchmarks.strategy_play import SEEKS_SUCCESS, Stage
from empathy_gym.benchmarks.summary import Score
from empathy_gym.envs.strategies import STRATEGIES
from empathy_gym.simulators.errors import ConfigError, unknown_name
from empathy_gym.simulators.files import write_json

LEARNERS: Final[dict[str, dict[str, Any]]] = {
    "untrained": {"algo": "ppo", "stock": True, "num_envs": 1},
    "stock-ppo": {"algo": "ppo", "stock": True, "num_envs": 1},
    "ppo": {"algo": "ppo"},
    "maskable-ppo": {"algo": "maskable-ppo"},
    "recurrent-ppo": {"algo": "recurrent-ppo"},
    "success-ppo": {"algo": "ppo", "reward": "delta+success"},
    "blind-ppo": {"algo": "ppo"},
}
"""Learners by row, with what their runs differ in. `blind-ppo` is shown nothing of what was said; `success-ppo` is paid
for success, too, and its checkpoint is chosen by both."""
HEARD: Final = ("answers", "facts", "hinted", "hints", "known", "left", "line", "mood", "tone")
"""Keys of the observation that rest on what was said; without them there are turn and strategies taken."""
KINDS: Final = ("random", "constant", "open loop", "untrained", "blind-ppo")
"""Beginnings of the rows that learners are compared with."""
STOCK: Final = ("untrained", "stock-ppo")
Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TableConfig:
    """What a table is of. See `empathy-gym train sb3-table --help`."""

    steps: int
    tuned_steps: int
    seeds: tuple[int, ...]
    learners: tuple[str, ...]
    searches: int
    split: str
    limit: int | None

    @classmethod
    def of(
        cls,
        *,
        steps: int,
        tuned_steps: int,
        seeds: str,
        only: Sequence[str] | None,
        searches: int,
        split: str,
        limit: int | None,
    ) -> TableConfig:
        """Return a checked configuration.

        Raises:
            ConfigError: If a name or a number is not valid.
        """
        for name in only or ():
            if name not in LEARNERS:
                raise unknown_name("learner", name, LEARNERS)
        texts = [text.strip() for text in seeds.split(",") if text.strip()]
        if not texts or not all(text.isdigit() for text in texts):
            raise ConfigError(
                f"--seeds is {seeds!r}; it must be whole numbers with commas between, e.g. 0,1,2."
            )
        learners = tuple(name for name in LEARNERS if not only or name in only)
        return cls(steps, tuned_steps, tuple(map(int, texts)), learners, searches, split, limit)


@dataclass(frozen=True, slots=True)
class Played:
    """A row: how a policy, or the policies of a learner's seeds, did with each person.

    Attributes:
        name: The row.
        emotions: Final emotion of each person, the mean over seeds; shape (people,).
        successes: Share of seeds with success, likewise.
        by_seed: Mean final emotion and success rate of each seed.
        speed: Environment steps in a second of processor time, learner included; 0 where nothing is learnt.
        about: What a reader needs to know.
    """

    name: str
    emotions: NDArray[np.float64]
    successes: NDArray[np.float64]
    by_seed: tuple[tuple[float, float], ...]
    speed: float
    about: str

    @classmethod
    def of(cls, name: str, runs: Sequence[Sequence[Score]], speed: float = 0.0, about: str = "") -> Played:
        """Return the row of some runs with the same people."""
        people = [[score.scenario for score in run] for run in runs]
        emotions = [
            cluster_means([score.emotion for score in run], names)
            for run, names in zip(runs, people, strict=True)
        ]
        successes = [
            cluster_means([float(score.outcome == "success") for score in run], names)
            for run, names in zip(runs, people, strict=True)
        ]
        by_seed = tuple((float(e.mean()), float(s.mean())) for e, s in zip(emotions, successes, strict=True))
        return cls(name, np.mean(emotions, axis=0), np.mean(successes, axis=0), by_seed, speed, about)


def run_table(config: TableConfig, out: Path, *, notice: Notice = lambda text: None) -> Path:
    """Train what is missing in a folder, play all rows and write ``table.json`` and ``table.md``.

    Args:
        config: What to run.
        out: The folder; runs go into it, one folder each.
        notice: Told in words what is going on.

    Returns:
        The path of the Markdown table.

    Raises:
        ConfigError: If a folder of a run holds another one.
        MissingExtraError: If Stable-Baselines3 is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    stage = Stage({"scenarios": config.split}, limit=config.limit)
    rows = [Played.of("random", [stage.play("strategy:random")])]
    rows += [Played.of(f"constant {name}", [stage.play(f"strategy:{name}")]) for name in STRATEGIES]
    found = _open_loop(config, out, notice)
    for aim, names in found["sequences"].items():
        run = stage.play(f"strategy:open-loop:{','.join(names)}")
        rows.append(Played.of(f"open loop for {aim}", [run], about=", ".join(names)))
    for name in config.learners:
        rows.append(_learner(name, config, stage, out, notice))
    write_json(out / "table.json", _as_json(config, rows, found))
    path = out / "table.md"
    path.write_text(f"{heading(config)}\n\n{markdown(rows)}", "utf-8")
    return path


def _open_loop(config: TableConfig, out: Path, notice: Notice) -> dict[str, Any]:
    """Return the best fixed sequences, searched for once a folder."""
    path = out / f"open-loop-{config.searches}.json"
    if not path.exists():
        stage, begun = Stage({"scenarios": "train"}), time.perf_counter()
        found = search(
            stage.play_sequences,
            stage.scenarios,
            range(len(STRATEGIES)),
            searches=config.searches,
            notice=notice,
        )
        seconds = round(time.perf_counter() - begun, 1)
        names = {one.aim: [STRATEGIES[i] for i in one.sequence] for one in found}
        on_train = {one.aim: {"emotion": one.emotion, "success": one.success} for one in found}
        told = {"sequences": names, "on_train": on_train, "searches": config.searches, "seconds": seconds}
        write_json(path, told)
    loaded: dict[str, Any] = json.loads(path.read_text("ascii"))
    return loaded


def learner_config(name: str, config: TableConfig, seed: int, hidden: Sequence[str] = ()) -> TrainConfig:
    """Return the run of a learner's seed."""
    steps = config.steps if name in STOCK else config.tuned_steps
    return TrainConfig(seed=seed, steps=steps, hidden=tuple(hidden), **LEARNERS[name])


def _learner(name: str, config: TableConfig, stage: Stage, out: Path, notice: Notice) -> Played:
    """Train a learner on every seed and return its row."""
    runs, speeds = [], []
    for seed in config.seeds:
        hidden = HEARD if name == "blind-ppo" else ()
        run = learner_config(name, config, seed, hidden)
        path, speed = (
            _untrained(run) if name == "untrained" else _trained(run, out / f"{name}-{seed}", notice)
        )
        runs.append(stage.play(path))
        speeds.append(speed)
        emotion = np.mean([score.emotion for score in runs[-1]])
        notice(f"{name}, seed {seed}: mean final emotion {emotion:.1f}, {speed:,.0f} steps a second")
    return Played.of(name, runs, float(np.median(speeds)))


def _untrained(run: TrainConfig) -> tuple[Any, float]:
    """Return the policy of a network that has learnt nothing; it draws its actions, as it would in training."""
    from empathy_gym.agents.policies.sb3 import SB3Policy
    from empathy_gym.agents.trainers.sb3 import make_envs, make_model

    return SB3Policy(make_model(run, make_envs(run)), run.algo, deterministic=False), 0.0


def _trained(run: TrainConfig, folder: Path, notice: Notice) -> tuple[str, float]:
    """Return the policy of a run's best checkpoint (the stock one's last), and its steps a second."""
    from empathy_gym.agents.trainers.sb3 import LAST, train
    from empathy_gym.benchmarks.strategy_play import evaluator

    timing = folder / "speed.json"
    if not timing.exists():
        inside = np.zeros(2)
        judge = evaluator({"scenarios": "validation"}, seeks_success=run.reward == SEEKS_SUCCESS)

        def evaluate(policy: Any) -> Mapping[str, float]:
            start = _clocks()
            found = judge(policy)
            inside[:] += _clocks() - start
            return found

        begun = _clocks()
        resume = (folder / LAST).exists()
        done = train(run, folder, evaluate=None if run.stock else evaluate, resume=resume, notice=notice)
        wall, processor = (float(seconds) for seconds in _clocks() - begun - inside)
        # A resumed run has taken only some of its steps in this time.
        speed = 0.0 if resume else done.steps / processor
        taken = {"steps": done.steps, "seconds": wall, "processor_seconds": processor, "speed": speed}
        write_json(timing, {**taken, "path": done.best_path.name})
    told = json.loads(timing.read_text("ascii"))
    return f"sb3:{folder / told['path']}", float(told["speed"])


def _clocks() -> NDArray[np.float64]:
    """Return the time of the clock and of this process's processors, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


# -- tables ----------------------------------------------------------------------------------------------


def best_of(rows: Sequence[Played], start: str, what: str = "emotions") -> Played:
    """Return the row with the highest mean among those whose name begins so."""
    return max(
        (row for row in rows if row.name.startswith(start)), key=lambda row: float(getattr(row, what).mean())
    )


def paired(row: Played, other: Played, what: str) -> tuple[float, float, float]:
    """Return the mean difference of two rows over the same people, and its 95 % interval."""
    return paired_interval(getattr(row, what), getattr(other, what))


def heading(config: TableConfig) -> str:
    """Return what a table is of, in a sentence."""
    seeds = ", ".join(map(str, config.seeds))
    stock = f"Stock PPO {config.steps:,} steps. " if "stock-ppo" in config.learners else ""
    people = f"the first {config.limit} people" if config.limit else "everybody"
    return (
        f"{stock}Tuned learners {config.tuned_steps:,} steps; seeds {seeds}; {config.searches:,} random sequences; "
        f"played with {people} of `{config.split}`."
    )


def markdown(rows: Sequence[Played]) -> str:
    """Return the rows as a Markdown table, with the paired differences of the learners below."""
    lines = [
        "| row | final emotion | 95 % interval | success | 95 % interval | by seed | steps/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = bootstrap_interval(row.emotions)
        least, most = bootstrap_interval(row.successes)
        seeds = ", ".join(f"{emotion:.1f}" for emotion, _ in row.by_seed) if len(row.by_seed) > 1 else ""
        speed = f"{row.speed:,.0f}" if row.speed else ""
        lines.append(
            f"| {row.name} | {row.emotions.mean():.1f} | {low:.1f} to {high:.1f} | {row.successes.mean():.1%} | "
            f"{least:.1%} to {most:.1%} | {seeds} | {speed} |"
        )
    lines += ["", *_differences(rows), ""]
    lines += [f"{row.name}: {row.about}." for row in rows if row.about]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference.

    Attributes:
        learner: The row of the learner.
        kind: What it is compared with; of several rows of a kind, with the best of them in `what`.
        other: The row it is compared with.
        what: ``"emotions"`` or ``"successes"``.
        mean: The mean difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    learner: str
    kind: str
    other: str
    what: str
    mean: float
    low: float
    high: float


def comparisons(rows: Sequence[Played]) -> list[Comparison]:
    """Return the differences of every learner to every kind of other row that there is."""
    found = []
    for row in rows:
        for kind in KINDS if row.name in LEARNERS else ():
            for what in ("emotions", "successes"):
                there = [other for other in rows if other.name.startswith(kind) and other is not row]
                if there:
                    other = best_of(there, kind, what)
                    found.append(Comparison(row.name, kind, other.name, what, *paired(row, other, what)))
    return found


def _differences(rows: Sequence[Played]) -> list[str]:
    lines = [
        "| learner | less the best | final emotion, 95 % interval | success in points, 95 % interval |",
        "|---|---|---|---|",
    ]
    cells = {(c.learner, c.kind, c.what): c for c in comparisons(rows)}
    for learner, kind, what in cells:
        if what == "emotions":
            emotion, success = cells[learner, kind, what], cells[learner, kind, "successes"]
            lines.append(f"| {learner} | {kind} | {_cell(emotion, 1)} | {_cell(success, 100)} |")
    return lines


def _cell(difference: Comparison, scale: int) -> str:
    mean, low, high = (scale * value for value in (difference.mean, difference.low, difference.high))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f}; {difference.other})"


def _as_json(config: TableConfig, rows: Sequence[Played], found: Mapping[str, Any]) -> dict[str, Any]:
    from empathy_gym.agents.trainers.sb3_files import library_versions

    return {
        "config": {
            "steps": config.steps, "tuned_steps": config.tuned_steps, "seeds": list(config.seeds),
            "split": config.split, "limit": config.limit, "searches": config.searches,
        },
        "open_loop": dict(found),
        "versions": {**library_versions(), "python": platform.python_version()},
        "rows": [
            {
                "name": row.name, "emotion": float(row.emotions.mean()), "success": float(row.successes.mean()),
                "by_seed": [list(pair) for pair in row.by_seed], "steps_per_second": round(row.speed, 1),
            }
            for row in rows
        ],
        "differences": [dataclasses.asdict(comparison) for comparison in comparisons(rows)],
    }  # fmt: skip


if __name__ == "__main__":
    import sys

    from empathy_gym.benchmarks.console import run_alone
    from empathy_gym.benchmarks.train_sb3_command import sb3_table

    sys.exit(run_alone(sb3_table, "sb3-table"))
