"""An encoder-decoder with a value head, and the frozen copy that the KL term keeps it near."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from empathy_gym.agents.seq2seq_text import source_ids
from empathy_gym.agents.trainers.seq2seq.recipe import Recipe
from empathy_gym.simulators.engines.prompting import (
    PromptFormat,
    check_path,
    one_line,
    require,
    text_of,
    without_progress,
)
from empathy_gym.simulators.errors import ConfigError, EngineError

CAUSAL: Final = ("ForCausalLM", "LMHeadModel")
"""How names of causal architectures end."""
IGNORED: Final = -100
"""Label of a position that has none."""


@dataclass
class Actor:
    """A policy under training.

    Attributes:
        network: A Transformers encoder-decoder.
        value_head: Linear, from the decoder's last hidden state to one number.
        tokenizer: Its tokenizer.
        recipe: Lengths, sampling, device and dtype.
        device: Where it runs.
        autocast: Whether forward passes run in bfloat16.
    """

    network: Any
    value_head: Any
    tokenizer: Any
    recipe: Recipe
    device: str
    autocast: bool

    def __post_init__(self) -> None:
        self.prompt = PromptFormat(self.tokenizer)
        ends = self.network.generation_config.eos_token_id
        self.end = int(ends[0] if isinstance(ends, list) else ends)
        padding = self.tokenizer.pad_token_id
        self.padding = int(self.end if padding is None else padding)
        start = self.network.config.decoder_start_token_id
        self.start = int(self.padding if start is None else start)

    @property
    def parameters(self) -> list[Any]:
        """All weights: the network's, then the value head's."""
        return [*self.network.parameters(), *self.value_head.parameters()]

    # -- text to tensors ---------------------------------------------------------------------------------

    def sources(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[Any, Any]:
        """Return ids and mask of what the encoder reads, each (n, S)."""
        found = [source_ids(self.prompt, messages, self.recipe.source_tokens) for messages in conversations]
        return self._padded(found)

    def targets(self, responses: Sequence[str]) -> tuple[Any, Any]:
        """Return ids and mask of responses, the end token included, each (n, T)."""
        room = self.recipe.target_tokens - 1
        encoded = [
            self.tokenizer(text_of(text), add_special_tokens=False).input_ids[:room] for text in responses
        ]
        return self._padded([[*ids, self.end] for ids in encoded])

    def texts(self, ids: Any, mask: Any) -> list[str]:
        """Return responses as text, special tokens left out."""
        rows = [row[: int(length)] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        torch = require("torch", "llm")
        width = max(map(len, rows))
        ids = [[*row, *[self.padding] * (width - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    # -- forward passes ----------------------------------------------------------------------------------

    def forward(self, source: Any, source_mask: Any, response: Any) -> tuple[Any, Any]:
        """Return logits (n, T, vocabulary) of each token of a response, and the values (n, T) before it.

        Args:
            source: Ids the encoder reads, shape (n, S).
            source_mask: Shape (n, S).
            response: Ids of the response, shape (n, T).
        """
        with self.precision():
            found = self.network(
                input_ids=source,
                attention_mask=source_mask,
                decoder_input_ids=self.shifted(response),
                output_hidden_states=True,
                use_cache=False,
            )
        values = self.value_head(found.decoder_hidden_states[-1].float()).squeeze(-1)
        return found.logits.float(), values

    def shifted(self, response: Any) -> Any:
        """Return what the decoder reads to say a response: the start token, then all but the last one."""
        fed = response.new_full(response.shape, self.start)
        fed[:, 1:] = response[:, :-1]
        return fed

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which forward passes run."""
        if not self.autocast:
            return contextlib.nullcontext()
        torch = require("torch", "llm")
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16)  # type: ignore[no-any-return]

    def frozen(self) -> Actor:
        """Return a copy that does not learn: the reference of the KL term."""
        twin = copy.deepcopy(self.network).eval().requires_grad_(False)
        return Actor(twin, self.value_head, self.tokenizer, self.recipe, self.device, self.autocast)


def load_actor(path: str, recipe: Recipe) -> Actor:
    """Return a model ready for training, its value head at 0.

    Args:
        path: A folder with config.json, tokenizer and weights, or a hub id.
        recipe: Settings of the run.

    Raises:
        MissingExtraError: If torch or Transformers is not installed.
        ConfigError: If there is no such model, or it is no encoder-decoder.
        EngineError: If it cannot be loaded.
    """
    check_path(path)
    torch, transformers = require("torch", "llm"), require("transformers", "llm")
    device = recipe.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with without_progress(transformers):
            config = transformers.AutoConfig.from_pretrained(path)
            check_kind(path, config)
            network = transformers.AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        network = network.to(device).eval()
    except ConfigError:
        raise
    except Exception as error:
        # Transformers raises many kinds of errors here; for the caller they are one thing.
        raise EngineError(f"Transformers could not load {path!r}: {one_line(error)}") from error
    return make_actor(network, tokenizer, recipe, device)


def make_actor(network: Any, tokenizer: Any, recipe: Recipe, device: str = "cpu") -> Actor:
    """Return an actor around a network in memory.

    Raises:
        ConfigError: If its tokenizer has no end token.
    """
    torch = require("torch", "llm")
    if tokenizer.eos_token_id is None:
        raise ConfigError("The model's tokenizer has no end token, so responses could not end.")
    width = getattr(network.config, "d_model", None) or network.config.hidden_size
    head = torch.nn.Linear(int(width), 1)
    # Zero, not random: the first advantages are then plain returns, and nothing global is drawn from.
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    _plain_generation(network, tokenizer)
    return Actor(network, head.to(device), tokenizer, recipe, device, _autocast(recipe, device))


def check_kind(path: str, config: Any) -> None:
    """Check that a configuration is an encoder-decoder's.

    Raises:
        ConfigError: If it is not; the message says what it is instead.
    """
    if config.is_encoder_decoder:
        return
    names = [str(name) for name in getattr(config, "architectures", None) or ()]
    shown = f"{path!r} ({', '.join(names) or config.model_type})"
    if any(name.endswith(CAUSAL) for name in names):
        raise ConfigError(f"{shown} is a causal model; train emprl takes an encoder-decoder such as T5.")
    raise ConfigError(
        f"{shown} is neither causal nor encoder-decoder; train emprl takes an encoder-decoder such as T5."
    )


def _plain_generation(network: Any, tokenizer: Any) -> None:
    """Keep only the special tokens of the model's own defaults: the recipe says how responses are sampled."""
    transformers = require("transformers", "llm")
    own = network.generation_config
    network.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
    )


def _autocast(recipe: Recipe, device: str) -> bool:
    """Return whether forward passes run in bfloat16."""
    if recipe.dtype != "auto":
        return recipe.dtype == "bfloat16"
    torch = require("torch", "llm")
    return device.startswith("cuda") and bool(torch.cuda.is_bf16_supported())


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Run a block whose draws from PyTorch's global generators follow from a seed, and put those back.

    Dropout takes no generator of its own, so this is the one way to make it repeatable without touching what
    others draw.
    """
    torch = require("torch", "llm")
    gpus = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed % 2**63)
        yield


def is_finite(value: float) -> bool:
    """Return whether a number is neither NaN nor infinite."""
    return math.isfinite(value)
