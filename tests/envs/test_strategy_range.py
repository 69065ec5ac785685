"""The range of EmpathyStrategy-v0: the right strategies help most users, and no single one does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from empathy_gym.agents.policies.oracle import _promise
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.envs.strategies import CLOSE, STRATEGIES, realise
from empathy_gym.envs.strategy import speech_seed
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue

WIDTH = 3
"""Conversations that a search goes on with after each reply."""


@pytest.fixture(scope="module")
def setting() -> ChatSetting:
    return ChatSetting.make({"scenarios": "train"})


@pytest.fixture(scope="module")
def begun(setting: ChatSetting) -> list[Dialogue]:
    """Users of every need."""
    return setting.user.begin([BeginRequest(s, seed=i) for i, s in enumerate(setting.scenarios[::43])])


def after(setting: ChatSetting, dialogues: list[Dialogue], actions: list[int]) -> list[Dialogue]:
    pairs = list(zip(dialogues, actions, strict=True))
    replies = [realise(action, dialogue.messages, speech_seed(dialogue)) for dialogue, action in pairs]
    taken = setting.converse(dialogues, replies, [action == CLOSE for action in actions])
    return [transition.dialogue for transition in taken]


def played(
    setting: ChatSetting, dialogues: list[Dialogue], act: Callable[[Dialogue, int], int]
) -> list[Dialogue]:
    """Return the ends of conversations led by a policy of a dialogue and its number."""
    ends = list(dialogues)
    while live := [i for i, dialogue in enumerate(ends) if not dialogue.ended]:
        going = [ends[i] for i in live]
        for i, dialogue in zip(live, after(setting, going, [act(ends[i], i) for i in live]), strict=True):
            ends[i] = dialogue
    return ends


def searched(setting: ChatSetting, dialogue: Dialogue) -> Dialogue:
    """Return the best end that a narrow search finds which is told what no listener hears."""
    front, best = [dialogue], None
    while front:
        tries = [(d, a) for d in front for a in range(len(STRATEGIES)) if a != CLOSE or d.state.leaving]
        children = after(setting, [d for d, _ in tries], [a for _, a in tries])
        ended = [d for d in children if d.ended] + ([best] if best else [])
        best = max(ended, key=lambda d: (d.emotion, d.outcome == "success"), default=None)
        going = {d.state: d for d in children if not d.ended}
        front = sorted(going.values(), key=lambda d: -_promise(d.source, d.state, False))[:WIDTH]
    assert best is not None
    return best


def mean(ends: list[Dialogue]) -> float:
    return sum(dialogue.emotion for dialogue in ends) / len(ends)


@pytest.mark.slow
def test_a_search_over_strategies_leaves_most_users_content(setting, begun):
    ends = [searched(setting, dialogue) for dialogue in begun]
    assert mean(ends) >= 75
    assert sum(dialogue.outcome == "success" for dialogue in ends) / len(ends) >= 0.25
    assert not any(dialogue.outcome == "failure" for dialogue in ends)


@pytest.mark.parametrize("strategy", STRATEGIES[:CLOSE])
def test_no_strategy_helps_by_itself(setting, begun, strategy):
    number = STRATEGIES.index(strategy)
    ends = played(setting, begun, lambda dialogue, i: number)
    assert mean(ends) <= 40, mean(ends)


def test_chance_helps_nobody(setting, begun):
    ends = played(setting, begun, lambda dialogue, i: (7 * i + 5 * dialogue.turn + i * dialogue.turn) % CLOSE)
    assert mean(ends) <= 35 and not any(dialogue.outcome == "success" for dialogue in ends)
