"""One tree of errors for the whole package.

EmpathyGymError
    ConfigError (also a ValueError)      a wrong argument, name or option
        MissingExtraError (also an ImportError)   an optional dependency is not installed
    ScenarioError (also a ValueError)    a scenario file or a scenario id that cannot be used
    EngineError                          a language-model engine failed
    TapeMiss (also a KeyError)           a replayed run asked for something its tape does not hold
    RecordError (also a ValueError)      a record that cannot be read or does not match
    TrainingError                        a training run that cannot go on

Every message says what was got, what is valid and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EmpathyGymError(Exception):
    """Base class of every error raised on purpose by empathy-gym."""


class ConfigError(EmpathyGymError, ValueError):
    """An argument, a name or an option that is not valid."""


class ScenarioError(EmpathyGymError, ValueError):
    """A scenario file that cannot be loaded, or an unknown scenario."""


class EngineError(EmpathyGymError):
    """A chat engine could not be started or did not answer."""


class TapeMiss(EmpathyGymError, KeyError):
    """A tape in replay mode does not hold the request."""

    def __str__(self) -> str:
        """Return the message itself: KeyError would show its repr."""
        return str(self.args[0]) if self.args else ""


class RecordError(EmpathyGymError, ValueError):
    """An episode record that is damaged or does not match its rule."""


class TrainingError(EmpathyGymError):
    """A training run that cannot go on: it diverged, or there is nothing to learn from."""


class MissingExtraError(ConfigError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""


def did_you_mean(got: object, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest valid name, or the empty string.

    Args:
        got: What the user wrote.
        valid: The names that would have been accepted.
    """
    close = difflib.get_close_matches(str(got), sorted(valid), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_name(kind: str, got: object, valid: Iterable[str]) -> ConfigError:
    """Build the error for a name that is not among the valid ones.

    Args:
        kind: What the name stands for, e.g. ``"difficulty"``.
        got: What the user wrote.
        valid: The valid names.
    """
    names = sorted(valid)
    return ConfigError(f"Unknown {kind} {got!r}.{did_you_mean(got, names)} Valid: {', '.join(names)}.")
