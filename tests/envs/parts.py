"""Plug-ins for the tests, named as ``"empathy_test_parts:..."`` (see conftest.py)."""

from __future__ import annotations

import dataclasses
import hashlib
import math

from empathy_gym.agents import Reply
from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import EmotionChange, Fault
from empathy_gym.simulators.errors import EngineError
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.user import User


def levels_of(reply: str, turn: int) -> Appraisal:
    """Any levels, but always the same ones: drawn by the hash of the reply."""
    digest = hashlib.sha256(f"{turn}{reply}".encode("utf-8", "surrogatepass")).digest()
    levels = {
        name: valid[byte % len(valid)] for (name, valid), byte in zip(LEVELS.items(), digest, strict=False)
    }
    if digest[20] % 3:
        levels.update(form=2, repetition=0, invalidation=0, control=0)
    return Appraisal(**levels)


class HashPerceiver:
    """Reads levels out of the hash of a reply; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def perceive(self, items):
        self.calls.append(len(items))
        return [levels_of(item.reply, len(item.messages)) for item in items]


class ExactPerceiver(HashPerceiver):
    determinism = "exact"


class FaultPerceiver(HashPerceiver):
    """A reply may ask for a fault."""

    def perceive(self, items):
        if any("engine down" in item.reply for item in items):
            raise EngineError("the engine is down")
        faults = {
            "simulator fault": Fault("simulator", "timeout"),
            "policy fault": Fault("policy", "overflow"),
        }
        return [faults.get(i.reply) or levels_of(i.reply, len(i.messages)) for i in items]


class KeywordPerceiver:
    """A reply of one number is a plain one; "leverage" ends the talk."""

    def perceive(self, items):
        return [Appraisal(control=3, invalidation=2) if "leverage" in i.reply else Appraisal() for i in items]


class EchoSpeaker:
    def speak(self, items):
        return [f"line {len(item.messages)}" for item in items]


class MuteSpeaker(EchoSpeaker):
    """Has no answer to a goodbye."""

    def speak(self, items):
        return [Fault("simulator", "no answer") if i.outcome == "closed" else "line" for i in items]


class OwnRule:
    """Moves by the length of the reply's levels under a name of its own, and one point under a known one."""

    def apply(self, scenario, state, appraisal, last):
        change = 3 if state.emotion < 95 else 0
        after = dataclasses.replace(state, emotion=state.emotion + change, turn=state.turn + 1)
        return EmotionChange(change, {"sparkle": change - 1, "warmth": 1} if change else {}, after)


class OwnTable(TableRule):
    pass


class WholeUser:
    """Not built from the three parts."""

    def __init__(self) -> None:
        self.inner = User(HashPerceiver(), TableRule(), EchoSpeaker())

    def begin(self, requests):
        return self.inner.begin(requests)

    def respond(self, dialogues, replies):
        return [dataclasses.replace(d, terms=()) for d in self.inner.respond(dialogues, replies)]


def composed() -> User:
    return User(HashPerceiver(), TableRule(), EchoSpeaker())


class LengthReward:
    terms = ("length", "bonus")

    def __call__(self, before, reply, after):
        return {"bonus": 0.25, "length": len(reply) / 1000}


class FlooredReward(LengthReward):
    def floor(self, before):
        return -0.5


class BrokenReward:
    def __init__(self, values):
        self.terms = ("alpha", "beta")
        self.values = values

    def __call__(self, before, reply, after):
        return self.values


nan_reward = BrokenReward({"alpha": 0.0, "beta": math.nan})
inf_reward = BrokenReward({"alpha": math.inf, "beta": 0.0})
missing_reward = BrokenReward({"alpha": 0.0})
extra_reward = BrokenReward({"alpha": 0.0, "beta": 0.0, "gamma": 0.0})
not_a_dict_reward = BrokenReward([0.0, 0.0])
word_reward = BrokenReward({"alpha": "much", "beta": 0.0})


class Counting:
    """A policy that says what it used up."""

    def act(self, conversations):
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        return [Reply("I see. What then?", usage=usage) for _ in conversations]
