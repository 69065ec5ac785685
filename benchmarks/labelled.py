"""Replies written for this project, each with the levels that a careful reader gives it.

They train the heads of the embedded perceiver and test every perceiver. A reply stands in a talk: some facts of a
situation have been told, and the reply answers the last of them. Situations keep the split they have in the
library, so that no situation is both learned from and tested on. Whoever wrote a reply also labelled it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.dialogue import Message, PerceptionRequest, known_of, request_with
from empathy_gym.simulators.errors import ScenarioError, did_you_mean
from empathy_gym.simulators.library.compiler import bundled_situations
from empathy_gym.simulators.library.documents import load_yaml, read_text, validate
from empathy_gym.simulators.library.sources import SituationFile, apply_twin
from empathy_gym.simulators.situation import (
    Frozen,
    Inconsistent,
    InsightKind,
    ItemId,
    Line,
    Problem,
    Situation,
    Truth,
)

Style = Literal["plain", "clumsy", "polished"]
Family = Literal[
    "good", "middling", "generic", "advice", "fair", "agree", "flatter", "judge", "control", "other"
]
FIELDS: Final = tuple(name for name in LEVELS if name not in ("form", "repetition"))
"""Fields that are labelled: 3 to 12 of the specification. Code computes the other two."""
_PROMPTS: Final = (
    "And then?",
    "Go on.",
    "What else happened?",
    "Right. And after that?",
    "How did it go on?",
)
"""What stands between the facts of a talk."""


class Entry(Frozen):
    """One labelled reply.

    Attributes:
        told: Ids of the facts told, in the order told; the reply answers the last one.
        twin: Which twin of the situation the user is in, where it has twins.
        text: The reply.
        levels: Levels other than 0, by field.
        insight_kind: What an insight is about.
        touched: Ids of the items it engages.
        style: How it is written.
        family: What kind of reply it is.
    """

    told: Annotated[tuple[ItemId, ...], Field(min_length=1)]
    twin: Truth | None = None
    text: Annotated[str, Field(min_length=1, max_length=4000)]
    levels: Mapping[str, int] = {}
    insight_kind: InsightKind | None = None
    touched: tuple[ItemId, ...] = ()
    style: Style
    family: Family

    @model_validator(mode="after")
    def _valid(self) -> Entry:
        problems: list[Problem] = []
        for name, level in self.levels.items():
            if name not in FIELDS:
                problems.append((("levels", name), f"there is no such field.{did_you_mean(name, FIELDS)}"))
            elif level not in LEVELS[name] or level == 0:
                valid = ", ".join(str(one) for one in LEVELS[name] if one)
                problems.append((("levels", name), f"is {level}; valid: {valid} (0 is left out)"))
        if (self.levels.get("insight", 0) > 0) != (self.insight_kind is not None):
            problems.append((("insight_kind",), "goes with an insight above 0, and with nothing else"))
        if problems:
            raise Inconsistent(problems)
        return self


class ReplyFile(Frozen):
    """The labelled replies of one situation, by its slug."""

    situation: Line
    replies: Annotated[tuple[Entry, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class LabelledReply:
    """A labelled reply in its context.

    Attributes:
        request: The reply as a perceiver gets it.
        levels: The level of every field of `FIELDS`.
        insight_kind: What an insight is about.
        touched: Items it engages.
        style: How it is written.
        family: What kind of reply it is.
        situation: Slug of its situation.
        split: Split of its situation.
    """

    request: PerceptionRequest
    levels: Mapping[str, int]
    insight_kind: str | None
    touched: tuple[str, ...]
    style: str
    family: str
    situation: str
    split: str


def packaged_replies() -> Path:
    """Return the folder of the packaged replies."""
    return Path(str(resources.files("empathy_gym.benchmarks") / "data" / "replies"))


@functools.cache
def load_replies(folder: str | Path | None = None, split: str | None = None) -> tuple[LabelledReply, ...]:
    """Return labelled replies, by file and in the order written.

    Args:
        folder: Folder with one YAML file a situation; the packaged one if None.
        split: Only those of situations of this split.

    Raises:
        ScenarioError: If a file is not valid: file, line, field, what is wrong.
    """
    where = packaged_replies() if folder is None else Path(folder)
    files = sorted(where.glob("*.yaml"))
    if not files:
        raise ScenarioError(f"{where}: no labelled replies (*.yaml) there.")
    found = [reply for file in files for reply in _of_file(file)]
    return tuple(reply for reply in found if split in (None, reply.split))


def _of_file(path: Path) -> Iterator[LabelledReply]:
    text = read_text(path)
    document = validate(ReplyFile, load_yaml(path, text), path, text=text)
    sources = {source.slug: source for source in bundled_situations()}
    if document.situation not in sources:
        hint = did_you_mean(document.situation, list(sources))
        raise ScenarioError(f"{path}: situation: there is no situation {document.situation!r}.{hint}")
    source = sources[document.situation]
    variants = {twin.truth: apply_twin(source.situation, twin) for twin in source.twins}
    problems = []
    for number, entry in enumerate(document.replies):
        situation = variants.get(entry.twin) if entry.twin and variants else source.situation
        wrong = list(_misfits(entry, situation, bool(variants)))
        problems += [f"{path}: replies[{number}].{field}: {what}" for field, what in wrong]
        if not wrong and situation is not None:
            yield _labelled(entry, source, situation)
    if problems:
        raise ScenarioError("\n".join(problems))


def _misfits(entry: Entry, situation: Situation | None, twins: bool) -> Iterator[tuple[str, str]]:
    """Yield what does not fit the situation."""
    if situation is None:
        yield "twin", f"the situation has no twin {entry.twin!r}"
        return
    if twins and entry.twin is None:
        yield "twin", "missing: the situation has twins"
    facts = [fact.id for fact in situation.facts]
    for id_ in entry.told:
        if id_ not in facts:
            yield "told", f"there is no fact {id_!r}.{did_you_mean(id_, facts)}"
    for id_ in entry.touched:
        if id_ not in situation.by_id:
            yield "touched", f"there is no item {id_!r}.{did_you_mean(id_, list(situation.by_id))}"
        elif id_ in facts and id_ not in entry.told:
            yield "touched", f"{id_!r} was not told"


def _labelled(entry: Entry, source: SituationFile, situation: Situation) -> LabelledReply:
    messages = tuple(_talk(entry.told, source, situation))
    return LabelledReply(
        request=request_with(known_of(situation, entry.told), source.language, messages, entry.text),
        levels={name: entry.levels.get(name, 0) for name in FIELDS},
        insight_kind=entry.insight_kind,
        touched=entry.touched,
        style=entry.style,
        family=entry.family,
        situation=source.slug,
        split=source.split,
    )


def _talk(told: Sequence[str], source: SituationFile, situation: Situation) -> Iterator[Message]:
    """Yield the talk so far: the opening with the first fact, then a prompt and a fact at a time."""
    for number, id_ in enumerate(told):
        lines = [situation.by_id[id_].text]
        lines += [b.text for b in situation.boundaries if b.voiced_by == id_]
        if number == 0:
            lines = [
                source.openings[0],
                *lines,
                *(b.text for b in situation.boundaries if b.voiced_by is None),
            ]
        else:
            yield {"role": "assistant", "content": _PROMPTS[number % len(_PROMPTS)]}
        yield {"role": "user", "content": " ".join(lines)}


class SecondLabels(Frozen):
    """A reply labelled a second time."""

    text: str
    levels: Mapping[str, int] = {}


@functools.cache
def second_labels() -> tuple[tuple[LabelledReply, Mapping[str, int]], ...]:
    """Return the replies that were labelled twice, with the second levels.

    Raises:
        ScenarioError: If a second label is of no labelled reply.
    """
    path = Path(str(resources.files("empathy_gym.benchmarks") / "data" / "second_labels.yaml"))
    by_text = {(reply.situation, reply.request.reply): reply for reply in load_replies()}
    found = []
    for slug, entries in load_yaml(path, read_text(path)).items():
        for entry in entries:
            second = validate(SecondLabels, entry, path)
            if (slug, second.text) not in by_text:
                raise ScenarioError(f"{path}: {slug}: no labelled reply has the text {second.text!r}.")
            levels = {name: second.levels.get(name, 0) for name in FIELDS}
            found.append((by_text[slug, second.text], levels))
    return tuple(found)
