"""EmpatheticDialogues (Rashkin, Smith, Li and Boureau, ACL 2019), from its published archive.

The data are CC BY-NC 4.0: they are never shipped, and what is trained on them is not for sale. The archive is
downloaded once into a cache and read where it lies; nothing is unpacked.

Its CSV files are not quite CSV: a comma within a text is written ``_comma_``, quotes stand as they are and mean
nothing, and some lines of the held-out files have a ninth column (candidates) that the header does not name. So lines
are split at commas, nothing else. A conversation with a damaged line is left out whole.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.errors import ConfigError, unknown_name
from empathy_gym.simulators.exchanges.download import download
from empathy_gym.simulators.exchanges.exchange import SPLITS, Exchange, single_spaced
from empathy_gym.simulators.hashing import file_hash

URL: Final = "https://dl.fbaipublicfiles.com/parlai/empatheticdialogues/empatheticdialogues.tar.gz"
SHA256: Final = "56f234d77b7dd1f005fd365bb17769cfe346c3c84295b69bc069c8ccb83be03d"
"""Of the archive at `URL`, as ParlAI and later users of it record it."""
FILES: Final = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
FOLDER: Final = "empatheticdialogues"
COLUMNS: Final = ("conv_id", "utterance_idx", "context", "prompt", "speaker_idx", "utterance")
"""Columns that are read: the context is the emotion, the prompt the situation, which nobody but the speaker knows."""
WIDTHS: Final = (8, 9)
DAMAGED: Final = 0.01
"""Share of damaged lines above which a file is not taken for what it should be."""

_logger = logging.getLogger("empathy_gym")


def load(
    split: str, place: str | None = None, *, url: str = URL, sha256: str = SHA256
) -> tuple[Exchange, ...]:
    """Return the exchanges of a split: one for each utterance of a listener's, with all that was said before it.

    Args:
        split: train, validation or test.
        place: The archive, or a folder with its CSV files; None to download it once into the cache.
        url: Where the archive is.
        sha256: What it has to be.

    Raises:
        ConfigError: If the split is unknown, the place holds no such data, the checksum is wrong or a column is
            missing.
        EngineError: If the archive cannot be downloaded.
    """
    if split not in SPLITS:
        raise unknown_name("split of empathetic-dialogues", split, SPLITS)
    if place is not None:
        path = Path(place).expanduser()
        if not path.exists():
            raise ConfigError(
                f"There is nothing at {place!r}; name the archive ({FOLDER}.tar.gz) or a folder with "
                f"{', '.join(FILES.values())}."
            )
    else:
        path = cached(url, sha256)
    return _read(str(path.resolve()), split, path.stat().st_mtime_ns)


def cached(url: str = URL, sha256: str = SHA256) -> Path:
    """Return the archive in the cache, downloaded if it is not there.

    Raises:
        ConfigError: If its checksum is wrong.
        EngineError: If it cannot be downloaded.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "empathy-gym" / "data"
    target = folder / f"{FOLDER}.tar.gz"
    if not target.is_file():
        _logger.warning(
            "Downloading EmpatheticDialogues (28 MB, CC BY-NC 4.0: not for commercial use) to %s.", target
        )
        hint = f"With a copy at hand, name it: exchanges='empathetic-dialogues:train@{FOLDER}.tar.gz'."
        download(url, target, sha256, hint)
    elif file_hash(target) != sha256:
        raise ConfigError(
            f"{target} is not the archive expected: its SHA-256 is {file_hash(target)}, not {sha256}. Remove it, and it "
            "is downloaded again."
        )
    return target


@functools.lru_cache(maxsize=6)
def _read(path: str, split: str, changed: int) -> tuple[Exchange, ...]:
    place = f"{path}:{FILES[split]}"
    lines = _text(Path(path), split).split("\n")
    columns = lines[0].strip().split(",")
    for column in COLUMNS:
        if column not in columns:
            raise ConfigError(f"{place}: no column {column!r}; its columns are {', '.join(columns)[:200]}.")
    conversations, damaged = _conversations(lines[1:], [columns.index(name) for name in COLUMNS])
    rows = sum(1 for line in lines[1:] if line.strip())
    if damaged > DAMAGED * rows:
        raise ConfigError(
            f"{place}: {damaged} of {rows} lines are damaged; it is not the file that was published."
        )
    if damaged:
        _logger.warning("%s: %d damaged lines; their conversations are left out.", place, damaged)
    found = tuple(exchange for rows_ in conversations for exchange in _exchanges(rows_, split))
    if not found:
        raise ConfigError(f"{place} holds no conversation.")
    return found


def _text(path: Path, split: str) -> str:
    """Return a CSV file of a folder or of the archive, as text."""
    name = FILES[split]
    try:
        if path.is_dir():
            places = [path / name, path / FOLDER / name]
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise ConfigError(f"There is no {name} in {path}.")
            return found.read_text("utf-8")
        with tarfile.open(path, "r:*") as archive:
            members = [m for m in archive.getmembers() if m.isfile() and Path(m.name).name == name]
            file = archive.extractfile(members[0]) if members else None
            if file is None:
                raise ConfigError(f"There is no {name} in {path}.")
            return io.TextIOWrapper(file, "utf-8").read()
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"{path} cannot be read as the archive or a folder of its files ({reason})."
        ) from None


Row = tuple[str, int, str, str, str]
"""Conversation, place in it, emotion, speaker, utterance."""


def _conversations(lines: Sequence[str], places: Sequence[int]) -> tuple[list[list[Row]], int]:
    """Return the rows of each conversation, in the file's order, and how many lines are damaged."""
    found: dict[str, list[Row]] = {}
    broken: set[str] = set()
    damaged = 0
    for line in lines:
        if not line.strip():
            continue
        parts = line.rstrip("\r").split(",")
        if len(parts) not in WIDTHS or not parts[places[1]].strip().isdigit():
            damaged += 1
            broken.add(parts[places[0]])
            continue
        id_, number, emotion, _, speaker, utterance = (parts[place] for place in places)
        found.setdefault(id_, []).append((id_, int(number), emotion, speaker, _plain(utterance)))
    return [sorted(rows, key=lambda row: row[1]) for id_, rows in found.items() if id_ not in broken], damaged


def _plain(utterance: str) -> str:
    return single_spaced(utterance.replace("_comma_", ",").replace("_pipe_", "|"))


def _exchanges(rows: Sequence[Row], split: str) -> Iterator[Exchange]:
    """Yield an exchange for every utterance of the listener's.

    What one of the two said in several lines running is one utterance.
    """
    said: list[str] = []
    who: list[str] = []
    for _, _, _, speaker, utterance in rows:
        if not utterance:
            continue
        if who and who[-1] == speaker:
            said[-1] = f"{said[-1]} {utterance}"
        else:
            said.append(utterance)
            who.append(speaker)
    for at in range(1, len(said), 2):
        # The published id tells which conversation it is, and so who felt what: ours is opaque.
        number = derive_seed(0, FOLDER, split, rows[0][0], at)
        yield Exchange(
            id=f"{number:016x}",
            emotion=rows[0][2],
            context=tuple(said[:at]),
            response=said[at],
            split=split,
        )
