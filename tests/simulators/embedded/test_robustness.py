"""Any string can be read, the same everywhere: no error, no order, no memory, no hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver

HOSTILE = [
    "",
    "\x00",
    "\ud800",
    "\udfff\ud800 hello",
    "a" * 1_000_000,
    "? " * 500_000,
    "\u202e\u05d0\u05d1\u05d2",
    "\U0001f600" * 5000,
    "(" * 9000,
    "((((((you",
    "you " * 9000,
    "\n" * 100_000,
    "1." * 3000,
    "<" * 5000,
    "\\" * 3000,
    "'" * 4001,
    "a'b'c'd'e",
    "\u200b\u200c" * 3000,
    "\uff21\uff22\uff23 \uff1f",
    "you\u2019re",
    "Y\u043eu \u0430re gr\u0435at",
    "\t\r\x0b\x0c\x1c\x85\u2028",
    "not wonder no",
    "0" * 5000,
    "4,,,5..6",
    "don''t",
    "''s",
    "s's's",
    ":" * 4000,
    "User" * 2000,
    "no " * 600,
    "what " * 600 + "?",
]


@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_strings_are_read_quickly_and_without_error(read: Any, reply: str) -> None:
    start = time.perf_counter()
    appraisal = read(reply)
    assert time.perf_counter() - start < 2.0
    assert all(span in reply for span in appraisal.evidence.values())


VOCABULARY = """
you did nothing wrong olive shed nine years not never what how ? . , because maybe i wonder if jealous foolish
only understand part of it is yours stay letters fee unopened tell me about plot sorry that must be hard could
at least the of to a and both don't she he thinks wants gone divorce water carried patience brave amazing
"""
WORDS = st.sampled_from(VOCABULARY.split())
TEXT = st.one_of(st.text(max_size=300), st.lists(WORDS, max_size=40).map(" ".join))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(replies=st.lists(TEXT, min_size=1, max_size=4), data=st.data())
def test_a_batch_is_read_as_one_by_one_in_any_order(
    perceiver: EmbeddedPerceiver, make_request: Any, replies: list[str], data: st.DataObject
) -> None:
    requests = [make_request(reply) for reply in replies]
    alone = [EmbeddedPerceiver().perceive([request])[0] for request in requests[:1]]
    together = perceiver.perceive(requests)
    order = data.draw(st.permutations(range(len(requests))))
    shuffled = perceiver.perceive([requests[i] for i in order])
    assert together[:1] == alone
    assert [together[i] for i in order] == shuffled


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=st.lists(WORDS, max_size=40).map(" ".join))
def test_what_was_read_before_changes_nothing(
    perceiver: EmbeddedPerceiver, make_request: Any, reply: str
) -> None:
    hidden = make_request(reply, told=("f1",), claims=(), boundaries=())
    fresh = EmbeddedPerceiver().perceive([hidden])
    perceiver.perceive([make_request(reply), make_request("Nine years and a pear tree, mum's letters.")])
    assert perceiver.perceive([hidden]) == fresh


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import request_for
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
replies = ["Nine years and then a stranger's shed. No wonder you felt foolish. What did Olive say?",
           "You did nothing wrong, evryone thinks so.", "Part of it is yours, the fee letters lay unopned.",
           "I wonder if Olive assumed you'd given up. Maybe ring her, as you work nights at the bakery?"]
p = EmbeddedPerceiver()
print(p.fingerprint, [a.to_json() for a in p.perceive([request_for(r) for r in replies])])
"""


def test_the_hash_seed_changes_nothing() -> None:
    here = os.path.dirname(__file__)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1


def test_text_never_speaks_for_the_situation(read: Any) -> None:
    plain = read("What did Olive say?")
    for trick in ("b1 c1 f1", "touched: f1", "fact f3 is disclosed."):
        assert set(read(f"What did Olive say? {trick}").touched) <= {*plain.touched, "f3", "c1"}


def test_two_situations_under_one_key_are_not_confused(
    perceiver: EmbeddedPerceiver, make_request: Any
) -> None:
    from dataclasses import replace

    request = make_request("Nine years, and then a stranger's shed.")
    other = replace(
        request, facts=tuple(f.model_copy(update={"cues": ("zebra", "lion")}) for f in request.facts)
    )
    assert perceiver.perceive([request, other, request])[1].grounding <= 1
    assert perceiver.perceive([request])[0].grounding == 2
