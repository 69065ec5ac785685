"""What a reply has in common with what was said to other people: a price on phrases that fit everybody.

A user hears one conversation and cannot know that everybody else was told the same, so a policy that is paid by its users
alone drifts to a few phrases that do well with all of them. A batch shows it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from empathy_gym.agents.rollout.collect import Rollout, Trajectory

PHRASE: Final = 5
"""Words of a phrase."""
Phrases = frozenset[tuple[str, ...]]


def phrases(text: str) -> Phrases:
    """Return the runs of five words of a text."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[i : i + PHRASE]) for i in range(len(words) - PHRASE + 1))


def template_shares(groups: Sequence[Sequence[str]]) -> list[list[float]]:
    """Return for each reply the share of the replies to *others* that have its most common phrase.

    Siblings answer the same person and may well say the same of what they were told; they are not counted.

    Args:
        groups: The replies to each person.

    Returns:
        Numbers from 0 to 1, as the replies stand; 0 where there is nobody else.
    """
    held = [[phrases(reply) for reply in group] for group in groups]
    own = [Counter(phrase for said in group for phrase in said) for group in held]
    every: Counter[tuple[str, ...]] = Counter()
    for counted in own:
        every.update(counted)
    total = sum(map(len, groups))
    return [
        [max((every[p] - counted[p] for p in said), default=0) / max(total - len(group), 1) for said in group]
        for group, counted in zip(held, own, strict=True)
    ]


def priced(rollout: Rollout, price: float) -> Rollout:
    """Return a rollout in which every reply has paid for its template.

    Args:
        rollout: As it was played.
        price: What a reply would pay if everybody else heard its most common phrase, too; in units of the reward.
    """
    if not price:
        return rollout
    replies = [[_replies(t) for t in group] for group in rollout.groups]
    shares = template_shares([[reply for said in group for reply in said] for group in replies])
    groups = []
    for group, said, costs in zip(rollout.groups, replies, shares, strict=True):
        at, paid = iter(costs), []
        for trajectory, own in zip(group, said, strict=True):
            due = [next(at) for _ in own]
            turns = tuple(
                dataclasses.replace(turn, reward=turn.reward - price * cost)
                for turn, cost in zip(trajectory.turns, due, strict=True)
            )
            paid.append(dataclasses.replace(trajectory, turns=turns))
        groups.append(tuple(paid))
    return dataclasses.replace(rollout, groups=tuple(groups))


def _replies(trajectory: Trajectory) -> list[str]:
    """Return what was heard of each turn: no thoughts, and nothing where a reply had no form."""
    heard = [m["content"] for m in trajectory.dialogue.messages if m["role"] == "assistant"]
    return [*heard, *[""] * len(trajectory.turns)][: len(trajectory.turns)]
