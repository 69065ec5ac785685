"""Whether the difficulties are what they are called: apart, in one order, and none without a gradient.

Frozen policies, spread from the oracle down, play the same people with the same seeds on every difficulty. Each
must lose a good number of points from one difficulty to the next, and no policy may overtake another only because
the user got harder. A user so hard that every attempt ends alike teaches nothing: so groups of samples of
stochastic policies are played too, as a group-relative learner would, and counted by whether their rewards differ.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from empathy_gym.benchmarks.console import safe
from empathy_gym.benchmarks.episodes import Task
from empathy_gym.benchmarks.runner import Bench, BenchConfig
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means, kendall_tau
from empathy_gym.benchmarks.summary import Score, summarise
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.records import EpisodeRecord
from empathy_gym.simulators.scenario import DIFFICULTIES

FROZEN: Final = (
    "scripted:graded-50", "scripted:graded-35", "scripted:graded-20", "scripted:graded-10",
    "scripted:listener", "scripted:slipping-15", "scripted:slipping-25", "scripted:slipping-40",
)  # fmt: skip
"""Policies over the range in which a gap can be seen."""
ENDS: Final = ("scripted:graded-75", "scripted:slipping-50", "scripted:eliza")
"""Policies too near the top and the bottom of the scale to lose as much for sure; printed, not judged."""
SAMPLED: Final = {"mid-level": "scripted:graded-20", "weak": "scripted:slipping-50"}
"""Stochastic policies of which groups are played, by what they stand for."""
GROUP: Final = 8
"""Samples of a group."""
REWARDS: Final = ("final", "delta")
STEPS: Final = tuple(itertools.pairwise(DIFFICULTIES))
"""Each difficulty with the next harder one."""
MIN_GAP: Final = 8.0
"""Points of final emotion that a policy must lose at each step."""
MIN_TAU: Final = 0.8
ORDER: Final = "order (Kendall's tau)"
MIN_ALIVE: Final = {"mid-level": 0.8, "weak": 0.6}
"""Share of groups whose rewards must differ, by kind of policy."""
RLVER_ACCEPTED: Final = {"normal": ("vanilla", 0.524), "hard": ("challenging", 0.331)}
"""Shares of accepted replies that RLVER (arXiv 2507.03112) reports for its two users; printed, not aimed at."""

Progress = Callable[[str, int, int], None]
Records = Mapping[str, Sequence[EpisodeRecord]]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over scenarios with its 95 % bootstrap interval, in points."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a frozen policy does.

    Attributes:
        policy: Its spec.
        emotion: Mean final emotion by difficulty.
        gaps: What is lost at each of `STEPS`, the same scenarios compared.
    """

    policy: str
    emotion: dict[str, Mean]
    gaps: tuple[Mean, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table that can pass or fail.

    Attributes:
        name: What is measured.
        values: What was measured, each against the target.
        target: Least value that passes.
    """

    name: str
    values: tuple[float, ...]
    target: float

    @property
    def passed(self) -> bool:
        """Whether every value reaches the target."""
        return all(value >= self.target for value in self.values)


@dataclass(frozen=True, slots=True)
class Difficulties:
    """What was found. Emotions are 0-100, shares 0-1.

    Attributes:
        title: Split, size and seed of the run.
        rule: Fingerprint of the rule.
        standings: Of each frozen policy.
        ends: Of the policies at the ends of the scale, which are not judged.
        taus: Kendall's tau of the policies' order at each of `STEPS`.
        alive: Share of groups whose rewards differ, by kind of policy, reward and difficulty.
        accepted: Share of replies with a rise, by difficulty, over the frozen policies.
    """

    title: str
    rule: str
    standings: tuple[Standing, ...]
    ends: tuple[Standing, ...]
    taus: tuple[float, ...]
    alive: dict[str, dict[str, dict[str, float]]]
    accepted: dict[str, float]

    @property
    def lines(self) -> list[Line]:
        """Everything that can pass or fail."""
        found = [Line(s.policy, tuple(gap.mean for gap in s.gaps), MIN_GAP) for s in self.standings]
        found.append(Line(ORDER, self.taus, MIN_TAU))
        for kind, rewards in self.alive.items():
            found += [
                Line(f"alive, {kind}, {reward}", tuple(shares.values()), MIN_ALIVE[kind])
                for reward, shares in rewards.items()
            ]
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        failed = [line.name for line in self.lines if not line.passed]
        return {"ok": not failed, "failed": failed, **dataclasses.asdict(self), "rlver": dict(RLVER_ACCEPTED)}


# -- playing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample(Task):
    """One attempt of a group: its siblings meet the same person with the same seed, and draw otherwise."""

    @property
    def seed(self) -> int:
        """Seed of the dialogue, the same for the whole group."""
        return derive_seed(self.run_seed, self.scenario.id, "group")


def measure(
    split: str = "test",
    *,
    limit: int | None = None,
    repeats: int = 1,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Difficulties:
    """Play the frozen and the sampled policies on every difficulty.

    Args:
        split: Who they talk with: a split or a path.
        limit: Only the first scenarios, by id.
        repeats: Episodes of a frozen policy for each scenario; there is one group for each scenario.
        seed: Seed of the run.
        progress: Told what is played, and how many episodes of all are done.

    Raises:
        ConfigError: If the split or a number is not valid.
    """
    benches = {
        difficulty: Bench(
            BenchConfig(
                policies=tuple(dict.fromkeys((*FROZEN, *ENDS, *SAMPLED.values()))),
                scenarios=split,
                limit=limit,
                repeats=repeats,
                seed=seed,
                difficulty=difficulty,
            )
        )
        for difficulty in DIFFICULTIES
    }
    any_bench = benches[DIFFICULTIES[0]]
    users = len(any_bench.scenarios)
    count = _Counter(
        len(DIFFICULTIES) * users * (repeats * len((*FROZEN, *ENDS)) + GROUP * len(SAMPLED)), progress
    )
    played = {d: dict(_frozen(bench, functools.partial(count, d))) for d, bench in benches.items()}
    groups = {d: dict(_groups(bench, functools.partial(count, d))) for d, bench in benches.items()}
    return Difficulties(
        title=f"{any_bench.env_id}, {split}, {users} scenarios x {repeats}, seed {seed}",
        rule=any_bench.scoring,
        standings=tuple(standing(policy, played) for policy in FROZEN),
        ends=tuple(standing(policy, played) for policy in ENDS),
        taus=taus(played),
        alive={
            kind: {reward: {d: alive(groups[d][policy], reward) for d in DIFFICULTIES} for reward in REWARDS}
            for kind, policy in SAMPLED.items()
        },
        accepted={d: accepted(r for policy in FROZEN for r in played[d][policy]) for d in DIFFICULTIES},
    )


class _Counter:
    """Counts episodes for the progress bar."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.done = total, progress, 0

    def __call__(self, difficulty: str, records: Iterable[EpisodeRecord]) -> list[EpisodeRecord]:
        """Return the records, having told of each."""
        kept = []
        for record in records:
            kept.append(record)
            self.done += 1
            self.progress(f"{difficulty} {record.policy}", self.done, self.total)
        return kept


Keep = Callable[[Iterable[EpisodeRecord]], list[EpisodeRecord]]


def _frozen(bench: Bench, keep: Keep) -> Iterator[tuple[str, list[EpisodeRecord]]]:
    for policy in (*FROZEN, *ENDS):
        yield policy, keep(bench.play(policy, [task for task in bench.tasks if task.policy == policy]))


def _groups(bench: Bench, keep: Keep) -> Iterator[tuple[str, list[EpisodeRecord]]]:
    for policy in SAMPLED.values():
        yield policy, keep(bench.play(policy, samples(bench, policy)))


def samples(bench: Bench, policy: str) -> list[Sample]:
    """Return the tasks of a policy's groups, one group a scenario."""
    return [
        Sample(policy, scenario, number, bench.config.seed)
        for scenario in bench.scenarios
        for number in range(GROUP)
    ]


# -- figures ---------------------------------------------------------------------------------------------


def standing(policy: str, played: Mapping[str, Records]) -> Standing:
    """Return how a policy does, from its records by difficulty."""
    emotion, means = {}, {}
    for difficulty in DIFFICULTIES:
        scores = [Score.of(record) for record in played[difficulty][policy]]
        row = summarise(policy, scores)
        low, high = row.ci95 or (0.0, 0.0)
        emotion[difficulty] = Mean(row.mean_final_emotion or 0.0, low, high)
        means[difficulty] = cluster_means([s.emotion for s in scores], [s.scenario for s in scores])
    lost = [means[easier] - means[harder] for easier, harder in STEPS]
    gaps = tuple(Mean(float(points.mean()), *bootstrap_interval(points)) for points in lost)
    return Standing(policy, emotion, gaps)


def taus(played: Mapping[str, Records]) -> tuple[float, ...]:
    """Return how well the policies' order is kept at each step."""
    order = {d: [standing_mean(played[d][policy]) for policy in FROZEN] for d in DIFFICULTIES}
    return tuple(kendall_tau(order[easier], order[harder]) for easier, harder in STEPS)


def standing_mean(records: Sequence[EpisodeRecord]) -> float:
    """Return the mean final emotion, repeats averaged first."""
    return float(cluster_means([r.final_emotion for r in records], [r.scenario for r in records]).mean())


def alive(records: Iterable[EpisodeRecord], reward: str) -> float:
    """Return the share of groups whose rewards differ.

    Under ``final`` the one reward of an episode has to; the returns of ``delta`` differ in the same groups, since
    all samples of a group begin alike. Under ``delta`` it is enough that the reward of some turn does.

    Args:
        records: Of whole groups: a group is all that is played with one scenario.
        reward: ``"final"`` or ``"delta"``.
    """
    groups: dict[str, set[tuple[int, ...]]] = {}
    for record in records:
        rewards = (
            (record.final_emotion,) if reward == "final" else tuple(turn.change for turn in record.turns)
        )
        groups.setdefault(record.scenario, set()).add(rewards)
    return sum(len(different) > 1 for different in groups.values()) / len(groups)


def accepted(records: Iterable[EpisodeRecord]) -> float:
    """Return the share of replies after which the emotion rose."""
    changes = [turn.change for record in records for turn in record.turns]
    return sum(change > 0 for change in changes) / len(changes)


# -- the table -------------------------------------------------------------------------------------------

COLUMNS: Final = ("", *DIFFICULTIES, *(f"{easier} - {harder}" for easier, harder in STEPS), "target", "")


def sections(found: Difficulties) -> list[list[tuple[str, ...]]]:
    """Return the cells of the table by section: policies, ends of the scale, order, groups, accepted replies."""
    verdicts = {line.name: "pass" if line.passed else "FAIL" for line in found.lines}
    none = ("",) * len(DIFFICULTIES)
    policies = [(*_row(s), f">= {MIN_GAP:.0f}", verdicts[s.policy]) for s in found.standings]
    ends = [(*_row(s), "", "") for s in found.ends]
    order = [(ORDER, *none, *(f"{tau:.2f}" for tau in found.taus), f">= {MIN_TAU}", verdicts[ORDER])]
    groups = [
        (
            f"alive, {kind}, {reward}",
            *(f"{share:.1%}" for share in shares.values()),
            *("" for _ in STEPS),
            f">= {MIN_ALIVE[kind]:.0%}",
            verdicts[f"alive, {kind}, {reward}"],
        )
        for kind, rewards in found.alive.items()
        for reward, shares in rewards.items()
    ]
    replies = [
        ("accepted", *(f"{share:.1%}" for share in found.accepted.values())),
        ("accepted, RLVER", *(_rlver(difficulty) for difficulty in DIFFICULTIES)),
    ]
    return [policies, ends, order, groups, [(*row, *("" for _ in COLUMNS[len(row) :])) for row in replies]]


def _row(found: Standing) -> tuple[str, ...]:
    emotions = (f"{m.mean:.1f} ({m.low:.1f} - {m.high:.1f})" for m in found.emotion.values())
    return (found.policy, *emotions, *(f"{gap.mean:.1f}" for gap in found.gaps))


def _rlver(difficulty: str) -> str:
    if difficulty not in RLVER_ACCEPTED:
        return ""
    name, share = RLVER_ACCEPTED[difficulty]
    return f"{share:.1%} ({name})"


def difficulty_table(found: Difficulties) -> Table:
    """Return the table for the terminal."""
    table = Table(
        title=safe(found.title),
        caption=safe(
            f"Final emotion with 95 % bootstrap interval over scenarios. Groups of {GROUP} samples, the same person "
            f"and seed. {found.rule}."
        ),
        title_justify="left",
        caption_justify="left",
    )
    for at, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if at else "left", no_wrap=bool(at))
    for rows in sections(found):
        for row in rows:
            table.add_row(*row, style="bold" if row[-1] == "FAIL" else "")
        table.add_section()
    return table


def markdown_table(found: Difficulties) -> str:
    """Return the table for a document."""
    rows = [row for section in sections(found) for row in section]
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
