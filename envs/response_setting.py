"""What the single-turn task is made of: exchanges, a reward, and what an answer comes to.

A `ResponseSetting` is immutable but for a memory of the levels read in references; it works on batches, so that a
vector environment asks the identifiers once a step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import numpy as np

from empathy_gym.envs.instructions import DEFAULT_LANGUAGE, instruction_for
from empathy_gym.envs.setting import text_of
from empathy_gym.rewards.empathy import TERMS, EmpathyReward
from empathy_gym.rewards.identifiers import MECHANISMS
from empathy_gym.simulators.errors import ConfigError, unknown_name
from empathy_gym.simulators.exchanges import Exchange, load_exchanges

RESPONSE_INFO_KEYS: Final = (
    "scenario", "turn", "messages", "levels", "reference_levels", "probabilities", "reward_terms", "outcome",
    "sim_fault", "safety", "scored_by", "determinism",
)  # fmt: skip
"""Keys of every info, in order; `EmpathyResponseEnv` explains them."""


class ResponseKwargs(TypedDict, total=False):
    """Keyword arguments of the single-turn environment; `EmpathyResponseEnv` explains them."""

    exchanges: str | os.PathLike[str]
    identifier: str | os.PathLike[str] | None
    guard: bool
    length_weight: float
    repetition_weight: float
    copy_weight: float


RESPONSE_KWARGS: Final = tuple(ResponseKwargs.__annotations__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response came to.

    Attributes:
        exchange: What was answered.
        response: The response, as it was judged.
        levels: Levels read in it, by mechanism.
        probabilities: What its reading gives to the reference's levels, by mechanism.
        terms: Every term of the reward.
        reward: Their sum.
        safety: None or a flag.
    """

    exchange: Exchange
    response: str
    levels: dict[str, int]
    probabilities: dict[str, float]
    terms: dict[str, float]
    reward: float
    safety: str | None


@dataclass(frozen=True)
class ResponseSetting:
    """A task: what there is to answer, and what an answer is worth.

    Attributes:
        kwargs: The keyword arguments it was made from.
        exchanges: The exchanges, in the order in which `draw` numbers them.
        reward: The reward.
    """

    kwargs: ResponseKwargs
    exchanges: tuple[Exchange, ...]
    reward: EmpathyReward
    _by_id: Mapping[str, Exchange] = field(default_factory=dict)
    _references: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def make(cls, kwargs: ResponseKwargs, also_valid: Sequence[str] = ()) -> ResponseSetting:
        """Build and check everything that keyword arguments name.

        Args:
            kwargs: The keyword arguments.
            also_valid: Further names an error may suggest.

        Raises:
            ConfigError: If an argument is unknown or has a wrong value.
            EngineError: If a data set cannot be downloaded.
        """
        for name in kwargs:
            if name not in RESPONSE_KWARGS:
                raise unknown_name("argument", name, (*RESPONSE_KWARGS, *also_valid))
        terms: dict[str, Any] = {k: v for k, v in kwargs.items() if k not in ("exchanges", "identifier")}
        identifier = kwargs.get("identifier")
        if identifier is not None and not isinstance(identifier, str | os.PathLike):
            raise ConfigError(
                f"identifier is a {type(identifier).__name__}; it must be the path of a folder, 'structure' or None."
            )
        exchanges = load_exchanges(kwargs.get("exchanges", "train"))  # type: ignore[arg-type]
        if not exchanges:
            raise ConfigError(f"exchanges={kwargs.get('exchanges', 'train')!r} holds no exchange.")
        return cls(
            kwargs=kwargs,
            exchanges=exchanges,
            reward=EmpathyReward(os.fspath(identifier) if identifier is not None else None, **terms),
            _by_id={exchange.id: exchange for exchange in exchanges},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the keyword arguments."""
        return ResponseSetting.make, (self.kwargs,)

    @property
    def instruction(self) -> str:
        """The system prompt that a policy is given."""
        return instruction_for(DEFAULT_LANGUAGE)

    @property
    def determinism(self) -> str:
        """Whether rewards are the same on every machine: as the identifier's reading is."""
        return self.reward.identifier.determinism

    def start(self, np_random: np.random.Generator, id_: Any = None) -> Exchange:
        """Return what an episode is about.

        An exchange is drawn in any case, so that naming one leaves the later episodes as they are.

        Args:
            np_random: The generator of the environment.
            id_: Id of the exchange; None takes the one drawn.

        Raises:
            ConfigError: If there is no such exchange.
        """
        drawn = self.exchanges[int(np_random.integers(len(self.exchanges)))]
        if id_ is None:
            return drawn
        found = self._by_id.get(id_) if isinstance(id_, str) else None
        if found is None:
            some = ", ".join(list(self._by_id)[:3])
            raise ConfigError(
                f"options['exchange'] is {id_!r}, which is none of the {len(self._by_id)} exchanges of "
                f"{self.kwargs.get('exchanges', 'train')!r}; ids look like {some}."
            )
        return found

    def reference_levels(self, exchanges: Sequence[Exchange]) -> list[tuple[int, ...]]:
        """Return the levels that the identifiers read in references; each is read once."""
        new = {x.id: x for x in exchanges if x.id not in self._references}
        if new:
            read = self.reward.identifier.levels(
                [x.text for x in new.values()], [x.response for x in new.values()]
            )
            self._references.update(zip(new, map(tuple, read.tolist()), strict=True))
        return [self._references[x.id] for x in exchanges]

    def answer(self, exchanges: Sequence[Exchange], actions: Sequence[Any]) -> list[Answer]:
        """Judge one response to each exchange, in one call of the identifiers.

        Args:
            exchanges: What was answered, shape (n,).
            actions: One string for each.

        Raises:
            ConfigError: If an action is not a string.
        """
        responses = [text_of(action) for action in actions]
        if not responses:
            return []
        contexts = [x.text for x in exchanges]
        known = np.array(self.reference_levels(exchanges), dtype=np.int64)
        judged = self.reward.judge(contexts, [x.response for x in exchanges], responses, known)
        flags = _safety(contexts, responses)
        rewards, levels, chances = (
            part.tolist() for part in (judged.rewards, judged.levels, judged.probabilities)
        )
        columns = {name: values.tolist() for name, values in judged.terms.items()}
        return [
            Answer(
                exchange=exchange,
                response=responses[i],
                levels=dict(zip(MECHANISMS, levels[i], strict=True)),
                probabilities=dict(zip(MECHANISMS, chances[i], strict=True)),
                terms={name: columns[name][i] for name in TERMS},
                reward=rewards[i],
                safety=flags[i],
            )
            for i, exchange in enumerate(exchanges)
        ]

    def infos(self, exchanges: Sequence[Exchange], answers: Sequence[Answer | None]) -> list[dict[str, Any]]:
        """Return the infos: fresh plain objects, JSON-serialisable, always the same keys.

        Args:
            exchanges: What the episodes are about.
            answers: What the responses came to; None where there is none yet.
        """
        references = self.reference_levels(exchanges)
        return [
            self._info(exchange, answer, dict(zip(MECHANISMS, levels, strict=True)))
            for exchange, answer, levels in zip(exchanges, answers, references, strict=True)
        ]

    def _info(self, exchange: Exchange, answer: Answer | None, reference: dict[str, int]) -> dict[str, Any]:
        messages = exchange.messages
        if answer is not None:
            messages.append({"role": "assistant", "content": answer.response})
        return {
            "scenario": exchange.id,
            "turn": 0 if answer is None else 1,
            "messages": messages,
            "levels": dict.fromkeys(MECHANISMS, 0) if answer is None else dict(answer.levels),
            "reference_levels": reference,
            "probabilities": dict.fromkeys(MECHANISMS, 0.0) if answer is None else dict(answer.probabilities),
            "reward_terms": dict.fromkeys(TERMS, 0.0) if answer is None else dict(answer.terms),
            "outcome": None if answer is None else "timeout",
            "sim_fault": None,
            "safety": None if answer is None else answer.safety,
            "scored_by": "custom",
            "determinism": self.determinism,
        }


def _safety(contexts: Sequence[str], responses: Sequence[str]) -> list[str | None]:
    from empathy_gym.rewards.structure import guarded

    return [flag for _, flag in guarded(contexts, responses)]
