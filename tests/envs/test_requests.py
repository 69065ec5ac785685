"""Through the environment, with every part real: a talk with a kind no against the same talk with a yes in its place."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from empathy_gym.agents.policies.oracle import OraclePolicy
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.scenario import DIFFICULTIES, Scenario

SPLITS = ("train", "validation", "test")
ASKING = [
    (part, s) for part in PARTS for s in load_scenarios(part) if s.situation.requests and part in SPLITS
]
EVERY = 5


def play(
    env: Any, scenario: Scenario, seed: int, replies: list[str] | None = None
) -> tuple[Dialogue, list[str]]:
    """Play an episode: the oracle's, or the given replies and then silence. Return how it ended, and what was said."""
    oracle = OraclePolicy(candidates=12, ahead=0)
    env.reset(seed=seed, options={"scenario": scenario.id})
    said: list[str] = []
    while not env.unwrapped.dialogue.ended:
        if replies is None:
            reply = oracle.act([], [env.unwrapped.dialogue])[0]
        else:
            reply = replies[len(said)] if len(said) < len(replies) else "I see."
        env.step(reply)
        said.append(reply)
    return env.unwrapped.dialogue, said


def test_a_kind_no_ends_above_a_yes_in_the_same_talk() -> None:
    pairs = []
    for n, (part, scenario) in enumerate(ASKING[::EVERY]):
        env = gym.make("EmpathyChat-v0", scenarios=part, difficulty=DIFFICULTIES[n % 3])
        declined, said = play(env, scenario, n)
        states = enumerate(declined.states[: len(said)])
        met = [(at, request) for at, state in states for request in requests_in(scenario, state.beats)]
        for at, request in met[:1]:
            no = next(line for line in request.say if line in said[at])
            yes = said[at].replace(no, request.comply[n % len(request.comply)])
            complied, _ = play(env, scenario, n, [*said[:at], yes, *said[at + 1 :]])
            assert complied.messages[: 2 * at + 1] == declined.messages[: 2 * at + 1]
            pairs.append((declined.emotion, complied.emotion))
        env.close()
    assert len(pairs) >= 30
    assert all(no >= yes for no, yes in pairs), pairs
    # Level where a ceiling holds both talks down, or where the rest of the reply is honest after all.
    assert sum(no > yes for no, yes in pairs) >= 0.8 * len(pairs), pairs
