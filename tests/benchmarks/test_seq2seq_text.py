"""What a small T5 learns English from: text of training splits alone."""

from __future__ import annotations

from empathy_gym.benchmarks.labelled import load_replies
from empathy_gym.benchmarks.seq2seq_text import english_pairs, english_texts, exchange_pairs
from empathy_gym.simulators.exchanges import load_exchanges
from empathy_gym.simulators.library.compiler import bundled_situations


def test_nothing_of_validation_or_test_is_in_it() -> None:
    texts = set(english_texts(english_pairs()))
    held_out = {
        reply.request.reply for split in ("validation", "test") for reply in load_replies(split=split)
    }
    for situation in bundled_situations():
        if situation.split != "train":
            held_out |= {line for fact in situation.situation.facts for line in (fact.text, *fact.say)}
    for split in ("validation", "test"):
        held_out |= {text for e in load_exchanges(split) for text in (*e.context, e.response)}
    assert len(held_out) > 1000 and not texts & held_out


def test_what_hurts_is_not_learned() -> None:
    learned = {pair.response for pair in english_pairs()}
    bad = {
        r.request.reply for r in load_replies(split="train") if r.family in ("judge", "control", "flatter")
    }
    good = {r.request.reply for r in load_replies(split="train") if r.family == "good"}
    assert bad and not learned & bad and good <= learned


def test_every_conversation_ends_with_the_users_line() -> None:
    pairs = english_pairs()
    assert all(pair.messages[-1]["role"] == "user" and pair.response.strip() for pair in pairs)
    assert len(pairs) > 4000


def test_exchanges_keep_their_turns() -> None:
    exchange = next(e for e in load_exchanges("train") if len(e.context) == 3)
    (pair,) = exchange_pairs([exchange])
    assert [m["role"] for m in pair.messages] == ["user", "assistant", "user"]
    assert (
        tuple(m["content"] for m in pair.messages) == exchange.context and pair.response == exchange.response
    )
