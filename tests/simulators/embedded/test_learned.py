"""Learned heads accuse, and do nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from empathy_gym.benchmarks.labelled import load_replies
from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.embedded.hashed import HashSpec
from empathy_gym.simulators.embedded.learned import (
    ACCUSED,
    COSTS,
    LearnedHeads,
    default_heads,
    packaged_heads,
)
from empathy_gym.simulators.embedded.linear import Head, LinearHeads, load
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.plain import PlainHeads, readable
from empathy_gym.simulators.embedded.sentences import sentences_of
from empathy_gym.simulators.errors import ConfigError


def eager() -> LearnedHeads:
    """Return heads that accuse every sentence of everything."""
    packaged = default_heads().heads
    heads = {
        name: Head(name, (0, 1), "multinomial", np.zeros_like(head.weights), np.array([0, 10**9]), 1.0)
        for name, head in packaged.heads.items()
    }
    return LearnedHeads(LinearHeads(packaged.spec, heads, {}))


def test_heads_never_give() -> None:
    replies = load_replies()[::7]
    requests = [reply.request for reply in replies]
    before = EmbeddedPerceiver(learned=False).perceive(requests)
    for after in (
        EmbeddedPerceiver().perceive(requests),
        EmbeddedPerceiver(heads=eager()).perceive(requests),
    ):
        for one, other in zip(before, after, strict=True):
            for name in LEVELS:
                worse = other.levels()[name] >= one.levels()[name] if name in COSTS else (
                    other.levels()[name] <= one.levels()[name]
                )  # fmt: skip
                assert worse, (name, one.levels()[name], other.levels()[name])


def test_only_accused_fields_change_and_only_to_what_they_are_accused_of() -> None:
    requests = [reply.request for reply in load_replies()[::7]]
    before = EmbeddedPerceiver(learned=False).perceive(requests)
    after = EmbeddedPerceiver(heads=eager()).perceive(requests)
    changed = {
        (name, other.levels()[name])
        for one, other in zip(before, after, strict=True)
        for name in LEVELS
        if one.levels()[name] != other.levels()[name]
    }
    assert changed == set(ACCUSED.items())


def test_leverage_among_kind_sentences_is_still_seen() -> None:
    heads = default_heads()
    kind = ["You laid the table for eleven.", "No wonder you were tired."]
    none = [dict.fromkeys(LEVELS, 0)]
    hook = "Nobody else will ever understand you the way that I do, so promise me you'll stay."
    assert heads.correct([kind], none)[0]["control"] == 0
    assert heads.correct([[*kind, hook]], none)[0]["control"] == 3


def test_readings_do_not_depend_on_the_batch() -> None:
    requests = [reply.request for reply in load_replies()[:40]]
    perceiver = EmbeddedPerceiver()
    together = perceiver.perceive(requests)
    assert [perceiver.perceive([request])[0] for request in requests] == together


def test_the_weights_are_small_named_and_of_this_version(tmp_path: Path) -> None:
    assert packaged_heads().stat().st_size < 5_000_000
    about = default_heads().heads.provenance
    assert "no other text" in about["from"] and "test" not in about["splits"]
    damaged = tmp_path / "heads.npz"
    damaged.write_bytes(packaged_heads().read_bytes()[:-40])
    with pytest.raises(ConfigError, match="damaged"):
        load(damaged)


def test_the_fingerprint_tells_heads_apart() -> None:
    names = {
        p.fingerprint
        for p in (EmbeddedPerceiver(), EmbeddedPerceiver(learned=False), EmbeddedPerceiver(heads=eager()))
    }
    assert len(names) == 3


def test_plain_sentences_are_read_without_arrays_to_the_same_numbers() -> None:
    heads = default_heads().heads
    texts = [sentence.raw for reply in load_replies() for sentence in sentences_of(reply.request.reply)]
    odd = ["", "''", "!?", "a", "(1) A_b-c d's", "x\x00y\x1fz\x7f w", "\t a \n b", "a" * 3000]
    plain = [text for text in dict.fromkeys([*texts[::3], *odd]) if text.isascii()]
    rows = heads.rows(plain)
    scores = {name: head.scores(rows) for name, head in heads.heads.items()}
    read = PlainHeads(heads)
    for at, text in enumerate(plain):
        leads = {name: int(score[at, 1] - score[at, 0]) for name, score in scores.items()}
        assert read.leads(text) == leads, text


def test_plain_reading_is_for_heads_of_words_alone() -> None:
    heads = default_heads().heads
    assert readable(heads)
    for spec in (HashSpec(bits=14, words=(1, 2), chars=(3,)), HashSpec(bits=14, words=(1,), chars=())):
        assert not readable(dataclasses.replace(heads, spec=spec))


def test_what_a_sentence_is_accused_of_does_not_depend_on_how_many_are_read() -> None:
    heads, texts = LearnedHeads(default_heads().heads), [reply.request.reply for reply in load_replies()]
    none = [dict.fromkeys(LEVELS, 0)]
    together = heads.correct([[text] for text in texts[:200]], none * 200)
    one_by_one = [LearnedHeads(heads.heads).correct([[text]], none)[0] for text in texts[:200]]
    assert together == one_by_one
    assert {levels["control"] for levels in together} == {0, 3}
