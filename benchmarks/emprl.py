"""EmpRL's training, put together: exchanges, environment, model, recipe, validation (`empathy-gym train emprl`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import numpy as np

import empathy_gym.envs  # noqa: F401  registers the environments
from empathy_gym.agents.trainers.ppo_seq2seq import Messages, Progress, Seq2SeqTrainer
from empathy_gym.agents.trainers.seq2seq.checkpoint import RunFolder, read_note
from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL, SMALL, Recipe
from empathy_gym.benchmarks.response_scores import distinct, mean_words
from empathy_gym.envs.response_setting import ResponseSetting
from empathy_gym.simulators.engines.prompting import check_path, folder_revision, model_name
from empathy_gym.simulators.exchanges import Exchange, load_exchanges
from empathy_gym.simulators.hashing import content_hash
from empathy_gym.simulators.packaged import package_version

if TYPE_CHECKING:
    from empathy_gym.agents.trainers.seq2seq.model import Actor

ENV_ID: Final = "EmpathyResponse-v0"
TINY: Final = "tiny"
"""In place of a model: a small T5, made from scratch."""
VALIDATED: Final = 256
"""Most exchanges of the validation split that are answered at an evaluation."""
SCRATCH: Final = "from_scratch"
"""In a model folder's note: whether its model was made from scratch, before whatever it learned since."""
BUILDING: Final[dict[str, Any]] = {"epochs": 7, "lr": 8e-3, "batch": 12}
"""How the small T5 learns English, in about five minutes on one core. T5 takes far higher rates than most models: its
embeddings begin with a deviation of 1, so that small steps hardly move them."""


@dataclass(frozen=True)
class Training:
    """What a run is trained on and paid by.

    Attributes:
        exchanges: Source of the exchanges to train on: a split, a path, ``"empathetic-dialogues:train"``.
        validation: Source of those it is evaluated on while training.
        identifier: Who pays: as the environment's argument.
        rewards: Further arguments of the environment: ``guard``, ``length_weight``, ...
    """

    exchanges: str = "train"
    validation: str = "validation"
    identifier: str | None = None
    rewards: Mapping[str, Any] = field(default_factory=dict)

    def kwargs(self, exchanges: str) -> dict[str, Any]:
        """Return the environment's keyword arguments."""
        paid = {} if self.identifier is None else {"identifier": self.identifier}
        return {"exchanges": exchanges, **paid, **self.rewards}


def default_recipe(model: str) -> Recipe:
    """Return the recipe a model starts from: EmpRL's, or that of small models made from scratch."""
    return SMALL if from_scratch(model) else EMPRL


def from_scratch(model: str) -> bool:
    """Return whether a model is a small T5 that was made from scratch, as its folder says."""
    return model == TINY or bool(Path(model).is_dir() and read_note(model).get(SCRATCH))


def build_tiny(
    out: str | os.PathLike[str], seed: int = 0, progress: Callable[[int, int], None] | None = None, **how: Any
) -> dict[str, float]:
    """Build the small T5 from text of this project's training splits; returns what `build_t5` does."""
    from empathy_gym.agents.trainers.seq2seq.build import build_t5
    from empathy_gym.benchmarks.seq2seq_text import english_pairs, english_texts

    pairs = english_pairs()
    return build_t5(out, english_texts(pairs), pairs, seed=seed, progress=progress, **{**BUILDING, **how})


def train(
    model: str,
    out: str | os.PathLike[str],
    recipe: Recipe,
    training: Training | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a model as EmpRL does, and return the last round's numbers; the folder holds the rest.

    Args:
        model: A folder or a hub id of an encoder-decoder, or `TINY`.
        out: The run's folder.
        recipe: Its settings.
        training: What it is trained on and paid by.
        resume: Whether to go on with what the folder holds.
        progress: Is told how far it has come.

    Raises:
        ConfigError: If a name is not valid, the model is no encoder-decoder, or the folder holds something else.
        TrainingError: If the run diverges.
        MissingExtraError: If torch or Transformers is not installed.
    """
    from empathy_gym.agents.trainers.seq2seq.model import load_actor
    from empathy_gym.benchmarks.seq2seq_text import exchange_pairs

    training = training or Training()
    setting = ResponseSetting.make(training.kwargs(training.exchanges))  # type: ignore[arg-type]
    validation = Validation(training)
    folder = RunFolder(out)
    path = model
    identity = {
        "package_version": package_version(),
        "model": model_name(model),
        "env": ENV_ID,
        "reward": setting.reward.fingerprint,
        "exchanges": _hash(setting.exchanges),
        "validation": _hash(validation.exchanges),
        "recipe": recipe.model_dump(mode="json"),
    }
    if model != TINY:
        identity["revision"] = _revision(model)
    folder.open(identity, resume=resume)
    if model == TINY:
        path = str(folder.base)
        _ensure_base(folder.base, recipe.seed, progress)
    actor = load_actor(path, recipe)
    env = gym.make_vec(
        ENV_ID, num_envs=recipe.batch, autoreset_mode="Disabled", **training.kwargs(training.exchanges)
    )
    trainer = Seq2SeqTrainer(
        actor,
        env,
        [exchange.id for exchange in setting.exchanges],
        exchange_pairs(setting.exchanges),
        folder,
        evaluate=validation,
        note={SCRATCH: from_scratch(path)},
        progress=progress,
    )
    return trainer.run()


def _ensure_base(base: Path, seed: int, progress: Progress | None) -> None:
    if (base / "config.json").is_file():
        return

    def show(done: int, total: int) -> None:
        if progress is not None:
            progress("building a small T5", done, total, {})

    build_tiny(base, seed, show)


def _revision(model: str) -> str:
    check_path(model)
    return folder_revision(model) if Path(model).is_dir() else ""


def _hash(exchanges: Sequence[Exchange]) -> str:
    return content_hash([[e.id, list(e.context), e.response] for e in exchanges])[:16]


class Validation:
    """Measures a policy on the validation exchanges, through the environment.

    Args:
        training: What pays, and which exchanges there are.
    """

    def __init__(self, training: Training) -> None:
        self.exchanges = load_exchanges(training.validation)[:VALIDATED]
        self.env: Any = gym.make_vec(
            ENV_ID,
            num_envs=len(self.exchanges),
            autoreset_mode="Disabled",
            **training.kwargs(training.validation),
        )

    def __call__(self, respond: Callable[[Sequence[Messages]], list[str]]) -> dict[str, float]:
        """Return mean ``reward``, ``distinct_2`` and ``words`` of one response to each exchange."""
        _, infos = self.env.reset(options={"exchange": [exchange.id for exchange in self.exchanges]})
        texts = respond(list(infos["messages"]))
        rewards = self.env.step(tuple(texts))[1]
        return {
            "reward": float(np.mean(rewards)),
            "distinct_2": distinct(texts, 2),
            "words": mean_words(texts),
        }


def untrained_actor(seed: int = 0) -> Actor:
    """Return the small T5 as it is before it has learned anything: a row to compare with."""
    from empathy_gym.agents.trainers.seq2seq.build import untrained
    from empathy_gym.benchmarks.seq2seq_text import english_pairs, english_texts

    return untrained(english_texts(english_pairs()), seed=seed)
