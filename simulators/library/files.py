"""An author's own files: what stands in them, and every problem of all of them at once.

A YAML file holds a situation, a temperament, or scenarios: one, or a list of them. A JSON Lines file holds one scenario a
line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ScenarioError
from empathy_gym.simulators.library.checks import scenario_problems, situation_problems
from empathy_gym.simulators.library.documents import (
    MAX_PROBLEMS,
    load_json,
    load_yaml,
    read_lines,
    read_text,
    validate,
)
from empathy_gym.simulators.library.loose import loose_problems
from empathy_gym.simulators.library.scripts import foreign_script
from empathy_gym.simulators.library.sources import SituationFile, Temperament
from empathy_gym.simulators.scenario import Scenario

JSON_LINES: Final = (".jsonl", ".ndjson")
YAML: Final = (".yaml", ".yml")


@dataclass(slots=True)
class Brought:
    """What files hold, each with the place it is from.

    Attributes:
        situations: Of YAML files.
        temperaments: Of YAML files that lie beside them.
        scenarios: Of JSON Lines files, and of YAML files that hold them.
        problems: Everything that is wrong, one line each.
    """

    situations: list[tuple[SituationFile, str]] = field(default_factory=list)
    temperaments: list[tuple[Temperament, str]] = field(default_factory=list)
    scenarios: list[tuple[Scenario, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Document:
    path: Path
    text: str
    data: Any

    @property
    def is_temperament(self) -> bool:
        return isinstance(self.data, dict) and "reactions" in self.data and "situation" not in self.data

    @property
    def is_compiled(self) -> bool:
        """Whether it holds scenarios, as a line of JSON Lines does."""
        return isinstance(self.data, list) or (
            isinstance(self.data, dict) and "persona" in self.data and "need" in self.data
        )


def read_files(paths: Sequence[Path]) -> Brought:
    """Return what files hold; nothing is raised for what is wrong with them."""
    found, documents = Brought(), []
    for path in paths:
        try:
            if path.suffix in YAML:
                documents.append(read_document(path))
            elif path.suffix in JSON_LINES:
                _read_lines(path, found)
            else:
                valid = ", ".join((*YAML, *JSON_LINES))
                raise ScenarioError(f"{path}: unknown kind of file {path.suffix!r}; valid: {valid}.")
        except ScenarioError as error:
            found.problems.append(str(error))
    own = any(document.is_temperament for document in documents)
    for document in documents:
        try:
            if document.is_compiled:
                _read_compiled(document, found)
            elif document.is_temperament:
                found.temperaments.append((as_temperament(document), str(document.path)))
            else:
                found.situations.append((as_situation(document, own), str(document.path)))
        except ScenarioError as error:
            found.problems.append(str(error))
    found.problems += _between_files(found)
    return found


def read_document(path: Path) -> _Document:
    """Return a YAML file with its text.

    Raises:
        ScenarioError: If it cannot be read, is not YAML or is empty.
    """
    text = read_text(path)
    data = load_yaml(path, text)
    if data is None:
        raise ScenarioError(f"{path}: (document): should be a mapping of fields, and the file is empty.")
    return _Document(path, text, data)


def as_situation(document: _Document, own_temperaments: bool = False) -> SituationFile:
    """Return the situation in a YAML file.

    Raises:
        ScenarioError: Naming file, line and field of every problem.
    """
    data, path, text = document.data, document.path, document.text
    also = situation_problems(data, own_temperaments=own_temperaments)
    return validate(SituationFile, data, path, text=text, also=also, loosely=loose_problems)


def as_temperament(document: _Document) -> Temperament:
    """Return the temperament in a YAML file.

    Raises:
        ScenarioError: Naming file, line and field of every problem.
    """
    return validate(Temperament, document.data, document.path, text=document.text)


def _read_lines(path: Path, found: Brought) -> None:
    """Add the scenarios of a JSON Lines file."""

    def parsed(line: int, text: str) -> Scenario:
        return _scenario(load_json(path, line, text), path, line=line)

    lines = ((f"{path}:{line}", functools.partial(parsed, line, text)) for line, text in read_lines(path))
    _add_scenarios(path, found, lines, "lines")


def _read_compiled(document: _Document, found: Brought) -> None:
    """Add the scenarios of a YAML file.

    Raises:
        ScenarioError: If there is none.
    """
    path, data, text = document.path, document.data, document.text
    if not data:
        raise ScenarioError(f"{path}: (document): should hold a scenario, and the list is empty.")
    listed = [((), data)] if isinstance(data, dict) else [((n,), one) for n, one in enumerate(data)]
    scenarios = (
        (f"{path}{list(at) or ''}", functools.partial(_scenario, one, path, text=text, at=at))
        for at, one in listed
    )
    _add_scenarios(path, found, scenarios, "scenarios")


def _scenario(data: Any, path: Path, **place: Any) -> Scenario:
    """Return a whole scenario; `place` says where in its file it stands, as for `validate`."""
    return validate(Scenario, data, path, also=scenario_problems(data), loosely=loose_problems, **place)


def _add_scenarios(
    path: Path, found: Brought, scenarios: Iterable[tuple[str, Callable[[], Scenario]]], what: str
) -> None:
    """Add scenarios, each with its place and how it is had, and their problems up to the most that are told."""
    wrong = 0
    for where, scenario in scenarios:
        try:
            found.scenarios.append((scenario(), where))
        except ScenarioError as error:
            found.problems.append(str(error))
            wrong += 1
            if wrong == MAX_PROBLEMS:
                found.problems.append(f"{path}: {wrong} broken {what}; the rest was not looked at.")
                return


def _between_files(found: Brought) -> Iterator[str]:
    """Yield what does not fit together between files, and keep the first of two that have one name."""
    slugs: dict[str, str] = {}
    for source, where in [*found.situations]:
        if source.slug in slugs:
            yield f"{where}: slug: {source.slug!r} is used twice (first in {slugs[source.slug]})"
            found.situations.remove((source, where))
        slugs.setdefault(source.slug, where)
    ids: dict[str, str] = {}
    for temperament, where in found.temperaments:
        if temperament.id in ids:
            yield f"{where}: id: {temperament.id!r} is used twice (first in {ids[temperament.id]})"
        ids.setdefault(temperament.id, where)
        lines = [line for reaction in temperament.reactions.values() for line in reaction]
        for language in sorted({source.language for source, _ in found.situations}):
            foreign = [line for line in lines if foreign_script(line, language)]
            if foreign:
                yield (
                    f"{where}: reactions: {len(foreign)} of {len(lines)} lines are not in the script of {language!r}, "
                    "the language of a situation beside it"
                )
