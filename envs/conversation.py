"""What the single environments have in common: one conversation, its state, and how it is shown."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Final, Generic, TypeVar

import gymnasium as gym
from gymnasium.error import ResetNeeded

from empathy_gym.envs.info import info_of
from empathy_gym.envs.rendering import RENDER_MODES, ansi, checked_render_mode, rendered, write
from empathy_gym.envs.setting import ChatKwargs, ChatSetting, Transition, check_options
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

OPTIONS: Final = ("scenario", "dialogue")

O = TypeVar("O")  # noqa: E741
A = TypeVar("A")


class ConversationEnv(gym.Env[O, A], Generic[O, A], abc.ABC):
    """A conversation with one simulated user; what an observation and an action are is up to the environment.

    Args:
        kwargs: The keyword arguments of the task.
        also_valid: Further keyword arguments of the environment, for messages.
        render_mode: ``"ansi"``, ``"human"`` or None.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # type: ignore[misc]

    def __init__(self, kwargs: ChatKwargs, also_valid: tuple[str, ...], render_mode: str | None) -> None:
        if "autoreset_mode" in kwargs:
            raise ConfigError("autoreset_mode is an argument of the vector environment; use gym.make_vec.")
        self.setting = ChatSetting.make(kwargs, also_valid=(*also_valid, "render_mode"))
        self.kwargs: dict[str, Any] = {**kwargs}
        self.render_mode = checked_render_mode(render_mode)
        self._dialogue: Dialogue | None = None

    @abc.abstractmethod
    def _begun(self, dialogue: Dialogue) -> O:
        """Return the first observation of an episode that goes on from a dialogue."""

    @abc.abstractmethod
    def _taken(self, before: Dialogue, action: A) -> tuple[Transition, O]:
        """Return what an action comes to, and the observation after it."""

    @abc.abstractmethod
    def recorded(self, action: A) -> tuple[str, str | None]:
        """Return the last action as a record holds it: as text, and the strategy it came to, if it was one."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[O, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of `np_random`; None goes on with it.
            options: ``"scenario"``, the id of a scenario, or ``"dialogue"``, a `Dialogue` to go on with.

        Returns:
            The first observation, and the info.

        Raises:
            ConfigError: If an option is unknown or has a wrong value.
        """
        given = check_options(options, OPTIONS)
        super().reset(seed=seed)
        start = self.setting.start(self.np_random, given.get("scenario"), given.get("dialogue"))
        self._dialogue = self.setting.begin([start])[0]
        observation = self._begun(self._dialogue)
        if self.render_mode == "human":
            write(ansi(self._dialogue))
        return observation, info_of(self._dialogue, self.setting.zero_terms())

    def step(self, action: A) -> tuple[O, float, bool, bool, dict[str, Any]]:
        """Take a turn of the conversation.

        Args:
            action: What is said, or how.

        Returns:
            The observation of what the user answers, the reward, terminated, truncated, and the info.

        Raises:
            ResetNeeded: If no episode is going on.
            ConfigError: If it is no action of this environment.
        """
        before = self.dialogue
        if before.ended:
            raise ResetNeeded(
                f"The episode has ended ({before.outcome}); call env.reset() before env.step()."
            )
        transition, observation = self._taken(before, action)
        self._dialogue = after = transition.dialogue
        if self.render_mode == "human":
            write(ansi(after, since=len(before.messages)))
        info = info_of(after, transition.terms)
        return observation, transition.reward, transition.terminated, transition.truncated, info

    def render(self) -> str | None:
        """Return the conversation so far with a bar of the emotion (``"ansi"``), or print it (``"human"``).

        Raises:
            ResetNeeded: If no episode has begun.
        """
        return rendered(self.render_mode, lambda: ansi(self.dialogue))

    @property
    def dialogue(self) -> Dialogue:
        """The whole state of the episode: keep it, pickle it, resume it, branch it.

        Raises:
            ResetNeeded: If no episode has begun.
        """
        if self._dialogue is None:
            raise ResetNeeded("No episode has begun; call env.reset() first.")
        return self._dialogue

    @property
    def instruction(self) -> str:
        """The system prompt that a policy is given, in the user's language."""
        return self.setting.instruction(self._dialogue)

    @property
    def user(self) -> User:
        """The simulated user."""
        return self.setting.user

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios that `reset` draws from."""
        return self.setting.scenarios
