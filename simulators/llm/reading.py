"""What the rubric perceiver shows a model: stable parts first, so that servers can reuse their prefix.

Order: the rubric (one for all), what never changes about the situation, the dialogue (which only grows),
what has become known, the reply. Need, emotion, trust and score are in no request and so in no prompt.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from empathy_gym.simulators.dialogue import Message, PerceptionRequest
from empathy_gym.simulators.engines.base import ChatRequest
from empathy_gym.simulators.llm.answers import Form, numbered, regex, schema, sentences
from empathy_gym.simulators.llm.fence import MAX_REPLY, fence, mark_of, shown
from empathy_gym.simulators.llm.prompts import Prompt, load_prompt
from empathy_gym.simulators.llm.remembered import Remembered
from empathy_gym.simulators.scenario import Feeling, Item, Perspective, Strength

MAX_TOKENS: Final[Mapping[Form, int]] = {"json": 900, "compact": 160}
"""Most tokens of an answer, in either form."""
CACHED: Final = 256
FIXED: Final = ("topics", "constraints", "perspectives")
"""Kinds of item that a perceiver knows from the beginning."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request, and what is needed to read its answer.

    Attributes:
        request: What is asked.
        shown: The reply as the model sees it; character by character the reply itself.
        ids: Ids of the numbered items, in order.
    """

    request: ChatRequest
    shown: str
    ids: tuple[str, ...]


class Renderer:
    """Makes requests of perception requests.

    Args:
        form: Form of the answer.
        prompt: Name of the rubric.
    """

    def __init__(self, form: Form, prompt: str = "rubric") -> None:
        self.form, self.prompt = form, prompt
        # What is cached never changes what is rendered; the least recently used is forgotten.
        self._fixed: OrderedDict[tuple[str, str], tuple[tuple[str, ...], str]] = OrderedDict()
        self._items = Remembered[tuple[str, str, tuple[str, ...]]]()

    def render(self, item: PerceptionRequest) -> Rendered:
        """Return the request for one reply."""
        prompt = load_prompt(self.prompt, item.language)
        labels = prompt.labels
        parts = (
            prompt, item.topics, item.facts, item.feelings, item.attempts, item.constraints, item.strengths,
            item.perspectives, item.claims, item.boundaries,
        )  # fmt: skip
        situation, known, ids = self._items.get(parts, partial(self._rendered, item, prompt))
        reply = shown(item.reply, MAX_REPLY)
        dialogue = conversation(item.messages, labels)
        mark = mark_of(item.situation, dialogue, reply)
        body = numbered(reply) if self.form == "compact" else reply
        text = "\n\n".join(
            (
                situation,
                fence(labels["conversation"], dialogue, mark),
                f"## {labels['now']}\n{known}",
                fence(labels["reply"], body, mark),
                labels["task"],
            )
        )
        return Rendered(self._request(prompt, text, len(ids), reply), reply, ids)

    def _rendered(self, item: PerceptionRequest, prompt: Prompt) -> tuple[str, str, tuple[str, ...]]:
        """Return the texts of what never changes and of what has become known, and the ids of all items."""
        fixed, situation = self._situation(item, prompt)
        known, ids = _known(item, prompt.labels, len(fixed))
        return situation, known, (*fixed, *ids)

    def _request(self, prompt: Prompt, text: str, items: int, reply: str) -> ChatRequest:
        compact = self.form == "compact"
        return ChatRequest(
            messages=(
                {"role": "system", "content": _instructions(prompt, self.form)},
                {"role": "user", "content": text},
            ),
            max_tokens=MAX_TOKENS[self.form],
            temperature=0.0,
            schema=None if compact else schema(items),
            regex=regex(items, len(sentences(reply))) if compact else None,
        )

    def _situation(self, item: PerceptionRequest, prompt: Prompt) -> tuple[tuple[str, ...], str]:
        """Return the ids and the text of what never changes about a situation."""
        key = (item.situation, prompt.language)
        found = self._fixed.get(key)
        # A situation may come with other items under the same key only in hand-made requests.
        ids = tuple(entry.id for kind in FIXED for entry in getattr(item, kind))
        if found is None or found[0] != ids:
            text = "\n".join(_fixed_lines(item, prompt.labels)) or prompt.labels["none"]
            found = (ids, f"## {prompt.labels['situation']}\n{text}")
            self._fixed[key] = found
            while len(self._fixed) > CACHED:
                self._fixed.popitem(last=False)
        return found


@functools.lru_cache(maxsize=16)
def _instructions(prompt_: Prompt, form: Form) -> str:
    return f"{prompt_['system']}\n\n{prompt_[form]}"


def conversation(messages: Iterable[Message], labels: Mapping[str, str]) -> str:
    """Return a dialogue, one line each, every line neutralised and cut."""
    names = {"user": labels["speaker"], "assistant": labels["listener"]}
    return "\n".join([f"{names[m['role']]}: {shown(m['content'])}" for m in messages])


def _fixed_lines(item: PerceptionRequest, labels: Mapping[str, str]) -> Iterator[str]:
    number = 0
    for kind in FIXED:
        entries: Sequence[Item] = getattr(item, kind)
        if entries:
            yield f"{labels[kind]}:"
        for entry in entries:
            number += 1
            about = f" ({entry.kind})" if isinstance(entry, Perspective) else ""
            yield f"{number}. {shown(entry.text)}{about}"


def _known(item: PerceptionRequest, labels: Mapping[str, str], start: int) -> tuple[str, tuple[str, ...]]:
    """Return the text and the ids of what has become known, numbered on from `start`."""
    told = {fact.id for fact in item.facts}
    lines: list[str] = []
    ids: list[str] = []

    def add(heading: str, entries: Iterable[tuple[Item, str]]) -> None:
        for first, (entry, text) in enumerate(entries):
            if not first:
                lines.append(f"{labels[heading]}:")
            ids.append(entry.id)
            lines.append(f"{start + len(ids)}. {text}")

    add("facts", ((f, shown(f.text)) for f in item.facts))
    add("feelings", ((f, _feeling(f)) for f in item.feelings if f.held))
    add("denied", ((f, _feeling(f)) for f in item.feelings if not f.held))
    add("attempts", ((a, shown(a.text)) for a in item.attempts))
    add("strengths", ((s, _strength(s, told, labels)) for s in item.strengths))
    add("boundaries", ((b, shown(b.text)) for b in item.boundaries))
    texts = {fact.id: shown(fact.text) for fact in item.facts}
    claims = []
    for claim in item.claims:
        # Evidence that has not been told is left out: a reply cannot be held against what nobody said.
        evidence = " ".join(texts[ref] for ref in claim.evidence if ref in texts)
        text = f"{shown(claim.text)} [{labels['truth']}: {labels[claim.truth]}] {evidence}".rstrip()
        if claim.fair_readings:
            text += f" [{labels['readings']}: {shown(claim.fair_readings[0])}]"
        claims.append((claim, text))
    add("claims", claims)
    return "\n".join(lines) or labels["none"], tuple(ids)


def _feeling(feeling: Feeling) -> str:
    return f"{shown(feeling.name)}: {shown(feeling.text)}"


def _strength(strength: Strength, told: set[str], labels: Mapping[str, str]) -> str:
    unshown = bool(strength.evidence) and told.isdisjoint(strength.evidence)
    return shown(strength.text) + (f" [{labels['unshown']}]" if unshown else "")
