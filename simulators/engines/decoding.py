"""How `TransformersEngine` picks tokens: every row of a batch by its own request.

Sampling is by the Gumbel-max trick: the largest of log-probabilities plus Gumbel noise is a draw from them
(Maddison, Tarlow and Minka 2014, arXiv 1411.0030). The noise comes from a generator that belongs to the
request.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest
from empathy_gym.simulators.engines.prompting import cut_at, one_line, require
from empathy_gym.simulators.errors import ConfigError

LOOK_BACK = 8
"""Tokens decoded beyond a stop string's length, since one character may take several tokens."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request that fits the model, ready to run.

    Attributes:
        place: Its place in the call.
        request: The request.
        prompt: Token ids.
        seed: Seed of its draws.
        room: Most tokens of the completion.
        matcher: What keeps it to a schema or a regular expression, or None.
        top_k: Where it samples, it draws from so many of the likeliest tokens; 0 for all.
    """

    place: int
    request: ChatRequest
    prompt: list[int]
    seed: int
    room: int
    matcher: Any = None
    top_k: int = 0


@dataclass(slots=True)
class Row:
    """A completion while it grows."""

    job: Job
    stops: tuple[str, ...]
    ends: frozenset[int]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None

    def take(self, token: int, logprob: float, tokenizer: Any) -> None:
        """Append a token, and see whether it is the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self.job.matcher is not None:
            self.job.matcher.accept_token(token)
        if token in self.ends or self._stopped(tokenizer):
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.job.room:
            self.finish_reason = "length"

    def _stopped(self, tokenizer: Any) -> bool:
        if not self.stops:
            return False
        window = max(map(len, self.stops)) + LOOK_BACK
        tail = tokenizer.decode(self.tokens[-window:], skip_special_tokens=True)
        return cut_at(tail, self.stops) is not None


def logits_processor(
    torch: Any, transformers: Any, rows: Sequence[Row], tokenizer: Any, deadline: float
) -> Any:
    """Return a logits processor that decides every row's token, with its stopping criterion as `.criteria`.

    `generate` then takes the largest score, which is the decision. Past the deadline, by `time.monotonic`,
    every row ends as it is.
    """

    class Ends(transformers.StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            late = time.monotonic() > deadline
            return torch.tensor(
                [late or row.finish_reason is not None for row in rows], device=input_ids.device
            )

    class Decides(transformers.LogitsProcessor):  # type: ignore[misc]
        criteria = Ends()

        def __init__(self) -> None:
            self.generators = [torch.Generator().manual_seed(row.job.seed % 2**63) for row in rows]

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            decided = torch.full_like(scores, float("-inf"))
            for index, row in enumerate(rows):
                if row.finish_reason is not None:
                    decided[index, 0] = 0.0
                    continue
                token, logprob = _pick(torch, scores[index].float(), row, self.generators[index])
                row.take(token, logprob, tokenizer)
                decided[index, token] = 0.0
            return decided

    return Decides()


def _pick(torch: Any, logits: Any, row: Row, generator: Any) -> tuple[int, float]:
    """Return the next token of a row and its log-probability under what was drawn from."""
    request = row.job.request
    if row.job.matcher is not None:
        logits = _allowed(torch, logits, row.job.matcher)
    if request.temperature == 0.0:
        token = int(logits.argmax())
        return token, float(torch.log_softmax(logits, -1)[token])
    kept = _likeliest(torch, logits / request.temperature, row.job.top_k)
    shaped = torch.log_softmax(_nucleus(torch, kept, request.top_p), -1).cpu()
    token = int((shaped.double() + _gumbel(torch, shaped.shape, generator)).argmax())
    return token, float(shaped[token])


def _gumbel(torch: Any, shape: Any, generator: Any) -> Any:
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return -torch.log(-torch.log(uniform))


def _likeliest(torch: Any, logits: Any, top_k: int) -> Any:
    """Keep the `top_k` likeliest tokens (Fan, Lewis and Dauphin 2018, arXiv 1805.04833)."""
    if not 0 < top_k < logits.shape[-1]:
        return logits
    kept, places = torch.topk(logits, top_k)
    return torch.full_like(logits, float("-inf")).scatter(0, places, kept)


def _nucleus(torch: Any, logits: Any, top_p: float) -> Any:
    """Keep the fewest tokens whose probabilities reach `top_p` (Holtzman et al. 2020, arXiv 1904.09751)."""
    if top_p >= 1.0:
        return logits
    ordered, places = torch.sort(logits, descending=True, stable=True)
    mass = torch.softmax(ordered, -1)
    # Outside is what comes after the mass is reached; the first token is always in.
    outside = mass.cumsum(-1) - mass >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(0, places, outside), float("-inf"))


def choose(torch: Any, scores: Sequence[float], temperature: float, seed: int) -> int:
    """Return the index of the highest log-likelihood, the first of equals; with a temperature, draw one."""
    values = torch.tensor(scores, dtype=torch.float64)
    if temperature > 0.0:
        generator = torch.Generator().manual_seed(seed % 2**63)
        values = values / temperature + _gumbel(torch, values.shape, generator)
    return int(values.argmax())


def read_rows(rows: Sequence[Row], tokenizer: Any, logprobs: bool) -> list[ChatReply]:
    """Return the replies of rows that have ended."""
    return [_read(row, tokenizer, logprobs) for row in rows]


def _read(row: Row, tokenizer: Any, logprobs: bool) -> ChatReply:
    text = tokenizer.decode(row.tokens, skip_special_tokens=True)
    cut = cut_at(text, row.stops)
    return ChatReply(
        text=text if cut is None else cut,
        finish_reason=row.finish_reason,
        usage={"prompt_tokens": len(row.job.prompt), "completion_tokens": len(row.tokens)},
        tokens=tuple(row.tokens),
        logprobs=tuple(row.logprobs) if logprobs else None,
    )


class Grammars:
    """Schemas and regular expressions as masks over a tokenizer's vocabulary, by xgrammar.

    Args:
        tokenizer: A Hugging Face tokenizer.
        vocabulary: Width of the model's logits.
        ends: Ids of the tokens that end a completion.

    Raises:
        MissingExtraError: If xgrammar is not installed.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._xgrammar = require("xgrammar", "llm")
        info = self._xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=vocabulary, stop_token_ids=list(ends)
        )
        self._compiler = self._xgrammar.GrammarCompiler(info)

    def matcher(self, schema: Mapping[str, Any] | None, regex: str | None) -> Any:
        """Return a fresh matcher of a schema (JSON without free whitespace) or of a regular expression.

        Raises:
            ConfigError: If xgrammar cannot read it.
        """
        try:
            if schema is not None:
                text = json.dumps(dict(schema))
                compiled = self._compiler.compile_json_schema(
                    text, any_whitespace=False, separators=(",", ":")
                )
            else:
                compiled = self._compiler.compile_regex(regex)
        except (RuntimeError, ValueError, TypeError) as error:
            # The message begins with the time and a line of C++, which differ where nothing else does.
            said = re.sub(r"^\[[\d:]+\] \S+: ", "", one_line(error))
            kind = "schema" if schema is not None else "regex"
            raise ConfigError(f"The {kind} cannot be used: {said}") from error
        return self._xgrammar.GrammarMatcher(compiled)


def _allowed(torch: Any, logits: Any, matcher: Any) -> Any:
    """Return the logits with every token at minus infinity that the matcher does not allow next."""
    from importlib import import_module

    xgrammar = import_module("xgrammar")
    bits = xgrammar.allocate_token_bitmask(1, logits.shape[-1])
    matcher.fill_next_token_bitmask(bits)
    masked = logits.clone()[None]
    xgrammar.apply_token_bitmask_inplace(masked, bits.to(masked.device))
    return masked[0]
