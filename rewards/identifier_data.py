"""What empathy identifiers are trained and tested on: EPITOME's files, and text written for this project.

EPITOME's data carry no licence, so nothing trained on them comes with the package. What does come with it is trained
on two things: labelled replies to the bundled users (``benchmarks/data/replies``), whose levels are mapped by
`from_appraisal`, and replies joined from sentences (``data/identifier_sentences.yaml``) by `compose`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from empathy_gym.rewards.identifiers import LEVELS, MECHANISMS
from empathy_gym.simulators.errors import ConfigError

COLUMNS: Final = ("seeker_post", "response_post", "level")
GROUP: Final = "sp_id"
UNKNOWN: Final = -1
"""In place of a level that is not known."""
SENTENCES: Final = Path(__file__).resolve().parent / "data" / "identifier_sentences.yaml"
COMPOSED: Final = 6000
"""How many replies are joined from sentences."""
# How often a composed reply has each level of each mechanism: about as often as the paper reports for peer support.
_SHARES: Final = {"ER": (0.62, 0.29, 0.09), "IP": (0.50, 0.08, 0.42), "EX": (0.79, 0.06, 0.15)}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pairs with the level of each mechanism, `UNKNOWN` where nobody says.

    Args:
        contexts: What is answered, shape (n,).
        responses: Shape (n,).
        levels: Shape (n, 3 mechanisms).
        groups: What must not be on both sides of a split (the seeker's post, the situation), shape (n,).
        grouped_by: What the groups are.
    """

    contexts: tuple[str, ...]
    responses: tuple[str, ...]
    levels: NDArray[np.int64]
    groups: tuple[str, ...]
    grouped_by: str

    def __len__(self) -> int:
        return len(self.responses)


# -- EPITOME's files -------------------------------------------------------------------------------------


def read_epitome(path: str | Path, mechanism: str) -> Labelled:
    """Read one of EPITOME's files: a row a pair, with the level of one mechanism.

    Args:
        path: A CSV file with the columns ``seeker_post``, ``response_post`` and ``level``. Pairs are grouped by
            ``sp_id`` where the file has it, by the text of the seeker's post where not.
        mechanism: Which mechanism its levels are of.

    Raises:
        ConfigError: If the file cannot be read, is empty, lacks a column, or has a row that is damaged or a level
            other than 0, 1 and 2. The message names file and row.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(str(path), csv.DictReader(file, strict=True)))
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"'{path}' is not a CSV file in UTF-8: {error}.") from error
    levels = np.full((len(rows), len(MECHANISMS)), UNKNOWN, dtype=np.int64)
    levels[:, MECHANISMS.index(mechanism)] = [int(row["level"]) for row in rows]
    by_id = all(row.get(GROUP) for row in rows)
    return Labelled(
        contexts=tuple(row["seeker_post"] for row in rows),
        responses=tuple(row["response_post"] for row in rows),
        levels=levels,
        groups=tuple(row[GROUP] if by_id else row["seeker_post"] for row in rows),
        grouped_by=GROUP if by_id else "seeker_post",
    )


def _rows(path: str, reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a file, each checked."""
    columns = reader.fieldnames
    if not columns:
        raise ConfigError(f"'{path}' is empty; a CSV file with the columns {', '.join(COLUMNS)} is needed.")
    for column in COLUMNS:
        if column not in columns:
            raise ConfigError(f"'{path}', row 1: no column {column!r}; its columns are {', '.join(columns)}.")
    number = 1
    for number, row in enumerate(reader, 2):
        if None in row or None in row.values():
            raise ConfigError(f"'{path}', row {number}: it does not have {len(columns)} columns.")
        if row["level"].strip() not in {str(level) for level in LEVELS}:
            raise ConfigError(f"'{path}', row {number}: level is {row['level']!r}; 0, 1 and 2 are valid.")
        yield row
    if number == 1:
        raise ConfigError(f"'{path}' is empty: there is no row after the names of the columns.")


# -- text written for this project -----------------------------------------------------------------------


def from_appraisal(levels: Mapping[str, int], family: str | None = None) -> dict[str, int]:
    """Return EPITOME's levels for a labelled reply, -1 where our fields (docs/appraisal.md) do not decide.

    * ER is `warmth`: care that tone implies is weak, expressed care is strong.
    * IP: a feeling with its reason, or a specific reading (`feeling` 2, `insight` 2), is strong; neither is none. A
      generic one (either at 1) is weak ("I understand") or strong ("that must be hard"): undecided. So is a reply of
      the family ``other``, which may tell of a like experience, for which we have no field. Restating what happened
      (`grounding`) is no interpretation.
    * EX is `exploration`: an open specific question is strong, and so is a closed one that names something told
      (`exploration` 1 with `grounding` 1 or more); any other question is weak.

    Args:
        levels: The reply's levels other than 0.
        family: What kind of reply it is, if that is known.
    """
    inner = max(levels.get("feeling", 0), levels.get("insight", 0))
    undecided = inner == 1 or (inner == 0 and family == "other")
    asks = levels.get("exploration", 0)
    specific = asks == 2 or (asks == 1 and levels.get("grounding", 0) >= 1)
    return {
        "ER": levels.get("warmth", 0),
        "IP": UNKNOWN if undecided else inner,
        "EX": 2 if specific else asks,
    }


def read_replies(folder: str | Path) -> Labelled:
    """Read labelled replies to the bundled users.

    Args:
        folder: With one YAML file a situation: ``situation`` and ``replies``, each with ``text`` and ``levels``.

    Raises:
        ConfigError: If there is no such file, or one that cannot be read; the message names file and reply.
    """
    files = sorted(Path(folder).glob("*.yaml"))
    if not files:
        raise ConfigError(f"no labelled replies (*.yaml) in '{folder}'.")
    found = [(str(file.stem), *reply) for file in files for reply in _replies(file)]
    return Labelled(
        contexts=("",) * len(found),
        responses=tuple(text for _, text, _ in found),
        levels=np.array([[levels[m] for m in MECHANISMS] for _, _, levels in found], dtype=np.int64),
        groups=tuple(situation for situation, _, _ in found),
        grouped_by="situation",
    )


def _replies(file: Path) -> Iterator[tuple[str, dict[str, int]]]:
    try:
        data = yaml.safe_load(file.read_text("utf-8"))
        replies = data["replies"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"'{file}' is not a YAML file with `replies`.") from error
    for number, reply in enumerate(replies, 1):
        try:
            yield str(reply["text"]), from_appraisal(reply["levels"], reply.get("family"))
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"'{file}', reply {number}: it needs `text` and `levels`.") from error


def compose(n: int = COMPOSED, seed: int = 0) -> Labelled:
    """Join sentences into replies as peers write them.

    Each reply is dealt a level of each mechanism, then sentences that have it and some that do nothing of the sort.

    Args:
        n: How many replies.
        seed: Seed of the dealing.
    """
    data = yaml.safe_load(SENTENCES.read_text("utf-8"))
    rng = np.random.default_rng(seed)
    made = [_composed(data, rng) for _ in range(n)]
    return Labelled(
        contexts=("",) * n,
        responses=tuple(text for text, _ in made),
        levels=np.array([levels for _, levels in made], dtype=np.int64).reshape(n, len(MECHANISMS)),
        groups=tuple(f"composed {i}" for i in range(n)),
        grouped_by="reply",
    )


def _composed(data: Mapping[str, Any], rng: np.random.Generator) -> tuple[str, list[int]]:
    """Return one reply and its levels."""
    if rng.random() < 0.1:
        both = data["both"][rng.integers(len(data["both"]))]
        levels, sentences = [both.get(m.lower(), 0) for m in MECHANISMS], [both["text"]]
    else:
        levels = [int(rng.choice(LEVELS, p=_SHARES[m])) for m in MECHANISMS]
        names = [f"{m.lower()}{level}" for m, level in zip(MECHANISMS, levels, strict=True) if level]
        sentences = [_pick(data[name], rng) for name in names for _ in range(1 + int(rng.random() < 0.3))]
    plain = int(rng.integers(0 if sentences else 1, 4))
    sentences += [_pick(data["none"], rng) for _ in range(plain)]
    text = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    return _typed(_filled(text, data["slots"], rng), rng), levels


def _pick(sentences: Sequence[str], rng: np.random.Generator) -> str:
    return sentences[int(rng.integers(len(sentences)))]


def _filled(text: str, slots: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    for slot, words in slots.items():
        while f"{{{slot}}}" in text:
            text = text.replace(f"{{{slot}}}", _pick(words, rng), 1)
    return text


def _typed(text: str, rng: np.random.Generator) -> str:
    """Leave out apostrophes, or full stops and commas, as people do."""
    if rng.random() < 0.25:
        text = text.replace("'", "")
    if rng.random() < 0.25:
        text = text.replace(".", "").replace(",", "")
    return text


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Return several sets as one."""
    return Labelled(
        contexts=tuple(text for part in parts for text in part.contexts),
        responses=tuple(text for part in parts for text in part.responses),
        levels=np.concatenate([part.levels for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        grouped_by=parts[0].grouped_by,
    )
