"""A small situation of its own, so that these tests do not move with the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import Message, PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.scenario import Situation

SITUATION: dict[str, Any] = {
    "summary": "A gardener's allotment plot was promised to somebody else while they were away.",
    "people": [
        {"name": "Olive", "role": "chair of the allotment society"},
        {"name": "Pete", "role": "neighbour"},
    ],
    "topics": [
        {"id": "t_plot", "text": "the plot", "cues": ["plot|allotment|garden"]},
        {"id": "t_olive", "text": "the chair", "cues": ["olive|chair"]},
    ],
    "facts": [
        {
            "id": "f1",
            "layer": 1,
            "topics": ["t_plot"],
            "text": "I've dug that plot for nine years, and in spring there's a stranger's shed on it.",
            "cues": ["nine years|decade|dug", "shed|hut|stranger|somebody else's"],
        },
        {
            "id": "f2",
            "layer": 1,
            "topics": ["t_olive"],
            "text": "Olive signed it away at the winter meeting, and I can't see what I did wrong.",
            "cues": ["olive|chair", "signed|gave it away|handed over", "meeting|winter|vote"],
        },
        {
            "id": "f3",
            "layer": 2,
            "topics": ["t_plot"],
            "text": "The fee was due in October. Two letters came, and they sat unopened behind the toaster.",
            "cues": [
                "fee|rent|payment|due",
                "letter|letters|reminder|reminders",
                "unopened|toaster|never opened",
            ],
        },
        {
            "id": "f4",
            "layer": 3,
            "topics": ["t_plot"],
            "text": "My mother planted the pear tree there the year she retired.",
            "cues": ["mother|mum", "pear|tree|planted"],
        },
    ],
    "feelings": [
        {
            "id": "e1",
            "name": "humiliated",
            "text": "I felt a right fool.",
            "because": ["f1"],
            "cues": ["humiliated|foolish|embarrassed|ashamed"],
        },
        {
            "id": "e2",
            "name": "jealous",
            "held": False,
            "text": "I'm not jealous of them.",
            "because": ["f1"],
            "cues": ["jealous|envious"],
        },
    ],
    "attempts": [
        {
            "id": "a1",
            "text": "I wrote to the committee and got a form letter.",
            "fact": "f2",
            "cues": ["wrote|write|letter", "committee|board"],
        },
    ],
    "constraints": [
        {
            "id": "k1",
            "text": "I can't go to meetings, I work nights at the bakery.",
            "cues": ["nights|night shift", "bakery|baking|meeting|meetings"],
        },
    ],
    "strengths": [
        {
            "id": "s1",
            "text": "Helped the newcomer carry water although it hurt.",
            "evidence": ["f1"],
            "cues": ["help|carried|carry", "water|newcomer|bucket"],
        },
    ],
    "perspectives": [
        {
            "id": "p1",
            "kind": "other",
            "text": "Olive may have thought the plot was given up.",
            "because": ["f2"],
            "cues": ["olive|chair", "given up|abandoned|deserted", "thought|believed|assumed"],
        },
        {
            "id": "p2",
            "kind": "self",
            "text": "It may be about the pear tree more than the plot.",
            "because": ["f4"],
            "cues": ["pear|tree", "plot|ground|soil"],
        },
    ],
    "claims": [
        {
            "id": "c1",
            "kind": "fault",
            "truth": "half",
            "voiced_by": "f2",
            "text": "I can't see what I did wrong.",
            "evidence": ["f3"],
            "cues": ["wrong|fault|blame", "olive|plot|fee"],
            "fair_readings": [
                "Olive might have knocked, and two letters about the fee did sit unopened. Both had a part.",
            ],
            "must_not_affirm": ["You did nothing wrong at all."],
        },
        {
            "id": "c2",
            "kind": "mind_reading",
            "truth": "false",
            "voiced_by": "f2",
            "text": "Olive wants me gone.",
            "evidence": ["f4"],
            "cues": ["wants you gone|want you gone|rid of you|drive you out", "olive"],
            "fair_readings": [
                "I don't think she wants you gone. She kept your mother's pear tree out of the sale."
            ],
            "must_not_affirm": ["She obviously wants you gone."],
        },
    ],
    "boundaries": [
        {
            "id": "b1",
            "kind": "topic",
            "text": "I'd rather leave my divorce out of it.",
            "cues": ["divorce|marriage|ex"],
        },
    ],
}

KINDS = (
    "topics",
    "facts",
    "feelings",
    "attempts",
    "constraints",
    "strengths",
    "perspectives",
    "claims",
    "boundaries",
)
OPENING = "Hello. I've had a bit of a day with the allotment people."

Read = Callable[..., Appraisal]


def request_for(reply: str, messages: tuple[Message, ...] = (), **overrides: Any) -> PerceptionRequest:
    """Return a request with everything told. `truth` is that of the claim about fault; `told` hides facts."""
    data = {**SITUATION}
    truth = overrides.pop("truth", "half")
    data["claims"] = [{**c, "truth": truth} if c["kind"] == "fault" else c for c in data["claims"]]
    situation = Situation.model_validate(data)
    told = overrides.pop("told", None)
    fields: dict[str, Any] = {kind: getattr(situation, kind) for kind in KINDS}
    if told is not None:
        fields["facts"] = tuple(f for f in situation.facts if f.id in told)
    fields.update(overrides)
    opening: Message = {"role": "user", "content": OPENING}
    return PerceptionRequest(
        situation=situation.content_hash,
        language=fields.pop("language", "en"),
        messages=messages or (opening,),
        reply=reply,
        **fields,
    )


@pytest.fixture(scope="session")
def perceiver() -> EmbeddedPerceiver:
    return EmbeddedPerceiver()


@pytest.fixture(scope="session")
def read(perceiver: EmbeddedPerceiver) -> Read:
    """Read one reply with everything told."""

    def _read(reply: str, messages: tuple[Message, ...] = (), **overrides: Any) -> Appraisal:
        return perceiver.perceive([request_for(reply, messages, **overrides)])[0]

    return _read


@pytest.fixture(scope="session")
def make_request() -> Callable[..., PerceptionRequest]:
    return request_for
