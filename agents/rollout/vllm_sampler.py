"""Sampling with vLLM in this process, and handing it the trainer's weights.

vLLM works on all conversations at once and each of them goes on as soon as its user has answered. Its weights are
its own copy: after every update they are handed over as a folder that vLLM loads in place, and the prefix cache is
emptied. At the start it is checked that both say the same, and that a change arrives (vLLM's own checksums of weights
mislead on a CPU, where layers are repacked, so what is compared is log-probabilities).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.rollout.sampler import Sample, SampleRequest
from empathy_gym.simulators.engines.prompting import one_line, require
from empathy_gym.simulators.engines.vllm_process import (
    end_llm,
    load_llm,
    prepare_environment,
    undisturbed_randomness,
)
from empathy_gym.simulators.errors import EngineError

TOLERANCE: Final = 0.01
"""Greatest mean distance of log-probabilities between vLLM and the trainer that is put down to arithmetic, with
float32; bfloat16 is allowed ten times as much."""


class VLLMSampler:
    """Samples with `vllm.LLM`.

    Args:
        path: A model's folder, or a hub id.
        ends: Ids that end a reply.
        max_model_len: Tokens of prompt and reply together.
        slots: Conversations at a time.
        gpu_memory_utilization: Share of the GPU's memory.
        dtype: Of weights and arithmetic; ``"auto"`` is float32 on a CPU and bfloat16 on a GPU.
        seed: Of the engine; every request has its own beside it.
        options: More arguments of `vllm.LLM`.

    Raises:
        MissingExtraError: If vLLM is not installed.
        EngineError: If it cannot load the model.
    """

    def __init__(
        self,
        path: str,
        *,
        ends: Sequence[int],
        max_model_len: int,
        slots: int = 64,
        gpu_memory_utilization: float = 0.45,
        dtype: str = "auto",
        seed: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        prepare_environment()
        self._types = require("vllm.sampling_params", "vllm")
        self.on_cpu = bool(require("vllm.platforms", "vllm").current_platform.is_cpu())
        self.dtype = ("float32" if self.on_cpu else "bfloat16") if dtype == "auto" else dtype
        self.max_model_len = max_model_len
        self.version = 0
        self._ends = sorted(ends)
        self._keys: dict[str, str] = {}
        arguments: dict[str, Any] = {
            "dtype": self.dtype,
            "max_model_len": max_model_len,
            "max_num_seqs": slots,
            "gpu_memory_utilization": gpu_memory_utilization,
            "enforce_eager": self.on_cpu,
            "seed": seed % 2**31,
            "use_tqdm_on_load": False,
            "logprobs_mode": "processed_logprobs",
            # A prompt read in pieces winds its request's seed back, which torch can do on a GPU only.
            **({"enable_chunked_prefill": False} if self.on_cpu else {"enable_sleep_mode": True}),
            **(options or {}),
        }
        self._llm: Any = load_llm(path, arguments)

    def submit(self, requests: Sequence[SampleRequest]) -> None:
        """Hand requests to vLLM.

        Raises:
            EngineError: If it refuses one: they are all of one kind, so that none would go through.
        """
        prompts = [{"prompt_token_ids": list(request.prompt)} for request in requests]
        with self._alive(), undisturbed_randomness():
            names = (
                self._llm.enqueue(prompts, [self._sampling(r) for r in requests], use_tqdm=False)
                if prompts
                else []
            )
        for name, request in zip(names, requests, strict=True):
            # A request is known inside by its id with a random ending, and comes out without.
            self._keys[str(name).rpartition("-")[0] or str(name)] = request.key

    def _sampling(self, request: SampleRequest) -> Any:
        return self._types.SamplingParams(
            temperature=request.temperature,
            top_p=1.0,
            max_tokens=request.max_tokens,
            seed=request.seed if request.temperature else None,
            stop_token_ids=self._ends,
            logprobs=0,
            detokenize=False,
        )

    def step(self) -> list[Sample]:
        """Let vLLM work until a reply is done.

        Raises:
            EngineError: If it died.
        """
        done: list[Sample] = []
        with self._alive(), undisturbed_randomness():
            while self._keys and not done:
                done = [
                    _sample(o, self._keys.pop(o.request_id))
                    for o in self._llm.llm_engine.step()
                    if o.finished
                ]
        return done

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # The one boundary to vLLM's runtime. What it was doing cannot be taken up again.
            raise EngineError(
                f"vLLM failed and cannot go on: {one_line(error)}. The last good checkpoint is kept; run the same "
                "command again."
            ) from error

    # -- weights -------------------------------------------------------------------------------------------------

    def load(self, folder: Path, version: int) -> None:
        """Take the weights of a folder, and forget what was computed with the old ones.

        Args:
            folder: A plain model with the shapes of the one that was loaded.
            version: Number of these weights.

        Raises:
            EngineError: If vLLM cannot take them.
        """
        with self._alive(), undisturbed_randomness():
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": os.fspath(folder)})
            if self.on_cpu:
                self._llm.apply_model(_repack_output)
            self._llm.reset_prefix_cache()
        self.version = version

    def sleep(self) -> None:
        """Give the GPU's memory to the trainer: weights go to the CPU, the cache is dropped. Nothing on a CPU."""
        if not self.on_cpu:
            with self._alive():
                self._llm.sleep(level=1)

    def wake(self) -> None:
        """Take it back."""
        if not self.on_cpu:
            with self._alive():
                self._llm.wake_up()

    def close(self) -> None:
        """Free the model. Closing twice does nothing."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            end_llm(llm)

    # -- checks --------------------------------------------------------------------------------------------------

    def greedy(self, prompts: Sequence[Sequence[int]], max_tokens: int = 16) -> list[Sample]:
        """Return greedy replies, in order."""
        requests = [SampleRequest(f"greedy-{i}", p, max_tokens, 0, 0.0) for i, p in enumerate(prompts)]
        self.submit(requests)
        found: dict[str, Sample] = {}
        while len(found) < len(requests):
            found |= {sample.key: sample for sample in self.step()}
        return [found[request.key] for request in requests]


Score = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], list[list[float]]]
"""The trainer's log-probabilities of the replies to some prompts."""


def check_agreement(sampler: VLLMSampler, prompts: Sequence[Sequence[int]], score: Score) -> float:
    """Check that vLLM says of its own greedy replies what the trainer says of them.

    Args:
        sampler: vLLM.
        prompts: Token ids.
        score: The trainer.

    Returns:
        Mean distance of the log-probabilities.

    Raises:
        EngineError: If they are apart by more than arithmetic explains: the weights are not the same.
    """
    samples = sampler.greedy(prompts)
    own = score(prompts, [s.tokens for s in samples])
    gaps = [
        abs(a - b)
        for sample, row in zip(samples, own, strict=True)
        for a, b in zip(sample.logprobs, row, strict=True)
    ]
    gap = sum(gaps) / len(gaps)
    if not gap <= (TOLERANCE if sampler.dtype == "float32" else 10 * TOLERANCE):
        raise EngineError(
            f"vLLM and the trainer do not hold the same weights: their log-probabilities differ by {gap:.3f} on "
            f"average over {len(gaps)} tokens. Set rollout.engine: transformers, or report the model and vLLM's version."
        )
    return gap


def _repack_output(model: Any) -> None:
    """Pack the output layer anew.

    On a CPU vLLM (0.32) multiplies with a packed copy of it. Where it is tied to the embeddings a folder does not hold
    it, so that loading one leaves the copy as it was: vLLM then samples from new layers under an old vocabulary.
    """
    for module in model.modules():
        if type(module).__name__ == "ParallelLMHead":
            module.quant_method.process_weights_after_loading(module)


def _sample(output: Any, key: str) -> Sample:
    made = output.outputs[0]
    tokens = tuple(int(token) for token in made.token_ids)
    if made.finish_reason not in ("stop", "length"):
        return Sample(key, error=f"vLLM gave the request up ({made.finish_reason}).")
    logprobs = tuple(float(at[token].logprob) for at, token in zip(made.logprobs, tokens, strict=True))
    return Sample(key, tokens, logprobs)
