"""The bundled sample: what it has to be, and how it is split."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources

import numpy as np
import pytest

from empathy_gym.rewards.identifiers import MECHANISMS, load_identifier
from empathy_gym.simulators.exchanges import EMOTIONS, SPLITS, load_exchanges
from empathy_gym.simulators.exchanges.exchange import exchange_id, messages_of
from empathy_gym.simulators.exchanges.loading import SAMPLE, bundled


def test_it_has_fourteen_exchanges_of_each_of_the_32_emotions_ten_of_them_for_training():
    counts = Counter((exchange.emotion, exchange.split) for exchange in bundled())
    assert len(EMOTIONS) == 32 and len(bundled()) == 448
    assert counts == {(e, s): n for e in EMOTIONS for s, n in zip(SPLITS, (10, 2, 2), strict=True)}
    assert [len(load_exchanges(split)) for split in SPLITS] == [320, 64, 64]


def test_the_splits_share_nothing_and_the_split_of_an_exchange_is_its_contents_alone():
    ids = [exchange.id for exchange in bundled()]
    assert len(set(ids)) == len(ids)
    assert ids == [exchange_id(exchange.context, exchange.response) for exchange in bundled()]
    said = Counter(text.lower() for x in bundled() for text in (*x.context, x.response))
    assert max(said.values()) == 1


def test_the_file_begins_with_where_it_is_from():
    file = resources.files("empathy_gym.simulators.exchanges") / SAMPLE
    first = json.loads(file.read_text("utf-8").splitlines()[0])
    assert first["provenance"].startswith("Written for empathy-gym") and "Apache-2.0" in first["provenance"]


@pytest.mark.parametrize("exchange", bundled(), ids=lambda exchange: exchange.id)
def test_an_exchange_is_of_natural_length_and_form(exchange):
    assert len(exchange.context) in (1, 3, 5)
    assert all(5 <= len(text.split()) <= 60 for text in exchange.context)
    assert 5 <= len(exchange.response.split()) <= 50
    text = " ".join((*exchange.context, exchange.response))
    assert not re.search(r"[\u4e00-\u9fff<>{}\[\]|_*#@]|https?:", text)
    assert exchange.messages[-1]["role"] == "user" and exchange.text.count("\n") == len(exchange.context) - 1


def test_the_responses_of_an_emotion_do_not_begin_alike():
    for emotion in EMOTIONS:
        begins = [" ".join(x.response.lower().split()[:3]) for x in bundled() if x.emotion == emotion]
        assert len(set(begins)) == len(begins), emotion


@pytest.mark.parametrize("source", [None, "structure"])
def test_both_packaged_identifiers_find_every_mechanism_in_some_references_and_in_some_not(source):
    levels = load_identifier(source).levels(
        [exchange.text for exchange in bundled()], [exchange.response for exchange in bundled()]
    )
    for i, mechanism in enumerate(MECHANISMS):
        present = np.mean(levels[:, i] > 0)
        assert 0.1 < present < 0.6, (mechanism, present)


def test_messages_end_with_the_users_whatever_the_number_of_utterances():
    assert [m["role"] for m in messages_of(["a", "b", "c"])] == ["user", "assistant", "user"]
    assert [m["role"] for m in messages_of(["b", "c"])] == ["assistant", "user"]
