"""Empathy identifiers on an encoder: a Transformers encoder, or T5's, with a head for each mechanism (extra ``llm``).

EmpRL (arXiv 2408.02976) classifies with T5's encoder. Here one encoder reads context and response as a pair, its last
hidden states are averaged over the tokens, and three linear heads give the levels. A folder holds the encoder and its
tokenizer as Transformers writes them (``encoder/``), the heads (``heads.safetensors``) and the settings
(``encoder_identifiers.json``) with the hash of both weights; nothing in it is unpickled.

What it reads depends on the machine in the last digits, so a reward from it is ``rule-only``: repeatable on one
machine, not exact on all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import ENCODER, LEVELS, MECHANISMS, paired
from empathy_gym.simulators.engines.prompting import check_path, one_line, require, text_of, without_progress
from empathy_gym.simulators.errors import ConfigError, EngineError

FORMAT: Final = 1
"""Version of the folder; raised whenever an old one would be read wrongly."""
HEADS: Final = "heads.safetensors"
FOLDER: Final = "encoder"
MAX_LENGTH: Final = 192
"""Tokens of a pair; of what is longer the ends are cut, the longer text's first."""
BATCH: Final = 64
_OUTPUTS: Final = len(MECHANISMS) * len(LEVELS)


class EncoderIdentifier:
    """EPITOME's three mechanisms, read by an encoder.

    Args:
        encoder: A Transformers encoder.
        tokenizer: Its tokenizer.
        heads: A linear layer from its hidden size to 9 logits: three levels of each mechanism.
        max_length: Tokens of a pair.
        provenance: What it was trained on.
        hash_: Hash of the weights; worked out if empty.
    """

    family = "encoder"
    determinism = "rule-only"

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        heads: Any,
        *,
        max_length: int = MAX_LENGTH,
        provenance: Mapping[str, Any] | None = None,
        hash_: str = "",
    ) -> None:
        self._torch = require("torch", "llm")
        self.encoder, self.tokenizer, self.heads = encoder.eval(), tokenizer, heads.eval()
        self.max_length, self.provenance = max_length, dict(provenance or {})
        self.hash = hash_ or _weights_hash(encoder, heads)

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> EncoderIdentifier:
        """Load what `save` wrote.

        Args:
            folder: The folder.
            device: A torch device; ``"auto"`` for a GPU where there is one.

        Raises:
            MissingExtraError: If torch or Transformers is not installed.
            ConfigError: If the folder is damaged, or of another version.
        """
        torch = require("torch", "llm")
        settings = _settings(folder / ENCODER)
        encoder, tokenizer = load_encoder(str(folder / FOLDER))
        heads = torch.nn.Linear(hidden_size(encoder), _OUTPUTS)
        try:
            heads.load_state_dict(require("safetensors.torch", "llm").load_file(folder / HEADS))
        except Exception as error:
            # safetensors, torch and the file system have no error in common.
            raise ConfigError(f"{folder / HEADS} cannot be read: {one_line(error)}.") from None
        found = _weights_hash(encoder, heads)
        if found != settings["hash"]:
            raise ConfigError(
                f"The weights in {folder} are not those that {ENCODER} names: their hash is {found[:16]}, not "
                f"{str(settings['hash'])[:16]}. Train the identifiers again."
            )
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        return cls(
            encoder.to(where),
            tokenizer,
            heads.to(where),
            max_length=int(settings["max_length"]),
            provenance=settings["provenance"],
            hash_=found,
        )

    def save(self, folder: Path) -> Path:
        """Write encoder, tokenizer, heads and settings into a folder, and return the settings' file.

        The settings are written last: a folder that was not finished is none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ENCODER).unlink(missing_ok=True)
        with without_progress(require("transformers", "llm")):
            self.encoder.save_pretrained(folder / FOLDER)
        self.tokenizer.save_pretrained(folder / FOLDER)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.heads.state_dict().items()}
        require("safetensors.torch", "llm").save_file(state, folder / HEADS)
        settings = {
            "format": FORMAT,
            "mechanisms": list(MECHANISMS),
            "levels": list(LEVELS),
            "max_length": self.max_length,
            "provenance": self.provenance,
            "hash": self.hash,
        }
        draft = folder / f"{ENCODER}.tmp"
        draft.write_text(f"{json.dumps(settings, indent=2, sort_keys=True)}\n", "utf-8")
        os.replace(draft, folder / ENCODER)
        return folder / ENCODER

    @property
    def fingerprint(self) -> str:
        """What reads: ``encoder-identifiers:`` and the beginning of the weights' hash."""
        return f"encoder-identifiers:{self.hash[:16]}"

    def probabilities(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each level, shape (n, 3 mechanisms, 3 levels).

        Args:
            contexts: What each response answers, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        paired(contexts, responses)
        torch = self._torch
        found = np.zeros((len(responses), len(MECHANISMS), len(LEVELS)), dtype=np.float64)
        # Pairs of a length go together, so that little is padding.
        order = sorted(range(len(responses)), key=lambda i: len(contexts[i]) + len(responses[i]))
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                logits = self.logits([contexts[i] for i in part], [responses[i] for i in part])
                found[part] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
        return found

    def levels(self, contexts: Sequence[str], responses: Sequence[str]) -> NDArray[np.int64]:
        """Return the likeliest level, the lower of equals, shape (n, 3 mechanisms).

        Args:
            contexts: What each response answers, shape (n,).
            responses: Any strings, shape (n,).

        Raises:
            ValueError: If there are not as many contexts as responses.
        """
        return np.asarray(self.probabilities(contexts, responses).argmax(axis=2), dtype=np.int64)

    def logits(self, contexts: Sequence[str], responses: Sequence[str]) -> Any:
        """Return logits as a tensor, shape (n, 3 mechanisms, 3 levels), with what gradients need."""
        pairs = self.tokenizer(
            [text_of(context) for context in contexts],
            [text_of(response) for response in responses],
            truncation="longest_first",
            max_length=self.max_length,
            padding=True,
            return_tensors="pt",
        ).to(self.heads.weight.device)
        hidden = self.encoder(
            input_ids=pairs["input_ids"], attention_mask=pairs["attention_mask"]
        ).last_hidden_state
        mask = pairs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return self.heads(pooled).view(-1, len(MECHANISMS), len(LEVELS))


def load_encoder(path: str) -> tuple[Any, Any]:
    """Return an encoder and its tokenizer: of an encoder-decoder model, T5's kind, the encoder alone.

    Args:
        path: A folder, or a name on the hub.

    Raises:
        MissingExtraError: If torch or Transformers is not installed.
        ConfigError: If there is no such folder, or the model has no encoder that can be had alone.
        EngineError: If it cannot be loaded.
    """
    check_path(path)
    torch, transformers = require("torch", "llm"), require("transformers", "llm")
    try:
        with without_progress(transformers), _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(path)
            kind = _kind(transformers, path, config)
            encoder = getattr(transformers, kind).from_pretrained(path, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except ConfigError:
        raise
    except Exception as error:
        # Transformers raises many kinds of errors here; for the caller they are one thing.
        raise EngineError(f"Transformers could not load the encoder {path!r}: {one_line(error)}") from None
    if tokenizer.pad_token_id is None:
        raise ConfigError(f"The tokenizer of {path!r} has no padding token; identifiers need an encoder's.")
    return encoder, tokenizer


def _kind(transformers: Any, path: str, config: Any) -> str:
    """Return the class that loads a model's encoder.

    Raises:
        ConfigError: If the model has no encoder that can be had alone.
    """
    names = transformers.models.auto.modeling_auto
    if config.model_type in names.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES:
        return "AutoModelForTextEncoding"
    causal = config.model_type in names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = config.model_type in names.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder or (causal and not masked):
        raise ConfigError(
            f"{path!r} is of the type {config.model_type!r}; identifiers need an encoder (BERT's kind) or T5's kind."
        )
    return "AutoModel"


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep Transformers from reporting that the decoder's weights were left out."""
    log = transformers.utils.logging
    level = log.get_verbosity()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(level)


def hidden_size(encoder: Any) -> int:
    """Return the width of an encoder's hidden states.

    Raises:
        ConfigError: If its configuration does not say.
    """
    for name in ("hidden_size", "d_model", "dim"):
        if isinstance(getattr(encoder.config, name, None), int):
            return int(getattr(encoder.config, name))
    raise ConfigError(f"The configuration of {type(encoder).__name__} names no hidden size.")


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {one_line(error)}.") from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        got = settings.get("format") if isinstance(settings, dict) else None
        raise ConfigError(
            f"{file} has format {got!r}, this version reads {FORMAT}: train the identifiers again."
        )
    if settings.get("mechanisms") != list(MECHANISMS) or settings.get("levels") != list(LEVELS):
        raise ConfigError(
            f"{file} reads {settings.get('mechanisms')}; identifiers read {', '.join(MECHANISMS)}."
        )
    return settings


def _weights_hash(encoder: Any, heads: Any) -> str:
    """Return the SHA-256 of all weights, by name: the same before saving and after loading."""
    digest = hashlib.sha256()
    for part in (encoder, heads):
        state = part.state_dict()
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
