"""Policies that choose a support strategy each turn: constants, random ones, fixed sequences, and what these share.

Such a policy has `choose`, which returns actions of EmpathyStrategy-v0, beside `act`, which returns the replies that the
realiser makes of them; so it plays EmpathyStrategy-v0 and EmpathyChat-v0 alike, and sees the conversation and nothing
else. What it has chosen so far is kept by the conversation's key.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path

from empathy_gym.agents.policy import Conversation
from empathy_gym.envs.strategies import STRATEGIES, realise
from empathy_gym.envs.strategy import EARLIEST_CLOSE, choice
from empathy_gym.envs.strategy_observation import recognise
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.errors import ConfigError, did_you_mean, unknown_name

Action = int | tuple[int, int]
"""Number of a strategy; with an intensity, 0 to 2, where the environment is made with ``intensity=True``."""


class StrategyPolicy(abc.ABC):
    """A policy over strategies. A subclass says how one is chosen, in `decide`.

    Attributes:
        intensity: Whether its actions have an intensity.
    """

    intensity = False

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, ...]] = {}

    def begin(self, keys: Sequence[str]) -> None:
        """Start with nothing chosen."""
        for key in keys:
            self._taken[key] = ()

    def end(self, keys: Sequence[str]) -> None:
        """Forget what was chosen."""
        for key in keys:
            self._taken.pop(key, None)

    def choose(self, conversations: Sequence[Conversation]) -> list[Action]:
        """Return one action for each conversation, in order."""
        chosen = []
        for conversation in conversations:
            taken = self.taken(conversation)
            action = self.decide(conversation, taken)
            number, _ = choice(action, self.intensity, conversation.turn)
            self._taken[conversation.key] = (*taken, STRATEGIES[number])
            chosen.append(action)
        return chosen

    def act(self, conversations: Sequence[Conversation]) -> list[str]:
        """Return the reply that says each chosen strategy."""
        return [
            realise(number, conversation.messages, conversation.seed, intensity)
            for conversation, action in zip(conversations, self.choose(conversations), strict=True)
            for number, intensity in [choice(action, self.intensity, conversation.turn)]
        ]

    def taken(self, conversation: Conversation) -> tuple[str, ...]:
        """Return the strategies chosen so far, one for each reply given.

        Those of a conversation that this policy did not lead are recognised by their words.
        """
        taken = self._taken.get(conversation.key, ())[: conversation.turn]
        return (
            taken if len(taken) == conversation.turn else recognise(conversation.messages, conversation.seed)
        )

    @abc.abstractmethod
    def decide(self, conversation: Conversation, taken: Sequence[str]) -> Action:
        """Return the next action.

        Args:
            conversation: What was said.
            taken: The strategies chosen so far.
        """


class ConstantPolicy(StrategyPolicy):
    """Always the same strategy.

    Args:
        strategy: Its name.
    """

    def __init__(self, strategy: str) -> None:
        super().__init__()
        self.strategy = STRATEGIES.index(strategy)
        self.fingerprint = f"strategy:{strategy}"

    def decide(self, conversation: Conversation, taken: Sequence[str]) -> Action:
        """Return the strategy."""
        return self.strategy


class RandomPolicy(StrategyPolicy):
    """Any allowed strategy, drawn by the conversation's seed and turn."""

    fingerprint = "strategy:random"

    def decide(self, conversation: Conversation, taken: Sequence[str]) -> Action:
        """Return a strategy."""
        allowed = len(STRATEGIES) - (conversation.turn < EARLIEST_CLOSE)  # `close` is the last of them
        return derive_seed(conversation.seed, conversation.turn, "strategy") % allowed


class OpenLoopPolicy(StrategyPolicy):
    """A fixed sequence of strategies, whatever is said; the last one is repeated.

    Args:
        sequence: Names of the strategies, at least one.
    """

    def __init__(self, sequence: Sequence[str]) -> None:
        super().__init__()
        self.sequence = tuple(STRATEGIES.index(name) for name in sequence)
        self.fingerprint = f"strategy:open-loop:{','.join(sequence)}"

    def decide(self, conversation: Conversation, taken: Sequence[str]) -> Action:
        """Return the strategy whose turn it is."""
        return self.sequence[min(conversation.turn, len(self.sequence) - 1)]


def make_strategy_policy(name: str) -> StrategyPolicy:
    """Return a policy from what follows ``strategy:`` in its name.

    Args:
        name: Name of a strategy, ``"random"``, or ``"open-loop:"`` and names with commas between, or a file of them.

    Raises:
        ConfigError: If there is none of this name.
    """
    kind, colon, rest = name.partition(":")
    if kind == "open-loop":
        return OpenLoopPolicy(_sequence(rest))
    if name == "random":
        return RandomPolicy()
    if colon or name not in STRATEGIES:
        raise unknown_name("strategy policy", name, (*STRATEGIES, "random", "open-loop:NAME,NAME,..."))
    return ConstantPolicy(name)


def _sequence(text: str) -> list[str]:
    """Return the strategies of a sequence, or of a file that holds one."""
    path = Path(text)
    if "," not in text and text not in STRATEGIES and path.is_file():
        text = path.read_text("utf-8")
    names = text.replace(",", " ").split()
    for name in names:
        if name not in STRATEGIES:
            raise ConfigError(
                f"Unknown strategy {name!r} in the sequence {text!r:.80}.{did_you_mean(name, STRATEGIES)} "
                f"Valid: {', '.join(STRATEGIES)}, or a file with some of them."
            )
    if not names:
        raise ConfigError(
            "strategy:open-loop: names no strategy, e.g. strategy:open-loop:question,reflection."
        )
    return names
