"""What samples replies: token ids in, token ids out, with the log-probability of every token.

Temperature 1 and the whole distribution: a rollout is on-policy only if nothing is cut off or sharpened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from empathy_gym.agents.rollout.kept import KeptStates, Layers, common_prefix, keeps_everything
from empathy_gym.simulators.engines.prompting import one_line, require
from empathy_gym.simulators.errors import EngineError

SHARED: Final = 16
"""Tokens that prompts have to begin with alike for it to be worth a pass of its own."""
PROMPT_TOKENS: Final = 16_384
"""Prompt tokens of one forward pass: bounds memory where many long prompts wait."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One reply to sample.

    Attributes:
        key: Of the conversation; unique among those under way.
        prompt: Token ids, ending where the reply begins.
        max_tokens: Most tokens of the reply.
        seed: Of this reply alone, at least 0 and below 2**63.
        temperature: 1 in training; 0 is greedy.
    """

    key: str
    prompt: Sequence[int]
    max_tokens: int
    seed: int
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled reply.

    Attributes:
        key: Of the request.
        tokens: Token ids, the one that ends it included where it was sampled.
        logprobs: Log-probability of each under the distribution it was drawn from.
        error: Why there is none, or None.
    """

    key: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    error: str | None = None


@runtime_checkable
class Sampler(Protocol):
    """Samples replies as they come: hand requests in, and take out what is done.

    Attributes:
        version: Of the weights; the trainer raises it.
        max_model_len: Tokens of prompt and reply together.
    """

    version: int
    max_model_len: int

    def submit(self, requests: Sequence[SampleRequest]) -> None:
        """Take requests in."""
        ...

    def step(self) -> list[Sample]:
        """Work for a while, and return the replies that are done; none left to do returns an empty list.

        Raises:
            EngineError: If the engine is in no state to go on.
        """
        ...


class TransformersSampler:
    """Samples with the very network that is being trained, by Transformers; nothing has to be kept in step.

    Requests that wait together are generated in one batch, padded on the left. Every reply has a generator of
    its own, so PyTorch's global one is neither read nor set. What was computed of a conversation is kept for its
    next turn, until the version of the weights changes.

    Args:
        network: A causal language model, in evaluation mode.
        ends: Ids that end a reply.
        padding: Id to pad with.
        max_model_len: Tokens of prompt and reply together.
        max_batch: Replies of one batch.
    """

    def __init__(
        self, network: Any, *, ends: Sequence[int], padding: int, max_model_len: int, max_batch: int = 64
    ) -> None:
        self.network, self.padding = network, padding
        self.ends = frozenset(ends)
        self.max_model_len, self.max_batch = max_model_len, max_batch
        self.version = 0
        self._waiting: list[SampleRequest] = []
        self._torch = require("torch", "llm")
        self._transformers = require("transformers", "llm")
        self._keeps = keeps_everything(network.config)
        self._states = KeptStates(self._torch, max_batch)
        self._read_with = 0

    def forget(self) -> None:
        """Free what is kept of conversations."""
        self._states.clear()

    def submit(self, requests: Sequence[SampleRequest]) -> None:
        """Take requests in."""
        self._waiting += requests

    def step(self) -> list[Sample]:
        """Generate one batch of what waits."""
        if not self._waiting:
            return []
        size = 1
        while (
            size < min(self.max_batch, len(self._waiting))
            and (size + 1) * max(len(r.prompt) for r in self._waiting[: size + 1]) <= PROMPT_TOKENS
        ):
            size += 1
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        try:
            with self._torch.inference_mode():
                return self._generate(batch)
        except RuntimeError as error:
            # The one boundary to PyTorch's runtime, which reports memory and device errors so.
            raise EngineError(f"Sampling failed: {one_line(error)}") from error

    def _generate(self, batch: Sequence[SampleRequest]) -> list[Sample]:
        torch, device = self._torch, self.network.device
        known = self._known(batch)
        past = self._states.batched(known)
        kept, fresh = (
            max(n for n, _ in known),
            max(len(r.prompt) - n for r, (n, _) in zip(batch, known, strict=True)),
        )
        # Both parts are padded on the left: what is known, then what is to be read.
        ids = torch.full((len(batch), fresh), self.padding, dtype=torch.long)
        attention = torch.zeros((len(batch), kept + fresh), dtype=torch.long)
        for row, (request, (length, _)) in enumerate(zip(batch, known, strict=True)):
            new = list(request.prompt[length:])
            ids[row, fresh - len(new) :] = torch.tensor(new)
            attention[row, kept - length : kept] = 1
            attention[row, kept + fresh - len(new) :] = 1
        attention = attention.to(device)
        draws = [_Draw(torch, request) for request in batch]
        cache = self._decoded(draws, ids.to(device), attention, past)
        self._keep(draws, attention.bool(), cache)
        return [Sample(d.request.key, tuple(d.tokens), tuple(d.logprobs)) for d in draws]

    def _decoded(
        self, draws: Sequence[_Draw], ids: Any, attention: Any, past: list[tuple[Any, Any]] | None
    ) -> Any:
        """Read the prompts and draw token by token; return the cache."""
        torch = self._torch
        cache = self._transformers.DynamicCache(past) if past else None
        positions = (attention.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        for _ in range(max(draw.request.max_tokens for draw in draws)):
            made = self.network(
                input_ids=ids,
                attention_mask=attention,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = made.past_key_values
            logits = made.logits[:, -1].float().cpu()
            chosen = [draw.take(logits[row], self.ends, self.padding) for row, draw in enumerate(draws)]
            if all(draw.done for draw in draws):
                break
            ids = torch.tensor(chosen, device=attention.device)[:, None]
            attention = torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1)
            positions = positions[:, -1:] + 1
        return cache

    # -- what is known already -----------------------------------------------------------------------------------

    def _known(self, batch: Sequence[SampleRequest]) -> list[tuple[int, Layers]]:
        """Return what of each prompt need not be read; the beginning of new ones is read once for all."""
        if not self._keeps:
            return [(0, []) for _ in batch]
        if self._read_with != self.version:
            self._states.clear()
            self._read_with = self.version
        known = [self._states.known(request.key, request.prompt) for request in batch]
        new = [request.prompt for request, (length, _) in zip(batch, known, strict=True) if not length]
        shared = common_prefix(new) if len(new) > 1 else 0
        if shared < SHARED:
            return known
        ids = self._torch.tensor([list(new[0][:shared])], device=self.network.device)
        cache = self.network(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        self._states.keep_common(new[0][:shared], cache)
        return [self._states.known(request.key, request.prompt) for request in batch]

    def _keep(self, draws: Sequence[_Draw], read: Any, cache: Any) -> None:
        """Keep what was computed of each conversation; of its last token nothing was."""
        if not self._keeps:
            return
        torch = self._torch
        behind = read.shape[1]
        for row, draw in enumerate(draws):
            places = torch.cat(
                [
                    read[row].nonzero()[:, 0],
                    torch.arange(behind, behind + len(draw.tokens) - 1, device=read.device),
                ]
            )
            ids = (*draw.request.prompt, *draw.tokens[:-1])
            self._states.keep(draw.request.key, ids, places, row, cache)


class _Draw:
    """One reply while it is drawn."""

    def __init__(self, torch: Any, request: SampleRequest) -> None:
        self._torch, self.request = torch, request
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.done = False
        self._generator = torch.Generator().manual_seed(request.seed)

    def take(self, logits: Any, ends: frozenset[int], padding: int) -> int:
        """Draw the next token, and return what to feed: padding once the reply is over."""
        if self.done:
            return padding
        greedy = self.request.temperature == 0.0
        known = self._torch.log_softmax(logits if greedy else logits / self.request.temperature, dim=-1)
        if greedy:
            token = int(known.argmax())
        else:
            token = int(self._torch.multinomial(known.exp(), 1, generator=self._generator))
        self.tokens.append(token)
        self.logprobs.append(float(known[token]))
        self.done = token in ends or len(self.tokens) >= self.request.max_tokens
        return token
