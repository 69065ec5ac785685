"""The terminal: where things are printed, and where an error becomes one line and an exit status."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, ScenarioError, did_you_mean

if TYPE_CHECKING:
    from rich.progress import Progress

USAGE, FAILURE, INTERRUPTED = 2, 1, 130
"""Exit statuses: a mistake of the user's, something that did not work, Ctrl-C."""
PIPE_WIDTH: Final = 140
"""Columns where the output is not a terminal."""

# What a policy writes must not move the cursor, turn the line round or break the encoding.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
P = ParamSpec("P")
T = TypeVar("T")


def out() -> Console:
    """Return the console of standard output."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def err() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 10_000, highlight=False)


def safe(text: object, style: str = "") -> Text:
    """Return foreign text for printing: no markup is read in it and no control characters are left."""
    return Text(_CONTROL.sub("\ufffd", str(text)), style=style)


def episode_bar(
    total: int | None, *, quiet: bool = False
) -> tuple[Progress, Callable[[str, int, int], None]]:
    """Return a progress bar over episodes, a context manager, and what moves it.

    Args:
        total: How many episodes there are; None if `show` is the first to know.
        quiet: Whether to show nothing; nothing is shown either where standard error is no terminal.

    Returns:
        The bar, and ``show(what, done, total)``.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = err()
    bar = Progress(
        TextColumn("{task.fields[policy]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=terminal,
        disable=quiet or not terminal.is_terminal,
    )
    task = bar.add_task("", policy="", total=total)

    def show(what: str, done: int, total: int) -> None:
        bar.update(task, completed=done, total=total, policy=safe(what).plain)

    return bar, show


def noting(quiet: bool = False) -> Callable[[str], None]:
    """Return what prints a notice on standard error, or nothing if `quiet`."""
    terminal = err()

    def notice(text: str) -> None:
        if not quiet:
            terminal.print(safe(text), soft_wrap=True)

    return notice


def run_shown(run: Callable[..., T], total: int, folder: Path, *, what: str, quiet: bool = False) -> T:
    """Do a run that fills a folder, under a progress bar, and return what it returns.

    Args:
        run: Called with `notice`, told in words, and `progress`, told the policy, what is done and how much there is.
        total: How much there is to do.
        folder: What it fills.
        what: What there is `total` of, such as ``"episodes"``.
        quiet: Whether to leave out progress and notices.

    Raises:
        typer.Exit: With status 130 when interrupted.
    """
    bar, show = episode_bar(total, quiet=quiet)
    finished = 0

    def progress(policy: str, done: int, total: int) -> None:
        nonlocal finished
        finished = done
        show(policy, done, total)

    try:
        with bar:
            return run(notice=noting(quiet), progress=progress)
    except KeyboardInterrupt:
        complain(
            f"interrupted: {finished} of {total} {what} are in {folder}. Run the same command again to go on."
        )
        raise typer.Exit(INTERRUPTED) from None


def print_lines(lines: Iterable[object]) -> None:
    """Print plain lines, as they are."""
    console = out()
    for line in lines:
        console.print(safe(line), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a plain value as JSON."""
    sys.stdout.write(f"{json.dumps(value, indent=2)}\n")


def one_line(error: BaseException) -> str:
    """Return an error's message as one line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return _CONTROL.sub("\ufffd", lines[0]) + more


def complain(message: str) -> None:
    """Print an error on standard error."""
    err().print(safe(f"Error: {message}"), soft_wrap=True)


def status_of(error: EmpathyGymError) -> int:
    """Return the exit status of an error."""
    return USAGE if isinstance(error, ConfigError | ScenarioError) else FAILURE


def reporting(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command report this package's errors as one line and a status, without a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except EmpathyGymError as error:
            complain(one_line(error))
            raise typer.Exit(status_of(error)) from None
        except BrokenPipeError:
            raise
        except OSError as error:  # a full disk, a folder that is gone: nothing a traceback would help with
            place = "" if error.filename is None else f"{error.filename}: "
            complain(f"{place}{error.strerror or error}.")
            raise typer.Exit(FAILURE) from None

    return run


def run_app(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run an app and return its exit status.

    Args:
        app: The commands; each reports its own errors.
        argv: The arguments; those of the process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # As `python -m` does, so that MODULE:ATTR may lie where one is; last, so that nothing installed is hidden.
    with contextlib.suppress(OSError):  # a folder that was removed meanwhile
        if not {"", (here := os.getcwd())} & set(sys.path):
            sys.path.append(here)
    try:
        status = app(args=list(sys.argv[1:] if argv is None else argv), standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except Exception as error:
        message = _usage_message(error)
        if message is None:
            raise
        complain(message)
        return USAGE


def run_alone(command: Callable[..., None], name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command as a program of its own, and return its exit status.

    Args:
        command: What `reporting` returned.
        name: What it is called in its help.
        argv: The arguments; those of the process if None.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name=name)(command)
    return run_app(app, argv)


def _usage_message(error: Any) -> str | None:
    """Return the message of a wrong command line, or None for any other error."""
    if not callable(getattr(error, "format_message", None)):
        return None
    close = getattr(error, "possibilities", None)
    if close and getattr(error, "option_name", None):
        return f"No such option: {error.option_name}.{did_you_mean(error.option_name, close)} See --help."
    return f"{error.format_message()} See --help."
