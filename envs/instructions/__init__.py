"""The system prompts that a policy is given, as data files by language and think mode.

They say what kind of conversation it is and what form a turn has, and nothing about how it is judged.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import Final

from empathy_gym.envs.think import Think

DEFAULT_LANGUAGE: Final = "en"


@functools.cache
def instruction_for(language: str, think: Think = False) -> str:
    """Return the system prompt of a language; English where there is none for it.

    Args:
        language: ISO 639-1 code.
        think: Think mode. Only True asks for thinking; ``"strip"`` is for models that think unasked.
    """
    text = _read(f"{language}.md")
    if text is None:
        return instruction_for(DEFAULT_LANGUAGE, think)
    return f"{text}\n\n{_read(f'{language}-think.md')}" if think is True else text


def instruction_hash(instruction: str) -> str:
    """Return the SHA-256 of a system prompt, in hexadecimal."""
    return hashlib.sha256(instruction.encode("utf-8", "surrogatepass")).hexdigest()


def _read(name: str) -> str | None:
    """Return a data file without its first line, which tells where it comes from."""
    path = resources.files(__name__) / name
    if not path.is_file():
        return None
    return path.read_text("utf-8").partition("\n")[2].strip()
