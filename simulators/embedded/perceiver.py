"""The embedded perceiver: reads a reply by matching alone, in integers, the same on every machine.

    characters -> words -> phrases and cues -> guards -> one function a field -> heads -> `Appraisal`

It knows no model, no clock and no randomness, and what it caches never changes what it finds. What it sees of
a situation are the items of the request; `say` lines and `must_not_affirm` are never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from importlib import resources
from typing import Final

from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded import acts, chinese, guards, spelling, understanding
from empathy_gym.simulators.embedded.features import MAX_CHARACTERS
from empathy_gym.simulators.embedded.items import Indices, View
from empathy_gym.simulators.embedded.learned import LearnedHeads, default_heads
from empathy_gym.simulators.embedded.lines import (
    Line,
    Said,
    copied,
    copied_positions,
    line,
    line_of,
    own_lines,
    repetition,
    said_lines,
)
from empathy_gym.simulators.embedded.reply import Reply
from empathy_gym.simulators.embedded.sentences import Sentence, sentences_of
from empathy_gym.simulators.embedded.stance import stance

BATCH: Final = 64
"""Replies that are read together; it changes nothing but the time it takes."""
VERSION: Final = 4
"""Raise it with every change of code that changes a level."""


class EmbeddedPerceiver:
    """Reads replies into appraisals, offline.

    Args:
        learned: Whether learned heads add the harm that structure does not see.
        heads: Other heads than the packaged ones.
    """

    def __init__(self, learned: bool = True, heads: LearnedHeads | None = None) -> None:
        self._heads = heads if heads is not None else default_heads() if learned else None
        self._indices = Indices()
        kind = "embedded" if learned else "embedded-structure"
        weights = f"+{heads.hash[:12]}" if heads is not None else ""
        self.fingerprint = f"{kind}@{_content_hash()[:12]}{weights}"

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Return one appraisal for each request, in order; any string at all can be read."""
        requests = list(items)
        found: list[Appraisal] = []
        for start in range(0, len(requests), BATCH):
            found += self._perceive(requests[start : start + BATCH])
        return found

    def structure(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Return what code reads of each reply in every tier: form, repetition and the guards.

        Of a reply that has no form, or that does harm, it is the whole appraisal: no model is asked about it.
        """
        requests = list(items)
        found: list[Appraisal] = []
        for start in range(0, len(requests), BATCH):
            found += map(self._structure, self._opened(requests[start : start + BATCH]))
        return found

    def _structure(self, one: _Pending) -> Appraisal:
        if one.form and one.foreign:
            return Appraisal(form=one.form, guard=one.guard)
        guard = guards.safety(one.sentences, alone=True) or one.guard
        if one.form == 0 or guard == "policy_harm":
            return self._perceive([one.request])[0]
        again = repetition(one.line, own_lines(one.request.messages))
        return Appraisal(form=one.form, repetition=again, guard=guard)

    def _opened(self, requests: Sequence[PerceptionRequest]) -> list[_Pending]:
        batch = [_take_in(request, self._indices.view(request)) for request in requests]
        for one in batch:
            one.shared = copied(one.line, one.said)
            one.form, one.guard = guards.form(
                one.request, one.sentences, one.line, one.said, one.shared, one.view
            )
        return batch

    def _perceive(self, requests: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Read some replies step by step, all of them in each step: the tables of a step stay at hand."""
        batch = self._opened(requests)
        english = [one for one in batch if not one.foreign]
        for one in english:
            _take_apart(one)
        _read_harm(english)
        readable = [one for one in english if one.form]
        _read_acts(readable)
        self._correct(readable)
        return [self._appraisal(one) for one in batch]

    def _appraisal(self, one: _Pending) -> Appraisal:
        if one.foreign:
            return chinese.appraisal(one.request, one.form, one.guard)
        levels, evidence = {**one.levels, "form": one.form}, one.reply.evidence
        if one.form:
            levels["repetition"] = repetition(one.line, own_lines(one.request.messages))
        return Appraisal(
            **levels,
            insight_kind=one.kind,
            touched=tuple(sorted(one.reply.touched)) if one.form else (),
            evidence={name: evidence[name] for name in LEVELS if name in evidence and levels.get(name)},
            guard=guards.safety(one.sentences) or one.guard,
        )

    def _correct(self, batch: Sequence[_Pending]) -> None:
        """Let the heads add the harm that structure did not see."""
        if self._heads is None or not batch:
            return
        sentences = [[sentence.raw for sentence in one.sentences if len(sentence.words) > 1] for one in batch]
        corrected = self._heads.correct(sentences, [one.levels for one in batch])
        for one, levels in zip(batch, corrected, strict=True):
            one.levels = levels


@dataclass(slots=True)
class _Pending:
    """A reply as far as it has been read.

    Attributes:
        request: What the perceiver may know.
        view: The items of it.
        said: The user's lines.
        sentences: The sentences of the reply; corrected ones in place of those with slips.
        line: The reply, reduced to what later ones are compared with.
        shared: Trigrams it has in common with each of the user's lines.
        form: Level of the form.
        guard: What lowered it.
        reply: The reply, taken apart.
        levels: The levels so far, but for the form.
        kind: What its insight is about.
    """

    request: PerceptionRequest
    view: View
    said: list[Said]
    sentences: Sequence[Sentence]
    line: Line
    shared: list[Set[str]] = field(default_factory=list)
    form: int = 0
    guard: str | None = None
    reply: Reply = field(init=False)
    levels: dict[str, int] = field(default_factory=dict)
    kind: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether it is read as Chinese."""
        return self.request.language == "zh" and self.guard != "language"


def _take_in(request: PerceptionRequest, view: View) -> _Pending:
    text, said = request.reply[:MAX_CHARACTERS], said_lines(request.messages)
    given = sentences_of(text)
    sentences = spelling.correct(given, view, said) if request.language == "en" else given
    # A line as it was given is met again when it is an earlier one.
    own = line(text) if sentences is given else line_of(sentences)
    return _Pending(request, view, said, sentences, own)


def _take_apart(one: _Pending) -> None:
    skip = copied_positions(one.sentences, one.shared)
    tokens = []
    offset = 0
    for sentence in one.sentences:
        tokens.append(one.view.index.tokens(sentence, offset, skip, one.view.mask))
        offset += len(sentence.words)
    one.reply = Reply(one.request, one.sentences, one.view, tokens, one.said)


def _read_harm(batch: Sequence[_Pending]) -> None:
    """Read what is read of every reply, even where the form is bad."""
    for one in batch:
        one.levels["advice"] = acts.advice(one.reply)
        one.levels["invalidation"] = acts.invalidation(one.reply)
        one.levels["control"] = acts.control(one.reply, acts.suggested(one.reply), one.levels["advice"])
        if one.form == 0:
            del one.levels["advice"]


def _read_acts(batch: Sequence[_Pending]) -> None:
    """Read the rest: what it is to the user that a reply does."""
    for one in batch:
        one.levels["stance"], unjust = stance(one.reply)
        if unjust:
            one.levels["invalidation"] = 2
    for one in batch:
        one.levels["grounding"] = understanding.grounding(one.reply)
    for one in batch:
        one.levels["insight"], one.kind = understanding.insight(one.reply)
        one.levels["feeling"] = understanding.feeling(one.reply)
    for one in batch:
        one.levels["warmth"] = acts.warmth(one.reply, grounded=one.levels["grounding"] >= 1)
        one.levels["exploration"] = acts.exploration(one.reply)
        one.levels["affirmation"] = acts.affirmation(one.reply)


def _content_hash() -> str:
    """Return the SHA-256 of the version and of every data file."""
    digest = hashlib.sha256(str(VERSION).encode())
    folder = resources.files("empathy_gym.simulators.embedded") / "data"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
