"""Wrappers: what can be put around an environment without changing the task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from empathy_gym.envs.conversation import ConversationEnv
from empathy_gym.envs.instructions import instruction_hash
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.records import EpisodeRecorder, RecordWriter


class RecordEpisodes(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Write one JSON line for every episode that ends (see `empathy_gym.simulators.records`).

    The line holds what was done and how it was read, and nothing that changes between runs: the same episode
    gives the same line. An episode that is given up by a reset is not written. The file is open only while a
    line is written, so that several environments may share it.

    Args:
        env: An environment of one conversation, wrapped or not.
        path: File to append to; folders above it are made.
        policy: What the policy is called in the records.

    Raises:
        ConfigError: If the environment is not one of a single conversation, or the file cannot be written.
    """

    def __init__(
        self, env: gym.Env[Any, Any], path: str | os.PathLike[str], policy: str | None = None
    ) -> None:
        if not isinstance(env, gym.Env) or not isinstance(env.unwrapped, ConversationEnv):
            raise ConfigError(
                f"RecordEpisodes got {env!r:.80}; it records single environments of this package."
            )
        RecordConstructorArgs.__init__(self, path=os.fspath(path), policy=policy)
        super().__init__(env)
        self.path = _writable(os.fspath(path))
        self._chat: ConversationEnv[Any, Any] = env.unwrapped
        setting = self._chat.setting
        self._recorder = EpisodeRecorder(
            env_id=env.spec.id if env.spec is not None else type(self._chat).__name__,
            env_kwargs=self._chat.kwargs,
            user=setting.user,
            reward=setting.kwargs.get("reward", "delta"),
            policy=policy,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and a record."""
        obs, info = self.env.reset(seed=seed, options=options)
        hash_ = instruction_hash(self._chat.instruction)
        self._recorder.begin(self._chat.dialogue, instruction_hash=hash_, seed=seed)
        return obs, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; the record is written if it was the last one."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        text, strategy = self._chat.recorded(action)
        terms = info["reward_terms"]
        self._recorder.step(text, self._chat.dialogue, float(reward), terms, strategy=strategy)
        if terminated or truncated:
            with RecordWriter(self.path) as writer:
                writer.write(self._recorder.record())
        return obs, reward, terminated, truncated, info


def _writable(path: str) -> str:
    """Return a path, once it is known that a file can be written there: an episode is too late to find out.

    Raises:
        ConfigError: If it cannot.
    """
    place = Path(path)
    above = next((folder for folder in place.absolute().parents if folder.exists()), place.absolute().parent)
    if place.is_dir():
        raise ConfigError(f"Records cannot be written to {path!r}: it is a folder; name a file in it.")
    if not above.is_dir():
        raise ConfigError(f"Records cannot be written to {path!r}: {str(above)!r} is a file.")
    if not os.access(place if place.exists() else above, os.W_OK):
        raise ConfigError(f"Records cannot be written to {path!r}: no permission.")
    return path
