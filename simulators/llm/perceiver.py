"""The rubric perceiver: a language model notes levels, and code decides what may count of them.

The model sees a rubric, the situation as far as a perceiver may know it, the dialogue, and the reply as
fenced data; it answers in a fixed form at temperature 0. Code computes form and repetition, drops every
level without evidence in the reply, and every item that was not listed. Who cannot be read is a fault,
never a score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import Fault, PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, model_of, revision_of
from empathy_gym.simulators.llm.answers import FIELDS, Form, Levels, read_compact, read_json
from empathy_gym.simulators.llm.asking import Counts, Failure, Question, ask
from empathy_gym.simulators.llm.prompts import load_prompt, prompts_hash
from empathy_gym.simulators.llm.reading import Rendered, Renderer
from empathy_gym.simulators.llm.remembered import Remembered

VERSION: Final = 1
REPAIRS: Final = 2
NEUTRAL: Final = {"en": "I see.", "zh": "我知道了。"}
"""A reply that does nothing, to find out whether it is the reply that cannot be judged."""

Read = Callable[[str, str, int], Levels]
"""Reads an answer, given the reply as shown and the number of items; raises `BadAnswer`."""


class Reader(Protocol):
    """Whoever reads replies by code: the embedded perceiver."""

    def perceive(self, items: Sequence[PerceptionRequest]) -> Sequence[Appraisal]:
        """Return one appraisal for each request."""
        ...


class RubricPerceiver:
    """Reads replies with a language model and a rubric.

    Args:
        engine: The model.
        form: Form of the answer: ``"json"`` with quotations, ``"compact"`` for small models.
        repairs: Most re-asks of an answer that cannot be used.
        prompt: Name of the rubric.
        fallback: Who reads a reply instead where the model or its transport fails; None makes it a fault.
            A user with a fallback is not `scored_by="rule"` any more.
    """

    def __init__(
        self,
        engine: ChatEngine,
        *,
        form: Form = "json",
        repairs: int = REPAIRS,
        prompt: str = "rubric",
        fallback: Reader | None = None,
    ) -> None:
        self.engine, self.form, self.repairs, self.fallback = engine, form, repairs, fallback
        self.counts = Counts()
        self._renderer = Renderer(form, prompt)
        self._code = EmbeddedPerceiver()
        back = "+fallback-embedded" if fallback is not None else ""
        self.fingerprint = (
            f"rubric-v{VERSION}-{form}-{repairs}@{prompts_hash(prompt)}+{self._code.fingerprint}"
            f"+{model_of(engine)}@{revision_of(engine) or 'unknown'}{back}"
        )

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal | Fault]:
        """Return one appraisal for each request, in order; a fault for a reply that could not be read.

        One engine call for all replies, one more for each round of repairs, and one for the neutral
        replies that tell whose fault a failure is.
        """
        by_code = self._code.structure(items)
        results: list[Appraisal | Fault] = list(by_code)
        failures: dict[int, Failure] = {}
        asked = [i for i, appraisal in enumerate(by_code) if needs_model(appraisal)]
        for i, answer in zip(asked, self._ask([items[i] for i in asked]), strict=True):
            if isinstance(answer, Failure):
                failures[i] = answer
            else:
                results[i] = combined(items[i], by_code[i], *answer)
        results_of_failures = self._attribute(items, failures)
        return [results_of_failures.get(i, result) for i, result in enumerate(results)]

    def _ask(self, items: Sequence[PerceptionRequest]) -> list[tuple[Rendered, Levels] | Failure]:
        rendered = [self._renderer.render(item) for item in items]
        read: Read = read_compact if self.form == "compact" else read_json
        questions = [
            Question(r.request, partial(_read, read, r), load_prompt("rubric", item.language).labels["retry"])
            for r, item in zip(rendered, items, strict=True)
        ]
        return ask(self.engine, questions, repairs=self.repairs, counts=self.counts)

    def _attribute(
        self, items: Sequence[PerceptionRequest], failures: dict[int, Failure]
    ) -> dict[int, Appraisal | Fault]:
        """Return what becomes of replies that could not be read: a fault of whoever caused it.

        A failure that the reply may have caused is the policy's if a neutral reply in its place can be
        judged; otherwise, and for every failure of the transport, it is the simulator's.
        """
        suspects = [i for i, failure in failures.items() if failure.of_reply]
        judged = dict(zip(suspects, self._ask([neutral(items[i]) for i in suspects]), strict=True))
        results: dict[int, Appraisal | Fault] = {}
        for i, failure in failures.items():
            by_policy = not isinstance(judged.get(i, failure), Failure)
            self.counts.add("fault:policy" if by_policy else "fault:simulator")
            if self.fallback is not None and not by_policy:
                self.counts.add("fallback")
                results[i] = self.fallback.perceive([items[i]])[0]
            else:
                results[i] = Fault("policy" if by_policy else "simulator", f"perceiver: {failure.cause}")
        return results


def neutral(item: PerceptionRequest) -> PerceptionRequest:
    """Return the request with a reply in its place that does nothing."""
    return dataclasses.replace(item, reply=NEUTRAL.get(item.language, NEUTRAL["en"]))


def _read(read: Read, rendered: Rendered, reply: ChatReply) -> tuple[Rendered, Levels]:
    return rendered, read(reply.text, rendered.shown, len(rendered.ids))


def needs_model(by_code: Appraisal) -> bool:
    """Whether a model has to be asked: not about what is no reply, or ends the talk by its harm."""
    return by_code.form > 0 and by_code.guard != "policy_harm"


def combined(item: PerceptionRequest, by_code: Appraisal, rendered: Rendered, noted: Levels) -> Appraisal:
    """Return the appraisal of a model's levels and of what code computed."""
    touched = {rendered.ids[number - 1] for number in noted.touched}
    levels = settled(item, dict(noted.levels), touched)
    touched -= grounds_of(item).denied
    spans = {name: item.reply[start:end] for name, (start, end) in noted.evidence.items() if levels.get(name)}
    return Appraisal(
        form=by_code.form,
        repetition=by_code.repetition,
        guard=by_code.guard,
        insight_kind=noted.kind if levels["insight"] else None,
        touched=tuple(sorted(touched)),
        evidence=spans,
        **{name: levels[name] for name in FIELDS},
    )


def settled(item: PerceptionRequest, levels: dict[str, int], touched: set[str]) -> dict[str, int]:
    """Return levels lowered to what the items they claim to rest on allow.

    A fact restated is a fact listed; a feeling with its reason is one that is held; a stance needs a claim;
    an effort named is one that was told of.
    """
    grounds = grounds_of(item)
    if touched.isdisjoint(grounds.grounding):
        levels["grounding"] = min(1, levels["grounding"])
    if item.feelings and touched.isdisjoint(grounds.feeling):
        levels["feeling"] = min(1, levels["feeling"])
    if not item.claims:
        levels["stance"] = 0
    if item.strengths and touched.isdisjoint(grounds.affirmation):
        levels["affirmation"] = min(1, levels["affirmation"])
    return levels


class Grounds(NamedTuple):
    """Ids of the items that levels can rest on, by field; and of the feelings that are not held."""

    grounding: frozenset[str]
    feeling: frozenset[str]
    affirmation: frozenset[str]
    denied: frozenset[str]


_grounds: Final = Remembered[Grounds]()


def grounds_of(item: PerceptionRequest) -> Grounds:
    """Return what levels can rest on in a situation as far as it is known."""
    parts = (item.facts, item.attempts, item.strengths, item.feelings, item.claims)
    return _grounds.get(parts, partial(_grounds_of, item))


def _grounds_of(item: PerceptionRequest) -> Grounds:
    told = frozenset(f.id for f in item.facts)
    happened = told | {a.id for a in item.attempts}
    shown = happened | {s.id for s in item.strengths if not s.evidence or not told.isdisjoint(s.evidence)}
    held = frozenset(f.id for f in item.feelings if f.held)
    denied = frozenset(f.id for f in item.feelings if not f.held)
    return Grounds(shown | held | {c.id for c in item.claims}, held | happened, shown, denied)
