"""Playing policies over strategies: with the people of a split, and fixed sequences with many at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from empathy_gym.agents import Reply, load_policy
from empathy_gym.benchmarks.episodes import BATCH_SIZE, Chosen, Live, Player, Task
from empathy_gym.benchmarks.summary import Score
from empathy_gym.envs.setting import ChatSetting, Transition, integer
from empathy_gym.envs.strategies import CLOSE, OTHER, STRATEGIES
from empathy_gym.envs.strategy import choice, chosen_reply, split_kwargs
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError
from empathy_gym.simulators.scenario import Scenario

SEEKS_SUCCESS: Final = "delta+success"
"""The reward that pays success beside the change of the emotion."""
STRATEGY_ENV: Final = "EmpathyStrategy-v0"
CHUNK: Final = 2048
"""Conversations of fixed sequences at a time: bounds memory, and does not change what is found."""


class StrategyPlayer(Player):
    """Plays a policy over strategies on EmpathyStrategy-v0: its actions, in the environment's words.

    Args: as of `Player`.

    Raises:
        ConfigError: If the policy has no `choose`: it is one of words.
    """

    def __init__(self, setting: ChatSetting, env_id: str, policy: Any, spec: str, **options: Any) -> None:
        check_chooses(policy, spec, env_id)
        super().__init__(setting, env_id, policy, spec, **options)
        self.intensity = bool(getattr(policy, "intensity", False))
        if self.intensity:
            self.env_kwargs = {**self.env_kwargs, "intensity": True}

    def _ask(self, live: Sequence[Live]) -> list[Reply]:
        actions = self._call("choose", [self._conversation(episode) for episode in live])
        if not isinstance(actions, Sequence) or len(actions) != len(live):
            raise EmpathyGymError(
                f"The policy {self.spec!r} must return a list of {len(live)} actions from choose(), one for each "
                f"conversation; got {actions!r:.80}."
            )
        for episode, action in zip(live, actions, strict=True):
            number, intensity = choice(action, self.intensity, episode.dialogue.turn)
            raw = np.asarray(action).reshape(-1).tolist()
            episode.chosen = Chosen(number, intensity, json.dumps(raw if self.intensity else raw[0]))
        return [Reply(chosen_reply(episode.dialogue, _pair(episode))) for episode in live]

    def _advance(self, live: Sequence[Live], replies: Sequence[str]) -> list[Transition]:
        closing = [_pair(episode)[0] == CLOSE for episode in live]
        return self.setting.converse([episode.dialogue for episode in live], replies, closing)

    def _recorded(self, episode: Live, reply: Reply) -> tuple[str | None, str | None]:
        return (episode.chosen.raw if episode.chosen else None), STRATEGIES[_pair(episode)[0]]


def _pair(episode: Live) -> tuple[int, int | None]:
    """Return the strategy and the intensity of an episode's latest action."""
    chosen = episode.chosen or Chosen(OTHER, None, "")
    return chosen.number, chosen.intensity


def check_chooses(policy: Any, spec: str, env_id: str) -> None:
    """Refuse a policy of words.

    Raises:
        ConfigError: If it has no `choose`.
    """
    if not callable(getattr(policy, "choose", None)):
        raise ConfigError(
            f"The policy {spec!r} says words, and the actions of {env_id} are strategies. Use strategy:NAME or "
            "sb3:FILE.zip there, or play it on EmpathyChat-v0."
        )


class Stage:
    """The people of a split, to play policies over strategies with.

    Args:
        kwargs: Keyword arguments of the environment.
        limit: Only the first people, by id.
        seed: Seed of the dialogues.
        repeats: Episodes with each.

    Raises:
        ConfigError: If an argument is not valid.
    """

    def __init__(
        self, kwargs: Mapping[str, Any], *, limit: int | None = None, seed: int = 0, repeats: int = 1
    ) -> None:
        chat, _, _ = split_kwargs(dict(kwargs))  # type: ignore[arg-type]
        self.setting = ChatSetting.make(chat)
        self.scenarios = self.setting.scenarios[: None if limit is None else integer("limit", limit, 1)]
        self.seed, self.repeats = seed, repeats

    def play(self, policy: Any, name: str | None = None) -> list[Score]:
        """Play a policy, or the one of this name, and return how each episode went, in order."""
        spec = policy if isinstance(policy, str) else name or type(policy).__name__
        loaded = load_policy(policy) if isinstance(policy, str) else policy
        player = StrategyPlayer(self.setting, STRATEGY_ENV, loaded, spec, batch_size=BATCH_SIZE)
        tasks = [Task(spec, s, repeat, self.seed) for s in self.scenarios for repeat in range(self.repeats)]
        scores = [Score.of(record) for record in player.play(tasks)]
        return sorted(scores, key=lambda score: (score.scenario, score.repeat))

    def play_sequences(self, pairs: Sequence[tuple[tuple[int, ...], Scenario]]) -> list[tuple[float, bool]]:
        """Play fixed sequences of strategies, and return (final emotion, success) of each.

        Sequences that begin alike go the same way with the same person, and that part is played once.

        Args:
            pairs: (numbers of the strategies, person); the last strategy is repeated.
        """
        people: dict[str, tuple[Scenario, list[tuple[int, ...]]]] = {}
        for sequence, person in pairs:
            people.setdefault(person.id, (person, []))[1].append(sequence)
        found = {
            id_: self._with(person, list(dict.fromkeys(sequences)))
            for id_, (person, sequences) in people.items()
        }
        return [found[person.id][sequence] for sequence, person in pairs]

    def _with(
        self, person: Scenario, sequences: Sequence[tuple[int, ...]]
    ) -> dict[tuple[int, ...], tuple[float, bool]]:
        """Play sequences with one person, strategy by strategy."""
        setting = self.setting
        request = BeginRequest(
            person,
            Task("", person, 0, self.seed).seed,
            setting.difficulty,
            setting.max_turns,
            setting.initial_emotion,
        )
        at: dict[tuple[int, ...], Dialogue] = {(): setting.begin([request])[0]}
        for turn in range(setting.max_turns):
            at = self._turn(
                at, list(dict.fromkeys((_until(s, turn), _until(s, turn + 1)) for s in sequences))
            )
        ends = {sequence: at[_until(sequence, setting.max_turns)] for sequence in sequences}
        return {s: (float(end.state.emotion), end.outcome == "success") for s, end in ends.items()}

    def _turn(
        self, at: Mapping[tuple[int, ...], Dialogue], ways: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> dict[tuple[int, ...], Dialogue]:
        after = {new: at[old] for old, new in ways if at[old].ended}
        live = [(at[old], new) for old, new in ways if not at[old].ended]
        for start in range(0, len(live), CHUNK):
            some = live[start : start + CHUNK]
            chosen = [choice(new[-1], False, dialogue.turn) for dialogue, new in some]
            replies = [chosen_reply(d, one) for (d, _), one in zip(some, chosen, strict=True)]
            closing = [number == CLOSE for number, _ in chosen]
            taken = self.setting.converse([d for d, _ in some], replies, closing)
            after.update({new: t.dialogue for (_, new), t in zip(some, taken, strict=True)})
        return after


def _until(sequence: tuple[int, ...], turn: int) -> tuple[int, ...]:
    """Return the first strategies of a sequence; the last one is repeated."""
    return (sequence + sequence[-1:] * turn)[:turn]


def evaluator(
    kwargs: Mapping[str, Any], limit: int | None = None, *, seeks_success: bool = False
) -> Callable[[Any], dict[str, float]]:
    """Return what plays a policy with all people of a split and says how it went.

    Args:
        kwargs: Keyword arguments of the environment, the split among them.
        limit: Only the first people, by id.
        seeks_success: Whether ``score`` has a point more for each success in a hundred, as `SEEKS_SUCCESS` pays it.

    Returns:
        A function of a policy: ``score`` (mean final emotion, 0-100), ``success`` (share) and ``turns`` (mean).
    """
    stage = Stage(kwargs, limit=limit)

    def evaluate(policy: Any) -> dict[str, float]:
        scores = stage.play(policy)
        emotion = float(np.mean([score.emotion for score in scores]))
        success = float(np.mean([score.outcome == "success" for score in scores]))
        return {
            "score": emotion + 100 * success if seeks_success else emotion,
            "success": success,
            "turns": float(np.mean([score.turns for score in scores])),
        }

    return evaluate
