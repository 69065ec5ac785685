"""The best fixed sequence of strategies: what can be had without listening at all.

A learner has to beat this to have learnt to listen. Sequences are drawn at random, and the search is one of
successive halving: all are played with a few people, the best twentieth of them with more, and so on, the last ones with
everybody. Then each place of the winner is tried with each other strategy (coordinate ascent), which no plain random
search has: the baseline is meant to be hard. Users of `train` only; nothing of `test` is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from empathy_gym.simulators.scenario import Scenario

LENGTH: Final = 8
RUNGS: Final = ((1.0, 2), (0.05, 24), (0.005, 160), (0.0005, 10_000))
"""Share of the sequences that is played at each rung, and with how many people (at most everybody)."""
ASCENT: Final = 160
"""People with whom changes of the winner are played."""

Sequence_ = tuple[int, ...]
Play = Callable[[Sequence[tuple[Sequence_, Scenario]]], list[float]]
"""Plays sequences with people, and returns the final emotion of each, in order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        sequence: Numbers of the strategies.
        mean: Mean final emotion over everybody of the split it was searched on.
        episodes: Episodes played on the way.
    """

    sequence: Sequence_
    mean: float
    episodes: int


def search(
    play: Play,
    scenarios: Sequence[Scenario],
    strategies: Sequence[int],
    *,
    searches: int = 20_000,
    seed: int = 0,
    notice: Callable[[str], None] = lambda text: None,
) -> Found:
    """Return the best sequence found.

    Args:
        play: Plays sequences with people.
        scenarios: The people, in an order that does not sort them by kind.
        strategies: Numbers of the strategies to draw from.
        searches: How many sequences are drawn.
        seed: Of what is drawn.
        notice: Told how far it is.
    """
    rng = np.random.default_rng(seed)
    people = [scenarios[i] for i in rng.permutation(len(scenarios))]
    drawn = rng.choice(np.array(strategies), (searches, LENGTH))
    left = list(dict.fromkeys(tuple(int(s) for s in row) for row in drawn))
    episodes, means = 0, np.zeros(0)
    for share, count in RUNGS:
        left = left[: max(1, round(share * searches))]
        some = people[:count]
        means = _means(play, left, some)
        episodes += len(left) * len(some)
        order = np.argsort(-means, kind="stable")
        left = [left[i] for i in order]
        notice(f"open loop: {len(left):,} sequences with {len(some)} people, best {means[order[0]]:.1f}")
    best, more = _ascend(play, left[0], people[:ASCENT], strategies)
    episodes += more + 2 * len(people)
    final = _means(play, [left[0], best], people)
    winner = best if final[1] > final[0] else left[0]
    notice(f"open loop: after coordinate ascent {final.max():.1f} (before {final[0]:.1f})")
    return Found(winner, float(final.max()), episodes)


def _means(play: Play, sequences: Sequence[Sequence_], people: Sequence[Scenario]) -> Any:
    """Return the mean final emotion of each sequence."""
    emotions = play([(sequence, person) for person in people for sequence in sequences])
    return np.array(emotions).reshape(len(people), len(sequences)).mean(axis=0)


def _ascend(
    play: Play, start: Sequence_, people: Sequence[Scenario], strategies: Sequence[int]
) -> tuple[Sequence_, int]:
    """Change one place after another for the better, once through."""
    best, episodes = start, 0
    for place in range(LENGTH):
        tried = [(*best[:place], strategy, *best[place + 1 :]) for strategy in strategies]
        means = _means(play, tried, people)
        episodes += len(tried) * len(people)
        if means.max() > means[tried.index(best)]:
            best = tried[int(means.argmax())]
    return best, episodes
