"""Scripted engines and requests for the tests of the language-model user."""

from __future__ import annotations

import dataclasses
import json

import pytest

from empathy_gym.simulators.dialogue import BeginRequest, perception_request
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.engines.base import ChatReply
from empathy_gym.simulators.engines.scripted import ScriptedEngine
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.answers import FIELDS
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.user import User


class Watching:
    """An engine that answers by a function and remembers requests and batch sizes."""

    model, revision = "watching", "1"

    def __init__(self, answer):
        self.answer, self.requests, self.batches = answer, [], []

    def complete(self, requests):
        self.batches.append(len(requests))
        self.requests.extend(requests)
        replies = [self.answer(request) for request in requests]
        return [reply if isinstance(reply, ChatReply) else ChatReply(text=reply) for reply in replies]

    def close(self):
        pass


@pytest.fixture
def watching():
    return Watching


@pytest.fixture
def scripted():
    return ScriptedEngine


@pytest.fixture(scope="session")
def scenarios():
    return load_scenarios("train")


@pytest.fixture(scope="session")
def scenario(scenarios):
    """One with a claim that is not true, and a boundary."""
    return next(
        s
        for s in scenarios
        if s.situation.boundaries and any(c.truth in ("half", "false") for c in s.situation.claims)
    )


@pytest.fixture
def begun(scenario):
    """A dialogue after its opening, with the first `told` facts told."""

    def begun_(told=4, scenario=scenario, seed=3, **state):
        user = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker())
        dialogue = user.begin([BeginRequest(scenario, seed=seed)])[0]
        facts = tuple(f.id for f in scenario.situation.facts[:told])
        after = dataclasses.replace(dialogue.state, disclosed=facts, **state)
        return dataclasses.replace(dialogue, states=(after,))

    return begun_


@pytest.fixture
def asking(begun):
    """A perception request for a reply."""
    return lambda reply, **kwargs: perception_request(begun(**kwargs), reply)


@pytest.fixture
def answer():
    """A JSON answer: levels as (level, span) by field."""

    def answer_(kind="none", touched=(), **noted):
        fields = {name: {"span": "", "level": 0} for name in FIELDS}
        for name, (level, span) in noted.items():
            fields[name] = {"span": span, "level": level}
        return json.dumps({**fields, "insight_kind": kind, "touched": list(touched)})

    return answer_


def prompt_of(request):
    return "\n".join(m["content"] for m in request.messages)


@pytest.fixture
def text_of():
    return prompt_of
