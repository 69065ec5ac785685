"""From episode records to one row a policy."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means
from empathy_gym.simulators.records import EpisodeRecord

MAX_FAULT_RATE: Final = 0.02
"""Share of episodes with a fault above which a row is not ranked."""
UNQUALIFIED: Final = "unqualified"
"""Mark of a language-model user that has not passed the check of `qualification`."""
FAILURES: Final = ("failure", "format")
"""Outcomes that count as failure. A fault is counted apart."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a row needs of an episode.

    Attributes:
        policy: The policy's spec.
        scenario: Id of the scenario.
        repeat: Number of the repeat.
        emotion: Final emotion, 0-100.
        outcome: How it ended.
        scored: False if a fault that is not the policy's cut it short.
        turns: Replies taken.
        total: Return.
        privileged: Whether the policy saw the dialogue.
        scored_by: Who decided the numbers.
        determinism: Grade of repeatability.
        safety: Flag of the episode, or None.
    """

    policy: str
    scenario: str
    repeat: int
    emotion: int
    outcome: str | None
    scored: bool
    turns: int
    total: float
    privileged: bool
    scored_by: str
    determinism: str
    safety: str | None = None

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells this episode from the others of its run."""
        return (self.policy, self.scenario, self.repeat)

    @classmethod
    def of(cls, record: EpisodeRecord) -> Score:
        """Return the score of a record."""
        return cls(
            policy=record.policy or "",
            scenario=record.scenario,
            repeat=record.seeds.repeat,
            emotion=record.final_emotion,
            outcome=record.outcome,
            scored=not record.truncated,
            turns=len(record.turns),
            total=record.episode_return,
            privileged=record.privileged,
            scored_by=record.scored_by,
            determinism=record.determinism,
            safety=record.safety,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """Results of one policy. Emotions are 0-100, rates 0-1; None where there is nothing to average.

    Attributes:
        policy: The policy's spec.
        episodes: Episodes played.
        mean_final_emotion: Mean over scenarios of the mean over repeats; episodes that a fault of the
            simulator cut short are left out, faults and malformed actions of the policy count as 0.
        ci95: 95 % bootstrap interval over scenarios.
        success_rate: Share of scored episodes that ended in success.
        failure_rate: Share that ended in failure or by a malformed action.
        mean_turns: Mean number of replies of scored episodes.
        faults: Episodes that ended by a fault.
        mean_with_faults_at_zero: The mean with every fault counted as 0: a lower bound.
        mean_return: Mean return of scored episodes.
        outcomes: Episodes by outcome.
        safety: Episodes by safety flag, where one was raised.
        scenarios: Number of scenarios.
        privileged: Whether the policy saw need and emotion.
        scored_by: Who decided the numbers.
        determinism: Grade of repeatability.
        unranked: Why the row has no rank, or None.
        qualification: ``"qualified"`` or ``"unqualified"`` where a language model is the user, else None; see
            `qualification`.
        rank: 1 for the highest mean of the ranked rows.
    """

    policy: str
    episodes: int
    mean_final_emotion: float | None
    ci95: tuple[float, float] | None
    success_rate: float | None
    failure_rate: float | None
    mean_turns: float | None
    faults: int
    mean_with_faults_at_zero: float | None
    mean_return: float | None
    outcomes: dict[str, int]
    safety: dict[str, int]
    scenarios: int
    privileged: bool
    scored_by: str
    determinism: str
    unranked: str | None
    qualification: str | None = None
    rank: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values, in declared order."""
        data = dataclasses.asdict(self)
        data["ci95"] = None if self.ci95 is None else list(self.ci95)
        return data


def summarise(policy: str, scores: Sequence[Score], qualification: str | None = None) -> Row:
    """Return the row of one policy, without a rank.

    Args:
        policy: The policy's spec.
        scores: Its episodes, at least one, in any order.
        qualification: Whether the user's model is fit to be one; None where no model is the user.
    """
    scores = sorted(scores, key=lambda score: (score.scenario, score.repeat))
    scored = [score for score in scores if score.scored]
    faults = sum(score.outcome == "fault" for score in scores)
    names = [score.scenario for score in scored]
    emotions = cluster_means([score.emotion for score in scored], names)
    bound = cluster_means(
        [0 if score.outcome == "fault" else score.emotion for score in scores],
        [score.scenario for score in scores],
    )
    grades = {score.scored_by for score in scores}
    row = Row(
        policy=policy,
        episodes=len(scores),
        mean_final_emotion=float(emotions.mean()) if scored else None,
        ci95=bootstrap_interval(emotions) if scored else None,
        success_rate=_share(scored, ("success",)),
        failure_rate=_share(scored, FAILURES),
        mean_turns=float(np.mean([score.turns for score in scored])) if scored else None,
        faults=faults,
        mean_with_faults_at_zero=float(bound.mean()) if scores else None,
        mean_return=float(np.mean([score.total for score in scored])) if scored else None,
        outcomes=dict(sorted(Counter(str(score.outcome) for score in scores).items())),
        safety=dict(sorted(Counter(score.safety for score in scores if score.safety).items())),
        scenarios=len({score.scenario for score in scores}),
        privileged=any(score.privileged for score in scores),
        scored_by="mixed" if len(grades) > 1 else next(iter(grades), "rule"),
        determinism=_weakest(score.determinism for score in scores),
        unranked=None,
        qualification=qualification,
    )
    return dataclasses.replace(row, unranked=_unranked(row))


def _share(scored: Sequence[Score], outcomes: Sequence[str]) -> float | None:
    return sum(score.outcome in outcomes for score in scored) / len(scored) if scored else None


def _weakest(grades: Iterable[str]) -> str:
    order = ("exact", "replay", "rule-only")
    return max(grades, key=order.index, default="exact")


def _unranked(row: Row) -> str | None:
    if row.privileged:
        return "privileged"
    if row.scored_by != "rule":
        return f"scored by {row.scored_by}"
    if row.qualification == UNQUALIFIED:
        return UNQUALIFIED
    if row.faults > MAX_FAULT_RATE * row.episodes:
        return f"faults above {MAX_FAULT_RATE:.0%}"
    return None if row.mean_final_emotion is not None else "no scores"


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with ranks: the ranked ones first, each part by falling mean, then by name."""
    ordered = sorted(
        rows, key=lambda row: (row.unranked is not None, -(row.mean_final_emotion or 0.0), row.policy)
    )
    return [
        row if row.unranked else dataclasses.replace(row, rank=number)
        for number, row in enumerate(ordered, 1)
    ]


def rows_of(scores: Iterable[Score], qualification: str | None = None) -> list[Row]:
    """Return the ranked rows of a run; `qualification` is that of the user's model, if there is one."""
    by_policy: dict[str, list[Score]] = {}
    for score in scores:
        by_policy.setdefault(score.policy, []).append(score)
    return ranked(summarise(policy, group, qualification) for policy, group in by_policy.items())
