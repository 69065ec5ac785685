"""Prompts as data files: one Markdown file for each part and language, cut into named sections.

A section begins with a line ``<!-- name -->``. The first line of a file tells where it comes from and
reaches no model. Sections of labels have one ``key: text`` on each line.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import content_hash

DEFAULT_LANGUAGE: Final = "en"
LANGUAGES: Final = ("en", "zh")
_SECTION: Final = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)


@dataclass(frozen=True, eq=False)  # Each is loaded once, so that identity is equality, and a key for caches.
class Prompt:
    """The sections of a prompt file.

    Attributes:
        language: ISO 639-1 code of the text.
        sections: Text by section.
    """

    language: str
    sections: Mapping[str, str]

    def __getitem__(self, section: str) -> str:
        """Return the text of a section."""
        return self.sections[section]

    @functools.cached_property
    def labels(self) -> Mapping[str, str]:
        """The section ``labels`` as a mapping."""
        return self.mapping("labels")

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of all sections."""
        return content_hash(dict(self.sections))

    def mapping(self, section: str) -> dict[str, str]:
        """Return a section of ``key: text`` lines."""
        lines = (line.partition(": ") for line in self.sections[section].splitlines() if line.strip())
        return {key: text.strip() for key, _, text in lines}


@functools.cache
def load_prompt(name: str, language: str = DEFAULT_LANGUAGE) -> Prompt:
    """Return a prompt in a language; in English where there is none in that language.

    Args:
        name: ``"rubric"``, ``"roleplay"`` or ``"direct"``, or a paraphrase: ``"rubric_b"``.
        language: ISO 639-1 code.

    Raises:
        ConfigError: If there is no such prompt.
    """
    base, variant, _ = name.partition("_")
    if variant:  # A paraphrase holds only the sections that it says in other words.
        own = _read(name, language)
        return Prompt(own.language, {**load_prompt(base, own.language).sections, **own.sections})
    return _read(name, language)


def _read(name: str, language: str) -> Prompt:
    folder = resources.files(__name__)
    path = folder / f"{name}.{language if language in LANGUAGES else DEFAULT_LANGUAGE}.md"
    if not path.is_file():
        path = folder / f"{name}.{DEFAULT_LANGUAGE}.md"
    if not path.is_file():
        raise ConfigError(f"There is no prompt {name!r}; those there are: {', '.join(prompt_names())}.")
    return parse_prompt(path.read_text("utf-8"), path.name.split(".")[-2])


def parse_prompt(text: str, language: str) -> Prompt:
    """Return the sections of a prompt file."""
    pieces = _SECTION.split(text.partition("\n")[2])
    sections = {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    return Prompt(language, sections)


def prompt_names() -> tuple[str, ...]:
    """Return the names of all prompts, sorted."""
    folder = resources.files(__name__)
    return tuple(sorted({f.name.split(".")[0] for f in folder.iterdir() if f.name.endswith(".md")}))


def prompts_hash(name: str) -> str:
    """Return 12 hexadecimal digits that change with any language's version of a prompt."""
    return content_hash([load_prompt(name, language).hash for language in LANGUAGES])[:12]
