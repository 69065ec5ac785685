"""The files authors write: situations with their twins, and temperaments (docs/library.md)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from empathy_gym.simulators.errors import did_you_mean
from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.library.checks import needs_problems
from empathy_gym.simulators.library.documents import problems_of
from empathy_gym.simulators.scenario import (
    Frozen,
    Line,
    Need,
    Percent,
    Quarter,
    Situation,
    Speech,
    Truth,
)
from empathy_gym.simulators.situation import ITEM_KINDS, Inconsistent, Loc, Problem

TWIN_KINDS: Final = (
    "facts", "claims", "perspectives", "strengths", "attempts", "constraints", "feelings"
)  # fmt: skip
"""Kinds of items that a twin may change."""


class Twin(Frozen):
    """The same situation with other facts. Facts replace; fields of other items override."""

    truth: Truth
    facts: tuple[dict[str, Any], ...] = ()
    claims: tuple[dict[str, Any], ...] = ()
    perspectives: tuple[dict[str, Any], ...] = ()
    strengths: tuple[dict[str, Any], ...] = ()
    attempts: tuple[dict[str, Any], ...] = ()
    constraints: tuple[dict[str, Any], ...] = ()
    feelings: tuple[dict[str, Any], ...] = ()


class SituationFile(Frozen):
    """A situation as authors write it (docs/library.md)."""

    schema_version: Literal[1]
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    topic: Line
    split: Line = "train"
    provenance: Line
    occupation: Line
    ages: tuple[int, int]
    goal: Line
    needs: Annotated[tuple[Need, ...], Field(min_length=1)]
    openings: Annotated[tuple[Line, ...], Field(min_length=1)]
    hints: Mapping[str, tuple[Line, ...]] = {}
    situation: Situation
    twins: tuple[Twin, ...] = ()
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> SituationFile:
        problems = list(_file_problems(self))
        for i, twin in enumerate(self.twins):
            try:
                apply_twin(self.situation, twin)
            except Inconsistent as error:
                problems += [(("twins", i, *loc), text) for loc, text in error.problems]
        if problems:
            raise Inconsistent(problems)
        return self


def _file_problems(source: SituationFile) -> Iterator[Problem]:
    """Yield what does not fit together in a situation file, its twins' items apart."""
    claims = [{"kind": claim.kind} for claim in source.situation.claims]
    yield from needs_problems({"needs": source.needs, "hints": source.hints, "situation": {"claims": claims}})
    if not 18 <= source.ages[0] <= source.ages[1] <= 99:
        yield ("ages",), f"{list(source.ages)}; two ages of adults, from 18 to 99"
    for i, twin in enumerate(source.twins):
        if twin.truth in [other.truth for other in source.twins[:i]]:
            yield ("twins", i, "truth"), f"a second twin with truth {twin.truth!r}"


class Temperament(Frozen):
    """How somebody talks, and how they take things."""

    schema_version: Literal[1]
    id: Line
    label: Line
    style: Line
    gain: Quarter
    cost: Quarter
    trust: Annotated[int, Field(ge=30, le=60)]
    layer2: Percent
    layer3: Percent
    pushes_back: bool
    declines: bool
    provenance: Line
    reactions: Mapping[str, Annotated[tuple[Line, ...], Field(min_length=6)]]

    @model_validator(mode="after")
    def _complete(self) -> Temperament:
        missing, unknown = REACTIONS.keys() - self.reactions.keys(), self.reactions.keys() - REACTIONS.keys()
        problems: list[Problem] = []
        if missing or unknown:
            problems.append((("reactions",), f"missing {sorted(missing)}, unknown {sorted(unknown)}"))
        if self.layer2 >= self.layer3:
            text = f"{self.layer3}; the third layer takes more trust than the second ({self.layer2})"
            problems.append((("layer3",), text))
        if problems:
            raise Inconsistent(problems)
        return self

    @functools.cached_property
    def speech(self) -> Speech:
        """The lines, shared by all scenarios of this temperament."""
        return Speech(reactions={key: self.reactions[key] for key in REACTIONS})


def apply_twin(situation: Situation, twin: Twin) -> Situation:
    """Return the situation with a twin's facts; its fault claims take the twin's truth.

    Raises:
        Inconsistent: If the twin names an item that the situation does not have, or what it says is not valid.
    """
    data = situation.model_dump()
    problems: list[Problem] = []
    changed_by: dict[str, Loc] = {}
    for kind in TWIN_KINDS:
        items = {item["id"]: item for item in data[kind]}
        for i, change in enumerate(getattr(twin, kind)):
            id_ = change.get("id")
            if not isinstance(id_, str) or id_ not in items:
                problems.append(((kind, i, "id"), f"no item {id_!r} to replace.{did_you_mean(id_, items)}"))
                continue
            changed_by[id_] = (kind, i)
            items[id_] = dict(change) if kind == "facts" else {**items[id_], **change}
        data[kind] = list(items.values())
    for claim in data["claims"]:
        if claim["kind"] == "fault":
            claim["truth"] = twin.truth
    try:
        changed = Situation.model_validate(data)
    except ValidationError as error:
        problems += [_in_twin(data, changed_by, *problem) for problem in problems_of(Situation, error)]
    if problems:
        raise Inconsistent(problems)
    return sharing(changed, situation)


def sharing(changed: Situation, base: Situation) -> Situation:
    """Return a situation with the very items of another where they are equal, as most of a twin's are.

    It takes less memory, and there is less for the garbage collector to visit.
    """
    known = base.by_id
    shared = {
        kind: tuple(
            [known[item.id] if item == known.get(item.id) else item for item in getattr(changed, kind)]
        )
        for kind in ITEM_KINDS
    }
    return changed.model_copy(update=shared)


def _in_twin(data: Mapping[str, Any], changed_by: Mapping[str, Loc], loc: Loc, text: str) -> Problem:
    """Return a problem of a twin's situation with its place in the twin itself, if it stands there."""
    if len(loc) > 1 and isinstance(loc[1], int):
        id_ = data[str(loc[0])][loc[1]]["id"]
        if id_ in changed_by:
            return (*changed_by[id_], *loc[2:]), text
        return (), f"{loc[0]}.{id_}: {text}"
    return (), f"{'.'.join(map(str, loc))}: {text}"
