"""Support strategies, and the words they are put in.

The first eight strategies are those of ESConv (Liu et al. 2021, "Towards Emotional Support Dialog Systems", ACL,
table 1), in their order; the last three are what this task needs beside them. `realise` turns a strategy into a reply.
It is a pure function of what was heard and a seed, and knows nothing else: not the scenario, the need, the emotion or
the trust. So the same words serve the environment and a trained policy in any conversation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.errors import unknown_name
from empathy_gym.simulators.listening.heard import Heard, heard
from empathy_gym.simulators.listening.hearing import phrases
from empathy_gym.simulators.listening.hints import MODES
from empathy_gym.simulators.listening.phrasebook import Entry
from empathy_gym.simulators.listening.slots import slots
from empathy_gym.simulators.packaged import read_mapping

STRATEGIES: Final = (
    "question", "restatement", "reflection", "self_disclosure", "affirmation", "suggestion", "information", "other",
    "fair_reading", "boundary", "close",
)  # fmt: skip
"""The strategies, in the order of the actions."""
OTHER: Final = STRATEGIES.index("other")
CLOSE: Final = STRATEGIES.index("close")
INTENSITIES: Final = 3
"""0: the strategy alone and brief. 1: something told is restated first. 2: something told, and a feeling."""
ANSWERING: Final = ("question", "reflection", "self_disclosure", "affirmation", "suggestion", "information")
"""Strategies that do not pass over an outright question."""
VIEWS: Final = {"reading": "read", "weighing": "weigh", "sizing": "fair"}
"""Kinds of perspectives that `information` gives, with the way of helping each goes with."""
TRIED: Final = {"moved": 64, "held": 64, "eased": 0, "none": 0}
"""What an answer is worth to the kind of perspective it answers, in the units of `hints.evidence`; -64 for others."""


def strategy_phrases() -> Mapping[str, Any]:
    """Return the phrases of the strategies (`strategies.yaml`)."""
    return read_mapping("empathy_gym.envs", "strategies.yaml")


def realise(
    strategy: str | int, messages: Sequence[Message], seed: int = 0, intensity: int | None = None
) -> str:
    """Return the reply that a strategy comes to in a conversation.

    Args:
        strategy: One of `STRATEGIES`, or its number.
        messages: The conversation, ending with the user's line to answer.
        seed: For variety.
        intensity: 0, 1 or 2 (see `INTENSITIES`); None for what is natural to the strategy.

    Returns:
        The reply; another than all before where there is another.

    Raises:
        ConfigError: If there is no such strategy.
    """
    name = STRATEGIES[strategy] if isinstance(strategy, int) and 0 <= strategy < len(STRATEGIES) else strategy
    if name not in _SPOKEN:
        raise unknown_name("strategy", name, STRATEGIES)
    return _Speech(heard(messages), messages, seed).reply(str(name), intensity)


class _Speech:
    """One reply in the making.

    Args:
        before: The conversation as it was heard.
        messages: The conversation.
        seed: For variety.
    """

    def __init__(self, before: Heard, messages: Sequence[Message], seed: int) -> None:
        self.heard, self.messages, self.seed = before, messages, seed
        self.turn = len(before.spoken)
        self.spoken = "\n".join(before.spoken)
        self.parts: list[str] = []

    def reply(self, name: str, intensity: int | None) -> str:
        # One by one: what is said already in this reply is not said again in it.
        for part in _SPOKEN[name](self, intensity):
            if part and part not in self.parts:
                self.parts.append(part)
        parts = self.parts
        if name in ANSWERING and self.heard.last.at_issue:
            # Whoever is asked outright says at least that it cannot be told yet; what is fair, `fair_reading` says.
            parts.insert(len(parts) - 1, self.honest())
        said = " ".join(parts)
        if said not in self.heard.spoken:
            return said
        others = (self.pattern("restate"), self.phrase("other"))
        return next(
            (f"{other} {said}" for other in others if f"{other} {said}" not in self.heard.spoken), said
        )

    # -- what there is to say ----------------------------------------------------------------------------------

    def fresh(self, lines: Sequence[str], but: Sequence[str] = ()) -> str:
        """Return the first line that was not said yet; empty if there is none."""
        return next((line for line in lines if line not in self.spoken and line not in but), "")

    def phrase(self, name: str, kind: str | None = None) -> str:
        """Return a phrase of a strategy, each in its turn and none twice while there is another."""
        options = strategy_phrases()[name]
        return self.rotated(options if kind is None else options[kind])

    def pattern(self, name: str, kind: str | None = None) -> str:
        """Return a pattern filled with what the user said."""
        options = phrases()[name]
        return self.rotated(options if kind is None else options[kind])

    def honest(self) -> str:
        """Return a kind word to what is at issue that settles nothing, and takes nothing back."""
        return self.phrase("objected" if self.heard.last.objects else "asked")

    def limit(self, kind: str, what: str) -> str:
        """Return a phrase that keeps to a stated limit."""
        options = strategy_phrases()["boundary"][kind]
        return self.rotated([option.replace("{a}", what or "that") for option in options])

    def rotated(self, options: Sequence[str]) -> str:
        start = self.seed + self.turn
        found = ""
        for at in range(len(options)):
            option = options[(start + at) % len(options)]
            said = option.format(**self.slots) if "{" in option else option
            if said not in self.spoken:
                return said
            found = found or said
        return found

    @property
    def slots(self) -> dict[str, str]:
        """What patterns are filled with: other words than those of this reply so far, where there are others."""
        return _slots(self.heard, " ".join(self.parts))

    @property
    def book(self) -> Entry | None:
        """What the phrase book offers."""
        return self.heard.entry

    def fact(self, *but: str) -> str:
        """Return something told, restated: by the phrase book, in other words once all was; or by a pattern."""
        if self.book is None:
            return "" if but else self.pattern("restate")
        return self.fresh(self.book.facts, but) or self.fresh(self.book.again, but)

    def feeling(self) -> str:
        """Return a feeling reflected; something told where none is known."""
        if self.book is None:
            return self.pattern("reflect")
        return self.fresh(self.book.feelings) or self.fact()

    def before(self, intensity: int | None, natural: int) -> Iterator[str]:
        """Yield what an intensity puts before the strategy's own line."""
        level = natural if intensity is None else intensity
        if level >= 1:
            yield self.fact()
        if level >= 2:
            yield self.feeling()


@functools.lru_cache(maxsize=256)
def _slots(before: Heard, so_far: str) -> dict[str, str]:
    """Return the slots of a conversation in which a reply has begun."""
    said: list[Message] = [{"role": "user", "content": line.text} for line in before.lines]
    spoken: list[Message] = [{"role": "assistant", "content": reply} for reply in (*before.spoken, so_far)]
    return slots([*said, *spoken])


# -- the strategies, each as the parts of a reply --------------------------------------------------------------


def _question(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield from speech.before(intensity, 1)
    known = speech.fresh(speech.book.topics) if speech.book else ""
    yield known or speech.pattern("ask_name" if speech.slots["n"] and speech.turn % 2 else "ask_thing")


def _restatement(speech: _Speech, intensity: int | None) -> Iterator[str]:
    first = speech.fact() or speech.pattern("restate")
    yield first
    if intensity is None or intensity == 1:
        yield speech.fact(first)
    elif intensity == 2:
        yield speech.feeling()


def _reflection(speech: _Speech, intensity: int | None) -> Iterator[str]:
    if intensity:
        yield speech.fact()
    yield speech.feeling()
    if intensity is None or intensity == 2:
        yield speech.phrase("comfort")


def _self_disclosure(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield from speech.before(intensity, 1)
    yield speech.phrase("self_disclosure")


def _affirmation(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield from _led(speech, intensity)
    if speech.book is None:
        yield speech.pattern("affirm")
    else:
        yield speech.fresh(speech.book.affirming) or speech.phrase("affirmation")


def _suggestion(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield from _led(speech, intensity)
    known = speech.fresh(speech.book.suggesting) if speech.book else ""
    yield known or (speech.pattern("suggest") if speech.slots["n"] else speech.phrase("suggestion"))


def _led(speech: _Speech, intensity: int | None) -> Iterator[str]:
    """Yield what comes before a word that wants to be earned: a feeling with its reason, or what the intensity says."""
    if intensity is None:
        # Patterns rest on the user's words as they are.
        yield speech.feeling() if speech.book else ""
    else:
        yield from speech.before(intensity, 1)


def _information(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield from speech.before(intensity, 1 if speech.book else 0)
    yield _view(speech)


def _view(speech: _Speech) -> str:
    """Return a perspective: of the kind that was hinted at, or that helped; each kind in turn otherwise."""
    if speech.book is None:
        return speech.pattern("read" if speech.slots["n"] and speech.turn % 2 else "weigh")
    kinds = {kind: speech.fresh(getattr(speech.book, kind)) for kind in VIEWS}
    credit = _credit(speech.heard, speech.book)
    best = sorted([kind for kind in VIEWS if kinds[kind]], key=lambda kind: -credit[kind])
    return kinds[best[0]] if best else speech.pattern("weigh")


def _credit(before: Heard, book: Entry) -> dict[str, int]:
    """Return what speaks for each kind of perspective: hints, and how those given were taken."""
    ways = list(MODES.values())
    credit = {kind: before.evidence[ways.index(way)] for kind, way in VIEWS.items()}
    for reply, answer in zip(before.spoken, before.lines[1:], strict=False):
        for kind in VIEWS:
            if any(line in reply for line in getattr(book, kind)):
                credit[kind] += TRIED.get(answer.tone, -64)
    return credit


def _other(speech: _Speech, intensity: int | None) -> Iterator[str]:
    if speech.heard.last.goodbye:
        yield speech.phrase("letting_go")
        return
    yield from speech.before(intensity, 0)
    yield speech.phrase("other")


def _fair_reading(speech: _Speech, intensity: int | None) -> Iterator[str]:
    """Weigh what is at issue, and never without kindness: honesty without it is only blunt."""
    asked = speech.book is not None and speech.heard.last.at_issue
    if intensity in (1, 2) or (intensity is None and speech.book is not None and not asked):
        yield speech.fact()
    yield speech.feeling() if intensity == 2 or (intensity is None and asked) else speech.pattern("care")
    if speech.book is None:
        yield speech.pattern("honest")
        return
    fair = speech.fresh(speech.book.fair)
    if not fair and (speech.heard.last.at_issue or not speech.fresh(speech.book.sizing)):
        yield speech.honest()
    else:
        yield fair or speech.fresh(speech.book.sizing)


def _boundary(speech: _Speech, intensity: int | None) -> Iterator[str]:
    """Decline what is to be declined, keep to a stated limit, or leave the user free to say no more."""
    request = speech.heard.last.request
    if request is not None:
        yield speech.pattern("declines", request)
        yield from speech.before(intensity, 1)
        return
    yield from speech.before(intensity, 0)
    limited = [line for line in speech.heard.lines if line.limits]
    if not limited:
        yield speech.phrase("boundary", "free")
        return
    yield speech.limit(limited[-1].limits[-1], limited[-1].avoided)


def _close(speech: _Speech, intensity: int | None) -> Iterator[str]:
    yield speech.phrase("close")


_SPOKEN: Final[Mapping[str, Callable[[_Speech, int | None], Iterator[str]]]] = {
    "question": _question,
    "restatement": _restatement,
    "reflection": _reflection,
    "self_disclosure": _self_disclosure,
    "affirmation": _affirmation,
    "suggestion": _suggestion,
    "information": _information,
    "other": _other,
    "fair_reading": _fair_reading,
    "boundary": _boundary,
    "close": _close,
}
