"""The network that is trained: a causal language model with its tokenizer, whole or under low-rank adapters."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.rollout.kept import keeps_everything
from empathy_gym.agents.rollout.tokens import ChatFormat
from empathy_gym.agents.trainers.recipe import LoraRecipe, OptimiserRecipe, Recipe
from empathy_gym.simulators.engines.prompting import (
    check_path,
    folder_revision,
    model_name,
    one_line,
    require,
    without_progress,
)
from empathy_gym.simulators.errors import ConfigError, EngineError

WEIGHTS: Final = "model.safetensors"
TRAINED: Final = "trained.safetensors"
STATE: Final = "state.pt"


@dataclass(frozen=True, slots=True)
class Scores:
    """What a forward pass says of the tokens that were sampled, in the order of the sequences.

    Attributes:
        logprobs: Log-probability of each under the network, a tensor of shape (tokens,).
        entropy: Entropy of the distribution each was drawn from, shape (tokens,), without gradient.
        hidden: What the output layer was given for each, shape (tokens, width); for a critic.
    """

    logprobs: Any
    entropy: Any
    hidden: Any


class ChatModel:
    """A model in training.

    Every dropout is set to 0 when it is loaded: with it the trainer's log-probabilities are not those of the
    distribution that was sampled from.

    Args:
        path: A folder or a hub id.
        optimiser: For device, dtype and gradient checkpointing.
        lora: Adapters, or None for full training.
        seed: Seeds the adapters.

    Raises:
        MissingExtraError: If torch, transformers or peft is not installed.
        ConfigError: If there is no model at `path`.
        EngineError: If it cannot be loaded.
    """

    def __init__(
        self,
        path: str,
        *,
        optimiser: OptimiserRecipe | None = None,
        lora: LoraRecipe | None = None,
        seed: int = 0,
    ) -> None:
        check_path(path)
        # Threads that spin while they wait starve other work; read when torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.torch: Any = require("torch", "llm")
        transformers = require("transformers", "llm")
        settings = optimiser or OptimiserRecipe()
        self.path, self.name = path, model_name(path)
        self.revision = folder_revision(path) if Path(path).is_dir() else ""
        self.lora = lora
        self.device = self._device(settings.device)
        try:
            with without_progress(transformers):
                network = transformers.AutoModelForCausalLM.from_pretrained(
                    path, dtype=self._dtype(settings.dtype)
                )
                self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(path, padding_side="left")
        except Exception as error:
            # Transformers raises many kinds of errors here; for the caller they are one thing.
            raise EngineError(f"Transformers could not load {path!r}: {one_line(error)}") from error
        self.network: Any = self._adapted(network, seed).to(self.device).eval()
        self._silence_dropout()
        # A cache of what went before and recomputing it exclude each other.
        self._shares = not settings.gradient_checkpointing and keeps_everything(network.config)
        if settings.gradient_checkpointing:
            self._checkpoint_gradients()
        self._autocast = settings.precision == "bfloat16" or (
            settings.precision == "auto" and self.device != "cpu"
        )
        own = network.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [own]
        self.ends = sorted({int(i) for i in (*ends, self.tokenizer.eos_token_id) if i is not None})
        padding = self.tokenizer.pad_token_id
        self.padding = int(padding if padding is not None else min(self.ends, default=0))
        self.context = int(network.config.get_text_config().max_position_embeddings)

    # -- loading -------------------------------------------------------------------------------------------------

    def _device(self, wanted: str) -> str:
        if wanted != "auto":
            return wanted
        return "cuda" if self.torch.cuda.is_available() else "cpu"

    def _dtype(self, wanted: str) -> Any:
        if wanted == "auto":
            wanted = "bfloat16" if self.lora is not None and self.device != "cpu" else "float32"
        return getattr(self.torch, wanted)

    def _adapted(self, network: Any, seed: int) -> Any:
        if self.lora is None:
            return network
        peft = require("peft", "llm")
        targets = self.lora.targets
        config = peft.LoraConfig(
            r=self.lora.rank,
            lora_alpha=self.lora.alpha,
            lora_dropout=0.0,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        with self.torch.random.fork_rng(devices=[]):
            self.torch.manual_seed(seed % 2**63)
            try:
                return peft.get_peft_model(network, config)
            except ValueError as error:
                raise ConfigError(f"lora.targets is {targets!r}: {one_line(error)}") from None

    def _silence_dropout(self) -> None:
        for module in self.network.modules():
            if isinstance(module, self.torch.nn.Dropout):
                module.p = 0.0
            for name in ("attention_dropout", "dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)

    def _checkpoint_gradients(self) -> None:
        self.network.gradient_checkpointing_enable({"use_reentrant": False})
        if self.lora is not None:
            self.network.enable_input_require_grads()

    # -- scoring -------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> list[Any]:
        """The parameters that are trained."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def score(
        self, sequences: Sequence[Sequence[int]], masks: Sequence[Sequence[int]], grad: bool = True
    ) -> Scores:
        """Score the sampled tokens of sequences in one forward pass.

        What all of them begin with is computed once, the gradient included: siblings share a third to a half of
        their tokens, and every conversation its instruction.

        Args:
            sequences: Token ids of each.
            masks: 1 for each token to be scored; never the first of a sequence.
            grad: Whether a gradient will be asked for.
        """
        torch = self.torch
        shared = shared_prefix(sequences, masks) if self._shares and len(sequences) > 1 else 0
        width = max(map(len, sequences)) - shared
        ids = torch.full((len(sequences), width), self.padding, dtype=torch.long)
        wanted = torch.zeros((len(sequences), width), dtype=torch.bool)
        attention = torch.zeros((len(sequences), shared + width), dtype=torch.long)
        for row, (sequence, mask) in enumerate(zip(sequences, masks, strict=True)):
            ids[row, : len(sequence) - shared] = torch.tensor(list(sequence[shared:]))
            wanted[row, : len(mask) - shared] = torch.tensor(list(mask[shared:]), dtype=torch.bool)
            attention[row, : len(sequence)] = 1
        # The logits at a place are of the next token.
        before, targets = wanted.roll(-1, dims=1).to(self.device), ids[wanted].to(self.device)
        kept: list[Any] = []

        def choose(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
            # The vocabulary is wide and few places are scored: the output layer sees only those.
            kept.append(given[0][before])
            return (kept[0], *given[1:])

        with torch.set_grad_enabled(grad), self._precision():
            cache = self._prefix(sequences[0][:shared], len(sequences)) if shared else {"use_cache": False}
            hook = self.network.get_output_embeddings().register_forward_pre_hook(choose)
            try:
                logits = self.network(
                    input_ids=ids.to(self.device),
                    attention_mask=attention.to(self.device),
                    position_ids=torch.arange(shared, shared + width, device=self.device)[None, :],
                    **cache,
                ).logits.float()
            finally:
                hook.remove()
            known = torch.log_softmax(logits, dim=-1)
            with torch.no_grad():
                entropy = -(known.exp() * known).sum(-1)
            return Scores(known.gather(-1, targets[:, None])[:, 0], entropy, kept[0])

    def _prefix(self, ids: Sequence[int], rows: int) -> dict[str, Any]:
        """Return what a forward pass has to be given so that it goes on behind these tokens, in every row."""
        prefix = self.torch.tensor([list(ids)], device=self.device)
        cache = self.network(input_ids=prefix, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(rows)
        return {"past_key_values": cache, "use_cache": True}

    def reference(self) -> AbstractContextManager[Any]:
        """Within it the network is as it was before the adapters learnt anything; LoRA only."""
        return self.network.disable_adapter()  # type: ignore[no-any-return]

    @contextmanager
    def precise(self) -> Iterator[None]:
        """Within it arithmetic is of the weights' own precision, whatever the recipe says."""
        wanted, self._autocast = self._autocast, False
        try:
            yield
        finally:
            self._autocast = wanted

    def _precision(self) -> AbstractContextManager[Any]:
        if not self._autocast:
            return nullcontext()
        return self.torch.autocast(self.device.partition(":")[0], dtype=self.torch.bfloat16)  # type: ignore[no-any-return]

    # -- keeping -------------------------------------------------------------------------------------------------

    def trained_state(self) -> dict[str, Any]:
        """Return the trained tensors by name, on the CPU: all weights, or the adapters."""
        return {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }

    def load_trained(self, state: dict[str, Any]) -> None:
        """Take trained tensors back.

        Raises:
            ConfigError: If they are those of another model.
        """
        own = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        if own.keys() != state.keys() or any(own[name].shape != t.shape for name, t in state.items()):
            raise ConfigError(
                "The checkpoint is of another model: names or shapes of its weights are not the same."
            )
        with self.torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def merged(self) -> Iterator[tuple[str, Any]]:
        """Yield the weights as a plain model has them: adapters added in, tied ones once. Nothing is changed."""
        network = self.network.get_base_model() if self.lora is not None else self.network
        deltas = {
            name: module.get_delta_weight("default")
            for name, module in network.named_modules()
            if hasattr(module, "get_delta_weight") and getattr(module, "lora_A", None)
        }
        for name, parameter in network.named_parameters():
            owner, _, last = name.rpartition(".base_layer.")
            if ".lora_" in name:
                continue
            if owner:
                merged = parameter.detach()
                if last == "weight" and owner in deltas:
                    merged = merged + deltas[owner].to(merged.dtype)
                yield f"{owner}.{last}", merged
            else:
                yield name, parameter.detach()

    def save(self, folder: Path) -> None:
        """Write a plain model that Transformers and vLLM load.

        Raises:
            OSError: If it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        network = self.network.get_base_model() if self.lora is not None else self.network
        network.config.save_pretrained(folder)
        network.generation_config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        state = {name: tensor.cpu().contiguous() for name, tensor in self.merged()}
        save_tensors(state, folder / WEIGHTS)


def chat_format(model: ChatModel, recipe: Recipe) -> ChatFormat:
    """Return the template of a model as the recipe wants it."""
    return ChatFormat(
        model.tokenizer,
        history_mode=recipe.rollout.history_mode,
        think=recipe.task.think is not False,
        template_kwargs=recipe.rollout.template_kwargs,
        ends=model.ends,
    )


def save_state(model: ChatModel, state: dict[str, Any], folder: Path) -> None:
    """Write the trained weights and what else a run has to go on with: tensors and plain values.

    Raises:
        OSError: If they cannot be written.
    """
    save_tensors(model.trained_state(), folder / TRAINED)
    try:
        model.torch.save(state, folder / STATE)
    except RuntimeError as error:
        # torch reports a disk that is full so.
        raise OSError(f"{folder / STATE}: {one_line(error)}") from error


def load_state(model: ChatModel, folder: Path) -> dict[str, Any]:
    """Take the trained weights back, and return the rest.

    Raises:
        ConfigError: If it is damaged, or of another model.
    """
    try:
        model.load_trained(load_tensors(folder / TRAINED))
        # Tensors and plain values only: nothing in the file can run.
        return dict(model.torch.load(folder / STATE, weights_only=True))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"The checkpoint {str(folder)!r} cannot be read ({one_line(error)}); remove it to use the one before."
        ) from None


def shared_prefix(sequences: Sequence[Sequence[int]], masks: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all sequences begin with; the last one before a scored token is not among them."""
    limit = min(mask.index(1) if 1 in mask else len(mask) for mask in map(list, masks)) - 1
    first = sequences[0]
    for at in range(max(limit, 0)):
        if any(sequence[at] != first[at] for sequence in sequences):
            return at
    return max(limit, 0)


def save_tensors(state: dict[str, Any], path: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        OSError: If they cannot be written.
    """
    library = require("safetensors.torch", "llm")
    try:
        library.save_file(state, str(path), metadata={"format": "pt"})
    except Exception as error:
        # safetensors reports a full disk by an exception class of its own.
        raise OSError(f"{path}: {one_line(error)}") from error


def load_tensors(path: Path) -> dict[str, Any]:
    """Read tensors.

    Raises:
        OSError: If they cannot be read.
    """
    library = require("safetensors.torch", "llm")
    try:
        return dict(library.load_file(str(path)))
    except Exception as error:
        raise OSError(f"{path}: {one_line(error)}") from error
