"""Conversations as text, for eyes only."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO

import gymnasium as gym

from empathy_gym.simulators.dialogue import Dialogue, Message, band
from empathy_gym.simulators.errors import ConfigError

RENDER_MODES: Final = ("ansi", "human")
BAR: Final = 20
"""Width of the bar of the emotion, in characters."""

_SPEAKERS: Final = {"user": "user", "assistant": "you "}
# What a policy writes is data: it must not move the cursor, clear the screen or end the line it stands in.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def checked_render_mode(mode: Any) -> str | None:
    """Return a render mode, or None with a warning for one that is not listed.

    Raises:
        ConfigError: If it is not a string.
    """
    if mode is None or mode in RENDER_MODES:
        return mode  # type: ignore[no-any-return]
    if not isinstance(mode, str):
        raise ConfigError(
            f"render_mode is a {type(mode).__name__}; it must be one of {', '.join(RENDER_MODES)}."
        )
    gym.logger.warn(f"render_mode={mode!r} is ignored; a conversation has {', '.join(RENDER_MODES)}.")
    return None


def ansi(dialogue: Dialogue, since: int = 0) -> str:
    """Return a conversation as text: one line a message, and a bar of the emotion.

    Args:
        dialogue: The dialogue.
        since: Number of the first message to show.
    """
    lines = message_lines(dialogue.messages[since:])
    filled = "#" * (dialogue.emotion * BAR // 100)
    status = f"turn {dialogue.turn}/{dialogue.max_turns}"
    if dialogue.outcome is not None:
        status += f", {dialogue.outcome}"
    lines.append(f"     [{filled:.<{BAR}}] {dialogue.emotion:3d} {band(dialogue.emotion)}  {status}")
    return "\n".join(lines) + "\n"


def message_lines(messages: Iterable[Message]) -> list[str]:
    """Return chat messages as lines of text, without what would move the cursor."""
    return [f"{_SPEAKERS[m['role']]} | {_plain(m['content'])}" for m in messages]


def rendered(mode: str | None, frame: Callable[[], str]) -> str | None:
    """Do what `render()` of a single environment does: return a frame (``"ansi"``), print it (``"human"``), or warn.

    Args:
        mode: The render mode.
        frame: Makes the frame.
    """
    if mode is None:
        gym.logger.warn(
            'render() does nothing without a render mode; use gym.make(..., render_mode="ansi").',
            stacklevel=2,
        )
        return None
    text = frame()
    if mode == "ansi":
        return text
    write(text)
    return None


def write(text: str, stream: TextIO | None = None) -> None:
    """Write text to a stream (standard output if None) whatever its encoding can hold."""
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def _plain(text: str) -> str:
    return _CONTROL.sub("\ufffd", text).replace("\n", "\n     | ")
