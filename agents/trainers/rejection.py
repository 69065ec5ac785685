"""Rejection-sampling fine-tuning: of each group the best conversation is learnt by heart.

What reinforcement learning has to beat at equal numbers of sampled tokens: the rollouts are those of GRPO, and only
what is done with them differs (RAFT, arXiv 2304.06767; best-of-n fine-tuning).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from empathy_gym.agents.rollout.collect import Rollout, Trajectory
from empathy_gym.agents.rollout.tokens import Segment
from empathy_gym.agents.trainers.advantages import varies
from empathy_gym.agents.trainers.chat_model import ChatModel
from empathy_gym.agents.trainers.grpo_chat import warmth
from empathy_gym.agents.trainers.recipe import Recipe


def best_of(group: Sequence[Trajectory]) -> Trajectory | None:
    """Return the sibling with the highest return, the first of equals; None where they are all alike."""
    if not varies([t.total for t in group]):
        return None
    return max(group, key=lambda t: t.total)


class RejectionLearner:
    """Takes rollouts, moves weights.

    Args:
        model: The network.
        recipe: Optimiser.
    """

    def __init__(self, model: ChatModel, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        settings = recipe.optimiser
        self.optimiser: Any = model.torch.optim.AdamW(
            model.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the weights."""
        return {"optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.optimiser.load_state_dict(state["optimiser"])

    def learn(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Raise the likelihood of the best conversations by one optimiser step, and return what there is to report."""
        settings = self.recipe.optimiser
        chosen = [best for group in rollout.groups if (best := best_of(group)) is not None]
        flat = 1.0 - len(chosen) / len(rollout.groups) if rollout.groups else 0.0
        segments = sorted((s for t in chosen for s in t.segments), key=lambda s: len(s.ids))
        if not segments:
            return {"zero_variance": flat}
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * warmth(self.recipe, step)
        self.optimiser.zero_grad(set_to_none=True)
        tokens = sum(sum(s.mask) for s in segments)
        loss = sum(
            self._backward(segments[at : at + settings.micro_batch], tokens)
            for at in range(0, len(segments), settings.micro_batch)
        )
        norm = self.model.torch.nn.utils.clip_grad_norm_(self.model.parameters, settings.max_grad_norm)
        self.optimiser.step()
        return {"zero_variance": flat, "likelihood": -loss, "gradient_norm": float(norm)}

    def _backward(self, segments: Sequence[Segment], tokens: int) -> float:
        scores = self.model.score([s.ids for s in segments], [s.mask for s in segments])
        loss = -scores.logprobs.sum() / tokens
        loss.backward()
        return float(loss.detach())
