"""A model trained with Stable-Baselines3 as a policy: ``sb3:FILE.zip``.

**Loading an archive unpickles it, which runs code that is in it. Load only files that you trust.**
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.agents.policies.strategic import Action, StrategyPolicy
from empathy_gym.agents.policy import Conversation
from empathy_gym.agents.trainers.sb3_files import algorithm_of, check_note, read_note
from empathy_gym.agents.trainers.sb3_settings import ALGORITHMS, own_randomness
from empathy_gym.envs.strategies import CLOSE, INTENSITIES, STRATEGIES
from empathy_gym.envs.strategy import EARLIEST_CLOSE, action_space
from empathy_gym.envs.strategy_observation import observation_space, observe
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.hashing import file_hash

ENV_ID: Final = "EmpathyStrategy-v0"


class SB3Policy(StrategyPolicy):
    """Chooses strategies with a trained model, from conversations alone.

    Each conversation is seen by the network on its own, so that results do not depend on how many run at a time:
    a matrix product may differ in its last digits with the number of its rows.

    Args:
        model: A model of Stable-Baselines3 or sb3-contrib.
        algo: Its name in `sb3_settings.ALGORITHMS`.
        hidden: Keys of the observation that it sees as zeros, as in training.
        deterministic: Whether the likeliest action is taken; otherwise one is drawn, by the conversation's seed.
        fingerprint: What it is called in manifests.

    Raises:
        ConfigError: If actions are to be drawn that have no probabilities (dqn).
    """

    def __init__(
        self,
        model: Any,
        algo: str,
        *,
        hidden: Sequence[str] = (),
        deterministic: bool = True,
        fingerprint: str | None = None,
    ) -> None:
        super().__init__()
        if algo == "dqn" and not deterministic:
            raise ConfigError("dqn has values and no probabilities to draw by; use deterministic=True.")
        self.model, self.algorithm = model, ALGORITHMS[algo]
        self.hidden, self.deterministic = tuple(hidden), deterministic
        self.intensity = not hasattr(model.action_space, "n")
        if fingerprint is not None:
            self.fingerprint = fingerprint
        self._states: dict[str, Any] = {}

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, deterministic: bool = True) -> SB3Policy:
        """Return the policy of a file. Loading it unpickles it: see the module.

        A file without a note, saved by Stable-Baselines3 alone, will do if its spaces are those of EmpathyStrategy-v0.

        Raises:
            ConfigError: If there is no such file, it is no model, or it is one of another environment.
            MissingExtraError: If Stable-Baselines3 is not installed.
        """
        note = read_note(path)
        algo = algorithm_of(path) if note is None else str(note.get("algo"))
        if algo not in ALGORITHMS:
            raise ConfigError(f"{path}: trained by {algo!r}, which is none of {', '.join(ALGORITHMS)}.")
        if note is not None:
            check_note(path, note, {"env": ENV_ID})
        class_ = ALGORITHMS[algo].load_class()
        try:
            with own_randomness():
                model = class_.load(path, device="cpu")
        except Exception as error:  # what unpickling raises is anything
            first = (str(error).splitlines() or [""])[0]
            raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {first:.200}") from None
        check_model(path, model)
        hidden = tuple((note or {}).get("hidden", ()))
        return cls(
            model,
            algo,
            hidden=hidden,
            deterministic=deterministic,
            fingerprint=f"sb3:{algo}:{file_hash(path)[:12]}",
        )

    def begin(self, keys: Sequence[str]) -> None:
        """Start with nothing chosen, and no state."""
        super().begin(keys)
        for key in keys:
            self._states.pop(key, None)

    def end(self, keys: Sequence[str]) -> None:
        """Forget what was chosen, and the state."""
        super().end(keys)
        for key in keys:
            self._states.pop(key, None)

    def decide(self, conversation: Conversation, taken: Sequence[str]) -> Action:
        """Return the model's action."""
        options: dict[str, Any] = {"deterministic": self.deterministic}
        if self.algorithm.masks:
            options["action_masks"] = masks_at(conversation.turn, self.intensity)
        if self.algorithm.recurrent:
            state = self._states.get(conversation.key)
            options |= {"state": state, "episode_start": np.array([state is None])}
        observation = self._observation(conversation, taken)
        if self.deterministic:
            action, state = self.model.predict(observation, **options)
        else:
            action, state = self._drawn(conversation, observation, options)
        if self.algorithm.recurrent:
            self._states[conversation.key] = state
        values = np.asarray(action).reshape(-1)
        return (int(values[0]), int(values[1])) if self.intensity else int(values[0])

    def _observation(self, conversation: Conversation, taken: Sequence[str]) -> dict[str, Any]:
        seen = observe(conversation.messages, conversation.turn, conversation.max_turns, taken)
        return {k: np.zeros_like(v) if k in self.hidden else np.asarray(v) for k, v in seen.items()}

    def _drawn(
        self, conversation: Conversation, observation: Any, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Draw an action; PyTorch's global generator is put back as it was."""
        torch = require("torch", "sb3")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(conversation.seed, conversation.turn, "sb3") % 2**63)
            drawn: tuple[Any, Any] = self.model.predict(observation, **options)
        return drawn


def masks_at(turn: int, intensity: bool) -> NDArray[np.bool_]:
    """Return which actions may be taken after some replies, as `EmpathyStrategyEnv.action_masks` does."""
    allowed = np.ones(len(STRATEGIES) + (INTENSITIES if intensity else 0), dtype=np.bool_)
    allowed[CLOSE] = turn >= EARLIEST_CLOSE
    return allowed


def check_model(path: str | os.PathLike[str], model: Any) -> None:
    """Refuse a model whose spaces are not those of EmpathyStrategy-v0.

    Raises:
        ConfigError: Naming the first difference.
    """
    space = observation_space()
    got = getattr(model.observation_space, "spaces", None)
    if got is None or set(got) != set(space.spaces):
        keys = "no dict" if got is None else ", ".join(sorted(set(got) ^ set(space.spaces))) or "none"
        raise ConfigError(
            f"{path} is a model of another environment than {ENV_ID}: its observation differs in {keys}."
        )
    for key, own in space.spaces.items():
        if got[key] != own:
            raise ConfigError(
                f"{path} is a model of another environment than {ENV_ID}: it sees {key} as {got[key]}, here it is {own}."
            )
    if model.action_space not in (action_space(False), action_space(True)):
        raise ConfigError(
            f"{path} is a model of another environment than {ENV_ID}: its actions are {model.action_space}."
        )
