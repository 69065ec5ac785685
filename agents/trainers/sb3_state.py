"""Where a run is: what Stable-Baselines3 does not keep in its archive and an exact resume needs.

The conversations that are going on, the latest observations, the states of recurrent networks, the replay buffer and
the global generators that Stable-Baselines3 draws from. Pickled: load only files that you trust.
"""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any, Final

import numpy as np

from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError

KEPT: Final = (
    "_last_obs",
    "_last_episode_starts",
    "_last_original_obs",
    "_last_lstm_states",
    "replay_buffer",
    "_n_calls",
    "ep_info_buffer",
    "ep_success_buffer",
)
"""Attributes of a model that loading would lose or make anew."""


def dump(model: Any, envs: Any, extra: dict[str, Any]) -> bytes:
    """Return the state of a run, pickled.

    Args:
        model: The model between two rollouts.
        envs: Its environments.
        extra: What the trainer wants to keep.
    """
    torch = require("torch", "sb3")
    state = {
        "envs": envs,
        "model": {name: getattr(model, name) for name in KEPT if hasattr(model, name)},
        "action_space": model.action_space,
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "extra": extra,
    }
    return pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)


def load(class_: Any, path: Path, pickled: bytes, tensorboard: str | None) -> tuple[Any, Any, dict[str, Any]]:
    """Return a model that goes on where a run was, its environments, and what the trainer kept.

    Args:
        class_: The algorithm's class.
        path: The checkpoint.
        pickled: What `dump` returned.
        tensorboard: Folder of the logs.

    Raises:
        ConfigError: If it cannot be read.
    """
    torch = require("torch", "sb3")
    try:
        state = pickle.loads(pickled)
        model = class_.load(path, env=state["envs"], device="cpu", force_reset=False)
    except Exception as error:  # what unpickling raises is anything
        raise ConfigError(f"{path} cannot be resumed: {type(error).__name__}: {error}.") from None
    for name, value in state["model"].items():
        setattr(model, name, value)
    model.action_space = state["action_space"]
    model.tensorboard_log = tensorboard
    random.setstate(state["random"][0])
    np.random.set_state(state["random"][1])
    torch.set_rng_state(state["random"][2])
    return model, state["envs"], dict(state["extra"])
