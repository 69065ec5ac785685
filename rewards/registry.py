"""Rewards by name: the protocol, the registry, and the checks that every reward has to pass.

A reward returns named terms; the number an agent gets is their sum. Terms are constant, so that a table of
them has the same columns for every turn of every episode.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from empathy_gym.simulators.config import instance_of
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import ConfigError, unknown_name

END_TERMS: Final = ("format", "fault")
"""Terms that the environment adds to those of every reward: what a malformed or impossible reply costs."""

_FLOATS: Final = {float}


@runtime_checkable
class Reward(Protocol):
    """What a reply was worth.

    Attributes:
        terms: Names of the terms, constant; they are summed in this order.

    A reward may also have a method ``floor(before: Dialogue) -> float``: what the agent gets for a malformed
    action or for a fault of its own, in place of the terms. Without it that is the fall of the emotion to 0,
    as in `delta`.
    """

    terms: tuple[str, ...]

    def __call__(self, before: Dialogue, reply: str, after: Dialogue) -> Mapping[str, float]:
        """Return the value of every term. Pure.

        Args:
            before: The dialogue before the reply.
            reply: What the user heard.
            after: The dialogue after the reply.
        """
        ...


_factories: dict[str, Callable[[], Reward]] = {}
_lock = threading.Lock()


def register(name: str, factory: Callable[[], Reward]) -> None:
    """Make a reward available as ``reward=name``.

    Args:
        name: A name without a colon.
        factory: Returns a new reward; a class will do.

    Raises:
        ConfigError: If the name is not usable or stands for another factory already.
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise ConfigError(f"The reward name is {name!r}; it must be a string without ':'.")
    if not callable(factory):
        raise ConfigError(f"The factory of the reward {name!r} is {factory!r}; it must be callable.")
    with _lock:
        if _factories.get(name, factory) is not factory:
            raise ConfigError(f"The reward {name!r} is registered already; choose another name.")
        _factories[name] = factory


def registered_rewards() -> tuple[str, ...]:
    """Return the names of the rewards that are registered, sorted."""
    with _lock:
        return tuple(sorted(_factories))


def make_reward(spec: str) -> Reward:
    """Return a reward by its registered name, or by ``"module:attr"``.

    Raises:
        ConfigError: If there is no such reward, or it is not one.
    """
    if not isinstance(spec, str):
        raise ConfigError(
            f"reward is a {type(spec).__name__}; it must be a name. A live object is registered or named as "
            "'module:attr'."
        )
    if ":" in spec:
        return _checked(spec, instance_of(spec, "reward", ("terms",)))
    if spec not in _factories:
        raise unknown_name("reward", spec, (*_factories, "module:attr"))
    return _checked(spec, _factories[spec]())


def _checked(spec: str, reward: Any) -> Reward:
    terms = getattr(reward, "terms", None)
    if not callable(reward) or not isinstance(terms, tuple) or not all(isinstance(t, str) for t in terms):
        raise ConfigError(f"The reward {spec!r} needs `terms`, a tuple of names, and must be callable.")
    for term in terms:
        if term in END_TERMS or terms.count(term) > 1:
            raise ConfigError(
                f"The reward {spec!r} has the term {term!r}, which is taken; 'format' and 'fault' are the "
                "environment's, and every name may be used once."
            )
    return reward  # type: ignore[no-any-return]


def floor_of(reward: Reward, before: Dialogue) -> float:
    """Return what a malformed action, or a fault of the policy's, is worth in a dialogue.

    Raises:
        ConfigError: If the reward's `floor` is not a finite number.
    """
    floor = getattr(reward, "floor", None)
    return -before.emotion / 100 if floor is None else _number(reward, "floor", floor(before))


def evaluate(reward: Reward, before: Dialogue, reply: str, after: Dialogue) -> dict[str, float]:
    """Return the terms of a scored reply, complete, finite and in declared order.

    Raises:
        ConfigError: If a term is missing, unknown or not a finite number; the message names it.
    """
    values = reward(before, reply, after)
    if (
        type(values) is dict
        and tuple(values) == reward.terms
        and {*map(type, values.values())} == _FLOATS
        and math.isfinite(sum(values.values()))  # no sum with an infinity or a NaN in it is finite
    ):
        return dict(values)
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"The reward {_name(reward)} returned a {type(values).__name__}; it must return a dict."
        )
    if len(values) != len(reward.terms) or any(term not in values for term in reward.terms):
        for term in reward.terms:
            if term not in values:
                raise ConfigError(f"The reward {_name(reward)} did not return its term {term!r}.")
        extra = next(term for term in values if term not in reward.terms)
        raise ConfigError(
            f"The reward {_name(reward)} returned the term {extra!r}, which is not among its `terms`: "
            f"{reward.terms}."
        )
    return {term: _number(reward, term, values[term]) for term in reward.terms}


def _number(reward: Reward, term: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"The reward {_name(reward)} returned {value!r} for the term {term!r}; a term must be a finite "
            "number."
        )
    return number


def _name(reward: Reward) -> str:
    return getattr(reward, "__qualname__", type(reward).__qualname__)
