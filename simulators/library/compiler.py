"""The compiler: situations times needs times temperaments, dealt out evenly.

Situations are disjoint between the parts of the library. Which temperaments and which twin of a situation a scenario
gets, and the name of its user, are dealt from balanced decks, each in an order of its own, so that fault and truth do
not go with a temperament, a name, a gender or a culture. Everything follows from the files' contents: adding a
situation changes no other scenario.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError, ScenarioError, did_you_mean
from empathy_gym.simulators.library.documents import load_yaml
from empathy_gym.simulators.library.files import as_situation, as_temperament, read_document, read_files
from empathy_gym.simulators.library.plugins import load_plugin, plugin_names
from empathy_gym.simulators.library.sources import SituationFile, Temperament, Twin, apply_twin, sharing
from empathy_gym.simulators.scenario import Knobs, Need, Persona, Scenario, Situation, Truth

__all__ = [
    "DECK",
    "HELD_OUT_NEEDS",
    "HELD_OUT_TEMPERAMENTS",
    "PARTS",
    "SPLITS",
    "SituationFile",
    "Temperament",
    "Twin",
    "apply_twin",
    "bundled_situations",
    "compile_situation",
    "find_scenario",
    "library_hash",
    "load_names",
    "load_scenarios",
    "load_situation",
    "load_temperaments",
]

PARTS: Final = ("train", "validation", "test", "heldout-temperament")
"""Disjoint parts of the library. `heldout-temperament` has the situations of `test` and users met nowhere else."""
SPLITS: Final = (*PARTS, "train-without-needs", "heldout-need")
"""Names that `load_scenarios` knows: the parts, `train` without two needs, and those needs in `test`."""
HELD_OUT_NEEDS: Final[tuple[Need, ...]] = ("praise", "others_motives")
HELD_OUT_TEMPERAMENTS: Final = ("brooding", "dry")
TEMPERAMENTS_A_NEED: Final[Mapping[str, int]] = {"train": 3}
"""How many temperaments each need of a situation is dealt; two where nothing is said."""
DECK: Final[tuple[Truth, ...]] = (
    "true", "half", "true", "half", "false", "true", "half", "open", "true", "half",
    "true", "half", "false", "true", "half", "open", "true", "half", "false", "open",
)  # fmt: skip
"""Twins in the order dealt: not at fault 35 %, partly 35 %, mostly 15 %, undecidable 15 %."""


def compile_situation(
    source: SituationFile,
    temperaments: Sequence[Temperament],
    names: Sequence[Mapping[str, str]],
    each: int | None = None,
) -> Iterator[Scenario]:
    """Yield the scenarios of a situation: some for each need, each with another temperament.

    Args:
        source: The situation.
        temperaments: Temperaments, in the order of their ids.
        names: Names with gender and culture.
        each: How many temperaments each need is dealt; all of them if None.
    """
    variants = {twin.truth: apply_twin(source.situation, twin) for twin in source.twins}
    each = len(temperaments) if each is None else min(each, len(temperaments))
    seats = len(source.needs) * each
    pool = _dealt_names(source, names)
    speakers = _shuffled(temperaments, source.slug, "temperament")
    # Other temperaments, other names: or the users of `test` and of its held-out temperaments had the same, twin by twin.
    turns = _shuffled(range(seats), source.slug, "seat", *(temperament.id for temperament in temperaments))
    for seat, turn in enumerate(turns):
        need = source.needs[seat // each]
        temperament = speakers[seat % len(speakers)]
        situation = _twin_of(variants, source, seat)
        if need == "advice":
            situation = _without_advice_boundary(situation)
        low, high = source.ages
        yield Scenario(
            language=source.language,
            topic=source.topic,
            split=source.split,
            persona=Persona(
                name=pool[turn % len(pool)],
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


def _twin_of(variants: Mapping[Truth, Situation], source: SituationFile, seat: int) -> Situation:
    if not variants:
        return source.situation
    # In an order of the situation's own, so that a truth goes neither with a need nor with a temperament. A situation
    # may lack a twin: its cards are left out.
    deck = [card for card in _shuffled(range(len(DECK)), source.slug, "deck") if DECK[card] in variants]
    return variants[DECK[deck[seat % len(deck)]]]


def _without_advice_boundary(situation: Situation) -> Situation:
    """Nobody asks for advice in their heart and forbids it in the same breath."""
    kept = tuple(b for b in situation.boundaries if not (b.kind == "act" and b.act == "advice"))
    if len(kept) == len(situation.boundaries):
        return situation
    data = {**situation.model_dump(), "boundaries": [b.model_dump() for b in kept]}
    return sharing(Situation.model_validate(data), situation)


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


def _shuffled(things: Sequence[Any], *parts: str) -> list[Any]:
    """Return things in an order that follows from the parts."""
    order = sorted(range(len(things)), key=lambda i: _draw(*parts, str(i)))
    return [things[i] for i in order]


def _draw(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big")


# -- loading ---------------------------------------------------------------------------------------------------


def _package_folder() -> Path:
    return Path(str(resources.files("empathy_gym.simulators.library")))


@functools.cache
def load_temperaments() -> tuple[Temperament, ...]:
    """Return the bundled temperaments, by id."""
    folder = _package_folder() / "temperaments"
    loaded = [as_temperament(read_document(path)) for path in sorted(folder.glob("*.yaml"))]
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
    return as_situation(read_document(path))


@functools.cache
def bundled_situations() -> tuple[SituationFile, ...]:
    """Return the bundled situations, by slug."""
    folder = _package_folder() / "situations"
    return tuple(sorted(map(load_situation, folder.glob("*.yaml")), key=lambda situation: situation.slug))


def load_scenarios(source: str | Path = "train") -> tuple[Scenario, ...]:
    """Return the scenarios of a split, of an installed package, of a file or of a folder, ordered by id.

    Args:
        source: One of `SPLITS`, ``"train"`` say; ``"NAME"`` or ``"NAME:SPLIT"`` of a package that is installed under
            the entry-point group ``empathy_gym.scenarios``; or the path of a YAML situation file, of a JSON Lines
            file with one scenario a line, or of a folder of YAML files. A `Path` is never taken for a name.

    Raises:
        ConfigError: If there is no such split, package, file or folder.
        ScenarioError: If a file or a package is broken: file, line and field of every problem of every file.
    """
    if isinstance(source, str):
        if source in SPLITS:
            return _load_split(source)
        scenarios = load_plugin(source, load_scenarios)
        if scenarios is not None:
            return scenarios
    path = Path(source)
    try:
        path.stat()
        files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
        stamps = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _unknown(str(source)) from None
    except OSError as error:
        raise ScenarioError(f"{str(path)[:200]}: cannot be read ({error.strerror or error}).") from None
    if not files:
        raise ScenarioError(f"{path}: the folder holds no YAML files.")
    return _load_files(stamps)


def _unknown(source: str) -> ConfigError:
    installed = plugin_names()
    names = (*SPLITS, *installed)
    return ConfigError(
        f"Unknown scenarios {source!r}.{did_you_mean(source, names) or did_you_mean(source.partition(':')[0], names)} "
        f"Valid splits are: {', '.join(SPLITS)}; "
        + (f"of installed packages: {', '.join(installed)}; " if installed else "")
        + "or the path of a YAML file, a JSON Lines file or a folder of YAML files."
    )


@functools.cache
def _load_split(split: str) -> tuple[Scenario, ...]:
    if split == "train-without-needs":
        return tuple(s for s in _load_split("train") if s.need not in HELD_OUT_NEEDS)
    if split == "heldout-need":
        return tuple(s for s in _load_split("test") if s.need in HELD_OUT_NEEDS)
    held_out = split == "heldout-temperament"
    of_split = "test" if held_out else split
    sources = [source for source in bundled_situations() if source.split == of_split]
    scenarios, twice = _by_id((s, split) for source in sources for s in _users_of(source, held_out))
    if twice:
        raise ScenarioError("\n".join(twice))
    return scenarios


def _users_of(
    source: SituationFile, held_out: bool = False, own: Sequence[Temperament] = ()
) -> Iterator[Scenario]:
    """Yield the scenarios of a situation as the library deals them.

    Args:
        source: The situation.
        held_out: Whether to deal the temperaments that are kept out of training.
        own: Temperaments to deal in place of bundled ones.
    """
    temperaments = own or [t for t in load_temperaments() if (t.id in HELD_OUT_TEMPERAMENTS) == held_out]
    return compile_situation(source, temperaments, load_names(), TEMPERAMENTS_A_NEED.get(source.split, 2))


@functools.lru_cache(maxsize=16)
def _load_files(files: tuple[tuple[Path, int, int], ...]) -> tuple[Scenario, ...]:
    brought = read_files([path for path, *_ in files])
    own = sorted((temperament for temperament, _ in brought.temperaments), key=lambda t: t.id)
    made = [(s, where) for source, where in brought.situations for s in _users_of(source, own=own)]
    scenarios, twice = _by_id([*brought.scenarios, *made])
    if brought.problems or twice:
        raise ScenarioError("\n".join([*brought.problems, *twice]))
    if not scenarios:
        empty = "temperaments need a situation beside them" if own else "the file is empty"
        raise ScenarioError(f"{files[0][0]}: no scenarios; {empty}.")
    return scenarios


def _by_id(scenarios: Iterable[tuple[Scenario, str]]) -> tuple[tuple[Scenario, ...], list[str]]:
    """Return scenarios ordered by id, and a complaint of each that comes a second time."""
    first: dict[str, tuple[Scenario, str]] = {}
    problems: list[str] = []
    for scenario, where in scenarios:
        if scenario.id in first:
            there = first[scenario.id][1]
            problems.append(f"{where}: the scenario {scenario.id} occurs twice (first in {there}).")
        first.setdefault(scenario.id, (scenario, where))
    return tuple(first[id_][0] for id_ in sorted(first)), problems


def find_scenario(id_: str, extra: Sequence[Scenario] = ()) -> Scenario:
    """Return a scenario by id, from the bundled splits or from others given.

    Raises:
        ScenarioError: If there is none.
    """
    for scenarios in (extra, *(map(load_scenarios, PARTS))):
        for scenario in scenarios:
            if scenario.id == id_:
                return scenario
    raise ScenarioError(
        f"Unknown scenario {id_!r}. `empathy-gym scenarios list` shows the bundled ones; give the file it is from."
    )


def library_hash() -> str:
    """Return the content hash of the bundled users: every scenario id of every split, in order."""
    ids = [scenario.id for split in PARTS for scenario in load_scenarios(split)]
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
