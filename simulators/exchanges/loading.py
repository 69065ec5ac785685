"""Loading exchanges: the bundled sample by split, a file by path, EmpatheticDialogues by name."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from empathy_gym.simulators.errors import ConfigError, did_you_mean
from empathy_gym.simulators.exchanges.exchange import SPLITS, Exchange, exchange_id

SAMPLE: Final = "sample.jsonl"
HELD_OUT: Final = 2
"""Exchanges of each emotion of the sample in `validation`, and as many in `test`."""
SUFFIXES: Final = (".yaml", ".yml", ".jsonl", ".ndjson")
NAME: Final = "empathetic-dialogues"


def load_exchanges(source: str | Path) -> tuple[Exchange, ...]:
    """Return the exchanges of a source, in its order.

    Args:
        source: A split of the bundled sample (``"train"``, ``"validation"``, ``"test"``); the path of a YAML or
            JSON Lines file; or ``"empathetic-dialogues:SPLIT"``, which is downloaded once into a cache, or
            ``"empathetic-dialogues:SPLIT@PATH"`` with the archive, or a folder of its CSV files, at PATH.

    Raises:
        ConfigError: If there is no such source, or a file is not as it should be; the message names file and line.
        EngineError: If the archive cannot be downloaded.
    """
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(
            f"exchanges is a {type(source).__name__}; it must be the name of a split or a path."
        )
    name = os.fspath(source)
    if isinstance(source, str):
        if name in SPLITS:
            return tuple(exchange for exchange in bundled() if exchange.split == name)
        kind, _, rest = name.partition(":")
        if kind == NAME:
            from empathy_gym.simulators.exchanges.empathetic_dialogues import load

            split, _, place = rest.partition("@")
            return load(split, place or None)
    path = Path(name)
    if not path.is_file():
        known = (*SPLITS, *(f"{NAME}:{split}" for split in SPLITS))
        raise ConfigError(
            f"There are no exchanges {name!r}.{did_you_mean(name, known)} Valid: {', '.join(known)}, or the path "
            "of a YAML or JSON Lines file."
        )
    return read_file(path)


def read_file(path: Path) -> tuple[Exchange, ...]:
    """Return the exchanges of a file: a YAML list, or one JSON object a line.

    Each has ``context`` (a text or a list of texts) and ``response``, and may have ``emotion``, ``split`` and
    ``id``.

    Raises:
        ConfigError: If the file cannot be used; the message names the exchange and the field.
    """
    found: dict[str, Exchange] = {}
    for place, raw in _documents(path):
        exchange = _exchange(place, raw)
        if exchange.id in found:
            raise ConfigError(f"{place}: the exchange {exchange.id!r} is there twice.")
        found[exchange.id] = exchange
    if not found:
        raise ConfigError(f"{path} holds no exchange.")
    return tuple(found.values())


@functools.cache
def bundled() -> tuple[Exchange, ...]:
    """Return the whole sample: by emotion, and within it by id, which is a content hash.

    The first exchanges of each emotion are for training, the last ones held out.
    """
    file = resources.files("empathy_gym.simulators.exchanges") / SAMPLE
    lines = file.read_text("utf-8").splitlines()
    found = [_exchange(f"{SAMPLE}:{i}", json.loads(line)) for i, line in enumerate(lines[1:], 2)]
    found.sort(key=lambda exchange: (exchange.emotion, exchange.id))
    sizes: dict[str, int] = {}
    for exchange in found:
        sizes[exchange.emotion] = sizes.get(exchange.emotion, 0) + 1
    placed, seen = [], dict.fromkeys(sizes, 0)
    for exchange in found:
        left = sizes[exchange.emotion] - seen[exchange.emotion]
        seen[exchange.emotion] += 1
        split = SPLITS[0] if left > 2 * HELD_OUT else SPLITS[1] if left > HELD_OUT else SPLITS[2]
        placed.append(exchange.model_copy(update={"split": split}))
    return tuple(placed)


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place, value) of everything a file holds."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: unknown kind of file {path.suffix!r}; valid: {', '.join(SUFFIXES)}.")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}.") from None
    if path.suffix in SUFFIXES[:2]:
        yield from _yaml(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError):
                raise ConfigError(f"{path}:{number}: not a line of JSON.") from None


def _yaml(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from None
    if isinstance(data, Mapping) and set(data) == {"exchanges"}:
        data = data["exchanges"]
    if not isinstance(data, list):
        raise ConfigError(f"{path} is not a YAML list of exchanges.")
    for number, raw in enumerate(data, 1):
        yield f"{path}, exchange {number}", raw


def _exchange(place: str, raw: Any) -> Exchange:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{place}: a {type(raw).__name__}; it must be an object with context and response.")
    fields = Exchange.model_fields
    for name in raw:
        if name not in fields:
            raise ConfigError(
                f"{place}: unknown field {name!r}.{did_you_mean(name, fields)} Valid: {', '.join(fields)}."
            )
    value = dict(raw)
    if isinstance(value.get("context"), str):
        value["context"] = [value["context"]]
    if (
        "id" not in value
        and isinstance(value.get("context"), list)
        and isinstance(value.get("response"), str)
    ):
        value["id"] = exchange_id([str(text) for text in value["context"]], value["response"])
    try:
        return Exchange.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{place}: {where}: {first['msg'].removeprefix('Value error, ')}.") from None
