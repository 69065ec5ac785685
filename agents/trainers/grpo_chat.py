"""Multi-turn GRPO: groups of conversations that begin alike, compared with one another.

The siblings of a group meet the same user with the same dialogue seed, so what differs between their returns is
what the policy said. An episode's advantage is its return against its siblings' (DeepSeekMath, arXiv 2402.03300; over
several turns RLVER, arXiv 2507.03112), or each turn has its own (`advantages.turn_advantages`). A group without
variance teaches nothing and costs no forward pass; its share is logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from empathy_gym.agents.rollout.collect import Rollout, Trajectory
from empathy_gym.agents.trainers.advantages import (
    most_telling,
    trajectory_advantages,
    turn_advantages,
    varies,
)
from empathy_gym.agents.trainers.chat_model import ChatModel
from empathy_gym.agents.trainers.policy_update import (
    Item,
    Tally,
    batches,
    column,
    kl_estimate,
    policy_loss,
    score_items,
    shuffled,
    token_advantages,
    token_weights,
)
from empathy_gym.agents.trainers.recipe import LossRecipe, Recipe


def group_advantages(group: Sequence[Trajectory], loss: LossRecipe) -> list[list[float]]:
    """Return the advantage of each turn of each sibling; 0 for siblings that are not learnt from."""
    if loss.advantage == "turn":
        table = turn_advantages([[turn.reward for turn in t.turns] for t in group])
        rows = [[float(a) for a in row[: len(t.turns)]] for row, t in zip(table, group, strict=True)]
    else:
        found = trajectory_advantages([t.total for t in group], std=loss.advantage_std)
        rows = [[float(a)] * len(t.turns) for a, t in zip(found, group, strict=True)]
    chosen = most_telling([t.total for t in group], loss.learn_from or len(group))
    return [row if i in chosen else [0.0] * len(row) for i, row in enumerate(rows)]


def minibatch_items(
    trajectories: Sequence[Trajectory], advantages: Sequence[Sequence[float]], loss: LossRecipe, longest: int
) -> list[Item]:
    """Return what a minibatch learns from; a trajectory without advantage only where a KL is asked for."""
    items = []
    weights = token_weights(trajectories, loss, longest)
    for trajectory, by_turn, weight in zip(trajectories, advantages, weights, strict=True):
        if not any(by_turn) and not loss.kl_coefficient:
            continue
        for segment, values in zip(trajectory.segments, token_advantages(trajectory, by_turn), strict=True):
            drawn = tuple(p for p, on in zip(segment.logprobs, segment.mask, strict=True) if on)
            items.append(Item(segment, values, weight, drawn))
    return items


def warmth(recipe: Recipe, step: int) -> float:
    """Return the share of the learning rate at a step: it rises to 1 along a line."""
    return min(1.0, step / max(recipe.optimiser.warmup_steps, 1))


class GRPOLearner:
    """Takes rollouts, moves weights.

    Args:
        model: The network.
        recipe: Loss and optimiser.
    """

    def __init__(self, model: ChatModel, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.torch = model.torch
        settings = recipe.optimiser
        self.optimiser: Any = self.torch.optim.AdamW(
            model.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.reference: ChatModel | None = None
        if recipe.loss.kl_coefficient and recipe.lora is None:
            self.reference = ChatModel(model.path, optimiser=settings)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the weights."""
        return {"optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.optimiser.load_state_dict(state["optimiser"])

    def learn(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Move the weights by one rollout, and return what there is to report.

        Args:
            rollout: Whole groups.
            step: Number of the step, from 1.
        """
        recipe, loss = self.recipe, self.recipe.loss
        trajectories = rollout.trajectories
        advantages = [row for group in rollout.groups for row in group_advantages(group, loss)]
        flat = sum(not varies([t.total for t in group]) for group in rollout.groups)
        found = {"zero_variance": flat / len(rollout.groups)} if rollout.groups else {}
        longest = recipe.task.max_turns * recipe.rollout.max_tokens
        tally, norms = Tally(), []
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.optimiser.learning_rate * warmth(recipe, step)
        parts = recipe.optimiser.minibatches
        before = (
            self._before(trajectories, advantages, longest) if parts * recipe.optimiser.epochs > 1 else None
        )
        for epoch in range(recipe.optimiser.epochs):
            for chosen in shuffled(len(trajectories), parts, recipe.seed, step, epoch):
                items = minibatch_items(
                    [trajectories[i] for i in chosen], [advantages[i] for i in chosen], loss, longest
                )
                if items:
                    norms.append(self._update(items, tally, before))
        found |= tally.means() | {"gap_max": tally.peak}
        return found | ({"gradient_norm": sum(norms) / len(norms)} if norms else {})

    def _before(
        self, trajectories: Sequence[Trajectory], advantages: Sequence[Sequence[float]], longest: int
    ) -> dict[int, Any]:
        """Return the trainer's log-probabilities before the first of several updates, by segment."""
        known: dict[int, Any] = {}
        items = minibatch_items(trajectories, advantages, self.recipe.loss, longest)
        for batch in batches(items, self.recipe.optimiser.micro_batch):
            scores = score_items(self.model, batch, grad=False)
            parts = scores.logprobs.split([len(item.sampled) for item in batch])
            known |= {id(item.segment): part for item, part in zip(batch, parts, strict=True)}
        return known

    def _update(self, items: Sequence[Item], tally: Tally, before: dict[int, Any] | None) -> float:
        """Take one optimiser step, and return the norm of the gradient."""
        self.optimiser.zero_grad(set_to_none=True)
        for batch in batches(items, self.recipe.optimiser.micro_batch):
            self._loss(batch, tally, before).backward()
        norm = self.torch.nn.utils.clip_grad_norm_(self.model.parameters, self.recipe.optimiser.max_grad_norm)
        self.optimiser.step()
        return float(norm)

    def _loss(self, batch: Sequence[Item], tally: Tally, before: dict[int, Any] | None) -> Any:
        torch, loss, device = self.torch, self.recipe.loss, self.model.device
        scores = score_items(self.model, batch)
        old = (
            scores.logprobs.detach()
            if before is None
            else torch.cat([before[id(item.segment)] for item in batch])
        )
        weights = column(torch, [[item.weight] * len(item.sampled) for item in batch], device)
        total = policy_loss(
            torch,
            scores.logprobs,
            old,
            column(torch, [item.sampled for item in batch], device),
            column(torch, [item.advantages for item in batch], device),
            weights,
            loss,
            tally,
        )
        tally.add("entropy", scores.entropy)
        if loss.kl_coefficient:
            estimate = kl_estimate(torch, scores.logprobs, self._reference(batch))
            tally.add("kl", estimate.detach())
            total = total + loss.kl_coefficient * (estimate * weights).sum()
        return total

    def _reference(self, batch: Sequence[Item]) -> Any:
        """Return log-probabilities under the model the run began with."""
        if self.reference is not None:
            return score_items(self.reference, batch, grad=False).logprobs
        with self.model.reference():
            return score_items(self.model, batch, grad=False).logprobs
