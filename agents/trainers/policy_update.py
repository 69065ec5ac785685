"""The clipped policy gradient that GRPO and PPO share, over exactly the tokens that were sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from empathy_gym.agents.rollout.collect import Trajectory
from empathy_gym.agents.rollout.tokens import Segment
from empathy_gym.agents.trainers.chat_model import ChatModel, Scores
from empathy_gym.agents.trainers.recipe import LossRecipe
from empathy_gym.simulators.dialogue import derive_seed


@dataclass(frozen=True, slots=True)
class Item:
    """A segment to learn from.

    Attributes:
        segment: The tokens.
        advantages: Of each sampled token, in order.
        weight: Of each of its tokens in the loss of the minibatch.
        sampled: Log-probability of each sampled token under the sampler.
        targets: Value target of each sampled token; empty without a critic.
        values: What the critic said of each before the update; empty without a critic.
    """

    segment: Segment
    advantages: tuple[float, ...]
    weight: float
    sampled: tuple[float, ...]
    targets: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(slots=True)
class Tally:
    """Sums over tokens while a step goes on.

    Attributes:
        sums: By name.
        tokens: Tokens counted.
        peak: Greatest distance between the log-probabilities of sampler and trainer.
    """

    sums: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    peak: float = 0.0

    def add(self, name: str, values: Any) -> None:
        """Add a tensor of one number a token."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.sum())

    def means(self) -> dict[str, float]:
        """Return the means over tokens."""
        return {name: total / max(self.tokens, 1) for name, total in self.sums.items()}


def token_advantages(trajectory: Trajectory, by_turn: Sequence[float]) -> list[tuple[float, ...]]:
    """Return the advantage of each sampled token, for each segment of a trajectory.

    Args:
        trajectory: The episode.
        by_turn: Advantage of each of its turns.
    """
    found: list[list[float]] = [[] for _ in trajectory.segments]
    for turn, advantage in zip(trajectory.turns, by_turn, strict=False):
        found[turn.segment] += [float(advantage)] * (turn.end - turn.start)
    return [tuple(values) for values in found]


def token_weights(trajectories: Sequence[Trajectory], loss: LossRecipe, longest: int) -> list[float]:
    """Return what each token of each trajectory counts in the loss of a minibatch.

    Args:
        trajectories: Those of the minibatch, whether or not they have an advantage.
        loss: How lengths are handled.
        longest: Tokens that an episode can have at most.
    """
    counts = [trajectory.sampled for trajectory in trajectories]
    if not counts:
        return []
    if loss.length == "token":
        return [1.0 / sum(counts)] * len(counts)
    if loss.length == "sequence":
        return [1.0 / (len(counts) * count) for count in counts]
    return [1.0 / (len(counts) * longest)] * len(counts)


def shuffled(count: int, parts: int, *seed: int) -> list[list[int]]:
    """Return the numbers below `count` in `parts` parts of like size, in an order that follows from the seed."""
    order = sorted(range(count), key=lambda i: derive_seed(seed[0], "shuffle", *seed[1:], i))
    return [order[part::parts] for part in range(parts)]


def batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Yield items that begin alike together: what they share is computed once."""
    ordered = sorted(items, key=lambda item: item.segment.ids)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def score_items(model: ChatModel, items: Sequence[Item], grad: bool = True) -> Scores:
    """Score the sampled tokens of items."""
    return model.score([i.segment.ids for i in items], [i.segment.mask for i in items], grad)


def column(torch: Any, values: Sequence[Sequence[float]], device: str) -> Any:
    """Return numbers of all items, one after the other, as a tensor of shape (tokens,)."""
    return torch.tensor([value for row in values for value in row], dtype=torch.float32, device=device)


def policy_loss(
    torch: Any,
    new: Any,
    old: Any,
    sampled: Any,
    advantages: Any,
    weights: Any,
    loss: LossRecipe,
    tally: Tally,
) -> Any:
    """Return the clipped surrogate, weighted by truncated importance of trainer over sampler.

    PPO's clip (arXiv 1707.06347) with an upper bound of its own (DAPO, arXiv 2503.14476). The sampler's numerics are
    not the trainer's, so a token's loss is weighted by min(exp(old - sampled), cap).

    Args:
        torch: The module.
        new: Log-probabilities with gradient, shape (tokens,).
        old: The trainer's before this step's first update.
        sampled: The sampler's.
        advantages: Of each token.
        weights: Of each token.
        loss: Clips and cap.
        tally: Takes what is reported.
    """
    ratio = (new - old).exp()
    clipped = ratio.clamp(1.0 - loss.clip_low, 1.0 + loss.clip_high)
    importance = (old - sampled).exp()
    with torch.no_grad():
        gap = (old - sampled).abs()
        tally.tokens += len(new)
        tally.peak = max(tally.peak, float(gap.max()))
        tally.add("gap", gap)
        tally.add("importance", importance)
        tally.add("importance_capped", (importance > loss.importance_cap).float())
        tally.add("clipped", ((ratio - clipped).abs() > 0).float())
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    return -(importance.clamp(max=loss.importance_cap) * surrogate * weights).sum()


def kl_estimate(torch: Any, new: Any, reference: Any) -> Any:
    """Return k3, an unbiased estimate of KL(new || reference) never negative (Schulman 2020), of each token."""
    ratio = reference - new
    return ratio.exp() - ratio - 1.0
