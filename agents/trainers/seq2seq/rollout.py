"""Responses sampled by Transformers' `generate`, and their log-probabilities under the distribution sampled from.

What top-k sampling does to log-probabilities. At each position the sampler keeps the k likeliest tokens, its *support*,
and draws from them renormalised, at the recipe's temperature. A policy trained with the log-probabilities of the whole
vocabulary would be trained off its own distribution. So the support is stored, and every log-probability here, of the
sampler, of the policy while it learns and of the reference, is that of the softmax over the same support: it is an
action mask, as in invalid-action masking (Huang and Ontañón, arXiv 2006.14171) and NLPO (Ramamurthy et al., arXiv
2210.01241). The ratio of the first step is then exactly 1, and no sampled token ever has probability 0. The KL over the
whole vocabulary is reported beside it (`kl_full`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from empathy_gym.agents.trainers.seq2seq.model import Actor
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require

CHUNK: Final = 32
"""Responses of one forward pass without gradients."""


@dataclass
class Samples:
    """Responses as they were sampled: n of T tokens, padded behind their end token.

    Attributes:
        source: Ids the encoder read, (n, S).
        source_mask: (n, S).
        response: Ids, (n, T).
        mask: 1 up to and including the end token, (n, T).
        support: Ids that could have been drawn at each position, (n, T, k).
        choice: Place in the support of the token that was, (n, T).
        sampled: Its log-probability when it was drawn, (n, T).
    """

    source: Any
    source_mask: Any
    response: Any
    mask: Any
    support: Any
    choice: Any
    sampled: Any

    def rows(self, index: Any) -> Samples:
        """Return some of the responses."""
        return Samples(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return int(self.response.shape[0])


@dataclass
class Rollout:
    """A round's responses with all that PPO needs of them. All tensors are (n, T), 0 outside the mask.

    Attributes:
        samples: The responses.
        logprobs: Under the policy that sampled them, computed as the learner computes them.
        reference: Under the frozen reference.
        values: Before each token.
    """

    samples: Samples
    logprobs: Any
    reference: Any
    values: Any


def sample(
    actor: Actor,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    seed: int,
    *,
    greedy: bool = False,
) -> Samples:
    """Sample one response for each conversation, dropout off.

    Args:
        actor: The policy.
        conversations: Messages of each.
        seed: What is drawn follows from it, and from nothing else.
        greedy: Whether to take the likeliest token instead of drawing.
    """
    torch, transformers = require("torch", "llm"), require("transformers", "llm")
    actor.network.eval()
    source, source_mask = actor.sources(conversations)
    drawing = _drawing(torch, transformers, actor, derive_seed(seed, "responses"), greedy)
    with torch.no_grad(), actor.precision():
        generated = actor.network.generate(
            input_ids=source,
            attention_mask=source_mask,
            max_new_tokens=actor.recipe.target_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=transformers.LogitsProcessorList([drawing]),
        )
    response = generated[:, 1:]
    return Samples(
        source=source,
        source_mask=source_mask,
        response=response,
        mask=valid(response, actor.end),
        support=torch.stack(drawing.supports, 1),
        choice=torch.stack(drawing.choices, 1),
        sampled=torch.stack(drawing.logprobs, 1),
    )


def valid(response: Any, end: int) -> Any:
    """Return the mask of responses: 1 up to and including the first end token, 0 after it, as floats (n, T)."""
    ends = response == end
    return (ends.cumsum(1) - ends.long() == 0).float()


def _drawing(torch: Any, transformers: Any, actor: Actor, seed: int, greedy: bool) -> Any:
    """Return a logits processor that decides every token, and keeps supports, choices and log-probabilities.

    It draws by the Gumbel-max trick (arXiv 1411.0030) from a generator of its own: `generate` would draw from
    PyTorch's global one.
    """
    recipe = actor.recipe

    class Draws(transformers.LogitsProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            self.generator = torch.Generator(device=actor.device).manual_seed(seed)
            self.supports: list[Any] = []
            self.choices: list[Any] = []
            self.logprobs: list[Any] = []

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            kept, support = torch.topk(scores.float(), recipe.top_k or scores.shape[-1], dim=-1)
            logprobs = torch.log_softmax(kept / recipe.temperature, -1)
            noise = torch.rand(logprobs.shape, generator=self.generator, device=actor.device)
            gumbel = 0.0 if greedy else -torch.log(-torch.log(noise.clamp_min(1e-20)))
            choice = (logprobs + gumbel).argmax(-1, keepdim=True)
            self.supports.append(support)
            self.choices.append(choice[:, 0])
            self.logprobs.append(logprobs.gather(-1, choice)[:, 0])
            decided = torch.full_like(scores, float("-inf"))
            return decided.scatter(-1, support.gather(-1, choice), 0.0)

    return Draws()


def supported(logits: Any, samples: Samples, temperature: float) -> Any:
    """Return the log-probability of each sampled token over its support, (n, T).

    Args:
        logits: Shape (n, T, vocabulary).
        samples: The responses.
        temperature: That they were sampled at.
    """
    torch = require("torch", "llm")
    kept = torch.log_softmax(logits.gather(-1, samples.support) / temperature, -1)
    return kept.gather(-1, samples.choice.unsqueeze(-1)).squeeze(-1) * samples.mask


def assess(actor: Actor, reference: Actor, samples: Samples) -> tuple[Rollout, float]:
    """Return a round's responses with log-probabilities and values, and the mean KL over the whole vocabulary.

    Args:
        actor: The policy that sampled them.
        reference: The frozen one.
        samples: The responses.
    """
    torch = require("torch", "llm")
    parts: list[tuple[Any, Any, Any, Any]] = []
    with torch.no_grad():
        for start in range(0, len(samples), CHUNK):
            some = samples.rows(slice(start, start + CHUNK))
            logits, values = actor.forward(some.source, some.source_mask, some.response)
            base, _ = reference.forward(some.source, some.source_mask, some.response)
            temperature = actor.recipe.temperature
            parts.append(
                (
                    supported(logits, some, temperature),
                    supported(base, some, temperature),
                    values * some.mask,
                    _kl(logits, base, temperature, some.mask),
                )
            )
    logprobs, base_logprobs, values, kl = (torch.cat(column) for column in zip(*parts, strict=True))
    return Rollout(samples, logprobs, base_logprobs, values), float(kl.mean())


def _kl(logits: Any, base: Any, temperature: float, mask: Any) -> Any:
    """Return the KL of two policies over the whole vocabulary, summed over each response, (n,)."""
    torch = require("torch", "llm")
    policy, other = (torch.log_softmax(x / temperature, -1) for x in (logits, base))
    return ((policy.exp() * (policy - other)).sum(-1) * mask).sum(1)
