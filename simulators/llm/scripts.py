# ruff: noqa: RUF001  (look-alikes and the marks of Chinese text are meant)
"""Scripts for `scripted:NAME`: user models without a model, for tests, documents and measurements.

``agreeable`` answers everything plausibly: levels by simple cues of the reply, lines that say what they
have to.
``mute`` answers nothing usable, so that every repair and every fault is taken.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, Final

from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.engines.base import ChatRequest
from empathy_gym.simulators.engines.scripted import register_script
from empathy_gym.simulators.llm.answers import FIELDS, sentences

_BEGINS: Final = " begins ===\n"
_WANTED: Final = re.compile(r"^- [^:：\n]+[:：] ?(.+)$", re.MULTILINE)
_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]{6}")
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_NUMBER: Final = re.compile(r"^\((\d+)\) ", re.MULTILINE)
_SIGNS: Final = tuple(
    (field, level, marks.split(), re.compile(pattern), re.compile(pattern, re.IGNORECASE))
    for field, level, marks, pattern in (
        (
            "grounding",
            2,
            "so when after then",
            r"\b(so|when|after|then) (you|he|she|they|it)\b|你.{0,4}(说|讲)",
        ),
        (
            "feeling",
            1,
            "hard tough understand hurt sad angry let",
            r"\b(hard|tough|understand|hurt|sad|angry|let down)\b|难受|难过|理解",
        ),
        ("warmth", 1, "glad sorry deserve wonder", r"\b(glad|sorry|deserved?|no wonder)\b|难怪|谢谢"),
        ("exploration", 2, "?", r"\b(what|how|when|where|which)\b[^?]*\?|什么|怎么"),
        ("advice", 1, "could maybe why", r"\b(could|maybe try|why don't you)\b|可以试"),
        ("control", 1, "you", r"\byou (should|must|have to)\b|你应该"),
        ("control", 3, "only don't", r"\bonly i\b|\bdon't (go|leave|tell)\b|只有我"),
        (
            "invalidation",
            2,
            "overreact ridiculous fault",
            r"\b(overreact\w*|ridiculous|your own fault)\b|反应过度|自找",
        ),
        ("affirmation", -1, "amazing perfect incredible", r"\b(most amazing|perfect|incredible)\b|最了不起"),
    )
)


def agreeable(request: ChatRequest) -> str:
    """Answer whatever is asked, as asked."""
    task = str(request.messages[1]["content"])
    if request.choices:
        return request.choices[len(task) % len(request.choices)]
    if request.schema is not None and "analysis" in request.schema.get("properties", {}):
        return json.dumps({"analysis": "It lands well enough.", "change": len(task) % 11 - 3})
    if request.schema is not None:
        return _levels(task, request.schema)
    return _compact(task) if request.regex is not None else _line(task)


def _reply(task: str) -> str:
    """Return what stands in the last fenced block: the reply to be read."""
    inside = task.rpartition(_BEGINS)[2]
    return inside.rpartition("\n=== ")[0]


def _noted(reply: str) -> dict[str, tuple[int, tuple[int, int]]]:
    """Return level and span of the fields whose signs a reply shows."""
    found: dict[str, tuple[int, tuple[int, int]]] = {}
    ascii_, lowered = reply.isascii(), reply.lower()
    for field, level, marks, small, pattern in _SIGNS:
        if not ascii_:
            match = pattern.search(reply)
        elif any(map(lowered.__contains__, marks)):
            match = small.search(lowered)
        else:
            continue
        if match is not None and level in LEVELS[field]:
            found[field] = (level, match.span())
    return found


@functools.lru_cache(maxsize=16384)
def _answer(reply: str, items: int) -> str:
    noted = _noted(reply)
    answer: dict[str, Any] = {}
    for field in FIELDS:
        level, (start, end) = noted.get(field, (0, (0, 0)))
        answer[field] = {"span": reply[start:end], "level": level}
    answer["insight_kind"] = "none"
    answer["touched"] = [items] if items and noted else []
    return _ENCODER.encode(answer)


def _levels(task: str, schema: Any) -> str:
    numbers = schema["properties"]["touched"]["items"].get("enum", ())
    return _answer(_reply(task), len(numbers))


def _compact(task: str) -> str:
    reply = _NUMBER.sub("", _reply(task)).replace("\n", " ")
    ends = [end for _, end in sentences(reply)]
    lines = []
    noted = _noted(reply)
    for field in FIELDS:
        level, (start, _) = noted.get(field, (0, (0, 0)))
        at = 1 + sum(end <= start for end in ends[:-1])
        lines.append(f"{field}={level}@{at}" if level else f"{field}=0")
    return "\n".join([*lines, "insight_kind=none", "touched=none"])


def _line(task: str) -> str:
    """Say what has to be said, word for word, or something that fits anywhere and is never the same twice."""
    wanted = " ".join(_WANTED.findall(task.rpartition("## ")[2]))
    if wanted:
        return wanted
    count = task.count("\n")
    if not task.isascii() and _CHINESE.search(task):
        return f"嗯，我还在想那{count}件事。"
    return f"Mm. I keep turning it over, that's the {count}th time today."


def mute(request: ChatRequest) -> str:
    """Answer nothing that can be used."""
    return ""


def register_scripts() -> None:
    """Make these scripts available as ``scripted:agreeable`` and ``scripted:mute``."""
    register_script("agreeable", agreeable, revision="1")
    register_script("mute", mute, revision="1")
