"""Transformers in this process: causal models and encoder-decoders such as T5, on a CPU or a GPU.

Slower than vLLM, but runs where PyTorch runs, and runs T5, which vLLM does not.
"""

from __future__ import annotations

import gc
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.base import ChatReply, ChatRequest
from empathy_gym.simulators.engines.decoding import Job, Row, choose, logits_processor, read_rows
from empathy_gym.simulators.engines.prompting import (
    PromptFormat,
    check_path,
    constraint_error,
    failure,
    folder_revision,
    model_name,
    one_line,
    overflow,
    require,
    settle,
    text_of,
    without_progress,
)
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, EngineError, unknown_name

DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
UNLIMITED: Final = 1_000_000
"""Tokenizers say about 1e30 where they know no limit."""


class TransformersEngine:
    """A language model run by Transformers in this process.

    All requests of a call are generated in batches, prompts padded on the left. Dropout is off. A request
    that samples draws from a generator of its own, seeded by its seed (Gumbel-max), so its completion depends
    neither on its place in the batch nor on anything else that draws random numbers; PyTorch's global
    generator is neither read nor set. Left padding changes logits in their last digits, so a near tie may
    fall otherwise in another batch; ``max_batch=1`` rules that out.

    ``choices`` are scored: the completion is the choice with the highest log-likelihood, its end token
    included (with a temperature, it is drawn from them). ``schema`` and ``regex`` need xgrammar, which comes
    with the extra ``[llm]``; without it such a request is answered with an error of kind ``"rejected"``.

    Args:
        path: A folder with config.json, tokenizer and weights, or a hub id.
        revision: What the model is known by in tapes and records; a folder's content hash or a hub commit by
            default. For a hub id also the revision to load.
        dtype: ``"auto"`` is float32 on a CPU and the model's own on a GPU.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` is the GPU if there is one.
        max_model_len: Tokens of prompt and completion together (of each, for an encoder-decoder); by default
            what configuration and tokenizer say.
        max_batch: Sequences in one forward pass, at most.
        seed: For requests that sample without a seed of their own.
        top_k: Requests that sample draw from so many of the likeliest tokens; 0 for all.
        total_timeout_s: Seconds for all requests of a call together; what is not finished then is a failure.
        logprobs: Whether replies carry the log-probability of each token.
        template_kwargs: For the chat template, e.g. ``{"enable_thinking": False}``.

    Raises:
        MissingExtraError: If torch or transformers is not installed.
        ConfigError: If there is no model at `path`, or an argument has a wrong value.
        EngineError: If the model cannot be loaded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        revision: str = "",
        dtype: str = "auto",
        device: str = "auto",
        max_model_len: int | None = None,
        max_batch: int = 32,
        seed: int = 0,
        top_k: int = 0,
        total_timeout_s: float = 600.0,
        logprobs: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        check_path(self.path)
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; it must be at least 1.")
        if top_k < 0:
            raise ConfigError(f"top_k is {top_k}; it must be at least 0.")
        if not total_timeout_s > 0.0:
            raise ConfigError(f"total_timeout_s is {total_timeout_s!r}; it must be above 0 seconds.")
        self.model = model_name(self.path)
        self.max_batch = max_batch
        self.seed = seed
        self.top_k = top_k
        self.logprobs = logprobs
        self.total_timeout_s = total_timeout_s
        self._deadline = 0.0
        self._drawn = 0
        self._lock = threading.Lock()
        # Threads that spin while they wait made a 2-core machine ten times slower. Read when torch is
        # imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._torch = require("torch", "llm")
        self._transformers = require("transformers", "llm")
        self._load(dtype, device, revision)
        self.max_model_len = max_model_len or _context(self._network.config, self._tokenizer)
        self._format = PromptFormat(self._tokenizer, template_kwargs)

    def __repr__(self) -> str:
        """Return the model and its revision."""
        return f"TransformersEngine(model={self.model!r}, revision={self.revision!r})"

    def _load(self, dtype: str, device: str, revision: str) -> None:
        torch, transformers = self._torch, self._transformers
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto" and device == "cpu":
            dtype = "float32"
        local = Path(self.path).is_dir()
        pinned = {"revision": revision} if revision and not local else {}
        try:
            with without_progress(transformers):
                config = transformers.AutoConfig.from_pretrained(self.path, **pinned)
                self.is_encoder_decoder = bool(config.is_encoder_decoder)
                kind = "AutoModelForSeq2SeqLM" if self.is_encoder_decoder else "AutoModelForCausalLM"
                network = getattr(transformers, kind).from_pretrained(self.path, dtype=dtype, **pinned)
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                    self.path, padding_side="left", **pinned
                )
            self._network: Any = network.to(device).eval()
        except Exception as error:
            # Transformers raises many kinds of errors here; for the caller they are one thing.
            raise EngineError(f"Transformers could not load {self.path!r}: {one_line(error)}") from error
        self.device = device
        self.revision = revision or (
            folder_revision(self.path) if local else str(getattr(config, "_commit_hash", None) or "")
        )
        self._settle_generation(network)

    def _settle_generation(self, network: Any) -> None:
        """Keep only the special tokens of the model's own defaults: penalties and top-k are not asked for."""
        own = network.generation_config
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self._ends: frozenset[int] = frozenset(
            token for token in (*ends, self._tokenizer.eos_token_id) if token is not None
        )
        padding = self._tokenizer.pad_token_id
        self._padding = int(padding if padding is not None else min(self._ends, default=0))
        network.generation_config = self._transformers.GenerationConfig(
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self._padding,
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
        )

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order.

        A request that cannot be served is a reply of kind ``"rejected"``, one that does not fit
        ``"context"``.

        Raises:
            EngineError: If the engine is closed.
        """
        with self._lock:
            if self._network is None:
                raise EngineError(f"{self!r} is closed; make another one.")
            self._deadline = time.monotonic() + self.total_timeout_s
            replies: dict[int, ChatReply] = {}
            jobs: list[Job] = []
            for place, request in enumerate(requests):
                prepared = self._prepare(place, request)
                if isinstance(prepared, Job):
                    jobs.append(prepared)
                else:
                    replies[place] = prepared
            # Prompts of like length go together: less padding, fewer wasted steps.
            written = sorted((j for j in jobs if not j.request.choices), key=lambda j: len(j.prompt))
            for start in range(0, len(written), self.max_batch):
                batch = written[start : start + self.max_batch]
                for job, reply in zip(batch, settle(batch, self._generate, _failed), strict=True):
                    replies[job.place] = reply
            for job in (j for j in jobs if j.request.choices):
                replies[job.place] = settle([job], self._score, _failed)[0]
        return [replies[place] for place in range(len(requests))]

    def score(self, requests: Sequence[ChatRequest], texts: Sequence[str]) -> list[tuple[float, int]]:
        """Return how likely the model finds texts as its answers: natural log-probability, and number of tokens.

        The end token is one of them. Nothing is sampled: temperature, top-k and top-p do not enter.

        Args:
            requests: What is answered; only the messages are read.
            texts: One for each.

        Raises:
            ConfigError: If the model's template refuses the messages.
            EngineError: If the engine is closed.
        """
        with self._lock:
            if self._network is None:
                raise EngineError(f"{self!r} is closed; make another one.")
            end = [min(self._ends)] if self._ends else []
            found: list[tuple[float, int]] = []
            for request, text in zip(requests, texts, strict=True):
                ids = self._tokenizer(text_of(text), add_special_tokens=False).input_ids + end
                (logprobs,) = self._likelihoods(self._format.ids(request.messages), [ids])
                found.append((math.fsum(logprobs), len(ids)))
        return found

    @property
    def prompt(self) -> PromptFormat:
        """How the model's prompts are made of messages."""
        return self._format

    def close(self) -> None:
        """Free the model. Closing twice does nothing."""
        with self._lock:
            if self._network is None:
                return
            self._network = None
            gc.collect()
            if self.device != "cpu":
                self._torch.cuda.empty_cache()

    def _prepare(self, place: int, request: ChatRequest) -> Job | ChatReply:
        problem = constraint_error(request)
        if problem is not None:
            return failure(problem, "rejected")
        try:
            prompt = self._format.ids(request.messages)
            # An encoder's prompt does not take room from the decoder.
            taken = 0 if self.is_encoder_decoder else len(prompt)
            too_long = overflow(len(prompt), self.max_model_len + self.is_encoder_decoder)
            if too_long is not None:
                return too_long
            matcher = self._matcher(request)
        except (EmpathyGymError, ValueError, TypeError) as error:
            return failure(one_line(error), "rejected")
        room = min(request.max_tokens, self.max_model_len - taken)
        return Job(place, request, prompt, self._seed(request), room, matcher, self.top_k)

    def _seed(self, request: ChatRequest) -> int:
        if request.seed is not None or request.temperature == 0.0:
            return request.seed or 0
        self._drawn += 1
        return derive_seed(self.seed, "request", self._drawn)

    def _matcher(self, request: ChatRequest) -> Any:
        """Return what keeps the completion to a schema or a regular expression, or None."""
        if request.schema is None and request.regex is None:
            return None
        if not hasattr(self, "_grammars"):
            from empathy_gym.simulators.engines.decoding import Grammars

            vocabulary = self._network.get_input_embeddings().num_embeddings
            self._grammars = Grammars(self._tokenizer, vocabulary, sorted(self._ends))
        return self._grammars.matcher(request.schema, request.regex)

    def _generate(self, jobs: Sequence[Job]) -> list[ChatReply]:
        torch = self._torch
        stops = self._format.stops
        for job in jobs:
            if job.matcher is not None:
                # A batch that failed halfway is run again in halves.
                job.matcher.reset()
        if time.monotonic() > self._deadline:
            return [self._late(job) for job in jobs]
        rows = [Row(job, tuple(map(text_of, (*job.request.stop, *stops))), self._ends) for job in jobs]
        width = max(len(job.prompt) for job in jobs)
        padded = [[self._padding] * (width - len(j.prompt)) + j.prompt for j in jobs]
        mask = [[0] * (width - len(j.prompt)) + [1] * len(j.prompt) for j in jobs]
        sampler = logits_processor(torch, self._transformers, rows, self._tokenizer, self._deadline)
        with torch.inference_mode():
            self._network.generate(
                torch.tensor(padded, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                max_new_tokens=max(job.room for job in jobs),
                do_sample=False,
                logits_processor=self._transformers.LogitsProcessorList([sampler]),
                stopping_criteria=self._transformers.StoppingCriteriaList([sampler.criteria]),
            )
        read = read_rows(rows, self._tokenizer, self.logprobs)
        return [
            reply if row.finish_reason is not None else self._late(row.job)
            for row, reply in zip(rows, read, strict=True)
        ]

    def _late(self, job: Job) -> ChatReply:
        return failure(f"No answer within {self.total_timeout_s:g} s.", "timeout", len(job.prompt))

    def _score(self, jobs: Sequence[Job]) -> list[ChatReply]:
        """Return the likeliest of each request's choices, or one drawn by likelihood."""
        late = time.monotonic() > self._deadline
        return [self._late(job) if late else self._chosen(job) for job in jobs]

    def _chosen(self, job: Job) -> ChatReply:
        texts = [text_of(choice) for choice in job.request.choices]
        encoded = [self._tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        end = [min(self._ends)] if self._ends else []
        scores: list[list[float]] = []
        for start in range(0, len(texts), self.max_batch):
            part = [ids + end for ids in encoded[start : start + self.max_batch]]
            scores += self._likelihoods(job.prompt, part)
        best = choose(self._torch, [sum(s) for s in scores], job.request.temperature, job.seed)
        return ChatReply(
            text=texts[best],
            finish_reason="stop",
            usage={"prompt_tokens": len(job.prompt), "completion_tokens": len(encoded[best])},
            tokens=tuple(encoded[best]),
            logprobs=tuple(scores[best][: len(encoded[best])]) if self.logprobs else None,
        )

    def _likelihoods(self, prompt: list[int], answers: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of each answer."""
        torch = self._torch
        longest = max(map(len, answers))
        with torch.inference_mode():
            if self.is_encoder_decoder:
                start = self._network.generation_config.decoder_start_token_id
                fed = [([start, *a] + [self._padding] * (longest - len(a)))[:longest] for a in answers]
                logits = self._network(
                    input_ids=torch.tensor([prompt] * len(answers), device=self.device),
                    decoder_input_ids=torch.tensor(fed, device=self.device),
                ).logits
            else:
                # Padded on the right, behind what is read: positions and attention stay those of the answer
                # alone.
                fed = [prompt + a + [self._padding] * (longest - len(a)) for a in answers]
                logits = self._network(
                    input_ids=torch.tensor(fed, device=self.device)[:, :-1], logits_to_keep=longest
                ).logits
            found = torch.log_softmax(logits.float(), dim=-1).cpu()
        return [[float(found[i, at, t]) for at, t in enumerate(a)] for i, a in enumerate(answers)]


def _failed(job: Job, error: Exception) -> ChatReply:
    return failure(one_line(error), "engine", len(job.prompt))


def _context(config: Any, tokenizer: Any) -> int:
    """Return the tokens a model takes, by its configuration or its tokenizer.

    Raises:
        ConfigError: If neither says it.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    known = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions")]
    limits = [int(n) for n in (*known, tokenizer.model_max_length) if n and n < UNLIMITED]
    if not limits:
        raise ConfigError(
            "Neither configuration nor tokenizer says the context's length; give max_model_len."
        )
    return limits[0]
