"""Reading scenario documents: YAML and JSON Lines, safely, with file, line and field in every complaint."""

from __future__ import annotations

import functools
import json
import re
import stat
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from empathy_gym.simulators.errors import ScenarioError, did_you_mean
from empathy_gym.simulators.situation import Inconsistent, Loc, Problem

MAX_BYTES: Final = 1_000_000
"""A larger YAML document, or line of a JSON Lines document, is refused before it is parsed."""
MAX_FILE_BYTES: Final = 500_000_000
"""A larger JSON Lines document is refused; the bundled `train` has a tenth of that."""
MAX_DEPTH: Final = 64
"""Deeper nesting is refused: a parser in C would exhaust the stack and take the process with it."""
MAX_PROBLEMS: Final = 100
"""Problems named of one document; of the rest the number is given."""
PLAIN: Final = {
    "missing": "missing",
    "tuple_type": "should be a list",
    "model_type": "should be a mapping of fields",
    "mapping_type": "should be a mapping",
    "dict_type": "should be a mapping",
}
"""What an author is told instead of the names of Python's types."""

Model = TypeVar("Model", bound=BaseModel)


_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path) -> str:
    """Return the text of a document.

    Raises:
        ScenarioError: If it cannot be read, is too large or is not UTF-8.
    """
    try:
        _check_size(path, MAX_BYTES)
        return path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError(
            f"{path}:{line}: not UTF-8 (byte {error.start}). Save the file as UTF-8."
        ) from None


def _check_size(path: Path, most: int) -> None:
    """Refuse what is too large, and what has no size: a device or a pipe could be read for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ScenarioError(f"{path}: not a regular file.")
    if status.st_size > most:
        raise ScenarioError(
            f"{path}: {status.st_size:,} bytes; a scenario file has at most {most:,}. Split it."
        )


def load_yaml(path: Path, text: str | None = None) -> Any:
    """Return what a YAML document says.

    Aliases are refused, since a few lines of them expand to gigabytes; so are deep nesting and a key written twice.

    Raises:
        ScenarioError: If it is not valid YAML or holds what is refused.
    """
    text = read_text(path) if text is None else text
    try:
        return _built(path, text)
    except ScenarioError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ScenarioError(f"{path}{where}: not valid YAML ({error.problem}).") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScenarioError(f"{path}:{line}: not valid YAML ({str(error).splitlines()[0]}).") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML's own constructors let these through: the date 2026-13-45, a number of 5,000 digits, !!bool maybe.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ScenarioError(f"{path}: not valid YAML (a value cannot be read: {first}).") from None


def _built(path: Path, text: str) -> Any:
    """Return what the events of a document say, refusing what is refused before anything is built of it.

    Situation files are lists and mappings of strings; building them from the parser's events takes a third of the
    time that nodes and their resolution take.
    """
    root: list[Any] = []
    within: list[_Open] = [_Open(root)]
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.ScalarEvent):
            if event.tag not in (None, "!"):
                _refuse(path, event, f"the tag {event.tag!r} is not accepted; write the value plainly")
            plain = event.implicit[0]
            _add(path, event, within[-1], _plain(event.value) if plain else event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag is not None:
                _refuse(path, event, f"the tag {event.tag!r} is not accepted; write the value plainly")
            if len(within) > MAX_DEPTH:
                _refuse(path, event, f"nested deeper than {MAX_DEPTH} levels")
            items: list[Any] | dict[Hashable, Any] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            _add(path, event, within[-1], items)
            within.append(_Open(items))
        elif isinstance(event, yaml.CollectionEndEvent):
            within.pop()
        elif isinstance(event, yaml.AliasEvent):
            _refuse(path, event, f"YAML aliases (*{event.anchor}) are not accepted; write it out")
        elif isinstance(event, yaml.DocumentStartEvent) and root:
            _refuse(path, event, "a second document begins; a file holds one")
    return root[0] if root else None


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being read, and the key whose value comes next."""

    items: list[Any] | dict[Hashable, Any]
    key: Any = None
    keyed: bool = False


def _add(path: Path, event: yaml.Event, to: _Open, value: Any) -> None:
    if isinstance(to.items, list):
        to.items.append(value)
    elif to.keyed:
        to.items[to.key] = value
        to.keyed = False
    elif isinstance(value, list | dict):
        _refuse(path, event, "a key is a list or a mapping; keys are words")
    elif value in to.items:
        # YAML itself would drop the first in silence.
        _refuse(path, event, f"the key {value!r} is written twice")
    else:
        to.key, to.keyed = value, True


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    """Return what a scalar without quotes stands for: a number, a truth value, nothing, or its text."""
    resolvers = _Loader.yaml_implicit_resolvers
    for _, pattern in (*resolvers.get(text[:1], ()), *resolvers.get(None, ())):
        if pattern.match(text):
            return yaml.load(text, Loader=_Loader)
    return text


def _refuse(path: Path, event: yaml.Event, why: str) -> NoReturn:
    line = event.start_mark.line + 1 if event.start_mark else 1
    raise ScenarioError(f"{path}:{line}: {why}.")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of a JSON Lines document; blank lines are passed over.

    Raises:
        ScenarioError: If it cannot be read, a line is too long or is not UTF-8.
    """
    number = 0
    try:
        _check_size(path, MAX_FILE_BYTES)
        with path.open("rb") as file:
            # A line ends at a newline only; JSON strings may hold the other line ends of Unicode.
            for number, line in enumerate(iter(lambda: file.readline(MAX_BYTES + 1), b""), 1):
                if len(line) > MAX_BYTES:
                    raise ScenarioError(f"{path}:{number}: a line of more than {MAX_BYTES:,} bytes.")
                if line.strip():
                    yield number, line.decode("utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(
            f"{path}:{number}: not UTF-8 (byte {error.start} of the line). Save the file as UTF-8."
        ) from None


def load_json(path: Path, line: int, text: str) -> Any:
    """Return what one line of a JSON Lines document says.

    Raises:
        ScenarioError: If it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}:{line}: not valid JSON ({error}).") from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping; JSON itself would drop the first of two values in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in found if keys.count(key) > 1)!r} is written twice")
    return found


def validate(
    model: type[Model],
    data: Any,
    path: Path,
    *,
    line: int | None = None,
    text: str | None = None,
    at: Loc = (),
    also: Iterable[Problem] = (),
    loosely: Callable[[Any], Iterable[Problem]] | None = None,
) -> Model:
    """Return the model of a loaded document.

    Args:
        model: The model.
        data: The loaded document.
        path: Its file, for messages.
        line: Its line, if it is one line of many.
        text: Its YAML text, from which the line of each field is found.
        at: Where in that text it stands, if it is not the whole of it.
        also: Problems found otherwise; one that the model finds, too, is told once.
        loosely: Finds further ones in a document that the model has found wrong.

    Raises:
        ScenarioError: One line a problem: file, line, field, what is wrong.
    """
    problems = list(also)
    try:
        valid = model.model_validate(data)
    except ValidationError as error:
        more = () if loosely is None else loosely(data)
        problems = list(dict.fromkeys([*problems_of(model, error), *more, *problems]))
    if not problems:
        return valid
    root = None if text is None else yaml.compose(text, Loader=_Loader)
    told = []
    for loc, message in problems[:MAX_PROBLEMS]:
        where = line if root is None else _line_of(root, (*at, *loc))
        told.append(f"{path}{f':{where}' if where else ''}: {_field(data, loc)}: {message}")
    if len(problems) > MAX_PROBLEMS:
        told.append(f"{path}: and {len(problems) - MAX_PROBLEMS:,} more problems")
    raise ScenarioError("\n".join(told))


def problems_of(model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Return every problem of a document, with its place, in words for its author."""
    problems: list[Problem] = []
    errors = error.errors(include_url=False)
    parents = {item["loc"][:-1] for item in errors}
    for item in errors:
        if item["type"] == "too_short" and item["loc"] in parents:
            continue  # It is short only of the items that are complained of themselves.
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Inconsistent):
            problems += [((*item["loc"], *loc), message) for loc, message in cause.problems]
        else:
            problems.append((item["loc"], _message(model, item)))
    return problems


def _message(model: type[BaseModel], item: ErrorDetails) -> str:
    got, loc, kind = item["input"], item["loc"], item["type"]
    if kind == "extra_forbidden":
        valid = sorted(_fields(model, loc[:-1]))
        return f"unknown field.{did_you_mean(loc[-1], valid)} Valid: {', '.join(valid)}."
    message = PLAIN.get(kind, item["msg"].removeprefix("Value error, "))
    if isinstance(got, str | int | float | None) and len(repr(got)) < 60:
        message += f" (got {got!r})"
    if kind == "literal_error":
        # An unquoted true or false of YAML is not the word.
        hint = did_you_mean(str(got).lower(), re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        message += f".{hint}" if hint else ""
    return message


def _fields(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the names of the fields of what stands at a place in a model."""
    found: Any = model
    for part in loc:
        if isinstance(part, str) and isinstance(found, type) and issubclass(found, BaseModel):
            found = inner_model(found.model_fields[part].annotation)
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def inner_model(annotation: Any) -> Any:
    """Return the model inside an annotation such as ``tuple[Fact, ...]`` or ``Persona | None``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    inner = (inner_model(argument) for argument in typing.get_args(annotation))
    return next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), annotation)


def _field(data: Any, loc: Loc) -> str:
    """Return a place in a document as its author names it: items by their id where they have one."""
    names: list[str] = []
    for part in loc:
        try:
            data = data[part]
        except (LookupError, TypeError):
            data = None
        known = data.get("id") if isinstance(part, int) and isinstance(data, dict) else None
        names.append(known if isinstance(known, str) and known.isidentifier() else str(part))
    return ".".join(names) or "(document)"


def _line_of(node: yaml.Node, loc: Loc) -> int:
    """Return the line of a field in a YAML document, or of the nearest thing that contains it."""
    line: int = node.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        else:
            entry = None
        if entry is None:
            break
        line, node = entry[0].start_mark.line, entry[1]
    return line + 1
