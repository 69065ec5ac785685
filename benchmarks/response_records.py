"""One JSON line a response: everything needed to check its numbers, nothing that changes between runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from empathy_gym.simulators.errors import RecordError

SCHEMA_VERSION: Final = 1
KIND: Final = "response"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reading(_Frozen):
    """Levels by mechanism, of a response and of the reference, and who read them."""

    identifier: str
    levels: dict[str, int]
    reference_levels: dict[str, int]


class Control(_Frozen):
    """The same response, moved to another exchange, whose context and reference it is held against."""

    exchange: str
    """Id of that exchange."""
    reward: float
    """What the response is paid there."""
    levels: dict[str, int]
    """Levels that the reporting identifier reads in it there."""
    reference_levels: dict[str, int]
    """Levels that it reads in that exchange's reference."""


class Likelihood(_Frozen):
    """How likely a policy finds the reference."""

    log_probability: float
    """Natural logarithm of the probability of the whole text."""
    tokens: int
    """Number of its tokens."""


class ResponseRecord(_Frozen):
    """One response and what came of it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["response"] = KIND
    package_version: str
    env_id: str
    env_kwargs: dict[str, Any]
    policy: str
    privileged: bool
    """Whether it is the reference or another one: no policy's."""
    exchange: str
    context: tuple[str, ...]
    reference: str
    repeat: int
    run_seed: int
    response: str | None
    """What the policy wrote; None where it failed."""
    error: str | None = None
    """Why there is no response."""
    reading: Reading
    """What the paying identifier read."""
    probabilities: dict[str, float]
    """What it gave to the reference's levels."""
    reward_terms: dict[str, float]
    reward: float
    paid_by: str
    """The reward: the paying identifier, and the terms in force."""
    report: Reading
    """What the reporting identifier read."""
    control: Control | None
    """None in a run with a single exchange."""
    likelihood: Likelihood | None = None
    safety: str | None = None
    scored_by: Literal["custom"] = "custom"
    determinism: str
    usage: dict[str, int | float] | None = None

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells this response from the others of its run."""
        return (self.policy, self.exchange, self.repeat)

    @property
    def text(self) -> str:
        """The response; empty where the policy failed."""
        return self.response or ""

    def to_line(self) -> str:
        """Return the record as one line of ASCII JSON, without the line break."""
        return json.dumps(self.model_dump(mode="python"), ensure_ascii=True, allow_nan=False)


def parse_response(data: str | bytes, where: str) -> ResponseRecord:
    """Return the record of one line; `where` is its file and number, for messages.

    Raises:
        RecordError: Naming where, and what is wrong.
    """
    try:
        value = json.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
        return ResponseRecord.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
        raise RecordError(f"{where}: not a record of a response ({what}).") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not a whole line of JSON ({str(error)[:200]}).") from None


def read_responses(path: Path) -> Iterator[tuple[int, int, int, ResponseRecord | RecordError]]:
    """Yield (number, offset, length, record) of every line that is not blank; for a damaged one the error naming it.

    Raises:
        RecordError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, offset, len(line), parse_response(line, f"{path}:{number}")
                    except RecordError as error:
                        yield number, offset, len(line), error
                offset += len(line)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror or error}).") from None


def holds_responses(path: Path) -> bool:
    """Return whether the first line of a file is a record of a response."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("kind") == KIND
