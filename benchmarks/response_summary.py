"""Rows of a bench of responses: reward, agreement in empathy, variety, likeness; and each beside a baseline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empathy_gym.benchmarks import response_scores as scores
from empathy_gym.benchmarks.response_records import ResponseRecord
from empathy_gym.benchmarks.statistics import bootstrap_interval, cluster_means
from empathy_gym.rewards.identifiers import MECHANISMS

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A policy's value less the baseline's on the same exchanges, with its paired 95 % interval."""

    value: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """Results of one policy.

    Attributes:
        policy: The policy's spec.
        responses: Responses given, failed ones included.
        reward: Mean over exchanges of the mean over repeats; a failed response counts as 0.
        reward_ci95: 95 % bootstrap interval over exchanges.
        empathy_f1: Macro-F1 over levels, by mechanism, and their ``mean``: levels of responses against those of
            references, both read by the reporting identifier.
        f1_ci95: 95 % jackknife interval of the mean, over exchanges.
        moved_reward: Mean reward of the same responses, each moved to another exchange; None with one exchange.
        moved_f1: Mean empathy F1 of the moved responses.
        unmoved_levels: Share of moved responses in which the reporting identifier reads the same levels as before.
        bleu: sacrebleu's corpus BLEU, 0-100; None where it is not installed.
        distinct_1: Distinct words by words, over all responses.
        distinct_2: Distinct word pairs by word pairs.
        words: Mean length in words.
        perplexity: Of the references, by tokens; None where the policy gives no probabilities.
        failed: Responses the policy failed to give.
        privileged: Whether it is the reference, or another one's.
        vs_baseline: Differences from the baseline, by ``reward`` and ``f1``; None for the baseline or without one.
    """

    policy: str
    responses: int
    reward: float
    reward_ci95: Interval
    empathy_f1: dict[str, float]
    f1_ci95: Interval
    moved_reward: float | None
    moved_f1: float | None
    unmoved_levels: float | None
    bleu: float | None
    distinct_1: float
    distinct_2: float
    words: float
    perplexity: float | None
    failed: int
    privileged: bool
    vs_baseline: dict[str, Difference] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values, in declared order."""
        return _listed(dataclasses.asdict(self))  # type: ignore[no-any-return]


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def rows_of(records: Iterable[ResponseRecord], baseline: str | None = None) -> list[ResponseRow]:
    """Return a row for each policy: references first, then by falling reward, then by name.

    Args:
        records: Those of a run, in any order.
        baseline: The policy that others are compared with, if any.
    """
    by_policy: dict[str, list[ResponseRecord]] = {}
    for record in records:
        by_policy.setdefault(record.policy, []).append(record)
    groups = {policy: sorted(group, key=lambda r: r.identity) for policy, group in by_policy.items()}
    base = groups.get(baseline) if baseline is not None else None
    rows = []
    for policy, group in groups.items():
        row = summarise(policy, group)
        if base is not None and policy != baseline:
            row = dataclasses.replace(row, vs_baseline=compared(group, base))
        rows.append(row)
    return sorted(rows, key=lambda row: (not row.privileged, -row.reward, row.policy))


def summarise(policy: str, records: Sequence[ResponseRecord]) -> ResponseRow:
    """Return the row of one policy, without a comparison.

    Args:
        policy: Its spec.
        records: Its responses, at least one, in the order of their identities.
    """
    names = [record.exchange for record in records]
    rewards = cluster_means([record.reward for record in records], names)
    truth, read = _levels(records)
    said = [record.text for record in records]
    moved = [record.control for record in records if record.control is not None]
    return ResponseRow(
        policy=policy,
        responses=len(records),
        reward=float(rewards.mean()),
        reward_ci95=bootstrap_interval(rewards),
        empathy_f1=scores.empathy_f1(truth, read),
        f1_ci95=scores.jackknife_interval(
            scores.empathy_f1(truth, read)["mean"], scores.f1_without(truth, read, names), (0.0, 1.0)
        ),
        moved_reward=float(np.mean([control.reward for control in moved])) if moved else None,
        moved_f1=_moved_f1(records) if moved else None,
        unmoved_levels=_unmoved(records) if moved else None,
        bleu=scores.bleu(said, [record.reference for record in records]),
        distinct_1=scores.distinct(said, 1),
        distinct_2=scores.distinct(said, 2),
        words=scores.mean_words(said),
        perplexity=_perplexity(records),
        failed=sum(record.error is not None for record in records),
        privileged=records[0].privileged,
    )


def compared(records: Sequence[ResponseRecord], base: Sequence[ResponseRecord]) -> dict[str, Difference]:
    """Return the differences of a policy from a baseline, on the exchanges that both have answered.

    Args:
        records: The policy's responses.
        base: The baseline's.
    """
    shared = {record.exchange for record in records} & {record.exchange for record in base}
    one = [record for record in records if record.exchange in shared]
    two = [record for record in base if record.exchange in shared]
    means = [cluster_means([r.reward for r in part], [r.exchange for r in part]) for part in (one, two)]
    gained = means[0] - means[1]
    f1 = [scores.empathy_f1(*_levels(part))["mean"] for part in (one, two)]
    without = [scores.f1_without(*_levels(part), [r.exchange for r in part]) for part in (one, two)]
    rise = f1[0] - f1[1]
    return {
        "reward": Difference(float(gained.mean()), bootstrap_interval(gained)),
        "f1": Difference(rise, scores.jackknife_interval(rise, without[0] - without[1], (-1.0, 1.0))),
    }


def _levels(records: Sequence[ResponseRecord]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth = [[r.report.reference_levels[m] for m in MECHANISMS] for r in records]
    read = [[r.report.levels[m] for m in MECHANISMS] for r in records]
    return np.array(truth, dtype=np.int64), np.array(read, dtype=np.int64)


def _moved_f1(records: Sequence[ResponseRecord]) -> float:
    controls = [record.control for record in records if record.control is not None]
    truth = np.array([[c.reference_levels[m] for m in MECHANISMS] for c in controls], dtype=np.int64)
    read = np.array([[c.levels[m] for m in MECHANISMS] for c in controls], dtype=np.int64)
    return scores.empathy_f1(truth, read)["mean"]


def _unmoved(records: Sequence[ResponseRecord]) -> float:
    same = [record.report.levels == record.control.levels for record in records if record.control is not None]
    return float(np.mean(same))


def _perplexity(records: Sequence[ResponseRecord]) -> float | None:
    known = [record.likelihood for record in records if record.likelihood is not None]
    tokens = sum(likelihood.tokens for likelihood in known)
    if len(known) < len(records) or not tokens:
        return None
    return float(math.exp(min(700.0, -math.fsum(each.log_probability for each in known) / tokens)))
