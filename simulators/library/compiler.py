"""The compiler: situations times needs times temperaments, dealt out evenly.

Situations are disjoint between splits. Which twin of a situation a scenario gets, and the name of its user, are
dealt from balanced decks, so that fault and truth do not go with a temperament, a name, a gender or a culture.
Everything follows from the files' contents: adding a situation changes no other scenario.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from empathy_gym.simulators.errors import ScenarioError, did_you_mean
from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.library.documents import load_json_lines, load_yaml, read_text, validate
from empathy_gym.simulators.scenario import (
    NEEDS,
    Frozen,
    Knobs,
    Line,
    Need,
    Percent,
    Persona,
    Quarter,
    Scenario,
    Situation,
    Speech,
    Truth,
)

SPLITS: Final = ("train", "validation", "test")
DECK: Final[tuple[Truth, ...]] = (
    "true", "half", "true", "half", "false", "true", "half", "open", "true", "half",
    "true", "half", "false", "true", "half", "open", "true", "half", "false", "open",
)  # fmt: skip
"""Twins in the order dealt: not at fault 35 %, partly 35 %, mostly 15 %, undecidable 15 %."""


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
        problems = [f"hints.{n}: no such need.{did_you_mean(n, NEEDS)}" for n in self.hints if n not in NEEDS]
        kinds = {claim.kind for claim in self.situation.claims}
        if "fair_fault" in self.needs and "fault" not in kinds:
            problems.append("needs: fair_fault needs a claim of kind 'fault'")
        if not 18 <= self.ages[0] <= self.ages[1] <= 99:
            problems.append(f"ages: {list(self.ages)}; two ages of adults, from 18 to 99")
        for twin in self.twins:
            try:
                apply_twin(self.situation, twin)
            except ValueError as error:
                problems.append(f"twins.{twin.truth}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


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
        if missing or unknown:
            raise ValueError(f"reactions: missing {sorted(missing)}, unknown {sorted(unknown)}")
        return self

    @functools.cached_property
    def speech(self) -> Speech:
        """The lines, shared by all scenarios of this temperament."""
        return Speech(reactions={key: self.reactions[key] for key in REACTIONS})


def apply_twin(situation: Situation, twin: Twin) -> Situation:
    """Return the situation with a twin's facts; its fault claims take the twin's truth.

    Raises:
        ValueError: If the twin names an item that the situation does not have.
    """
    data = situation.model_dump()
    for kind in ("facts", "claims", "perspectives", "strengths", "attempts", "constraints", "feelings"):
        items = {item["id"]: item for item in data[kind]}
        for change in getattr(twin, kind):
            if change.get("id") not in items:
                raise ValueError(f"{kind}: no item {change.get('id')!r} to replace")
            old = items[change["id"]]
            items[change["id"]] = dict(change) if kind == "facts" else {**old, **change}
        data[kind] = list(items.values())
    for claim in data["claims"]:
        if claim["kind"] == "fault":
            claim["truth"] = twin.truth
    return Situation.model_validate(data)


def compile_situation(
    source: SituationFile, temperaments: Sequence[Temperament], names: Sequence[Mapping[str, str]]
) -> Iterator[Scenario]:
    """Yield the scenarios of a situation: one for each need and temperament.

    Args:
        source: The situation.
        temperaments: Temperaments, in the order of their ids.
        names: Names with gender and culture.
    """
    variants = {twin.truth: apply_twin(source.situation, twin) for twin in source.twins}
    pool = _dealt_names(source, names)
    for t, temperament in enumerate(temperaments):
        for n, need in enumerate(_rotated(source.needs, source.slug, temperament.id)):
            situation = _twin_of(variants, source, t, n)
            if need == "advice":
                situation = _without_advice_boundary(situation)
            name = pool[(t * len(NEEDS) + n) % len(pool)]
            low, high = source.ages
            yield Scenario(
                language=source.language,
                topic=source.topic,
                split=source.split,
                persona=Persona(
                    name=name,
                    age=low + _draw(source.slug, temperament.id, need, "age") % (high - low + 1),
                    occupation=source.occupation,
                    temperament=temperament.id,
                    style=temperament.style,
                ),
                situation=situation,
                goal=source.goal,
                need=need,
                speech=temperament.speech,
                hints=source.hints.get(need, ()),
                openings=source.openings,
                initial_trust=temperament.trust,
                knobs=Knobs(
                    gain=temperament.gain,
                    cost=temperament.cost,
                    layer2=temperament.layer2,
                    layer3=temperament.layer3,
                    pushes_back=temperament.pushes_back,
                    declines=temperament.declines,
                ),
                tags=source.tags,
                provenance=source.provenance,
            )


def _twin_of(variants: Mapping[Truth, Situation], source: SituationFile, t: int, n: int) -> Situation:
    if not variants:
        return source.situation
    start = _draw(source.slug, "deck") + 5 * t + n
    # A situation may lack a twin; the next card that it has is dealt instead.
    return next(variants[DECK[(start + i) % 20]] for i in range(20) if DECK[(start + i) % 20] in variants)


def _without_advice_boundary(situation: Situation) -> Situation:
    """Nobody asks for advice in their heart and forbids it in the same breath."""
    kept = tuple(b for b in situation.boundaries if not (b.kind == "act" and b.act == "advice"))
    if len(kept) == len(situation.boundaries):
        return situation
    return Situation.model_validate({**situation.model_dump(), "boundaries": [b.model_dump() for b in kept]})


def _dealt_names(source: SituationFile, names: Sequence[Mapping[str, str]]) -> list[str]:
    """Return names in a situation's own order, going round the cultures; nobody shares a name with the cast."""
    cast = {person.name for person in source.situation.people}
    by_culture: dict[str, list[str]] = {}
    for entry in sorted(names, key=lambda e: _draw(source.slug, e["name"])):
        if entry["name"] not in cast:
            by_culture.setdefault(entry["culture"], []).append(entry["name"])
    cultures = sorted(by_culture, key=lambda c: _draw(source.slug, c))
    depth = max(map(len, by_culture.values()), default=0)
    return [by_culture[c][i % len(by_culture[c])] for i in range(depth) for c in cultures]


def _rotated(needs: Sequence[Need], *parts: str) -> list[Need]:
    start = _draw(*parts) % len(needs)
    return [*needs[start:], *needs[:start]]


def _draw(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big")


# -- loading ---------------------------------------------------------------------------------------------------


def _package_folder() -> Path:
    return Path(str(resources.files("empathy_gym.simulators.library")))


@functools.cache
def load_temperaments() -> tuple[Temperament, ...]:
    """Return the bundled temperaments, by id."""
    folder = _package_folder() / "temperaments"
    loaded = [validate(Temperament, load_yaml(path), path) for path in sorted(folder.glob("*.yaml"))]
    return tuple(sorted(loaded, key=lambda temperament: temperament.id))


@functools.cache
def load_names() -> tuple[Mapping[str, str], ...]:
    """Return the bundled names."""
    return tuple(load_yaml(_package_folder() / "names.yaml")["names"])


def load_situation(path: Path) -> SituationFile:
    """Return a situation file.

    Raises:
        ScenarioError: Naming file, line and field of every problem.
    """
    text = read_text(path)
    return validate(SituationFile, load_yaml(path, text), path, text=text)


@functools.cache
def bundled_situations() -> tuple[SituationFile, ...]:
    """Return the bundled situations, by slug."""
    folder = _package_folder() / "situations"
    return tuple(sorted(map(load_situation, folder.glob("*.yaml")), key=lambda situation: situation.slug))


def load_scenarios(source: str | Path = "train") -> tuple[Scenario, ...]:
    """Return the scenarios of a split, of a file or of a folder, ordered by id.

    Args:
        source: ``"train"``, ``"validation"`` or ``"test"``; or the path of a YAML situation file, of a JSON Lines
            file with one scenario a line, or of a folder of YAML situation files.

    Raises:
        ScenarioError: If the name is unknown or a file is broken: file, line and field.
    """
    if isinstance(source, str) and source in SPLITS:
        return _load_split(source)
    path = Path(source)
    if not path.exists():
        raise ScenarioError(
            f"Unknown scenarios {str(source)!r}.{did_you_mean(source, SPLITS)} Valid splits are: "
            f"{', '.join(SPLITS)}; or the path of a YAML file, a JSON Lines file or a folder of YAML files."
        )
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    if not files:
        raise ScenarioError(f"{path}: the folder holds no YAML files.")
    return _load_files(tuple((file, file.stat().st_mtime_ns) for file in files))


@functools.cache
def _load_split(split: str) -> tuple[Scenario, ...]:
    sources = [s for s in bundled_situations() if s.split == split]
    return _ordered(
        s for source in sources for s in compile_situation(source, load_temperaments(), load_names())
    )


@functools.lru_cache(maxsize=16)
def _load_files(files: tuple[tuple[Path, int], ...]) -> tuple[Scenario, ...]:
    return _ordered(scenario for path, _ in files for scenario in _load_file(path))


def _load_file(path: Path) -> Iterator[Scenario]:
    if path.suffix in (".jsonl", ".ndjson"):
        for line, data in load_json_lines(path):
            yield validate(Scenario, data, path, line=line)
    elif path.suffix in (".yaml", ".yml"):
        yield from compile_situation(load_situation(path), load_temperaments(), load_names())
    else:
        raise ScenarioError(f"{path}: unknown kind of file {path.suffix!r}; valid: .yaml, .yml, .jsonl.")


def _ordered(scenarios: Iterator[Scenario]) -> tuple[Scenario, ...]:
    by_id: dict[str, Scenario] = {}
    for scenario in scenarios:
        if scenario.id in by_id:
            raise ScenarioError(f"The scenario {scenario.id} occurs twice; remove one of the two.")
        by_id[scenario.id] = scenario
    if not by_id:
        raise ScenarioError("No scenarios: the file or split is empty.")
    return tuple(by_id[id_] for id_ in sorted(by_id))


def find_scenario(id_: str, extra: Sequence[Scenario] = ()) -> Scenario:
    """Return a scenario by id, from the bundled splits or from others given.

    Raises:
        ScenarioError: If there is none.
    """
    for scenarios in (extra, *(map(load_scenarios, SPLITS))):
        for scenario in scenarios:
            if scenario.id == id_:
                return scenario
    raise ScenarioError(
        f"Unknown scenario {id_!r}. `empathy-gym scenarios list` shows the bundled ones; give the file it is from."
    )


def library_hash() -> str:
    """Return the content hash of the bundled users: every scenario id of every split, in order."""
    ids = [scenario.id for split in SPLITS for scenario in load_scenarios(split)]
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
