"""Recorded episodes as conversations that a person can read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.records import EpisodeRecord, TurnRecord, read_records

WITHHELD: Final = "(withheld: this reply urges harm; its words stand in the record)"
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|])")
_BREAKS: Final = re.compile(r"\s+")


def transcripts(
    path: str | os.PathLike[str],
    *,
    policy: str | None = None,
    scenario: str | None = None,
    limit: int | None = None,
) -> Iterator[list[str]]:
    """Yield the lines of Markdown for each episode of a file of records.

    Args:
        path: A JSON Lines file of records, or a bench folder.
        policy: Only episodes of this policy.
        scenario: Only episodes with this scenario.
        limit: At most so many.

    Raises:
        ConfigError: If there is no such file, or nothing in it is asked for.
    """
    shown = 0
    for record in episodes(path, policy=policy, scenario=scenario):
        if limit == shown:
            return
        shown += 1
        yield transcript(record)


def episodes(
    path: str | os.PathLike[str], *, policy: str | None = None, scenario: str | None = None
) -> Iterator[EpisodeRecord]:
    """Yield the records of a file that can be read and are asked for.

    Raises:
        ConfigError: If there is no such file, or nothing in it is asked for.
    """
    given = Path(path)
    file = BenchFolder(given).episodes if given.is_dir() else given
    if not file.is_file():
        raise ConfigError(f"There is no file {str(file)!r} to read.")
    found = False
    for _, record in read_records(file):
        if isinstance(record, RecordError):
            continue
        if policy in (None, record.policy) and scenario in (None, record.scenario):
            found = True
            yield record
    if not found:
        asked = ", ".join(f"{k} {v!r}" for k, v in (("policy", policy), ("scenario", scenario)) if v)
        raise ConfigError(f"No episode of {str(file)!r} {'has ' + asked if asked else 'can be read'}.")


def transcript(record: EpisodeRecord) -> list[str]:
    """Return an episode as lines of Markdown: what was said, and what each reply did by the rule."""
    lines = [
        f"## {record.policy or 'episode'}, scenario `{record.scenario}`, seed {record.seeds.dialogue}",
        "",
        f"{record.env_id}, {record.difficulty}. Emotion {record.initial.emotion}, trust {record.initial.trust}.",
        "",
        f"**User:** {_plain(record.opening)}",
    ]
    for turn in record.turns:
        lines += ["", f"**Policy:** {_said(turn)}", "", f"*{_effect(turn)}*"]
        if turn.line is not None:
            lines += ["", f"**User:** {_plain(turn.line)}"]
    return [*lines, "", f"Outcome: {record.outcome or 'unfinished'}, emotion {record.final_emotion}."]


def _said(turn: TurnRecord) -> str:
    """Return the policy's words, but for those that urge harm: they stand in the record and in no report."""
    if turn.appraisal is not None and turn.appraisal.guard == "policy_harm":
        return WITHHELD
    return _plain((turn.heard if turn.heard is not None else turn.action) or "(nothing)")


def _effect(turn: TurnRecord) -> str:
    terms = ", ".join(f"{name.replace('_', ' ')} {points:+d}" for name, points in turn.terms.items())
    faults = "; ".join(f"{fault.kind} fault: {_plain(fault.cause)}" for fault in turn.faults)
    parts = [f"emotion {turn.emotion - turn.change} → {turn.emotion}", f"trust {turn.trust}", terms, faults]
    return "; ".join(part for part in parts if part)


def _plain(text: str) -> str:
    """Return text as one paragraph in which Markdown finds no markup."""
    return _MARKUP.sub(r"\\\1", _BREAKS.sub(" ", text).strip())
