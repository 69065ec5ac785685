"""Recipes: everything that a training run of a chat model depends on, as checked data.

A recipe is a YAML file in sections. Every field has a default but the model; a field that does not exist, has a
wrong value or contradicts another one is named in one line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from empathy_gym.envs.setting import ChatKwargs
from empathy_gym.simulators.errors import ConfigError, did_you_mean
from empathy_gym.simulators.hashing import content_hash, plain


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRecipe(_Section):
    """Who the policy talks with; the keyword arguments of EmpathyChat-v0."""

    scenarios: str = "train"
    difficulty: Literal["easy", "normal", "hard"] = "normal"
    max_turns: int = Field(default=8, ge=1)
    initial_emotion: int | None = Field(default=None, ge=0, le=100)
    reward: str = "delta"
    think: bool | Literal["strip"] = False
    simulator: str = "embedded"
    simulator_config: str | dict[str, Any] | None = None

    def kwargs(self) -> ChatKwargs:
        """Return the environment's keyword arguments."""
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return ChatKwargs(**given)  # type: ignore[typeddict-item, no-any-return, unused-ignore]


class RolloutRecipe(_Section):
    """How episodes are played."""

    engine: Literal["transformers", "vllm"] = "transformers"
    groups: int = Field(default=8, ge=1)
    """Groups of a step; the siblings of a group share scenario and dialogue seed."""
    group_size: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=128, ge=1)
    """Most tokens of a reply, thoughts included."""
    slots: int = Field(default=64, ge=1)
    """Conversations at a time."""
    max_model_len: int | None = Field(default=None, ge=32)
    """Tokens of prompt and reply together; the model's own limit by default."""
    history_mode: Literal["exact", "keep", "drop_thinking"] = "exact"
    template_kwargs: dict[str, Any] = Field(default_factory=dict)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of vLLM's weights and arithmetic; "auto" is float32 on a CPU and bfloat16 on a GPU."""
    gpu_memory_utilization: float = Field(default=0.45, gt=0.0, le=1.0)
    """Share of a GPU that vLLM takes; the trainer needs the rest."""


class LossRecipe(_Section):
    """What is minimised."""

    advantage: Literal["trajectory", "turn"] = "trajectory"
    """One number an episode, as in RLVER; or return-to-go of each turn against that of the siblings."""
    advantage_std: bool = True
    """Whether trajectory advantages are divided by the group's standard deviation."""
    length: Literal["token", "sequence", "constant"] = "token"
    """Mean over all tokens; mean over episodes of their mean; or sum over a constant length (no length bias)."""
    learn_from: int | None = Field(default=None, ge=2)
    """Siblings of a group that are learnt from, those whose returns vary most (PODS); all if None."""
    template_price: float = Field(default=0.0, ge=0.0)
    """What a reply pays for its most common phrase of five words, times the share of the replies to other people that
    have it, too; in units of the reward (1 is 100 points of emotion)."""
    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    clip_high: float = Field(default=0.2, gt=0.0)
    """Above clip_low: clip-higher (DAPO)."""
    kl_coefficient: float = Field(default=0.0, ge=0.0)
    """Of the KL estimate k3 against the model the run began with."""
    importance_cap: float = Field(default=2.0, ge=1.0)
    """Cap on trainer over sampler probability, by which a token's loss is weighted."""


class OptimiserRecipe(_Section):
    """AdamW, and how the gradient is added up."""

    learning_rate: float = Field(default=1e-6, gt=0.0)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    minibatches: int = Field(default=1, ge=1)
    """Optimiser steps for each rollout and epoch."""
    epochs: int = Field(default=1, ge=1)
    micro_batch: int = Field(default=8, ge=1)
    """Sequences of one forward pass; changes memory, not the result."""
    gradient_checkpointing: bool = False
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights; "auto" is float32, and bfloat16 for the frozen weights under LoRA on a GPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the arithmetic (autocast); "auto" is float32 on a CPU and bfloat16 on a GPU."""


class LoraRecipe(_Section):
    """Low-rank adapters (peft) in place of full training."""

    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64.0, gt=0.0)
    targets: str | tuple[str, ...] = "all-linear"


class WarmStartRecipe(_Section):
    """Supervised fine-tuning on talks of scripted policies, before anything else."""

    policies: tuple[str, ...] = ("scripted:listener", "scripted:slipping-15", "scripted:slipping-25")
    """None that sees what is hidden: what it says could not be known from the conversation."""
    episodes: int = Field(default=200, ge=1)
    """Of all policies together, on the task's users."""
    talks: str | None = None
    """Conversations written by hand, beside them: "bundled", or a YAML file that is a list of lists of lines."""
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0.0)
    batch: int = Field(default=16, ge=1)
    """Episodes of an optimiser step."""


class PPORecipe(_Section):
    """What PPO has beside GRPO: a critic."""

    critic_learning_rate: float = Field(default=5e-6, gt=0.0)
    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    gae_lambda: float = Field(default=1.0, ge=0.0, le=1.0)
    value_clip: float = Field(default=0.5, gt=0.0)
    value_coefficient: float = Field(default=0.1, ge=0.0)
    """Weight of the critic's loss where it reaches the network that both share."""
    critic_warmup_steps: int = Field(default=0, ge=0)
    """Steps at the start in which only the critic learns."""


class SaveRecipe(_Section):
    """Checkpoints."""

    every: int = Field(default=10, ge=1)
    keep: int = Field(default=2, ge=1)
    """Latest ones kept; the best by evaluation is kept beside them."""


class EvaluationRecipe(_Section):
    """Episodes on users that are not trained on."""

    every: int = Field(default=10, ge=0)
    """Steps between evaluations; 0 for none."""
    scenarios: str = "validation"
    episodes: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, ge=0.0)


class HealthRecipe(_Section):
    """When to warn, and when to stop."""

    growth: float = Field(default=1.3, gt=1.0)
    """A hacking signature that grew by more than this factor is warned of."""
    max_fault_rate: float = Field(default=0.02, ge=0.0, le=1.0)
    max_gap: float = Field(default=0.1, gt=0.0)
    """Greatest mean distance between the log-probabilities of sampler and trainer."""
    min_entropy: float = Field(default=0.05, ge=0.0)
    stop: bool = False
    """Whether three warnings of one kind in a row end the run, its last good checkpoint kept."""


class Recipe(_Section):
    """A training run."""

    algorithm: Literal["grpo", "ppo", "rft"] = "grpo"
    """Groups compared; a critic; or rejection sampling: the best of each group is learnt by heart."""
    model: str
    """A folder or a hub id."""
    steps: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)
    task: TaskRecipe = TaskRecipe()
    rollout: RolloutRecipe = RolloutRecipe()
    loss: LossRecipe = LossRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    lora: LoraRecipe | None = None
    ppo: PPORecipe | None = None
    warm_start: WarmStartRecipe | None = None
    save: SaveRecipe = SaveRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()
    health: HealthRecipe = HealthRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        """Refuse what cannot be meant.

        Raises:
            ValueError: Naming both fields.
        """
        loss, rollout = self.loss, self.rollout
        if loss.clip_high < loss.clip_low:
            raise ValueError(
                f"loss.clip_high ({loss.clip_high:g}) is below loss.clip_low ({loss.clip_low:g}); clip-higher means "
                "it is above, and equal is the usual clip"
            )
        if self.algorithm != "ppo" and rollout.group_size < 2:
            raise ValueError(
                f"rollout.group_size is {rollout.group_size}, but algorithm {self.algorithm!r} compares siblings; set "
                "it to 8 or so, or algorithm: ppo"
            )
        if self.ppo is not None and self.algorithm != "ppo":
            raise ValueError(
                f"there is a section 'ppo', but algorithm is {self.algorithm!r}; set algorithm: ppo"
            )
        if loss.advantage == "turn" and self.task.reward == "final" and self.task.max_turns > 1:
            raise ValueError(
                "loss.advantage is 'turn' but task.reward 'final' pays on the last turn only, so that every turn has "
                "the same return-to-go; take reward: delta, or advantage: trajectory"
            )
        if rollout.history_mode == "drop_thinking" and self.task.think is False:
            raise ValueError(
                "rollout.history_mode is 'drop_thinking' but task.think is false; nothing is thought"
            )
        if self.warm_start is not None and self.task.think is True:
            raise ValueError(
                "there is a section 'warm_start', but task.think is true and no scripted policy thinks"
            )
        if self.optimiser.minibatches > rollout.groups * rollout.group_size:
            raise ValueError(
                f"optimiser.minibatches ({self.optimiser.minibatches}) exceeds the episodes of a step "
                f"({rollout.groups * rollout.group_size})"
            )
        return self

    @property
    def identity(self) -> str:
        """A hash of what decides the results; the number of steps and where to save are not among it."""
        return content_hash(self.model_dump(mode="json", exclude={"steps", "save"}))[:16]


SECTIONS: Final = tuple(Recipe.model_fields)


def load_recipe(source: str | os.PathLike[str] | Mapping[str, Any], changes: Sequence[str] = ()) -> Recipe:
    """Return a recipe.

    Args:
        source: A YAML file, the name of a bundled recipe, or a mapping.
        changes: ``"optimiser.learning_rate=1e-6"`` and the like, applied in order; values are YAML.

    Raises:
        ConfigError: If the file cannot be read or a field is wrong; one line names it.
    """
    name = "recipe" if isinstance(source, Mapping) else os.fspath(source)
    data = dict(plain(source)) if isinstance(source, Mapping) else _read(recipe_path(name))
    for change in changes:
        _apply(data, change)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_reason(error)}") from None


def recipe_path(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of a bundled one.

    Raises:
        ConfigError: If there is none.
    """
    bundled = {file.stem: file for file in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}
    path = Path(name)
    if path.is_file():
        return path
    # A name may hold dots: only the ending of a file is taken off.
    plain_name = path.name.removesuffix(".yaml")
    if plain_name in bundled and path.parent in (Path("."), Path("recipes")):
        return bundled[plain_name]
    raise ConfigError(
        f"There is no recipe {name!r}.{did_you_mean(plain_name, bundled)} Valid: a YAML file, or one of "
        f"{', '.join(bundled)}."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping with some of {', '.join(SECTIONS)}.")
    return data


def _apply(data: dict[str, Any], change: str) -> None:
    """Change one field in place; the sections on the way are made where they are missing.

    Raises:
        ConfigError: If the change is not of the form FIELD=VALUE.
    """
    field, equals, text = change.partition("=")
    if not equals or not field:
        raise ConfigError(f"--set {change!r}: write FIELD=VALUE, e.g. optimiser.learning_rate=1e-6.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {change!r}: the value is not YAML.") from None
    *sections, last = field.split(".")
    for section in sections:
        inner = data.get(section)
        data[section] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[section]
    data[last] = value


def _reason(error: ValidationError) -> str:
    """Return the first problem in one line."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    field = ".".join(path)
    if problem["type"] == "extra_forbidden":
        valid = _fields(path[:-1])
        return f"unknown field {field!r}.{did_you_mean(path[-1], valid)} Valid: {', '.join(valid)}."
    if problem["type"] == "missing":
        return f"the field {field!r} is missing; it has no default."
    if not path:
        return f"{problem['ctx']['error']!s}."
    return f"{field} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def _fields(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in path:
        inner = [a for a in (model.model_fields[part].annotation, *_arguments(model, part)) if _is_model(a)]
        model = inner[0]
    return list(model.model_fields)


def _arguments(model: type[BaseModel], part: str) -> tuple[Any, ...]:
    return tuple(getattr(model.model_fields[part].annotation, "__args__", ()))


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
