"""What an author can get wrong in a document whose fields are all there: needs, ages, languages, persons.

The checks read what was written, before any model is made of it, and pass over what is not of the right type: so they
say what they find along with what the models find, and an author sees everything at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from empathy_gym.simulators.errors import did_you_mean
from empathy_gym.simulators.library.scripts import mixed_lines
from empathy_gym.simulators.scenario import NEEDS
from empathy_gym.simulators.situation import Loc, Problem

SPOKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "facts": ("text",),
    "feelings": ("text",),
    "attempts": ("text",),
    "constraints": ("text",),
    "boundaries": ("text",),
    "claims": ("text", "asks", "pushbacks", "beats"),
    "requests": ("text", "accepts"),
}
"""Fields that the user says, by kind of item."""
TEMPERAMENT_LANGUAGE: Final = "en"
"""What the bundled temperaments speak."""
OCCUPATION_AGES: Final = {"retired": (40, 99), "pensioner": (55, 99), "teenager": (18, 19)}
"""Ages that an occupation leaves possible, by its first word."""

_ONES: Final = "one two three four five six seven eight nine".split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBER: Final = rf"1[89]|[2-9]\d|eighteen|nineteen|(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ONES)}))?"
_AGE: Final = re.compile(
    r"(?P<unreal>\b(?:till|until|when|before|after|once|if|time|like|think|thinks|thought|since)\s+)?"
    rf"\bI(?:['\u2019]m| am)(?:\s+(?:only|just|now))?\s+(?P<age>{_NUMBER})"
    r"(?=\s+(?:years\s+old|now|this|next)\b|\s*(?:[.,;:!?]|$))",
    re.IGNORECASE,
)


def situation_problems(data: Any, *, own_temperaments: bool = False) -> Iterator[Problem]:
    """Yield what does not fit together in a situation file, as it was written.

    Args:
        data: The document.
        own_temperaments: Whether its users talk as temperaments do that were brought along, not bundled ones.
    """
    if not isinstance(data, dict):
        return
    yield from needs_problems(data)
    yield from _hints_problems(data)
    yield from _people_problems(data)
    lines, language = dict(_lines(data)), data.get("language")
    yield from _language_problems(language, lines)
    if isinstance(language, str) and language != TEMPERAMENT_LANGUAGE and not own_temperaments:
        yield (
            ("language",),
            f"{language!r}, and the bundled temperaments speak {TEMPERAMENT_LANGUAGE!r}; bring temperaments along in "
            "the folder, or write scenarios with their own `speech` as JSON Lines",
        )
    ages = _ages(data.get("ages"))
    if ages is not None:
        for loc, age in _stated_ages(lines):
            if ages != (age, age):
                yield loc, f"says that the user is {age}, and `ages` is {[*ages]}"
        yield from _occupation_problems(data.get("occupation"), ages, ("ages",))


def scenario_problems(data: Any) -> Iterator[Problem]:
    """Yield what does not fit together in a scenario, as it was written."""
    if not isinstance(data, dict):
        return
    if data.get("need") == "fair_fault" and not _has_fault(data):
        yield ("need",), "fair_fault needs a claim of kind 'fault'"
    if not data.get("hints"):
        yield ("hints",), "no hints: a user who is long missed has to give some, three are usual"
    knobs = _mapping(data.get("knobs"))
    layer2, layer3 = knobs.get("layer2", 40), knobs.get("layer3", 55)
    if isinstance(layer2, int) and isinstance(layer3, int) and layer2 >= layer3:
        yield ("knobs", "layer3"), f"{layer3}; the third layer takes more trust than the second ({layer2})"
    yield from _people_problems(data)
    lines = dict(_lines(data))
    yield from _language_problems(data.get("language", "en"), lines)
    persona = _mapping(data.get("persona"))
    people = _items(_mapping(data.get("situation")), "people")
    if any(person.get("name") == persona.get("name") is not None for _, person in people):
        yield ("persona", "name"), f"{persona['name']!r} is also somebody in `situation.people`"
    age = persona.get("age")
    if isinstance(age, int):
        for loc, stated in _stated_ages(lines):
            if stated != age:
                yield (
                    ("persona", "age"),
                    f"{age}, and {'.'.join(map(str, loc))} says that the user is {stated}",
                )
        yield from _occupation_problems(persona.get("occupation"), (age, age), ("persona", "age"))


def needs_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what does not fit together in the needs of a situation file and the names of its hints."""
    hints, needs = _mapping(data.get("hints")), data.get("needs")
    needs = needs if isinstance(needs, list | tuple) else ()
    for need in hints:
        if need not in NEEDS:
            yield ("hints", need), f"no such need.{did_you_mean(need, NEEDS)} Valid: {', '.join(NEEDS)}."
    for i, need in enumerate(needs):
        if need in needs[:i]:
            yield ("needs", i), f"{need!r} is listed twice"
    if "fair_fault" in needs and not _has_fault(data):
        yield ("needs",), "fair_fault needs a claim of kind 'fault'"


def _hints_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where needs and hints do not go together."""
    hints, needs = _mapping(data.get("hints")), data.get("needs")
    if not isinstance(needs, list | tuple):
        return
    for i, need in enumerate(needs):
        if need in NEEDS and not hints.get(need):
            yield ("needs", i), f"{need!r} has no hints; write some as `hints.{need}`, three are usual"
    for need in hints:
        if need in NEEDS and need not in needs:
            yield ("hints", need), f"`needs` does not list {need!r}"


# -- lines -----------------------------------------------------------------------------------------------------


def _lines(data: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Yield every line that the user says, with its place: those of twins and of the speech, too."""
    for field in ("openings", "hints"):
        yield from _strings((field,), data.get(field))
    yield from _spoken(("situation",), _mapping(data.get("situation")))
    for i, twin in _items(data, "twins"):
        yield from _spoken(("twins", i), twin)
    yield from _strings(("speech", "reactions"), _mapping(data.get("speech")).get("reactions"))


def _spoken(loc: Loc, data: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    for kind, fields in SPOKEN.items():
        for i, item in _items(data, kind):
            for field in fields:
                yield from _strings((*loc, kind, i, field), item.get(field))


def _strings(loc: Loc, value: Any) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, list | tuple):
        for i, one in enumerate(value):
            yield from _strings((*loc, i), one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _strings((*loc, str(key)), one)


def _items(data: Mapping[str, Any], kind: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    items = data.get(kind)
    if isinstance(items, list | tuple):
        for i, item in enumerate(items):
            if isinstance(item, Mapping):
                yield i, item


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ages(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(age, int) for age in value):
        return value[0], value[1]
    return None


# -- what they say ---------------------------------------------------------------------------------------------


def _language_problems(language: Any, lines: Mapping[Loc, str]) -> Iterator[Problem]:
    if not isinstance(language, str):
        return
    places = list(lines)
    foreign = mixed_lines(list(lines.values()), language)
    if 2 * len(foreign) > len(places):
        first, script = foreign[0]
        where = ".".join(map(str, places[first]))
        yield (
            ("language",),
            f"{language!r}, and {len(foreign)} of the user's {len(places)} lines are in {script} (first {where})",
        )
        return
    for at, script in foreign:
        yield places[at], f"more than a third of the line is in {script}, and `language` is {language!r}"


def _stated_ages(lines: Mapping[Loc, str]) -> Iterator[tuple[Loc, int]]:
    """Yield the ages that the user gives as their own."""
    for loc, line in lines.items():
        for found in _AGE.finditer(line):
            if not found["unreal"]:
                yield loc, _number(found["age"].lower())


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text in ("eighteen", "nineteen"):
        return 18 if text == "eighteen" else 19
    tens, _, ones = text.replace(" ", "-").partition("-")
    return 20 + 10 * _TENS.index(tens) + (_ONES.index(ones) + 1 if ones else 0)


def _has_fault(data: Mapping[str, Any]) -> bool:
    claims = _items(_mapping(data.get("situation")), "claims")
    return any(claim.get("kind") == "fault" for _, claim in claims)


def _people_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    seen: set[Any] = set()
    for i, person in _items(_mapping(data.get("situation")), "people"):
        name = person.get("name")
        if isinstance(name, str) and name in seen:
            yield ("situation", "people", i, "name"), f"the name {name!r} is used twice"
        if isinstance(name, str):
            seen.add(name)


def _occupation_problems(occupation: Any, ages: tuple[int, int], loc: Loc) -> Iterator[Problem]:
    words = occupation.lower().split() if isinstance(occupation, str) else []
    if words and words[0] in OCCUPATION_AGES:
        low, high = OCCUPATION_AGES[words[0]]
        if not low <= ages[0] <= ages[1] <= high:
            age = ages[0] if ages[0] == ages[1] else [*ages]
            yield loc, f"{age}, and the occupation is {occupation!r}, which takes ages from {low} to {high}"
