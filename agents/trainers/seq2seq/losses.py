"""The arithmetic of PPO on token sequences: advantages, losses, the KL coefficient, running scores.

Shapes: n responses of T tokens each, padded on the right; `mask` is 1 up to and including the end token, and 0 after it.
Nothing outside the mask enters any result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from empathy_gym.simulators.engines.prompting import require

WORST: Final = 0.2
"""Ziegler et al. clip the relative error of the KL to this, so that one odd round does not throw the coefficient."""


def advantages(rewards: Any, values: Any, mask: Any, gamma: float, lam: float) -> tuple[Any, Any]:
    """Return generalised advantage estimates and the returns that values are fitted to, each (n, T).

    An episode ends with its response: nothing is bootstrapped past the last token.

    Args:
        rewards: Shape (n, T).
        values: Shape (n, T), the value before each token.
        mask: Shape (n, T).
        gamma: Discount per token.
        lam: Weight of longer estimates, 0 (one step) to 1 (the whole return).
    """
    torch = require("torch", "llm")
    values, rewards = values * mask, rewards * mask
    found = torch.zeros_like(values)
    following, advantage = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = (delta + gamma * lam * advantage) * mask[:, t]
        following = values[:, t]
        found[:, t] = advantage
    return found, (found + values) * mask


def whitened(values: Any, mask: Any) -> Any:
    """Return values with mean 0 and variance 1 over the mask, and 0 outside it."""
    count = mask.sum()
    mean = (values * mask).sum() / count
    variance = ((values - mean).square() * mask).sum() / count
    return (values - mean) * (variance + 1e-8).rsqrt() * mask


def policy_loss(
    logprobs: Any, old: Any, advantage: Any, mask: Any, clip: float, tokens: float
) -> tuple[Any, Any]:
    """Return PPO's clipped loss, summed over the mask and divided by `tokens`, and the share of clipped tokens.

    Args:
        logprobs: Of the tokens under the policy as it is, shape (n, T).
        old: Of the same tokens under the policy that sampled them, shape (n, T).
        advantage: Shape (n, T).
        mask: Shape (n, T).
        clip: The ratio's gradient stops beyond 1 ± `clip`, on the side the advantage pushes to.
        tokens: Tokens of the whole minibatch, so that parts of it add up to it.
    """
    torch = require("torch", "llm")
    ratio = ((logprobs - old) * mask).exp()
    unclipped, clipped = -advantage * ratio, -advantage * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = (torch.maximum(unclipped, clipped) * mask).sum() / tokens
    return loss, ((clipped > unclipped) * mask).sum() / tokens


def value_loss(values: Any, old: Any, returns: Any, mask: Any, clip: float, tokens: float) -> Any:
    """Return half the squared error of values, where those that moved more than `clip` get no credit for it."""
    torch = require("torch", "llm")
    near = old + (values - old).clamp(-clip, clip)
    worst = torch.maximum((values - returns).square(), (near - returns).square())
    return 0.5 * (worst * mask).sum() / tokens


@dataclass
class KLController:
    """The coefficient of the KL term, steered so that the KL per response stays near a target.

    Proportional control in log space (Ziegler et al. 2019, section 2.2).

    Attributes:
        coefficient: What it is now.
        target: KL per response, in nats.
        horizon: Responses within which it changes by a factor of e, about, at an error of 1.
    """

    coefficient: float
    target: float
    horizon: int

    def update(self, kl: float, responses: int) -> None:
        """Take the mean KL of a round of responses into account."""
        error = min(max(kl / self.target - 1.0, -WORST), WORST)
        self.coefficient *= 1.0 + error * responses / self.horizon


@dataclass
class RunningScore:
    """Mean and variance of all rewards so far (Chan, Golub and LeVeque 1983), to scale new ones with.

    Attributes:
        count: Rewards seen.
        mean: Their mean.
        squares: Sum of their squared differences from it.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation; 1 while it is not known or is 0."""
        spread = math.sqrt(self.squares / self.count) if self.count > 1 else 0.0
        return spread if spread > 1e-8 else 1.0

    def update(self, rewards: Sequence[float]) -> None:
        """Take rewards into account."""
        n = len(rewards)
        mean = math.fsum(rewards) / n
        squares = math.fsum((reward - mean) ** 2 for reward in rewards)
        total, gap = self.count + n, mean - self.mean
        self.squares += squares + gap * gap * self.count * n / total
        self.mean += gap * n / total
        self.count = total

    def scores(self, rewards: Sequence[float], how: str, clip: float) -> list[float]:
        """Return rewards as the trainer uses them.

        Args:
            rewards: Shape (n,).
            how: ``raw``, ``scale`` or ``normalise`` (`Recipe.score`).
            clip: Most that a score may differ from 0; raw ones are not clipped.
        """
        if how == "raw":
            return list(rewards)
        centre = self.mean if how == "normalise" else 0.0
        return [min(max((reward - centre) / self.deviation, -clip), clip) for reward in rewards]
