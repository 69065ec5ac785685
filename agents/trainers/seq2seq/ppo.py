"""One round of PPO: rewards per token, then several passes of clipped updates over the round's responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from empathy_gym.agents.trainers.seq2seq.losses import advantages, policy_loss, value_loss, whitened
from empathy_gym.agents.trainers.seq2seq.model import Actor
from empathy_gym.agents.trainers.seq2seq.rollout import Rollout, supported
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import TrainingError


def token_rewards(rollout: Rollout, scores: Sequence[float], coefficient: float) -> Any:
    """Return the reward of each token: the KL term at every one, the response's score at the last, (n, T).

    Args:
        rollout: The responses.
        scores: Of each response, shape (n,).
        coefficient: Of the KL term.
    """
    torch = require("torch", "llm")
    rewards = -coefficient * (rollout.logprobs - rollout.reference)
    last = rollout.samples.mask.sum(1).long() - 1
    scored = torch.tensor(scores, dtype=rewards.dtype, device=rewards.device)
    return rewards.scatter_add(1, last.unsqueeze(1), scored.unsqueeze(1))


def update(
    actor: Actor,
    optimizer: Any,
    accelerator: Any,
    rollout: Rollout,
    rewards: Any,
    seed: int,
) -> dict[str, float]:
    """Learn from a round's responses, and return what happened, each number the mean over optimizer steps.

    Args:
        actor: The policy; dropout stays off, so that the ratio of the first step is 1.
        optimizer: Over `Actor.parameters`.
        accelerator: Of accelerate.
        rollout: The responses.
        rewards: Of each token, (n, T).
        seed: Of the order in which responses are learned from.

    Raises:
        TrainingError: If a loss or a gradient is not finite.
    """
    torch = require("torch", "llm")
    recipe, mask = actor.recipe, rollout.samples.mask
    found, returns = advantages(rewards, rollout.values, mask, recipe.gamma, recipe.lam)
    found = whitened(found, mask)
    generator = torch.Generator().manual_seed(derive_seed(seed, "order"))
    steps: list[dict[str, float]] = []
    for _ in range(recipe.ppo_epochs):
        order = torch.randperm(len(rollout.samples), generator=generator).to(mask.device)
        for chosen in order.split(recipe.minibatch):
            optimizer.zero_grad(set_to_none=True)
            tokens = float(mask[chosen].sum())
            size = math.ceil(len(chosen) / recipe.accumulation)
            parts = [
                _backward(actor, accelerator, rollout, found, returns, part, tokens)
                for part in chosen.split(size)
            ]
            norm = float(accelerator.clip_grad_norm_(actor.parameters, recipe.max_grad_norm))
            step = {name: math.fsum(part[name] for part in parts) for name in parts[0]}
            _check_finite(step["loss"], norm)
            optimizer.step()
            steps.append({**step, "gradient": norm})
    return {name: math.fsum(step[name] for step in steps) / len(steps) for name in steps[0]}


def _backward(
    actor: Actor, accelerator: Any, rollout: Rollout, advantage: Any, returns: Any, part: Any, tokens: float
) -> dict[str, float]:
    """Add the gradients of a part of a minibatch."""
    recipe, samples = actor.recipe, rollout.samples.rows(part)
    logits, values = actor.forward(samples.source, samples.source_mask, samples.response)
    logprobs = supported(logits, samples, recipe.temperature)
    old = rollout.logprobs[part]
    surrogate, clipped = policy_loss(logprobs, old, advantage[part], samples.mask, recipe.clip, tokens)
    error = value_loss(values, rollout.values[part], returns[part], samples.mask, recipe.value_clip, tokens)
    loss = surrogate + recipe.value_coef * error
    accelerator.backward(loss)
    moved = (0.5 * (logprobs.detach() - old).square()).sum() / tokens
    return {
        "loss": float(loss.detach()),
        "policy_loss": float(surrogate.detach()),
        "value_loss": float(error.detach()),
        "clipped": float(clipped),
        "moved": float(moved),
    }


def _check_finite(loss: float, norm: float) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingError(f"training diverged: the loss is {loss} and the gradient's norm {norm}.")
