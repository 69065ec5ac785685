"""Multi-turn PPO: a critic says what is to be expected, token by token.

As RLVER trains (arXiv 2507.03112): every turn's reward stands at its last token, generalised advantages run over the
sampled tokens of the whole episode, across what the user says in between. The critic is a linear head on the network's
last states, with a learning rate of its own; its loss reaches the network that both share with a small weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from empathy_gym.agents.rollout.collect import Rollout, Trajectory
from empathy_gym.agents.trainers.advantages import generalised_advantages
from empathy_gym.agents.trainers.chat_model import ChatModel, Scores
from empathy_gym.agents.trainers.grpo_chat import warmth
from empathy_gym.agents.trainers.policy_update import (
    Item,
    Tally,
    batches,
    column,
    policy_loss,
    score_items,
    shuffled,
    token_weights,
)
from empathy_gym.agents.trainers.recipe import PPORecipe, Recipe

EPSILON = 1e-8


def token_rewards(trajectory: Trajectory) -> list[float]:
    """Return the reward of each sampled token, in order: a turn's at its last one, 0 elsewhere."""
    found: list[float] = []
    for turn in trajectory.turns:
        found += [0.0] * (turn.end - turn.start - 1) + [turn.reward]
    return found


class PPOLearner:
    """Takes rollouts, moves weights and critic.

    Args:
        model: The network.
        recipe: Loss and optimiser.
    """

    def __init__(self, model: ChatModel, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.torch = torch = model.torch
        self.settings = recipe.ppo or PPORecipe()
        width = model.network.config.get_text_config().hidden_size
        # Without its own first values, which would draw from the global generator.
        self.head: Any = torch.nn.utils.skip_init(
            torch.nn.Linear, width, 1, device=model.device, dtype=torch.float32
        )
        for parameter in self.head.parameters():
            torch.nn.init.zeros_(parameter)
        groups = [
            {"params": model.parameters, "lr": recipe.optimiser.learning_rate},
            {"params": list(self.head.parameters()), "lr": self.settings.critic_learning_rate},
        ]
        self.optimiser: Any = torch.optim.AdamW(groups, weight_decay=recipe.optimiser.weight_decay)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the weights."""
        return {"optimiser": self.optimiser.state_dict(), "head": self.head.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.head.load_state_dict(state["head"])

    def learn(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Move the weights by one rollout, and return what there is to report.

        Args:
            rollout: The episodes.
            step: Number of the step, from 1.
        """
        recipe, optimiser = self.recipe, self.recipe.optimiser
        trajectories = rollout.trajectories
        if not trajectories:
            return {}
        rates = (optimiser.learning_rate, self.settings.critic_learning_rate)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * warmth(recipe, step)
        items, before = self._prepared(trajectories)
        tally, norms = Tally(), []
        only_critic = step <= self.settings.critic_warmup_steps
        for epoch in range(optimiser.epochs):
            for chosen in shuffled(len(trajectories), optimiser.minibatches, recipe.seed, step, epoch):
                weights = token_weights(
                    [trajectories[i] for i in chosen],
                    recipe.loss,
                    recipe.task.max_turns * recipe.rollout.max_tokens,
                )
                picked = [
                    replace(item, weight=weight)
                    for i, weight in zip(chosen, weights, strict=True)
                    for item in items[i]
                ]
                norms.append(self._update(picked, before, tally, only_critic))
        found = tally.means() | {"gap_max": tally.peak, "gradient_norm": sum(norms) / len(norms)}
        return found | self._explained(items)

    # -- before the first update ---------------------------------------------------------------------------------

    def _prepared(self, trajectories: Sequence[Trajectory]) -> tuple[list[list[Item]], dict[int, Any]]:
        """Return the items of each trajectory, advantages whitened over all, and log-probabilities by segment."""
        plain = [
            [
                Item(s, (), 0.0, tuple(p for p, on in zip(s.logprobs, s.mask, strict=True) if on))
                for s in t.segments
            ]
            for t in trajectories
        ]
        logprobs: dict[int, Any] = {}
        values: dict[int, list[float]] = {}
        for batch in batches([item for row in plain for item in row], self.recipe.optimiser.micro_batch):
            scores = score_items(self.model, batch, grad=False)
            sizes = [len(item.sampled) for item in batch]
            said = self._values(scores, grad=False).detach()
            for item, part, value in zip(batch, scores.logprobs.split(sizes), said.split(sizes), strict=True):
                logprobs[id(item.segment)] = part
                values[id(item.segment)] = [float(v) for v in value]
        done = [self._advantaged(t, row, values) for t, row in zip(trajectories, plain, strict=True)]
        everything = np.array([a for row in done for item in row for a in item.advantages])
        mean, deviation = everything.mean(), everything.std() + EPSILON
        whitened = [
            [replace(i, advantages=tuple(float((a - mean) / deviation) for a in i.advantages)) for i in row]
            for row in done
        ]
        return whitened, logprobs

    def _advantaged(
        self, trajectory: Trajectory, items: Sequence[Item], values: dict[int, list[float]]
    ) -> list[Item]:
        """Run the estimate over the sampled tokens of a whole episode, and deal it out to its segments."""
        said = np.array([v for item in items for v in values[id(item.segment)]])
        rewards = np.array(token_rewards(trajectory))
        advantages, targets = generalised_advantages(
            rewards, said, gamma=self.settings.gamma, lam=self.settings.gae_lambda
        )
        found, at = [], 0
        for item in items:
            until = at + len(item.sampled)
            found.append(
                replace(
                    item,
                    advantages=tuple(map(float, advantages[at:until])),
                    targets=tuple(map(float, targets[at:until])),
                    values=tuple(map(float, said[at:until])),
                )
            )
            at = until
        return found

    # -- updates -------------------------------------------------------------------------------------------------

    def _update(
        self, items: Sequence[Item], before: dict[int, Any], tally: Tally, only_critic: bool
    ) -> float:
        """Take one optimiser step, and return the norm of the gradient."""
        self.optimiser.zero_grad(set_to_none=True)
        for batch in batches(items, self.recipe.optimiser.micro_batch):
            self._loss(batch, before, tally, only_critic).backward()
        parameters = [*self.model.parameters, *self.head.parameters()]
        norm = self.torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optimiser.max_grad_norm)
        self.optimiser.step()
        return float(norm)

    def _loss(self, batch: Sequence[Item], before: dict[int, Any], tally: Tally, only_critic: bool) -> Any:
        torch, device = self.torch, self.model.device
        scores = score_items(self.model, batch, grad=not only_critic)
        weights = column(torch, [[item.weight] * len(item.sampled) for item in batch], device)
        policy = policy_loss(
            torch,
            scores.logprobs,
            torch.cat([before[id(item.segment)] for item in batch]),
            column(torch, [item.sampled for item in batch], device),
            column(torch, [item.advantages for item in batch], device),
            weights,
            self.recipe.loss,
            tally,
        )
        tally.add("entropy", scores.entropy)
        old = column(torch, [item.values for item in batch], device)
        targets = column(torch, [item.targets for item in batch], device)
        values = self._values(scores, grad=not only_critic)
        near = old + (values - old).clamp(-self.settings.value_clip, self.settings.value_clip)
        errors = torch.maximum((values - targets) ** 2, (near - targets) ** 2)
        tally.add("value_error", errors.detach())
        critic = 0.5 * (errors * weights).sum()
        return critic if only_critic else policy + critic

    def _values(self, scores: Scores, grad: bool = True) -> Any:
        """Return the critic's values, shape (tokens,); their gradient reaches the shared network damped."""
        hidden = scores.hidden.float()
        if not grad:
            hidden = hidden.detach()
        share = self.settings.value_coefficient
        damped = share * hidden + (1.0 - share) * hidden.detach()
        return self.head(damped)[:, 0]

    def _explained(self, items: Sequence[Sequence[Item]]) -> dict[str, float]:
        """Return the share of the targets' variance that the critic had explained before the update."""
        targets = np.array([t for row in items for item in row for t in item.targets])
        values = np.array([v for row in items for item in row for v in item.values])
        spread = float(targets.var())
        return (
            {"explained_variance": 1.0 - float((targets - values).var()) / spread} if spread > EPSILON else {}
        )
