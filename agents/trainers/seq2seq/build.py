"""A small T5 from nothing, for where no pretrained one can be had.

Tokenizer and weights are made on the spot: a byte-level BPE vocabulary (Sennrich, Haddow and Birch 2016, arXiv
1508.07909) of the texts at hand, and a T5 (Raffel et al. 2020, arXiv 1910.10683) of a few million weights, trained on
conversations. It knows the words of its few texts and little else: it is for tests, for learning how training works, and
for comparing a policy with itself before and after. It is not a pretrained model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.trainers.seq2seq.checkpoint import save_model
from empathy_gym.agents.trainers.seq2seq.model import Actor, make_actor, seeded
from empathy_gym.agents.trainers.seq2seq.recipe import SMALL
from empathy_gym.agents.trainers.seq2seq.warm_start import Pair, Supervised
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
LONGEST: Final = 512
"""Most tokens of a source that the tokenizer announces."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a small T5 is.

    Attributes:
        vocabulary: Tokens.
        width: Of the hidden states.
        inner: Of the feed-forward layers.
        layers: Of the encoder, and of the decoder.
        heads: Of attention.
        dropout: Of training; a few passes over text do not overfit so few weights, and it costs a fifth of the time.
    """

    vocabulary: int = 2500
    width: int = 128
    inner: int = 384
    layers: int = 2
    heads: int = 4
    dropout: float = 0.0


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Return a byte-level BPE tokenizer of some texts: it can say any text, and says theirs in few tokens."""
    library, transformers = require("tokenizers", "llm"), require("transformers", "llm")
    built = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
    built.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    built.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    built.train_from_iterator(texts, trainer)
    built.post_processor = library.processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, built.token_to_id(END))]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=built, model_max_length=LONGEST, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )


def small_t5(tokenizer: Any, size: Size, seed: int) -> Any:
    """Return a T5 with random weights that follow from a seed."""
    transformers = require("transformers", "llm")
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=size.width,
        d_kv=size.width // size.heads,
        d_ff=size.inner,
        num_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=size.dropout,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with seeded(derive_seed(seed, "weights"), "cpu"):
        return transformers.T5ForConditionalGeneration(config).eval()


def untrained(texts: Sequence[str], size: Size | None = None, seed: int = 0) -> Actor:
    """Return a small T5 with random weights and a tokenizer of some texts.

    Raises:
        ConfigError: If there are no texts.
    """
    size = size or Size()
    if not texts:
        raise ConfigError("a tokenizer needs some texts to be trained on.")
    tokenizer = train_tokenizer(texts, size.vocabulary)
    return make_actor(small_t5(tokenizer, size, seed), tokenizer, SMALL)


def build_t5(
    out: str | os.PathLike[str],
    texts: Sequence[str],
    pairs: Sequence[Pair],
    *,
    size: Size | None = None,
    epochs: int = 8,
    lr: float = 1e-3,
    batch: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Make a small T5, train it on conversations, and write it as a model folder that `hf:FOLDER` loads.

    Args:
        out: The folder; it may be empty, but may hold nothing.
        texts: What the tokenizer is trained on.
        pairs: What the network is trained on.
        size: How large it is.
        epochs: Passes over the pairs; 0 leaves random weights.
        lr: Peak learning rate.
        batch: Pairs of a step.
        seed: Of weights, order and dropout.
        progress: Is told how many steps of how many are done.

    Returns:
        ``weights`` (their number), ``vocabulary``, ``pairs`` and the last epoch's ``loss`` per token.

    Raises:
        ConfigError: If the folder holds something, or there is no text.
        MissingExtraError: If torch or Transformers is not installed.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{str(folder)!r} is not empty; name another folder for the model.")
    actor = untrained(texts, size, seed)
    loss = float("nan")
    if epochs:
        work = Supervised(actor, pairs, epochs=epochs, lr=lr, batch=batch, seed=derive_seed(seed, "building"))
        for epoch in range(epochs):
            loss = work.epoch(epoch, progress)
    draft = folder.with_name(f".{folder.name}.draft")
    save_model(actor, draft, {"phase": "building", "from_scratch": True, "seed": seed})
    if folder.exists():
        folder.rmdir()
    draft.rename(folder)
    weights = sum(parameter.numel() for parameter in actor.network.parameters())
    found = {"weights": float(weights), "vocabulary": float(len(actor.tokenizer)), "pairs": float(len(pairs))}
    return {**found, **({"loss": loss} if epochs else {})}
