"""The sampler of a run, and how it is kept in step with the weights that are trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from empathy_gym.agents.rollout.sampler import Sampler, TransformersSampler
from empathy_gym.agents.rollout.tokens import ChatFormat
from empathy_gym.agents.trainers.chat_model import ChatModel
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.agents.trainers.run_folder import disk
from empathy_gym.simulators.errors import EngineError

PROBES: Final = (
    "They moved the meeting again and nobody told me.",
    "My sister has not called since the wedding.",
    "I finished it in the end, two days late.",
)
NUDGE: Final = 0.5
"""Noise of the start-up check, in standard deviations of the weights it is added to."""
IN_MEMORY: Final = Path("/dev/shm")


class Sampling(Protocol):
    """A sampler and its weights."""

    sampler: Sampler

    def hand_over(self, version: int) -> None:
        """Give the sampler the weights as they are now."""
        ...

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within it nothing is sampled, and the sampler's memory is the trainer's."""
        ...

    def close(self) -> None:
        """Free the sampler."""
        ...


class SharedSampling:
    """The sampler is the network in training.

    Args:
        model: The model.
        chat: Its template.
        recipe: For context and slots.
    """

    def __init__(self, model: ChatModel, chat: ChatFormat, recipe: Recipe) -> None:
        self._own = TransformersSampler(
            model.network,
            ends=sorted(chat.ends),
            padding=model.padding,
            max_model_len=context(model, recipe),
            max_batch=recipe.rollout.slots,
        )
        self.sampler: Sampler = self._own

    def hand_over(self, version: int) -> None:
        """Count the version; there is nothing to copy."""
        self.sampler.version = version

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Free what was kept of conversations; after the update it will be of no use."""
        self._own.forget()
        yield

    def close(self) -> None:
        """Do nothing: the network is the trainer's."""


class VLLMSampling:
    """vLLM in this process, with a copy of the weights that is exchanged after every update.

    Args:
        model: The model.
        chat: Its template.
        recipe: For context, slots and memory.
        folder: The run's; weights pass through memory where the machine has a file system there, else through it.
        notice: Told what the start-up check found.

    Raises:
        EngineError: If vLLM cannot be loaded, or does not follow the trainer's weights.
    """

    def __init__(
        self, model: ChatModel, chat: ChatFormat, recipe: Recipe, folder: Path, notice: Callable[[str], None]
    ) -> None:
        from empathy_gym.agents.rollout.vllm_sampler import VLLMSampler

        self.model, self.chat = model, chat
        self.exchange = folder / ".weights"
        free = shutil.disk_usage(IN_MEMORY).free if IN_MEMORY.is_dir() else 0
        if free > 2 * 4 * sum(p.numel() for p in model.network.parameters()):
            self.exchange = IN_MEMORY / f"empathy-gym-{folder.resolve().name}-{model.revision or 'hub'}"
        self.vllm = VLLMSampler(
            model.path,
            ends=sorted(chat.ends),
            max_model_len=context(model, recipe),
            slots=recipe.rollout.slots,
            gpu_memory_utilization=recipe.rollout.gpu_memory_utilization,
            dtype=recipe.rollout.dtype,
            seed=recipe.seed,
        )
        self.sampler: Sampler = self.vllm
        try:
            gap, shift = self.checked()
        except BaseException:
            self.close()
            raise
        notice(
            f"vLLM follows the weights: log-probabilities within {gap:.1g}, and a change of {shift:.2f} arrived."
        )

    def hand_over(self, version: int) -> None:
        """Write the weights, adapters added in, and have vLLM load them in place.

        Raises:
            EmpathyGymError: If they cannot be written.
            EngineError: If vLLM cannot take them.
        """
        try:
            with disk(self.exchange):
                shutil.rmtree(self.exchange, ignore_errors=True)
                self.model.save(self.exchange)
            self.vllm.load(self.exchange, version)
        finally:
            # A run that is killed must not leave a model in the machine's memory.
            shutil.rmtree(self.exchange, ignore_errors=True)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Put vLLM to sleep; on a CPU there is no need."""
        self.vllm.sleep()
        try:
            yield
        finally:
            self.vllm.wake()

    def close(self) -> None:
        """Free vLLM."""
        self.vllm.close()

    # -- the start-up check --------------------------------------------------------------------------------------

    def checked(self) -> tuple[float, float]:
        """Check that vLLM agrees with the trainer, that a change of the weights arrives, and that it can be undone.

        Returns:
            The greatest mean distance of their log-probabilities, and by how much the change moved the trainer's.

        Raises:
            EngineError: If one of the three does not hold.
        """
        from empathy_gym.agents.rollout.vllm_sampler import check_agreement

        prompts = [self.chat.opening("Answer in one sentence.", line) for line in PROBES]
        self.hand_over(0)
        gaps = [check_agreement(self.vllm, prompts, self._score)]
        replies = [sample.tokens for sample in self.vllm.greedy(prompts)]
        before = self._score(prompts, replies)
        with nudged(self.model):
            self.hand_over(0)
            after = self._score(prompts, replies)
            gaps.append(check_agreement(self.vllm, prompts, self._score))
        moved = [abs(a - b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)]
        shift = sum(moved) / len(moved)
        if not gaps[1] < shift / 2:
            raise EngineError(
                f"vLLM does not follow the trainer's weights: a change moved the trainer's log-probabilities by "
                f"{shift:.3f} and left vLLM's {gaps[1]:.3f} away. Set rollout.engine: transformers."
            )
        self.hand_over(0)
        gaps.append(check_agreement(self.vllm, prompts, self._score))
        return max(gaps), shift

    def _score(self, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]) -> list[list[float]]:
        sequences = [[*prompt, *reply] for prompt, reply in zip(prompts, replies, strict=True)]
        masks = [[0] * len(p) + [1] * len(r) for p, r in zip(prompts, replies, strict=True)]
        with self.model.precise():
            found = self.model.score(sequences, masks, grad=False).logprobs
        return [[float(x) for x in row] for row in found.split([len(reply) for reply in replies])]


@contextmanager
def nudged(model: ChatModel) -> Iterator[None]:
    """Within it some matrices of the model are other ones; afterwards they are as before, to the bit.

    The first one, which is the embeddings and often the output layer, too, and the last two.
    """
    torch = model.torch
    matrices = [p for p in model.parameters if p.dim() > 1]
    chosen = [*matrices[:1], *matrices[-2:]]
    kept = [p.detach().clone() for p in chosen]
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for parameter in chosen:
                noise = torch.randn(parameter.shape, generator=generator).to(
                    parameter.device, parameter.dtype
                )
                # Adapters begin at 0, where a share of their own deviation would be no change.
                parameter.add_(noise * (NUDGE * float(parameter.float().std()) or 0.02))
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(chosen, kept, strict=True):
                parameter.copy_(values)


def context(model: ChatModel, recipe: Recipe) -> int:
    """Return the tokens of prompt and reply together."""
    return min(recipe.rollout.max_model_len or model.context, model.context)


def make_sampling(
    model: ChatModel, chat: ChatFormat, recipe: Recipe, folder: Path, notice: Callable[[str], Any]
) -> Sampling:
    """Return what samples, with the weights as they are.

    Raises:
        MissingExtraError: If the engine is not installed.
        EngineError: If it cannot be started.
    """
    if recipe.rollout.engine == "vllm":
        return VLLMSampling(model, chat, recipe, folder, notice)
    return SharedSampling(model, chat, recipe)
