"""EmpathyStrategy-v0: one conversation with one simulated user, led by support strategies."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from typing import Any, Final, Unpack

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from empathy_gym.envs.conversation import ConversationEnv
from empathy_gym.envs.setting import ChatKwargs, Transition
from empathy_gym.envs.strategies import CLOSE, INTENSITIES, OTHER, STRATEGIES, realise
from empathy_gym.envs.strategy_observation import (
    Observation,
    observation_space,
    observe,
    privileged_view,
    recognise,
)
from empathy_gym.simulators.dialogue import Dialogue, derive_seed
from empathy_gym.simulators.errors import ConfigError

EARLIEST_CLOSE: Final = 2
"""Replies before a policy may close the conversation."""
OWN_KWARGS: Final = ("intensity", "privileged")

Action = int | NDArray[np.int64]


class StrategyKwargs(ChatKwargs, total=False):
    """Keyword arguments of the strategy environments; `EmpathyStrategyEnv` explains them."""

    intensity: bool
    privileged: bool


class EmpathyStrategyEnv(ConversationEnv[Observation, Action]):
    """The conversation of `EmpathyChatEnv`, acted on by eleven support strategies in place of words.

    ## Description
    The users, the rule and the rewards are those of EmpathyChat-v0. An action names a strategy; a realiser puts it into
    words from what was heard (`empathy_gym.envs.strategies.realise`), and the user hears these. It is meant for
    policies without language: a stock agent of a few thousand weights learns here what helps whom, and when.

    ## Action Space
    `Discrete(11)`: question, restatement, reflection (of feelings), self_disclosure, affirmation, suggestion,
    information (a perspective), other; the eight of ESConv (Liu et al. 2021, table 1); then fair_reading, boundary
    and close. With `intensity=True`, `MultiDiscrete([11, 3])`: the second number is 0 for the strategy alone, 1 for
    something told restated first, 2 for something told and a feeling. `close` says goodbye and ends the episode; it
    is masked for the first two replies (`action_masks`), and a masked action taken all the same acts as `other`.

    ## Observation Space
    A flat `Dict` of `Box` in [0, 1], float32, and `Discrete`: what a careful listener hears
    (`empathy_gym.envs.strategy_observation.observe`). It works from the messages and the strategies taken alone. With
    `privileged=True` also the emotion, the trust, the progress and the need, for upper references.

    ## Rewards
    As EmpathyChat-v0. A `close` moves nothing: 0 under `delta`, e_T / 100 under `final`.

    ## Starting State
    As EmpathyChat-v0. The strategies of a dialogue to go on with are recognised by their words.

    ## Episode End
    As EmpathyChat-v0, and `close`: `terminated`, outcome closed; where the user has announced to go, it is the farewell
    that lets go.

    ## Info
    The keys of EmpathyChat-v0. `strategies` (an attribute) has the strategies taken, as they acted.

    ## Arguments
    Those of `EmpathyChatEnv`; `think` may be False or `"strip"`, which are the same here. Also:

    * `intensity=False`: whether an action says how much is restated.
    * `privileged=False`: whether the observation has what no listener hears.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        ScenarioError: If a scenario file cannot be used.
    """

    def __init__(self, *, render_mode: str | None = None, **kwargs: Unpack[StrategyKwargs]) -> None:
        chat, self.intensity, self.privileged = split_kwargs(kwargs)
        super().__init__(chat, OWN_KWARGS, render_mode)
        self.kwargs = {**kwargs}
        self.observation_space = observation_space(self.privileged)
        self.action_space = action_space(self.intensity)
        self._strategies: tuple[str, ...] = ()

    def _begun(self, dialogue: Dialogue) -> Observation:
        self._strategies = recognise(dialogue.messages, speech_seed(dialogue))
        return view(dialogue, self._strategies, self.privileged)

    def _taken(self, before: Dialogue, action: Action) -> tuple[Transition, Observation]:
        chosen = choice(action, self.intensity, before.turn)
        transition = self.setting.converse([before], [chosen_reply(before, chosen)], [chosen[0] == CLOSE])[0]
        self._strategies = (*self._strategies, STRATEGIES[chosen[0]])
        return transition, view(transition.dialogue, self._strategies, self.privileged)

    def recorded(self, action: Action) -> tuple[str, str]:
        """Return the last action as a record holds it: its numbers as JSON, and the strategy it came to."""
        numbers = _numbers(action)
        return json.dumps(numbers if self.intensity else numbers[0]), self._strategies[-1]

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions may be taken now, as sb3-contrib's maskable agents ask for them.

        Returns:
            Shape (11,), or (14,) with `intensity`: the strategies, then the intensities.
        """
        return masks(self.dialogue, self.intensity)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategy of each reply so far, as it acted."""
        return self._strategies


def split_kwargs(kwargs: StrategyKwargs) -> tuple[ChatKwargs, bool, bool]:
    """Return the keyword arguments of the conversation, and `intensity` and `privileged`.

    Raises:
        ConfigError: If one of these, or `think`, has a wrong value.
    """
    for name in OWN_KWARGS:
        if not isinstance(kwargs.get(name, False), bool):
            raise ConfigError(f"{name} is {kwargs.get(name)!r}; it must be True or False.")
    if kwargs.get("think", False) is True:
        raise ConfigError(
            "think=True is for environments whose action is text; a strategy has no thoughts to set apart. "
            "Leave it out, or use EmpathyChat-v0."
        )
    chat: Any = {name: value for name, value in kwargs.items() if name not in OWN_KWARGS}
    return chat, kwargs.get("intensity", False), kwargs.get("privileged", False)


def action_space(intensity: bool) -> spaces.Space[Any]:
    """Return the space of actions, with or without intensities."""
    if intensity:
        return spaces.MultiDiscrete([len(STRATEGIES), INTENSITIES])
    return spaces.Discrete(len(STRATEGIES))


def choice(action: Any, intensity: bool, turn: int) -> tuple[int, int | None]:
    """Return the number of the strategy that an action comes to, and the intensity (None where there is none).

    Args:
        action: A number, or with `intensity` two.
        intensity: Whether actions have one.
        turn: Replies so far; a masked action acts as `other`.

    Raises:
        ConfigError: If it is no action.
    """
    numbers = _numbers(action)
    bounds = (len(STRATEGIES), INTENSITIES) if intensity else (len(STRATEGIES),)
    if len(numbers) != len(bounds) or not all(
        0 <= number < bound for number, bound in zip(numbers, bounds, strict=True)
    ):
        wanted = "two integers, 0 to 10 and 0 to 2" if intensity else "an integer from 0 to 10"
        raise ConfigError(f"The action is {action!r:.80}; it must be {wanted} ({', '.join(STRATEGIES)}).")
    number = OTHER if numbers[0] == CLOSE and turn < EARLIEST_CLOSE else numbers[0]
    return number, numbers[1] if intensity else None


def _numbers(action: Any) -> list[int]:
    """Return an action as whole numbers; none if it is something else."""
    parts = action.tolist() if isinstance(action, np.ndarray) else action
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    try:
        return [operator.index(part) for part in parts if not isinstance(part, bool | np.bool_)]
    except TypeError:
        return []


def speech_seed(dialogue: Dialogue) -> int:
    """Return the seed of the realiser in a dialogue: it says nothing of what the user draws by the dialogue's."""
    return derive_seed(dialogue.seed, "strategy")


def chosen_reply(before: Dialogue, chosen: tuple[int, int | None]) -> str:
    """Return the words of a choice."""
    return realise(chosen[0], before.messages, speech_seed(before), chosen[1])


def view(dialogue: Dialogue, strategies: Sequence[str], privileged: bool) -> Observation:
    """Return the observation of a dialogue."""
    seen = observe(dialogue.messages, dialogue.turn, dialogue.max_turns, strategies)
    return {**seen, **privileged_view(dialogue)} if privileged else seen


def masks(dialogue: Dialogue, intensity: bool) -> NDArray[np.bool_]:
    """Return which actions may be taken in a dialogue; `EmpathyStrategyEnv.action_masks` explains the shape."""
    allowed = np.ones(len(STRATEGIES) + (INTENSITIES if intensity else 0), dtype=np.bool_)
    allowed[CLOSE] = dialogue.turn >= EARLIEST_CLOSE
    return allowed
