"""The supervised warm start: cross-entropy on responses that people wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from empathy_gym.agents.trainers.seq2seq.model import IGNORED, Actor, seeded
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import TrainingError

RISE: Final = 0.1
"""Share of the steps in which the learning rate rises to its peak."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A conversation and the response that answers it.

    Attributes:
        messages: The conversation, ending with the user's line.
        response: What is learned.
    """

    messages: tuple[Mapping[str, Any], ...]
    response: str


class Supervised:
    """Supervised training, an epoch at a time, the same however often it is stopped in between.

    Dropout is on. Everything random follows from the seed and the number of the step.

    Args:
        actor: The model.
        pairs: What it learns from.
        epochs: Passes over all pairs.
        lr: Peak learning rate.
        batch: Pairs of a step.
        seed: Of order and dropout.
        smoothing: Label smoothing.

    Raises:
        TrainingError: If there is nothing to learn from.
    """

    def __init__(
        self,
        actor: Actor,
        pairs: Sequence[Pair],
        *,
        epochs: int,
        lr: float,
        batch: int,
        seed: int,
        smoothing: float = 0.0,
    ) -> None:
        torch = require("torch", "llm")
        if not pairs:
            raise TrainingError("there are no exchanges for the warm start.")
        self.actor, self.pairs, self.epochs, self.batch = actor, pairs, epochs, batch
        self.lr, self.seed, self.smoothing = lr, seed, smoothing
        self.optimizer = torch.optim.AdamW(actor.network.parameters(), lr=lr, weight_decay=0.0)
        self.step = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * math.ceil(len(self.pairs) / self.batch)

    def epoch(self, number: int, progress: Callable[[int, int], None] | None = None) -> float:
        """Train for one epoch, and return the mean loss per token.

        Raises:
            TrainingError: If the loss is not finite.
        """
        torch = require("torch", "llm")
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "warm order", number))
        # Pairs of like length share a batch, so that little is padding; which batch comes first is drawn.
        order = torch.randperm(len(self.pairs), generator=generator).tolist()
        blocks = [order[i : i + 8 * self.batch] for i in range(0, len(order), 8 * self.batch)]
        ordered = [i for block in blocks for i in sorted(block, key=lambda i: _length(self.pairs[i]))]
        batches = [ordered[i : i + self.batch] for i in range(0, len(ordered), self.batch)]
        total = tokens = 0.0
        for place in torch.randperm(len(batches), generator=generator).tolist():
            loss, count = self._learn([self.pairs[i] for i in batches[place]])
            total, tokens = total + loss * count, tokens + count
            if progress is not None:
                progress(self.step, self.steps)
        self.actor.network.eval()
        return total / tokens

    def _learn(self, pairs: Sequence[Pair]) -> tuple[float, int]:
        torch = require("torch", "llm")
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * _rate(self.step, self.steps)
        self.actor.network.train()
        with seeded(derive_seed(self.seed, "dropout", self.step), self.actor.device):
            mean, count = cross_entropy(self.actor, pairs, self.smoothing)
            self.optimizer.zero_grad(set_to_none=True)
            mean.backward()
        loss = float(mean.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.actor.network.parameters()), 1.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(f"the warm start diverged at step {self.step}: its loss is {loss}.")
        self.optimizer.step()
        self.step += 1
        return loss, count


def _length(pair: Pair) -> int:
    """Return about how much there is to compute, in characters."""
    return sum(len(message["content"]) for message in pair.messages) + len(pair.response)


def _rate(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of its peak: up from 0, then down to 0 in straight lines."""
    rising = max(1, round(RISE * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising), 1.0)


def cross_entropy(actor: Actor, pairs: Sequence[Pair], smoothing: float = 0.0) -> tuple[Any, int]:
    """Return the mean loss per token of some pairs, and how many tokens there are."""
    torch = require("torch", "llm")
    source, source_mask = actor.sources([pair.messages for pair in pairs])
    target, mask = actor.targets([pair.response for pair in pairs])
    labels = target.masked_fill(mask == 0, IGNORED)
    with actor.precision():
        logits = actor.network(
            input_ids=source, attention_mask=source_mask, decoder_input_ids=actor.shifted(target)
        ).logits
    loss = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing
    )
    return loss, int(mask.sum())


def perplexity(actor: Actor, pairs: Sequence[Pair], batch: int = 32) -> float:
    """Return the perplexity of responses, per token, end tokens included, dropout off."""
    torch = require("torch", "llm")
    actor.network.eval()
    total = tokens = 0.0
    with torch.no_grad():
        for start in range(0, len(pairs), batch):
            loss, count = cross_entropy(actor, pairs[start : start + batch])
            total, tokens = total + float(loss) * count, tokens + count
    return math.exp(min(total / tokens, 700.0))
