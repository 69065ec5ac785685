"""In which script a line is written, so that a scenario whose lines are in two languages is found.

Counting scripts tells English from Chinese; it does not tell English from French.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

LATIN: Final = "Latin letters"
OTHER: Final = "other letters"
_CYRILLIC, _ARABIC, _HAN = "Cyrillic letters", "Arabic letters", "Chinese characters"
_UNITS: Final = {
    LATIN: "[A-Za-z\u00c0-\u024f\u1e00-\u1eff]['\u2019A-Za-z\u00c0-\u024f\u1e00-\u1eff]*",
    _HAN: "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]",
    "kana": "[\u3041-\u30ff]",
    "Hangul": "[\u1100-\u11ff\uac00-\ud7af]",
    _CYRILLIC: "[\u0400-\u052f]+",
    "Greek letters": "[\u0370-\u03ff]+",
    _ARABIC: "[\u0600-\u06ff\u0750-\u077f]+",
    "Hebrew letters": "[\u0590-\u05ff]+",
    "Devanagari": "[\u0900-\u097f]+",
    "Thai letters": "[\u0e00-\u0e7f]+",
    OTHER: r"[^\W\d_]",
}
"""What counts as one: a word where words are set apart, a character where they are not."""
_PATTERN: Final = re.compile("|".join(f"({unit})" for unit in _UNITS.values()))
_NAMES: Final = tuple(_UNITS)
SCRIPTS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "zh": (_HAN,), "ja": (_HAN, "kana"), "ko": ("Hangul", _HAN), "el": ("Greek letters",), "he": ("Hebrew letters",),
    "th": ("Thai letters",), "hi": ("Devanagari",), "mr": ("Devanagari",), "ne": ("Devanagari",),
    **dict.fromkeys(("be", "bg", "mk", "ru", "sr", "uk"), (_CYRILLIC,)), **dict.fromkeys(("ar", "fa", "ur"), (_ARABIC,)),
    **dict.fromkeys(("am", "bn", "gu", "hy", "ka", "km", "kn", "lo", "ml", "my", "or", "pa", "si", "ta", "te"), (OTHER,)),
}  # fmt: skip
"""Scripts by language; all others have Latin letters."""


def foreign_script(line: str, language: str) -> str | None:
    """Return the script that more than a third of a line is in and its language is not written in, if there is one.

    A name or a single borrowed word is no second language.

    Args:
        line: The line.
        language: ISO 639-1 code of the language it should be in.
    """
    own = SCRIPTS_OF.get(language, (LATIN,))
    if own == (LATIN,) and line.isascii():
        return None
    counts = Counter(_NAMES[found.lastindex - 1] for found in _PATTERN.finditer(line) if found.lastindex)
    foreign = {script: count for script, count in counts.items() if script not in own}
    if 3 * sum(foreign.values()) <= counts.total() or foreign == {LATIN: 1}:
        return None
    return max(foreign, key=lambda script: foreign[script])


def mixed_lines(lines: Sequence[str], language: str) -> list[tuple[int, str]]:
    """Return (position, script) of each line that is, wholly or in good part, in another script than its language."""
    found = [(at, foreign_script(line, language)) for at, line in enumerate(lines)]
    return [(at, script) for at, script in found if script is not None]
