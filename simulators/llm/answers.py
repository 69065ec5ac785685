# ruff: noqa: RUF001  (look-alikes and the marks of Chinese text are meant)
"""The two forms in which a model gives levels, and how they are read and checked.

``json``: an object by schema, each field with the words it rests on; strings are bounded, because a small
model otherwise loops inside one. ``compact``: one short line a field by regular expression, with the
number of the sentence it rests on in place of a quotation; a tenth of the tokens, and small models can
follow it.

Whichever it is, a level without evidence in the reply is 0 (`docs/appraisal.md`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from empathy_gym.simulators.appraisal import INSIGHT_KINDS, LEVELS
from empathy_gym.simulators.llm.asking import BadAnswer

Form = Literal["json", "compact"]
FIELDS: Final = tuple(name for name in LEVELS if name not in ("form", "repetition"))
"""Fields that the model reads; the other two are computed."""
KINDS: Final = ("none", *INSIGHT_KINDS)
MAX_SPAN: Final = 160
"""Characters of a quotation."""
MAX_TOUCHED: Final = 12
MAX_SENTENCES: Final = 24
"""Sentences of a reply that are numbered; what follows belongs to the last one."""
_SENTENCE: Final = re.compile(r".+?(?:[.!?。！？…]+[\"'”’)」』]*(?=\s|$)|[。！？]+|$)\s*", re.DOTALL)
_QUOTES: Final = str.maketrans("“”„‘’‛´`", "\"\"\"'''''")


@dataclass(frozen=True, slots=True)
class Levels:
    """What a model noted.

    Attributes:
        levels: Level by field; one without evidence is 0 already.
        evidence: Start and end of the span that each level other than 0 rests on.
        kind: Kind of insight, or None.
        touched: Numbers of the items touched, from 1, rising.
        dropped: Fields whose level fell to 0 for want of evidence.
    """

    levels: Mapping[str, int]
    evidence: Mapping[str, tuple[int, int]]
    kind: str | None
    touched: tuple[int, ...]
    dropped: tuple[str, ...] = ()


@functools.cache
def schema(items: int) -> dict[str, Any]:
    """Return the JSON schema of an answer about `items` numbered items. Do not change it: it is shared."""
    span = {"type": "string", "maxLength": MAX_SPAN}
    properties: dict[str, Any] = {
        name: _object({"span": span, "level": {"type": "integer", "enum": list(LEVELS[name])}})
        for name in FIELDS
    }
    properties["insight_kind"] = {"type": "string", "enum": list(KINDS)}
    numbers = {"type": "integer", "enum": list(range(1, items + 1))} if items else {"type": "integer"}
    properties["touched"] = {"type": "array", "items": numbers, "maxItems": MAX_TOUCHED if items else 0}
    return _object(properties)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@functools.cache
def regex(items: int, sentences: int) -> str:
    """Return the regular expression of a compact answer."""
    number = _one_of(range(1, sentences + 1))
    lines = []
    for name in FIELDS:
        levels = _one_of(level for level in LEVELS[name] if level)
        lines.append(f"{name}=(0|{levels}@{number})")
    lines.append(f"insight_kind=({'|'.join(KINDS)})")
    item = _one_of(range(1, items + 1)) if items else "0"
    touched = f"(none|{item}(,{item}){{0,{MAX_TOUCHED - 1}}})" if items else "none"
    return "\n".join([*lines, f"touched={touched}"])


def _one_of(values: Any) -> str:
    return f"({'|'.join(map(str, values))})"


@functools.lru_cache(maxsize=4096)
def sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Return start and end of each sentence of a text, at most `MAX_SENTENCES`; empty for an empty text."""
    spans = [m.span() for m in _SENTENCE.finditer(text) if m[0].strip()]
    if len(spans) > MAX_SENTENCES:
        spans = [*spans[: MAX_SENTENCES - 1], (spans[MAX_SENTENCES - 1][0], spans[-1][1])]
    return tuple((start, start + len(text[start:end].rstrip())) for start, end in spans)


def numbered(text: str) -> str:
    """Return a text with its sentences numbered, one on each line."""
    return "\n".join(f"({i}) {text[start:end]}" for i, (start, end) in enumerate(sentences(text), 1))


# -- reading ----------------------------------------------------------------


def read_json(answer: str, shown: str, items: int) -> Levels:
    """Return the levels of a JSON answer.

    Args:
        answer: What the model wrote.
        shown: The reply as the model saw it.
        items: Number of items.

    Raises:
        BadAnswer: If it is not an object of the schema.
    """
    data = load_object(answer)
    levels: dict[str, int] = {}
    evidence: dict[str, tuple[int, int]] = {}
    for name in FIELDS:
        entry = data.get(name)
        if not isinstance(entry, dict):
            raise BadAnswer(f"the field {name} is missing")
        levels[name] = _level(name, entry.get("level"))
        span = find_span(entry.get("span"), shown) if levels[name] else None
        if span is not None:
            evidence[name] = span
    touched = data.get("touched")
    if not isinstance(touched, list):
        raise BadAnswer("touched must be a list of numbers")
    return _checked(levels, evidence, data.get("insight_kind"), touched, items)


def load_object(answer: str) -> dict[str, Any]:
    """Return the JSON object that an answer is, a code fence around it left out.

    Raises:
        BadAnswer: If it is not one.
    """
    text = answer.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json").strip()
    try:
        data = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise BadAnswer("it is not a JSON object") from None
    if not isinstance(data, dict):
        raise BadAnswer("it is not a JSON object")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def read_compact(answer: str, shown: str, items: int) -> Levels:
    """Return the levels of a compact answer; arguments and errors as `read_json`."""
    pairs = dict(line.strip().partition("=")[::2] for line in answer.strip().splitlines() if "=" in line)
    spans = sentences(shown)
    levels: dict[str, int] = {}
    evidence: dict[str, tuple[int, int]] = {}
    for name in FIELDS:
        if name not in pairs:
            raise BadAnswer(f"the line of {name} is missing")
        level, _, sentence = pairs[name].partition("@")
        levels[name] = _level(name, _integer(level))
        number = _integer(sentence)
        if levels[name] and number is not None and 1 <= number <= len(spans):
            evidence[name] = spans[number - 1]
    listed = pairs.get("touched", "none")
    touched = [] if listed in ("none", "") else [_integer(part) for part in listed.split(",")]
    return _checked(levels, evidence, pairs.get("insight_kind", "none"), touched, items)


def _integer(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"[-+]?[0-9]{1,3}", text) else None


def _level(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in LEVELS[name]:
        raise BadAnswer(f"the level of {name} must be one of {', '.join(map(str, LEVELS[name]))}")
    return value


def _checked(
    levels: dict[str, int],
    evidence: dict[str, tuple[int, int]],
    kind: object,
    touched: Sequence[object],
    items: int,
) -> Levels:
    if kind not in KINDS:
        raise BadAnswer(f"insight_kind must be one of {', '.join(KINDS)}")
    known = {n for n in touched if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= items}
    dropped = tuple(name for name in FIELDS if levels[name] and name not in evidence)
    levels.update(dict.fromkeys(dropped, 0))
    named = str(kind) if kind != "none" and levels["insight"] else None
    return Levels(levels, evidence, named, tuple(sorted(known)), dropped)


def find_span(span: object, shown: str) -> tuple[int, int] | None:
    """Return where a quotation stands in the reply, or None.

    Case, quotation marks and dots at the ends may differ.
    """
    if not isinstance(span, str):
        return None
    wanted = span.translate(_QUOTES).strip().strip("\".…'").strip()
    if sum([c.isalnum() for c in wanted]) < 2:
        return None
    haystack = shown.translate(_QUOTES)
    start = haystack.find(wanted)
    if start < 0 and len(haystack.lower()) == len(shown):  # A few letters change their length in lower case.
        start = haystack.lower().find(wanted.lower())
    return None if start < 0 else (start, start + len(wanted))
