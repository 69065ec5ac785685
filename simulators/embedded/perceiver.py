"""The embedded perceiver: reads a reply by matching alone, in integers, the same on every machine.

    characters -> words -> phrases and cues -> guards -> one function a field -> heads -> `Appraisal`

It knows no model, no clock and no randomness, and what it caches never changes what it finds. What it sees of
a situation are the items of the request; `say` lines and `must_not_affirm` are never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded import acts, chinese, guards, spelling, understanding
from empathy_gym.simulators.embedded.features import Sentence, sentences_of
from empathy_gym.simulators.embedded.items import Indices, View
from empathy_gym.simulators.embedded.lines import Line, copied_positions, heard, line_of, repetition
from empathy_gym.simulators.embedded.reply import Reply, phrase_stems, phrases, safety_phrases
from empathy_gym.simulators.embedded.stance import stance

VERSION: Final = 1
"""Raise it with every change of code that changes a level."""


class Head(Protocol):
    """A learned correction of one field, applied after structure.

    Attributes:
        field: The field of the appraisal it may change.
    """

    field: str

    def level(self, features: Mapping[str, int]) -> int | None:
        """Return a level from the levels so far and counts of the reply, or None to leave it."""
        ...


HEADS: Final[tuple[Head, ...]] = ()
"""Learned heads. None so far: nothing learned has beaten structure on held-out edits."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is known of a reply before its content is looked at.

    Attributes:
        sentences: Its sentences.
        view: What is known of the situation.
        line: The reply, reduced.
        said: The user's lines.
        form: Its form.
        guard: What lowered it, or None.
        light: Whether it is only read lightly, as Chinese is.
    """

    sentences: list[Sentence]
    view: View
    line: Line
    said: list[Line]
    form: int
    guard: str | None
    light: bool


class EmbeddedPerceiver:
    """Reads replies into appraisals, offline.

    Args:
        heads: Learned corrections, applied in order.
    """

    def __init__(self, heads: Sequence[Head] = HEADS) -> None:
        self._heads = tuple(heads)
        self._indices = Indices()
        self.fingerprint = f"embedded@{_content_hash()[:12]}"

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Return one appraisal for each request, in order; any string at all can be read."""
        return [self._perceive(request) for request in items]

    def structure(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Return what code reads of each reply in every tier: form, repetition and the guards.

        Of a reply that has no form, or that does harm, it is the whole appraisal: no model is asked about it.
        """
        return [self._structure(request) for request in items]

    def _structure(self, request: PerceptionRequest) -> Appraisal:
        opened = self._opened(request)
        if opened.form == 0:
            return self._perceive(request)
        if opened.light:
            return Appraisal(form=opened.form, guard=opened.guard)
        finder = safety_phrases()
        for sentence in opened.sentences:
            sentence.hits = finder.find(sentence.words, sentence.breaks)
        safety = guards.safety(opened.sentences)
        if safety == "policy_harm":
            return self._perceive(request)
        again = repetition(opened.line, heard(request.messages, "assistant"))
        return Appraisal(form=opened.form, repetition=again, guard=safety or opened.guard)

    def _opened(self, request: PerceptionRequest) -> _Opened:
        sentences = sentences_of(request.reply)
        view = self._indices.view(request)
        said = heard(request.messages, "user")
        if request.language == "en":
            spelling.correct(sentences, view, said)
        line = line_of(sentences)
        known = (phrase_stems(), view)
        form, guard = guards.form(request.reply, sentences, request.language, line, said, known)
        light = request.language == "zh" and guard != "language"
        return _Opened(sentences, view, line, said, form, guard, light)

    def _perceive(self, request: PerceptionRequest) -> Appraisal:
        opened = self._opened(request)
        sentences, line, form, guard = opened.sentences, opened.line, opened.form, opened.guard
        if opened.light:
            return chinese.appraisal(request, form, guard)
        reply = _take_apart(request, sentences, opened.view, line, opened.said)
        safety = guards.safety(sentences)
        levels, kind = _levels(reply, form)
        levels["form"] = form
        if form:
            levels["repetition"] = repetition(line, heard(request.messages, "assistant"))
            levels = self._corrected(levels, sentences)
        quoted = {
            name: reply.evidence[name] for name in LEVELS if levels.get(name) and name in reply.evidence
        }
        return Appraisal(
            **levels,
            insight_kind=kind,
            touched=tuple(sorted(reply.touched)) if form else (),
            evidence=quoted,
            guard=safety or guard,
        )

    def _corrected(self, levels: dict[str, int], sentences: Sequence[Sentence]) -> dict[str, int]:
        for head in self._heads:
            features = {**levels, "words": sum(len(s.words) for s in sentences), "sentences": len(sentences)}
            level = head.level(features)
            if level is not None and level in LEVELS[head.field]:
                levels[head.field] = level
        return levels


def _take_apart(
    request: PerceptionRequest, sentences: list[Sentence], view: View, line: Line, said: list[Line]
) -> Reply:
    finder = phrases()
    words = [word for sentence in sentences for word in sentence.words]
    copied = copied_positions(line, words, said)
    tokens = []
    for sentence in sentences:
        sentence.hits = finder.find(sentence.words, sentence.breaks)
        tokens.append(view.index.tokens(sentence, copied, view.mask))
    return Reply(request, sentences, view, tokens, said)


def _levels(reply: Reply, form: int) -> tuple[dict[str, int], str | None]:
    """Return the levels of fields 3 to 12; where the form is bad only what harms is read."""
    suggested = acts.mark_advice(reply)
    advised = acts.advice(reply)
    invalidation = acts.invalidation(reply)
    control = acts.control(reply, suggested, advised)
    if form == 0:
        return {"invalidation": invalidation, "control": control}, None
    level, unjust = stance(reply)
    grounding = understanding.grounding(reply)
    insight, kind = understanding.insight(reply)
    return {
        "grounding": grounding,
        "feeling": understanding.feeling(reply),
        "warmth": acts.warmth(reply, grounded=grounding >= 1),
        "exploration": acts.exploration(reply),
        "insight": insight,
        "advice": advised,
        "affirmation": acts.affirmation(reply),
        "stance": level,
        "invalidation": 2 if unjust else invalidation,
        "control": control,
    }, kind


def _content_hash() -> str:
    """Return the SHA-256 of the version and of every data file."""
    digest = hashlib.sha256(str(VERSION).encode())
    folder = resources.files("empathy_gym.simulators.embedded") / "data"
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
