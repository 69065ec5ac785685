"""What an environment is made of, and what happens in one step, single or vectorised.

A `ChatSetting` is immutable and knows nothing of episodes; everything that changes is in the dialogues that
go in and come out. Its functions work on batches, so that a vector environment asks the user once a step.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np

from empathy_gym.envs.instructions import DEFAULT_LANGUAGE, instruction_for
from empathy_gym.envs.spaces import MAX_LENGTH
from empathy_gym.envs.think import Think, parse
from empathy_gym.rewards.registry import END_TERMS, Reward, evaluate, floor_of, make_reward
from empathy_gym.simulators.config import SimulatorConfig, build_user, marked
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue
from empathy_gym.simulators.errors import ConfigError, unknown_name
from empathy_gym.simulators.scenario import DIFFICULTIES, Scenario
from empathy_gym.simulators.user import User, take_leave, with_format_failure

MAX_TURNS: Final = 8
"""Scored replies of an episode, as in RLVER (arXiv 2507.03112)."""
DIFFICULTY: Final = "normal"


class ChatKwargs(TypedDict, total=False):
    """Keyword arguments of the chat environments; `EmpathyChatEnv` explains them."""

    simulator: str
    simulator_config: SimulatorConfig | Mapping[str, Any] | str | os.PathLike[str] | None
    scenarios: str | os.PathLike[str]
    difficulty: str | None
    reward: str
    think: Think
    max_turns: int | None
    initial_emotion: int | None


CHAT_KWARGS: Final = tuple(ChatKwargs.__annotations__)


@dataclass(frozen=True, slots=True)
class Transition:
    """What a step came to.

    Attributes:
        dialogue: The dialogue after the step.
        reward: Sum of the terms.
        terms: Every term of the reward, then ``format`` and ``fault``.
    """

    dialogue: Dialogue
    reward: float
    terms: dict[str, float]

    @property
    def terminated(self) -> bool:
        """Whether the episode is over by the rules of the task, the turn cap included."""
        return self.dialogue.ended and not self.truncated

    @property
    def truncated(self) -> bool:
        """Whether the episode was cut short by a fault that is not the policy's."""
        return self.dialogue.truncated

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.dialogue.ended


@dataclass(frozen=True)
class ChatSetting:
    """A task: who there is to talk with, for how long, and what a reply is worth.

    Attributes:
        kwargs: The keyword arguments it was made from.
        user: The simulated user.
        scenarios: The scenarios, in the order in which `draw` numbers them.
        reward: The reward.
        think: Think mode.
        difficulty: ``"easy"``, ``"normal"`` or ``"hard"``.
        max_turns: Cap on scored replies.
        initial_emotion: 0-100, or None for the scenario's.
    """

    kwargs: ChatKwargs
    user: User
    scenarios: tuple[Scenario, ...]
    reward: Reward
    think: Think
    difficulty: str
    max_turns: int
    initial_emotion: int | None
    _by_id: Mapping[str, Scenario] = field(default_factory=dict)

    @classmethod
    def make(cls, kwargs: ChatKwargs, also_valid: Sequence[str] = ()) -> ChatSetting:
        """Build and check everything that keyword arguments name.

        Args:
            kwargs: What the user wrote.
            also_valid: Further keyword arguments of the environment, for messages.

        Raises:
            ConfigError: If a keyword is unknown or a value is not valid.
        """
        for name in kwargs:
            if name not in CHAT_KWARGS:
                raise unknown_name("keyword argument", name, (*CHAT_KWARGS, *also_valid))
        difficulty, max_turns = kwargs.get("difficulty"), kwargs.get("max_turns")
        if difficulty is not None and difficulty not in DIFFICULTIES:
            raise unknown_name("difficulty", difficulty, DIFFICULTIES)
        scenarios = _scenarios(kwargs.get("scenarios", "train"))
        return cls(
            kwargs=kwargs,
            user=build_user(kwargs.get("simulator", "embedded"), kwargs.get("simulator_config")),
            scenarios=scenarios,
            reward=make_reward(kwargs.get("reward", "delta")),
            think=_think(kwargs.get("think", False)),
            difficulty=DIFFICULTY if difficulty is None else difficulty,
            max_turns=MAX_TURNS if max_turns is None else integer("max_turns", max_turns, 1),
            initial_emotion=_emotion(kwargs.get("initial_emotion")),
            _by_id={scenario.id: scenario for scenario in scenarios},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the keyword arguments: users and scenarios are kept once per process."""
        return ChatSetting.make, (self.kwargs,)

    def instruction(self, dialogue: Dialogue | None) -> str:
        """Return the system prompt for a dialogue, or for the first scenario if there is none yet."""
        source = dialogue.source if dialogue is not None else next(iter(self.scenarios), None)
        return instruction_for(source.language if source is not None else DEFAULT_LANGUAGE, self.think)

    def zero_terms(self) -> dict[str, float]:
        """Return every reward term at 0.0."""
        return dict(self._zero_terms)

    @functools.cached_property
    def _zero_terms(self) -> dict[str, float]:
        return dict.fromkeys((*self.reward.terms, *END_TERMS), 0.0)

    # -- starting
    # ------------------------------------------------------------------------------------------------

    def draw(self, np_random: np.random.Generator) -> BeginRequest:
        """Draw a scenario, then a 63-bit dialogue seed. Nothing else ever draws from the generator."""
        index = int(np_random.integers(len(self.scenarios)))
        seed = int(np_random.integers(2**63, dtype=np.int64))
        return self._request(self.scenarios[index], seed)

    def start(
        self, np_random: np.random.Generator, scenario: str | None = None, dialogue: Dialogue | None = None
    ) -> BeginRequest | Dialogue:
        """Return what an episode starts from.

        The scenario and the seed are drawn in any case, so that naming one leaves the later episodes as they
        are.

        Args:
            np_random: The generator of the environment.
            scenario: Id of the scenario to talk with; None takes the one drawn.
            dialogue: Dialogue to go on with, with its own seed, difficulty and cap.

        Raises:
            ConfigError: If the scenario is unknown, or the dialogue cannot be gone on with here.
        """
        drawn = self.draw(np_random)
        if dialogue is not None:
            return self._resumed(dialogue, scenario)
        return drawn if scenario is None else self._request(self._scenario(scenario), drawn.seed)

    def begin(self, starts: Sequence[BeginRequest | Dialogue]) -> list[Dialogue]:
        """Return the dialogues with which episodes begin, in one call of the user."""
        begun = iter(self.user.begin([start for start in starts if isinstance(start, BeginRequest)]))
        return [start if isinstance(start, Dialogue) else next(begun) for start in starts]

    def _request(self, scenario: Scenario, seed: int) -> BeginRequest:
        return BeginRequest(scenario, seed, self.difficulty, self.max_turns, self.initial_emotion)

    def _scenario(self, id_: Any) -> Scenario:
        found = self._by_id.get(id_) if isinstance(id_, str) else None
        if found is None:
            some = ", ".join(list(self._by_id)[:3])
            raise ConfigError(
                f"options['scenario'] is {id_!r}, which is none of the {len(self._by_id)} scenarios of "
                f"{self.kwargs.get('scenarios', 'train')!r}; ids look like {some}."
            )
        return found

    def _resumed(self, dialogue: Any, scenario: Any) -> Dialogue:
        if not isinstance(dialogue, Dialogue):
            raise ConfigError(
                f"options['dialogue'] is a {type(dialogue).__name__}; it must be a Dialogue, as "
                "env.unwrapped.dialogue."
            )
        if dialogue.ended:
            raise ConfigError(
                f"options['dialogue'] has ended ({dialogue.outcome}); resume an earlier state of it."
            )
        if scenario is not None and scenario != dialogue.scenario:
            raise ConfigError(
                f"options['scenario'] is {scenario!r} but options['dialogue'] is with {dialogue.scenario!r}; "
                "give one of them."
            )
        for name, given, own in (
            ("difficulty", self.kwargs.get("difficulty"), dialogue.difficulty),
            ("max_turns", self.kwargs.get("max_turns"), dialogue.max_turns),
        ):
            if given is not None and given != own:
                raise ConfigError(
                    f"The environment was made with {name}={given!r} but options['dialogue'] has {own!r}, "
                    "which it "
                    "keeps; make the environment without it."
                )
        return marked(dialogue, self.user)

    # -- stepping
    # ------------------------------------------------------------------------------------------------

    def advance(self, dialogues: Sequence[Dialogue], actions: Sequence[str]) -> list[Transition]:
        """Take one action in each dialogue, in one call of the user.

        Args:
            dialogues: Dialogues that go on.
            actions: One string for each.

        Raises:
            ConfigError: If an action is not a string.
        """
        heard = [parse(text_of(action), self.think) for action in actions]
        live = [d for d, reply in zip(dialogues, heard, strict=True) if reply is not None]
        replies = [reply for reply in heard if reply is not None]
        answered = iter(self.user.respond(live, replies) if live else ())
        return [
            self._transition(before, reply, with_format_failure(before) if reply is None else next(answered))
            for before, reply in zip(dialogues, heard, strict=True)
        ]

    def converse(
        self, dialogues: Sequence[Dialogue], replies: Sequence[str], closing: Sequence[bool]
    ) -> list[Transition]:
        """Take one reply in each dialogue, in one call of the user, and close some of them by it.

        A user who has announced to go is let go by a goodbye as by any farewell; another one answers it, and that is
        the end.

        Args:
            dialogues: Dialogues that go on.
            replies: What is said in each, as it is heard.
            closing: Whether it is a goodbye.
        """
        ends = [c and d.state.leaving is None for c, d in zip(closing, dialogues, strict=True)]
        both = list(zip(dialogues, replies, ends, strict=True))
        staying = [(d, r) for d, r, end in both if not end]
        left = [(d, r) for d, r, end in both if end]
        answered = iter(
            self.user.respond([d for d, _ in staying], [r for _, r in staying]) if staying else ()
        )
        parted = iter(take_leave(self.user, [d for d, _ in left], [r for _, r in left]))
        return [self._transition(d, r, next(parted if end else answered)) for d, r, end in both]

    def _transition(self, before: Dialogue, reply: str | None, after: Dialogue) -> Transition:
        terms = self.zero_terms()
        if after.outcome == "format":
            terms["format"] = floor_of(self.reward, before)
        elif after.outcome == "fault":
            if not after.truncated:
                terms["fault"] = floor_of(self.reward, before)
        else:
            terms.update(evaluate(self.reward, before, reply or "", after))
        return Transition(after, math.fsum(terms.values()), terms)


def text_of(action: Any) -> str:
    """Return an action as a plain string, cut where it is too long.

    Raises:
        ConfigError: If it is not a string.
    """
    if not isinstance(action, str):
        raise ConfigError(
            f"The action is a {type(action).__name__}; it must be a str, the reply to the user."
        )
    return str.__str__(action[:MAX_LENGTH])


def check_options(options: Any, valid: Sequence[str]) -> Mapping[str, Any]:
    """Return the options of a reset.

    Raises:
        ConfigError: If they are not a mapping or have an unknown key.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"options is a {type(options).__name__}; it must be a dict with some of {', '.join(valid)}."
        )
    for key in options:
        if key not in valid:
            raise unknown_name("reset option", key, valid)
    return options


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number in low..high.

    Raises:
        ConfigError: If it is none.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if (
        number is None
        or isinstance(value, bool | np.bool_)
        or number < low
        or (high is not None and number > high)
    ):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{name} is {value!r}; it must be an integer {bounds}.")
    return number


def _emotion(value: Any) -> int | None:
    return None if value is None else integer("initial_emotion", value, 0, 100)


def _think(value: Any) -> Think:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value == "strip":
        return "strip"
    raise ConfigError(f"think is {value!r}; it must be False, True or 'strip'.")


def _scenarios(value: Any) -> tuple[Scenario, ...]:
    """Load a split or a file.

    Raises:
        ConfigError: If there is no such split, or the file holds no scenario.
        ScenarioError: If the file cannot be used.
    """
    from empathy_gym.simulators.library.compiler import load_scenarios

    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"scenarios is a {type(value).__name__}; it must be the name of a split or a path.")
    name = os.fspath(value)
    scenarios: tuple[Scenario, ...] = load_scenarios(name if isinstance(value, str) else Path(name))
    if not scenarios:
        raise ConfigError(f"scenarios={name!r} holds no scenario.")
    return scenarios
