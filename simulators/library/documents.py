"""Reading scenario documents: YAML and JSON Lines, safely, with file, line and field in every complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from empathy_gym.simulators.errors import ScenarioError

MAX_BYTES = 8_000_000
"""A larger document is refused before it is parsed."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Model = TypeVar("Model", bound=BaseModel)


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
        raise ScenarioError(f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8.") from None


def load_yaml(path: Path, text: str | None = None) -> Any:
    """Return what a YAML document says.

    Aliases are refused: a few lines of them expand to gigabytes.

    Raises:
        ScenarioError: If it is not valid YAML or holds an alias.
    """
    text = read_text(path) if text is None else text
    try:
        for token in yaml.scan(text, Loader=_Loader) if "*" in text else ():
            if isinstance(token, yaml.AliasToken):
                line = token.start_mark.line + 1
                raise ScenarioError(
                    f"{path}:{line}: YAML aliases (*{token.value}) are not accepted; write it out."
                )
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}" if mark else ""
        raise ScenarioError(f"{path}{where}: not valid YAML ({error.problem}).") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError(f"{path}: not valid YAML ({str(error).splitlines()[0]}).") from None


def load_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of a JSON Lines document; blank lines are passed over.

    Raises:
        ScenarioError: If a line is not JSON.
    """
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ScenarioError(f"{path}:{number}: not valid JSON ({error}).") from None


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
        problems = []
        for item in error.errors(include_url=False):
            where = line if text is None else _line_of(text, item["loc"])
            field = ".".join(map(str, item["loc"])) or "(document)"
            got = item["input"]
            shown = (
                f" (got {got!r})" if isinstance(got, str | int | float | None) and len(repr(got)) < 60 else ""
            )
            problems.append(f"{path}{f':{where}' if where else ''}: {field}: {item['msg']}{shown}")
        raise ScenarioError("\n".join(problems)) from None


def _line_of(text: str, loc: tuple[int | str, ...]) -> int | None:
    """Return the line of a field in a YAML text, or of the nearest thing that contains it."""
    node = yaml.compose(text, Loader=_Loader)
    line = node.start_mark.line + 1 if node else None
    for part in loc:
        child = None
        if isinstance(node, yaml.MappingNode):
            child = next((value for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
        if child is None:
            break
        node, line = child, child.start_mark.line + 1
    return line
