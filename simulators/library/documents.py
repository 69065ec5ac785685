"""Reading scenario documents: YAML and JSON Lines, safely, with file, line and field in every complaint."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from empathy_gym.simulators.errors import ScenarioError, did_you_mean
from empathy_gym.simulators.situation import Inconsistent, Loc, Problem

MAX_BYTES: Final = 1_000_000
"""A larger YAML document, or line of a JSON Lines document, is refused before it is parsed."""
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


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, which also refuses a key that is written twice: YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def read_text(path: Path) -> str:
    """Return the text of a document.

    Raises:
        ScenarioError: If it cannot be read, is too large or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ScenarioError(
                f"{path}: {size:,} bytes; a scenario file has at most {MAX_BYTES:,}. Split it."
            )
        return path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError(
            f"{path}:{line}: not UTF-8 (byte {error.start}). Save the file as UTF-8."
        ) from None


def load_yaml(path: Path, text: str | None = None) -> Any:
    """Return what a YAML document says.

    Aliases are refused, since a few lines of them expand to gigabytes; so are deep nesting and a key written twice.

    Raises:
        ScenarioError: If it is not valid YAML or holds what is refused.
    """
    text = read_text(path) if text is None else text
    try:
        _check_events(path, text)
        return yaml.load(text, Loader=_Loader)
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


def _check_events(path: Path, text: str) -> None:
    """Refuse aliases and deep nesting before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise ScenarioError(
                f"{path}:{line}: YAML aliases (*{event.anchor}) are not accepted; write it out."
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ScenarioError(f"{path}:{line}: nested deeper than {MAX_DEPTH} levels.")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of a JSON Lines document; blank lines are passed over.

    Raises:
        ScenarioError: If it cannot be read, a line is too long or is not UTF-8.
    """
    try:
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
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}:{line}: not valid JSON ({error}).") from None


def validate(
    model: type[Model], data: Any, path: Path, *, line: int | None = None, text: str | None = None
) -> Model:
    """Return the model of a loaded document.

    Args:
        model: The model.
        data: The loaded document.
        path: Its file, for messages.
        line: Its line, if it is one line of many.
        text: Its YAML text, from which the line of each field is found.

    Raises:
        ScenarioError: One line a problem: file, line, field, what is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = problems_of(model, error)
    root = None if text is None else yaml.compose(text, Loader=_Loader)
    told = []
    for loc, message in problems[:MAX_PROBLEMS]:
        where = line if root is None else _line_of(root, loc)
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
            found = _inner(found.model_fields[part].annotation)
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def _inner(annotation: Any) -> Any:
    """Return the model inside an annotation such as ``tuple[Fact, ...]`` or ``Persona | None``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    inner = (_inner(argument) for argument in typing.get_args(annotation))
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
