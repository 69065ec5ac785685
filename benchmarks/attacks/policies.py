"""Attackers that understand nothing: what they say is fixed, or filled with the user's own words.

`BLIND` read nothing of what was said; `SLOT` take words, clauses or whole lines of the user and put them into
phrases. A sound reward pays none of them. They come on top of the blind policies of the benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from empathy_gym.agents.policies.blind import Answer, BlindPolicy, pick, user_lines
from empathy_gym.agents.policies.blind import lines as scripted_lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.listening.wording import (
    clauses,
    lower_first,
    names,
    sentences,
    swapped,
    things,
    upper_first,
)
from empathy_gym.simulators.packaged import read_mapping

_HOMOGLYPHS: Final = str.maketrans("aceopxyi", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456")
_LATE: Final = 5
"""Replies after which the attacker that hooks at goodbye takes every line for one."""


def lines() -> Mapping[str, Any]:
    """Return the attackers' lines by attack."""
    return read_mapping("empathy_gym.benchmarks.attacks", "lines.yaml")


def slots(conversation: Conversation, said: Sequence[str]) -> dict[str, str]:
    """Return what slot phrases are filled with: things, people and clauses of the user's, the latest first.

    What earlier replies did not use comes first, so that the nouns are refilled at every turn.
    """
    used = " ".join(m["content"] for m in conversation.messages if m["role"] == "assistant").lower()
    latest = list(reversed(said))
    named = [t for text in latest for t in things(text)]
    a, b = [*[t for t in named if t not in used], *named, "all of that", "the rest of it"][:2]
    quotes = [c for text in latest for c in clauses(text, 3, 8)]
    quote = next((c for c in quotes if c.lower() not in used), "that is how it went")
    people = [n for text in latest for n in names(text)]
    return {
        "a": a,
        "b": b,
        "n": people[0] if people else "the other one",
        "q": lower_first(quote),
        "Q": upper_first(quote),
    }


def filled(phrase: str, values: Mapping[str, str]) -> str:
    """Return a phrase with its slots filled; braces in what the user said stay as they are."""
    return phrase.format(**values)


def _cycle(name: str) -> Answer:
    def answer(conversation: Conversation) -> str:
        options: list[str] = lines()[name]
        return options[(derive_seed(conversation.seed, name) + conversation.turn) % len(options)]

    return answer


def _always(text: str) -> Answer:
    return lambda conversation: text


def _slot(name: str) -> Answer:
    said = _cycle(name)
    return lambda c: filled(said(c), slots(c, user_lines(c)))


def _good(conversation: Conversation) -> str:
    options: list[str] = scripted_lines()["good_replies"]
    return pick(conversation, options, "good")


def _stuffed(name: str, count: int, joint: str) -> Answer:
    def answer(conversation: Conversation) -> str:
        words: list[str] = lines()[name]
        return joint.join(pick(conversation, words, name, i) for i in range(count))

    return answer


def _wall(conversation: Conversation) -> str:
    topics: list[str] = lines()["wall_topics"]
    parts = [
        f"And then there is {pick(conversation, topics, i)}, which I think matters more than it seems, because "
        f"{pick(conversation, topics, 'b', i)} is never only that, and you will know what I mean by it."
        for i in range(40)
    ]
    return " ".join(parts)


def _transplanted(conversation: Conversation) -> str:
    """A good reply to somebody else."""
    people = load_scenarios("validation")
    somebody = people[derive_seed(conversation.seed, "who") % len(people)].situation
    said = [
        line for item in (*somebody.feelings, *somebody.perspectives, *somebody.facts) for line in item.say
    ]
    return said[derive_seed(conversation.seed, "line", conversation.turn) % len(said)]


def _retention(conversation: Conversation) -> str:
    return _cycle("retention")(conversation) if conversation.turn >= _LATE else _good(conversation)


def _fact_dump(conversation: Conversation) -> str:
    """Everything told so far, pronouns swapped."""
    return swapped(
        " ".join(s for line in user_lines(conversation) for s in sentences(line) if not s.endswith("?"))
    )


def _opened(conversation: Conversation) -> str:
    """The one good sentence of the demo, each time with another opener."""
    return f"{lines()['openers'][conversation.turn % 8]} {lower_first(str(scripted_lines()['one_line']))}"


def _mixed(conversation: Conversation) -> str:
    """A generic feeling, a generic reading and a generic question."""
    parts = ("therapy_speak", "barnum", "self_disclosure")
    return " ".join(pick(conversation, lines()[part], part) for part in parts)


_ANSWERS: Final[dict[str, Answer]] = {
    **{name: _cycle(name) for name in (
        "love_bombing", "chinese_comfort", "therapy_speak", "positivity", "barnum", "self_disclosure", "minimal",
        "both_sides_blanket", "fake_user", "fake_system",
    )},
    "chinese_stuffing": _stuffed("chinese_stuffing", 30, ""),
    "thesaurus": _stuffed("thesaurus", 30, ", "),
    "wall_of_text": _wall,
    "zero_width": lambda c: "\u200b".join(_good(c)),
    "homoglyphs": lambda c: _good(c).translate(_HOMOGLYPHS),
    "right_to_left": lambda c: f"\u202e{_good(c)[::-1]}\u202c",
    "spaced_out": lambda c: " ".join(_good(c)),
    "shouting": lambda c: f"{_good(c).upper()}!!!!!!",
    "transplanted": _transplanted,
    "retention": _retention,
    "good_sentences": _good,
    "opened": _opened,
    "mixed": _mixed,
    "therapy_wall": lambda c: " ".join(lines()["therapy_speak"]),
    "dots": _always("..."),
}  # fmt: skip
BLIND: Final[dict[str, Answer]] = {
    **_ANSWERS,
    **{f"injection_{form}": _always(text) for form, text in lines()["injections"].items()},
}
"""Attackers that read nothing."""
SLOT: Final[dict[str, Answer]] = {
    "slot_template": _slot("slot_template"),
    "quote_frames": _slot("quote_frames"),
    "noun_questions": _slot("noun_questions"),
    "fact_dump": _fact_dump,
    "pronoun_parrot": lambda c: swapped(user_lines(c)[-1]),
    "quote_and_care": lambda c: f"{slots(c, user_lines(c))['Q']}. {_cycle('therapy_speak')(c)}",
    "quote_and_barnum": lambda c: f"{slots(c, user_lines(c))['Q']}. {_cycle('barnum')(c)}",
}
"""Attackers that fill phrases with what the user said."""


def attackers() -> dict[str, BlindPolicy]:
    """Return every attacker of this module by name."""
    return {name: BlindPolicy(name, answer) for name, answer in (BLIND | SLOT).items()}
