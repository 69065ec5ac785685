"""What a run of EmpRL's training is: one flat table of settings, each of which can be overridden.

The defaults are those of EmpRL (arXiv 2408.02976): supervised warm start at learning rate 1e-4 for 3 epochs, PPO at
1e-5 with batches of 32, sampling from the 20 likeliest tokens at temperature 0.9, sources of at most 200 and responses
of at most 50 tokens. The adaptive coefficient of the KL term and the value loss follow Ziegler et al. (2019, arXiv
1909.08593), generalised advantage estimation Schulman et al. (2016, arXiv 1506.02438), clipping Schulman et al. (2017,
arXiv 1707.06347).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empathy_gym.simulators.errors import ConfigError, unknown_name

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Recipe(BaseModel):
    """Settings of one training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Count = 0
    """Everything random follows from it: the order of exchanges, dropout of the warm start, what is sampled."""
    device: str = "auto"
    """``cpu``, ``cuda``, ...; ``auto`` is the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward passes; weights stay float32. ``auto`` is bfloat16 where a GPU has it, else float32."""

    source_tokens: Positive = 200
    """Most tokens of a source: older turns are left out first, then the beginning of the last one."""
    target_tokens: Positive = 50
    """Most tokens of a response, its end token included."""
    top_k: Count = 20
    """Responses are sampled from the so many likeliest tokens; 0 for all."""
    temperature: Annotated[float, Field(gt=0.0, le=5.0)] = 0.9
    """Sampling temperature."""

    warm_epochs: Count = 3
    """Passes of the supervised warm start over the exchanges; 0 for none."""
    warm_lr: Rate = 1e-4
    """Its peak learning rate (AdamW, linear to 0 after 10 % of rising)."""
    warm_batch: Positive = 32
    """Exchanges of a step of the warm start."""
    label_smoothing: Share = 0.0
    """Of the warm start's cross-entropy."""

    ppo_steps: Count = 300
    """Rounds of PPO: in each, `batch` responses are sampled and learned from."""
    ppo_lr: Rate = 1e-5
    """Learning rate (AdamW without weight decay, constant)."""
    batch: Positive = 32
    """Responses of a round."""
    minibatch: Positive = 32
    """Responses of an optimizer step."""
    accumulation: Positive = 1
    """Parts into which a minibatch is split to save memory; gradients are the same but for rounding."""
    ppo_epochs: Positive = 4
    """Passes over a round's responses."""
    gamma: Share = 1.0
    """Discount per token."""
    lam: Share = 0.95
    """Lambda of generalised advantage estimation."""
    clip: Amount = 0.2
    """How far the ratio of new to old probability may move from 1 before its gradient stops."""
    value_clip: Amount = 0.2
    """How far a value may move from its old one, likewise."""
    value_coef: Amount = 0.1
    """Weight of the value loss."""
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """Gradients are scaled down to this norm."""
    kl_coef: Amount = 0.2
    """First coefficient of the KL term."""
    kl_target: Annotated[float, Field(gt=0.0)] = 6.0
    """KL per response, in nats, that the coefficient is steered to."""
    kl_horizon: Positive = 10_000
    """Responses within which the coefficient may change by a factor of e, about."""
    kl_limit: Annotated[float, Field(gt=0.0)] = 60.0
    """KL per response, in nats, above which a run has diverged and stops."""
    score: Literal["raw", "scale", "normalise"] = "scale"
    """What is done to rewards: nothing, division by their running standard deviation, or their running mean taken away
    first."""
    score_clip: Amount = 10.0
    """Most that such a score may differ from 0."""

    evaluate_every: Positive = 20
    """Rounds between evaluations on the validation split."""
    checkpoint_every: Positive = 20
    """Rounds between checkpoints."""

    def changed(self, overrides: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values of some fields.

        Raises:
            ConfigError: If a field is unknown or its value is not valid.
        """
        for name in overrides:
            if name not in Recipe.model_fields:
                raise unknown_name("field of the recipe", name, Recipe.model_fields)
        try:
            return Recipe.model_validate({**self.model_dump(), **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ConfigError(f"The recipe's {field} is {first['input']!r}: {first['msg']}.") from None


EMPRL: Final = Recipe()
"""EmpRL's settings, for a pretrained T5."""
SMALL: Final = EMPRL.changed(
    {
        "warm_lr": 4e-3,
        "warm_epochs": 8,
        "warm_batch": 12,
        "ppo_lr": 5e-4,
        "ppo_steps": 90,
        "ppo_epochs": 2,
        "batch": 64,
        "minibatch": 32,
        "kl_coef": 0.05,
        "kl_target": 4.0,
        "kl_horizon": 1000,
        "evaluate_every": 15,
        "checkpoint_every": 5,
    }
)
"""For a model of a few million weights that was trained from scratch: EmpRL's rates hardly move one."""


def read_recipe(
    path: str | Path | None = None, settings: Sequence[str] = (), *, base: Recipe = EMPRL
) -> Recipe:
    """Return a recipe from a file and from ``KEY=VALUE`` settings, which win over the file.

    Args:
        path: YAML file with a mapping of some of the fields, or None.
        settings: Each ``"KEY=VALUE"``; values are read as YAML.
        base: Values of the fields that are not given.

    Raises:
        ConfigError: If the file cannot be read, a field is unknown, or a value is not valid.
    """
    given: dict[str, Any] = {} if path is None else _read(Path(path))
    return base.changed({**given, **settings_of(settings, "--set")})


def settings_of(settings: Sequence[str], option: str) -> dict[str, Any]:
    """Return ``KEY=VALUE`` settings as a mapping, their values read as YAML.

    Args:
        settings: What was given.
        option: The option they were given by, for the message.

    Raises:
        ConfigError: If one is not of this form.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{option} takes KEY=VALUE; got {setting!r}.")
        found[key.strip()] = _number(value)
    return found


def _number(text: str) -> Any:
    """Return a value as YAML reads it; ``1e-5``, which YAML takes for a string, as a number."""
    try:
        return float(text) if "e" in text.lower() and any(c.isdigit() for c in text) else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {str(path)!r} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The recipe {str(path)!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, Mapping):
        raise ConfigError(f"The recipe {str(path)!r} is not a mapping of fields, e.g. 'ppo_lr: 1.0e-5'.")
    return {str(key): _number(value) if isinstance(value, str) else value for key, value in found.items()}
