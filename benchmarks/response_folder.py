"""A bench folder of responses: finished, and read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from empathy_gym.benchmarks.folder import BenchFolder, Identity
from empathy_gym.benchmarks.response_records import ResponseRecord, read_responses
from empathy_gym.benchmarks.response_summary import ResponseRow, rows_of
from empathy_gym.simulators.errors import RecordError
from empathy_gym.simulators.files import write_json


def identities(episodes: Path) -> Iterator[Identity]:
    """Yield the identity of every record of a file, which need not be there.

    Raises:
        RecordError: If a line is damaged.
    """
    for record, _, _ in _whole(episodes):
        yield record.identity


def finish(folder: BenchFolder, order: Sequence[Identity], baseline: str | None) -> list[ResponseRow]:
    """Put the responses into the run's order, write the summary and return its rows.

    Args:
        folder: The folder.
        order: Identity of every response of the run.
        baseline: The policy that others are compared with, if any.

    Raises:
        RecordError: If a response is missing or a line is damaged.
    """
    found = {record.identity: (record, offset, length) for record, offset, length in _whole(folder.episodes)}
    missing = next((identity for identity in order if identity not in found), None)
    if missing is not None:
        raise RecordError(f"{folder.episodes} lacks the response {missing}; run the same command again.")
    folder.settle([(found[identity][1], found[identity][2]) for identity in order])
    rows = rows_of((found[identity][0] for identity in order), baseline)
    write_json(folder.summary, [row.to_json() for row in rows])
    return rows


def _whole(episodes: Path) -> Iterator[tuple[ResponseRecord, int, int]]:
    if not episodes.exists():
        return
    for _, offset, length, record in read_responses(episodes):
        if isinstance(record, RecordError):
            raise record
        yield record, offset, length
