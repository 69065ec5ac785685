"""Training encoder identifiers on the same pairs as the linear ones (extra ``llm``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from empathy_gym.rewards.encoder_identifiers import (
    MAX_LENGTH,
    EncoderIdentifier,
    hidden_size,
    load_encoder,
)
from empathy_gym.rewards.identifier_data import UNKNOWN, Labelled
from empathy_gym.rewards.identifiers import LEVELS, MECHANISMS
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError

FOLDS: Final = 10
"""One part in so many is held out, with whole groups on one side."""


class EncoderFit(BaseModel):
    """How an encoder is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=4, ge=1)
    """Times that every pair is seen; the best epoch on what is held out is kept."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of AdamW, falling to 0 in a straight line after a tenth of the steps."""
    batch_size: int = Field(default=32, ge=1)
    max_length: int = Field(default=MAX_LENGTH, ge=8)
    balance: float = Field(default=0.5, ge=0, le=1)
    """How far rare levels are made up for: 0 not at all, 1 until all levels weigh the same."""
    seed: int = Field(default=0, ge=0)


def train_encoder(
    path: str,
    data: Labelled,
    how: EncoderFit | None = None,
    provenance: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    tell: Callable[[str], None] = lambda text: None,
) -> EncoderIdentifier:
    """Train an encoder and three heads.

    Args:
        path: The encoder: a folder or a name on the hub, T5's kind included.
        data: Pairs with levels; one whose level of a mechanism is unknown does not train its head.
        how: How to train.
        provenance: What is trained on, for the folder.
        device: A torch device; ``"auto"`` for a GPU where there is one.
        tell: Told how each epoch went.

    Returns:
        The identifier of the epoch with the best macro-F1 on the part held out; its provenance says which.

    Raises:
        MissingExtraError: If torch or Transformers is not installed.
        ConfigError: If the model is not an encoder, there are too few pairs, or the loss is no number any more.
        EngineError: If the model cannot be loaded.
    """
    how = how or EncoderFit()
    torch = require("torch", "llm")
    encoder, tokenizer = load_encoder(path)
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)  # dropout and the heads; the caller's generator is put back
        heads = torch.nn.Linear(hidden_size(encoder), len(MECHANISMS) * len(LEVELS))
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        found = EncoderIdentifier(
            encoder.to(where), tokenizer, heads.to(where), max_length=how.max_length, hash_="-"
        )
        best = _fit(torch, found, data, how, tell)
    about = {"encoder": path, "pairs": len(data), "fit": how.model_dump(), **best, **dict(provenance or {})}
    return EncoderIdentifier(
        found.encoder, tokenizer, found.heads, max_length=how.max_length, provenance=about
    )


def _fit(
    torch: Any, found: EncoderIdentifier, data: Labelled, how: EncoderFit, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train in place, and leave the weights of the best epoch."""
    known, held = held_out(data)
    weights = torch.tensor(level_weights(data.levels[known], how.balance), dtype=torch.float32)
    parameters = [*found.encoder.parameters(), *found.heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.01)
    steps = how.epochs * -(-len(known) // how.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    rng = np.random.default_rng(how.seed)
    best: dict[str, Any] = {"epoch": 0, "held_out_macro_f1": -1.0}
    kept: list[Any] = []
    for epoch in range(1, how.epochs + 1):
        found.encoder.train()
        total = 0.0
        for batch in _batches(rng.permutation(known), how.batch_size):
            loss = _loss(torch, found, data, batch, weights)
            value = float(loss.detach())
            if not np.isfinite(value):
                raise ConfigError(
                    f"The loss is {value} in epoch {epoch}; try a lower --learning-rate than {how.learning_rate:g}."
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            total += value * len(batch)
        found.encoder.eval()
        score = held_out_f1(found, data, held)
        tell(f"epoch {epoch}: loss {total / len(known):.3f}, macro-F1 on {len(held)} held out {score:.3f}")
        if score > best["held_out_macro_f1"]:
            best = {"epoch": epoch, "held_out_macro_f1": score}
            kept = [_copy(part) for part in (found.encoder, found.heads)]
    for part, state in zip((found.encoder, found.heads), kept, strict=True):
        part.load_state_dict(state)
    return best


def _copy(part: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in part.state_dict().items()}


def _rate(step: int, steps: int) -> float:
    """Return the share of the learning rate: up over the first tenth, then down to 0."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _loss(
    torch: Any, found: EncoderIdentifier, data: Labelled, batch: NDArray[np.int64], weights: Any
) -> Any:
    """Return the mean over mechanisms of the weighted cross-entropy of what is known."""
    logits = found.logits([data.contexts[i] for i in batch], [data.responses[i] for i in batch])
    targets = torch.tensor(data.levels[batch], device=logits.device)
    losses = []
    for m in range(len(MECHANISMS)):
        if bool((targets[:, m] != UNKNOWN).any()):
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits[:, m], targets[:, m], weight=weights[m].to(logits.device), ignore_index=UNKNOWN
                )
            )
    return torch.stack(losses).sum() / len(MECHANISMS)


def held_out(data: Labelled) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the pairs that train and of those held out, whole groups on one side.

    Raises:
        ConfigError: If there are fewer than two groups.
    """
    names = sorted(set(data.groups))
    if len(names) < 2:
        raise ConfigError(
            f"There is one {data.grouped_by} to train on; two are needed, one of them held out."
        )
    dealt = np.random.default_rng(0).permutation(len(names)) % min(FOLDS, len(names))
    part = dict(zip(names, dealt.tolist(), strict=True))
    out = np.array([part[group] == 0 for group in data.groups])
    return np.flatnonzero(~out), np.flatnonzero(out)


def level_weights(levels: NDArray[np.int64], balance: float) -> NDArray[np.float64]:
    """Return what each level weighs in the loss, shape (3 mechanisms, 3 levels), 1.0 on average over pairs."""
    weights = np.ones((len(MECHANISMS), len(LEVELS)))
    for m in range(len(MECHANISMS)):
        counts = np.bincount(levels[levels[:, m] != UNKNOWN, m], minlength=len(LEVELS))
        if counts.sum():
            raw = (counts.sum() / (len(LEVELS) * np.maximum(counts, 1))) ** balance
            weights[m] = raw * counts.sum() / (raw * counts).sum()
    return weights


def held_out_f1(found: EncoderIdentifier, data: Labelled, held: NDArray[np.int64]) -> float:
    """Return the mean over mechanisms of the macro-F1 over levels that occur, on some pairs."""
    from empathy_gym.benchmarks.response_scores import macro_f1

    read = found.levels([data.contexts[i] for i in held], [data.responses[i] for i in held])
    scores = []
    for m in range(len(MECHANISMS)):
        truth = data.levels[held, m]
        there = truth != UNKNOWN
        if there.any():
            scores.append(macro_f1(truth[there], read[there, m]))
    return float(np.mean(scores)) if scores else 0.0
