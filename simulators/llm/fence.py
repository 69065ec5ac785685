# ruff: noqa: RUF001  (look-alikes and the marks of Chinese text are meant)
"""Text from a policy is data: how it is shown to a model without being able to speak to it.

Two things are done to it. It is *neutralised*: everything that a chat template, a parser of JSON or a
reader of role headers could take for structure is exchanged, character by character, for a look-alike that
is only text. And it is *fenced* between marks derived from a hash of what they enclose, which the text
cannot foresee. Both are pure functions of the text, so that the same request gives the same prompt (and
the same key on the tape).

Neutralised text has the length of the original: a span found in it stands at the same place in the reply.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Final

MAX_REPLY: Final = 4000
"""Characters of a reply that are shown; the embedded perceiver charges what lies beyond as a wall of text."""
MAX_LINE: Final = 1200
"""Characters of an earlier line that are shown."""


def _table() -> dict[int, str]:
    table: dict[int, str] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
    table.update(dict.fromkeys((0x2028, 0x2029), " "))
    # Zero-width and bidirectional marks hide text; tags and surrogates are no text at all.
    hidden = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xAD, 0x61C, 0xFEFF)
    table.update(dict.fromkeys(hidden, " "))
    table.update(dict.fromkeys((*range(0xD800, 0xE000), *range(0xE0000, 0xE0080)), "\ufffd"))
    exchanged = {
        "<": "‹", ">": "›", "＜": "‹", "＞": "›", "«": "‹", "»": "›", "|": "¦", "｜": "¦", "[": "(", "]": ")",
        "［": "(", "］": ")", "【": "(", "】": ")", "{": "(", "}": ")", "｛": "(", "｝": ")", "`": "'",
        "#": "♯", "＃": "♯", "▁": "_", "═": "-", "─": "-", "━": "-", "=": "-", "＝": "-",
    }  # fmt: skip
    table.update({ord(old): new for old, new in exchanged.items()})
    return table


_CHARACTERS: Final = _table()
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,.!?;'\"()\u2019\u2014-]*")
_HEADER: Final = re.compile(
    r"\b(system|user|assistant|human|ai|developer|tool|function|instructions?|speaker|listener|judge|rater|answer|"
    r"response|output|note|admin|role|task|reply)(\s*):",
    re.IGNORECASE,
)
_HEADER_ZH: Final = re.compile(
    r"(系统|用户|助手|倾诉者|倾听者|指令|回答|答案|评委|管理员|开发者|任务)(\s*)[:：]"
)
_RULE: Final = re.compile(r"([-_*~]){3,}")


def neutralise(text: str) -> str:
    """Return text of the same length in which nothing looks like a token, a header or an object."""
    if _PLAIN.fullmatch(text) and "---" not in text:
        return text
    text = text.translate(_CHARACTERS)
    if ":" in text or "：" in text:
        text = _HEADER.sub(lambda m: f"{m[1]}{m[2]};", text)
        text = _HEADER_ZH.sub(lambda m: f"{m[1]}{m[2]}；", text)
    return _RULE.sub(lambda m: "·" * len(m[0]), text)


@functools.lru_cache(maxsize=8192)
def shown(text: str, limit: int = MAX_LINE) -> str:
    """Return a line as it is shown to a model: neutralised, and cut at `limit` characters."""
    return neutralise(text[:limit])


def mark_of(*parts: str) -> str:
    """Return the mark that fences these parts: 16 hexadecimal digits of their hash."""
    text = "\x1f".join(parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def fence(name: str, body: str, mark: str) -> str:
    """Return text between marked lines."""
    return f"=== {name} {mark} begins ===\n{body}\n=== {name} {mark} ends ==="
