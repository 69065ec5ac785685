"""The best fixed sequence of strategies: what can be had without listening at all.

A learner has to beat this to have learnt to listen. Sequences are drawn at random, and the search is one of
successive halving: all are played with a few people, the best twentieth of them with more, and so on, the last ones with
everybody. Then each place of the winner is tried with each other strategy (coordinate ascent), which no plain random
search has: the baseline is meant to be hard. Users of `train` only; nothing of `test` is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.simulators.scenario import Scenario

LENGTH: Final = 8
RUNGS: Final = ((1.0, 2), (0.05, 24), (0.005, 160), (0.0005, 10_000))
"""Share of the sequences that is played at each rung, and with how many people (at most everybody)."""
ASCENT: Final = 160
"""People with whom changes of the winner are played."""

AIMS: Final = ("emotion", "success")
"""What a sequence may be best in: mean final emotion, or the share of successes (and emotion, where that is equal)."""

Sequence_ = tuple[int, ...]
Play = Callable[[Sequence[tuple[Sequence_, Scenario]]], list[tuple[float, bool]]]
"""Plays sequences with people, and returns (final emotion, success) of each, in order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        aim: What it is best in, of `AIMS`.
        sequence: Numbers of the strategies.
        emotion: Mean final emotion over everybody of the split it was searched on.
        success: Share of successes with them.
    """

    aim: str
    sequence: Sequence_
    emotion: float
    success: float


def search(
    play: Play,
    scenarios: Sequence[Scenario],
    strategies: Sequence[int],
    *,
    searches: int = 20_000,
    seed: int = 0,
    notice: Callable[[str], None] = lambda text: None,
) -> list[Found]:
    """Return the best sequence found for each of `AIMS`; both come out of one search.

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
    left = {aim: list(dict.fromkeys(tuple(int(s) for s in row) for row in drawn)) for aim in AIMS}
    for share, count in RUNGS:
        kept = max(1, round(share * searches))
        played = list(dict.fromkeys(sequence for aim in AIMS for sequence in left[aim][:kept]))
        means = _means(play, played, people[:count])
        for aim in AIMS:
            order = np.argsort(-_worth(means, aim), kind="stable")
            left[aim] = [played[i] for i in order]
        best = ", ".join(f"{aim} {means[:, i].max():.3g}" for i, aim in enumerate(AIMS))
        notice(f"open loop: {len(played):,} sequences with {min(count, len(people))} people, best {best}")
    return [_winner(play, aim, left[aim][0], people, strategies) for aim in AIMS]


def _worth(means: NDArray[np.float64], aim: str) -> NDArray[np.float64]:
    """Return what sequences are worth to an aim, from their means of shape (n, 2)."""
    emotion: NDArray[np.float64] = means[:, 0]
    return emotion if aim == "emotion" else 1000.0 * means[:, 1] + emotion


def _means(play: Play, sequences: Sequence[Sequence_], people: Sequence[Scenario]) -> NDArray[np.float64]:
    """Return mean final emotion and share of successes of each sequence, shape (n, 2)."""
    played = play([(sequence, person) for person in people for sequence in sequences])
    each: NDArray[np.float64] = np.array(played, dtype=np.float64).reshape(len(people), len(sequences), 2)
    means: NDArray[np.float64] = each.mean(axis=0)
    return means


def _winner(
    play: Play, aim: str, start: Sequence_, people: Sequence[Scenario], strategies: Sequence[int]
) -> Found:
    """Change one place after another for the better, from a sequence or the best constant; all judged with everybody.

    Few people tell little of rare successes, so that a good constant may not have come through the rungs.
    """
    starts = [start, *((strategy,) * LENGTH for strategy in strategies)]
    best = start = starts[int(_worth(_means(play, starts, people[:ASCENT]), aim).argmax())]
    for place in range(LENGTH):
        tried = [(*best[:place], strategy, *best[place + 1 :]) for strategy in strategies]
        worth = _worth(_means(play, tried, people[:ASCENT]), aim)
        if worth.max() > worth[tried.index(best)]:
            best = tried[int(worth.argmax())]
    means = _means(play, [start, best], people)
    index = int(_worth(means, aim).argmax())
    return Found(aim, (start, best)[index], float(means[index, 0]), float(means[index, 1]))
