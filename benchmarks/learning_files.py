"""The files of a learning table: plain values as JSON, the table as Markdown, with the command that made them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from empathy_gym.benchmarks.console import noting, print_lines
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.files import write_json, write_text


def check_out(out: Path) -> None:
    """Refuse a name with a suffix: several files are named by it.

    Raises:
        ConfigError: If it has one.
    """
    if out.suffix:
        raise ConfigError(f"--out is {str(out)!r}; give it without a suffix, as several files are written.")


def put_table(
    out: Path,
    module: str,
    found: Mapping[str, Any],
    markdown: Callable[[Mapping[str, Any], str], list[str]],
    beside: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write and print a table.

    Args:
        out: Where: OUT.json, OUT.md, and OUT-NAME.md for each name of `beside`.
        module: Of `benchmarks`, whose command line this is.
        found: Plain values.
        markdown: Returns the table's lines, given the values and the command.
        beside: More lines of Markdown, by name.
    """
    command = f"python -m empathy_gym.benchmarks.{module} {shlex.join(sys.argv[1:])}"
    lines = markdown(found, command)
    texts = {f"{out.name}.md": lines} | {
        f"{out.name}-{name}.md": more for name, more in (beside or {}).items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out.with_suffix(".json"), {"command": command, **found})
    for name, part in texts.items():
        write_text(out.with_name(name), "\n".join(part) + "\n")
    print_lines(lines)
    noting()(f"Results in {', '.join(str(out.with_name(name)) for name in (f'{out.name}.json', *texts))}")
