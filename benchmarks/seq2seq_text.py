"""Text written for this project from which a small T5 learns English, of training splits only.

What the bundled users of `train` say, with what their situations have a good listener answer; labelled replies to them
that a listener may well give; and the bundled exchanges of `train`. Nothing of `validation` or `test` is in it, of users
or of exchanges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from empathy_gym.agents.trainers.seq2seq.warm_start import Pair
from empathy_gym.benchmarks.labelled import load_replies
from empathy_gym.simulators.exchanges import Exchange, load_exchanges
from empathy_gym.simulators.library.compiler import bundled_situations
from empathy_gym.simulators.library.sources import SituationFile

SPLIT: Final = "train"
LANGUAGE: Final = "en"
FAMILIES: Final = ("good", "middling", "fair", "generic", "other", "advice")
"""Kinds of labelled replies that are learned from; the others flatter, agree with everything, judge or press."""


def exchange_pairs(exchanges: Iterable[Exchange]) -> list[Pair]:
    """Return exchanges as conversations and responses."""
    return [Pair(tuple(exchange.messages), exchange.response) for exchange in exchanges]


def english_pairs() -> list[Pair]:
    """Return all pairs a small T5 is built from, in an order of their own."""
    situations = [s for s in bundled_situations() if s.split == SPLIT and s.language == LANGUAGE]
    found = [pair for source in situations for pair in _of_situation(source)]
    for reply in load_replies(split=SPLIT):
        if reply.family in FAMILIES and reply.request.language == LANGUAGE:
            # What was said last is what is answered; the whole talk would make every step twice as long.
            found.append(Pair(_plain(reply.request.messages[-1:]), reply.request.reply))
    return found + exchange_pairs(load_exchanges(SPLIT))


def english_texts(pairs: Sequence[Pair]) -> list[str]:
    """Return every text of some pairs once, in their order: what a tokenizer is trained on."""
    every = (text for pair in pairs for text in (*(m["content"] for m in pair.messages), pair.response))
    return list(dict.fromkeys(every))


def _of_situation(source: SituationFile) -> Iterator[Pair]:
    """Yield what is said in a situation, with what its authors have a listener answer."""
    situation = source.situation
    facts = {fact.id: fact.text for fact in situation.facts}
    for fact in situation.facts:
        yield from (_pair([fact.text], line) for line in fact.say)
    for item in (*situation.feelings, *situation.perspectives, *situation.strengths):
        told = [facts[id_] for id_ in _grounds(item) if id_ in facts]
        if told:
            yield from (_pair(told, line) for line in item.say)
    for topic in situation.topics:
        for number, line in enumerate(topic.say):
            yield _pair([source.openings[number % len(source.openings)]], line)


def _grounds(item: Any) -> Sequence[str]:
    """Return the ids of the facts that a feeling, a perspective or a strength rests on."""
    return tuple(getattr(item, "because", None) or getattr(item, "evidence", None) or ())


def _pair(told: Sequence[str], answer: str) -> Pair:
    return Pair(({"role": "user", "content": " ".join(told)},), answer)


def _plain(messages: Iterable[Any]) -> tuple[dict[str, str], ...]:
    return tuple({"role": m["role"], "content": m["content"]} for m in messages)
