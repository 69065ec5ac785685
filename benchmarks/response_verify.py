"""Verifying records of responses: do the numbers follow from the readings, and the readings from the words?

Of every record the product of the probabilities, the optional terms, their sum and what the control says are worked
out again. Then the identifiers, the one that pays and the one that reports, are looked up by their hashes and read
every text afresh. An identifier that is not at hand is named, and its readings are not verified.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.benchmarks.response_records import ResponseRecord, read_responses
from empathy_gym.benchmarks.response_summary import rows_of
from empathy_gym.benchmarks.verifier import TOLERANCE, Mismatch, Report
from empathy_gym.rewards.empathy import TERMS, EmpathyReward
from empathy_gym.rewards.identifiers import MECHANISMS, Identifier, load_identifier
from empathy_gym.simulators.errors import EmpathyGymError, RecordError
from empathy_gym.simulators.exchanges.exchange import LINE
from empathy_gym.simulators.hashing import canonical_json

INEXACT: Final = 1e-3
"""How far probabilities may be apart that depend on the machine."""
CHUNK: Final = 256


def verify_responses(file: Path, folder: BenchFolder | None = None) -> Report:
    """Check a file of records of responses, and the summary beside it.

    Args:
        file: The JSON Lines file.
        folder: The bench folder it is of, if it is of one.

    Raises:
        RecordError: If it cannot be read at all.
    """
    report = Report()
    report.notes.append(
        "Responses: the product of probabilities, the terms and their sum were worked out again."
    )
    records: list[tuple[int, ResponseRecord]] = []
    for number, _, _, record in read_responses(file):
        report.lines += 1
        if isinstance(record, RecordError):
            report.damaged.append(str(record))
        else:
            records.append((number, record))
    manifest = _manifest(folder, report)
    known = _identifiers(records, manifest, report)
    exchanges = {record.exchange: record for _, record in records}
    for start in range(0, len(records), CHUNK):
        part = records[start : start + CHUNK]
        afresh = _read_afresh([record for _, record in part], known, exchanges)
        for (number, record), fresh in zip(part, afresh, strict=True):
            _check(record, fresh, f"{file}:{number}", report)
    if folder is not None and records and manifest is not None:
        _check_summary(folder, [record for _, record in records], manifest, report)
    return report


Value = tuple[str, Any, Any, float]
"""Field, recorded, recomputed, tolerance."""


def _check(record: ResponseRecord, fresh: Sequence[Value], where: str, report: Report) -> None:
    wrong = [value for value in _follows(record) if not _same(*value[1:])]
    misread = [value for value in fresh if not _same(*value[1:])]
    report.episodes += 1
    report.turns += 1
    report.numbers += sum(1 for _ in _follows(record))
    report.readings += len(fresh)
    report.wrong += len(wrong)
    report.misread += len(misread)
    report.matched += not (wrong or misread)
    for name, recorded, recomputed, _ in [*wrong, *misread][:1]:
        episode = f"policy {record.policy}, exchange {record.exchange}, repeat {record.repeat}"
        report.mismatches.append(Mismatch(where, episode, None, name, recorded, recomputed))


def _follows(record: ResponseRecord) -> Iterator[Value]:
    """Yield what follows from the rest of a record."""
    terms = record.reward_terms
    yield "names of terms", list(terms), list(TERMS), 0.0
    total = math.fsum(terms.values())
    yield "reward", record.reward, total, TOLERANCE
    if record.error is None:
        p = record.probabilities
        yield "term empathy", terms.get("empathy"), math.prod(p[m] for m in MECHANISMS), TOLERANCE
        guarded = bool(record.env_kwargs.get("guard", False))
        if terms.get("guard", 0.0) != 0.0 or not guarded:
            yield "term guard", terms.get("guard"), -terms.get("empathy", 0.0) if guarded else 0.0, TOLERANCE
    else:
        yield "reward of a failed response", record.reward, 0.0, 0.0


def _read_afresh(
    records: Sequence[ResponseRecord],
    known: Mapping[str, Identifier],
    exchanges: Mapping[str, ResponseRecord],
) -> list[list[Value]]:
    """Return for each record what the identifiers at hand find in its texts, and in those it was moved to."""
    found: list[list[Value]] = [[] for _ in records]
    for what, afresh in (("report", _reported_afresh), ("reading", _paid_afresh)):
        # Records of several runs may be in one file: those of one reward go together.
        kinds = [(getattr(r, what).identifier, canonical_json(r.env_kwargs)) for r in records]
        for kind in dict.fromkeys(kinds):
            places = [i for i, other in enumerate(kinds) if other == kind]
            name = kind[0]
            if name in known:
                values = afresh([records[i] for i in places], known[name], exchanges)
                for i, part in zip(places, values, strict=True):
                    found[i] += part
    return found


def _reported_afresh(
    records: Sequence[ResponseRecord], identifier: Identifier, exchanges: Mapping[str, ResponseRecord]
) -> Iterator[list[Value]]:
    """Yield for each record what the reporting identifier finds."""
    own = [_texts(record, record) for record in records]
    moved = [_texts(_moved(record, exchanges), record) for record in records]
    read, truth, there, truth_there = (
        identifier.levels([t[0] for t in texts], [t[place] for t in texts]).tolist()
        for texts, place in ((own, 2), (own, 1), (moved, 2), (moved, 1))
    )
    for i, record in enumerate(records):
        report, control = record.report, record.control
        values: list[Value] = [
            ("levels reported", report.levels, _named(read[i]), 0.0),
            ("levels reported of the reference", report.reference_levels, _named(truth[i]), 0.0),
        ]
        if control is not None:
            values += [
                ("levels reported, moved", control.levels, _named(there[i]), 0.0),
                (
                    "levels reported of the other reference",
                    control.reference_levels,
                    _named(truth_there[i]),
                    0.0,
                ),
            ]
        yield values


def _paid_afresh(
    records: Sequence[ResponseRecord], identifier: Identifier, exchanges: Mapping[str, ResponseRecord]
) -> Iterator[list[Value]]:
    """Yield for each record what the paying identifier finds, with the terms that were in force."""
    tolerance = TOLERANCE if identifier.determinism == "exact" else INEXACT
    options = {k: v for k, v in records[0].env_kwargs.items() if k not in ("exchanges", "identifier")}
    reward = EmpathyReward(identifier, **options)
    own, moved = (
        reward.judge([t[0] for t in texts], [t[1] for t in texts], [t[2] for t in texts])
        for texts in (
            [_texts(record, record) for record in records],
            [_texts(_moved(record, exchanges), record) for record in records],
        )
    )
    there = moved.rewards.tolist()
    for i, record in enumerate(records):
        reading = record.reading
        truth = _named(own.reference_levels[i].tolist())
        values: list[Value] = [
            ("levels paid", reading.levels, _named(own.levels[i].tolist()), 0.0),
            ("levels paid of the reference", reading.reference_levels, truth, 0.0),
        ]
        chances = dict(zip(MECHANISMS, own.probabilities[i].tolist(), strict=True))
        values += [
            (f"probability of {m}", record.probabilities.get(m), chances[m], tolerance) for m in MECHANISMS
        ]
        if record.error is None:
            values += [
                (f"term {name}", record.reward_terms.get(name), float(own.terms[name][i]), tolerance)
                for name in TERMS
            ]
            if record.control is not None:
                values.append(("reward, moved", record.control.reward, there[i], tolerance))
        yield values


def _texts(of: ResponseRecord, said: ResponseRecord) -> tuple[str, str, str]:
    """Return context and reference of one record, and the response of another."""
    return LINE.join(of.context), of.reference, said.text


def _moved(record: ResponseRecord, exchanges: Mapping[str, ResponseRecord]) -> ResponseRecord:
    """Return a record of the exchange that a response was moved to; its own if there is none.

    Raises:
        RecordError: If the file has no record of that exchange.
    """
    if record.control is None:
        return record
    if record.control.exchange not in exchanges:
        raise RecordError(
            f"The exchange {record.control.exchange} that a response was moved to is in no record of the file."
        )
    return exchanges[record.control.exchange]


def _named(levels: Sequence[int]) -> dict[str, int]:
    return dict(zip(MECHANISMS, levels, strict=True))


def _same(recorded: Any, recomputed: Any, tolerance: float) -> bool:
    if isinstance(recorded, int | float) and isinstance(recomputed, float):
        return math.isclose(recorded, recomputed, rel_tol=0.0, abs_tol=tolerance)
    return bool(recorded == recomputed)


def _identifiers(
    records: Sequence[tuple[int, ResponseRecord]], manifest: Mapping[str, Any] | None, report: Report
) -> dict[str, Identifier]:
    """Return the identifiers of the records that are at hand, by fingerprint, and note those that are not."""
    config = dict((manifest or {}).get("config", {}))
    places = [None, "structure", config.get("reporting"), config.get("identifier")]
    places += [record.env_kwargs.get("identifier") for _, record in records[:1]]
    found: dict[str, Identifier] = {}
    for place in dict.fromkeys(places):
        if place == "shipped":
            continue
        try:
            identifier = load_identifier(place)
        except EmpathyGymError:
            continue
        found.setdefault(identifier.fingerprint, identifier)
    for what in ("reading", "report"):
        wanted: dict[str, int] = {}
        for _, record in records:
            name = getattr(record, what).identifier
            wanted[name] = wanted.get(name, 0) + (name not in found)
        for name, count in wanted.items():
            if count:
                report.readings_skipped[name] = report.readings_skipped.get(name, 0) + count
    return found


def _manifest(folder: BenchFolder | None, report: Report) -> dict[str, Any] | None:
    if folder is None:
        return None
    try:
        return folder.read_manifest()
    except RecordError as error:
        report.damaged.append(str(error))
        return None


def _check_summary(
    folder: BenchFolder, records: Sequence[ResponseRecord], manifest: Mapping[str, Any], report: Report
) -> None:
    """Compare the summary with the rows that follow from the records."""
    try:
        written = {str(row.get("policy")): row for row in folder.read_summary() if isinstance(row, dict)}
    except RecordError as error:
        report.damaged.append(str(error))
        return
    if manifest.get("episodes") != len(records):
        report.mismatches.append(
            Mismatch(
                str(folder.manifest), "the run", None, "episodes", manifest.get("episodes"), len(records)
            )
        )
    for row in rows_of(records, manifest.get("baseline")):
        old = written.pop(row.policy, {})
        wrong = []
        for name, value in row.to_json().items():
            if name == "bleu" and (value is None or old.get(name) is None):
                continue  # sacrebleu is here or was there, not both
            report.numbers += 1
            if not _close(old.get(name), value):
                wrong.append(
                    Mismatch(str(folder.summary), f"policy {row.policy}", None, name, old.get(name), value)
                )
        report.wrong += len(wrong)
        report.mismatches += wrong[:1]
    for policy in written:
        report.mismatches.append(
            Mismatch(str(folder.summary), f"policy {policy}", None, "responses", "a row", "no response")
        )


def _close(old: Any, new: Any) -> bool:
    """Return whether two plain values are the same up to rounding."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_close, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return set(old) == set(new) and all(_close(old[key], new[key]) for key in new)
    if isinstance(old, float) and isinstance(new, float):
        return bool(np.isclose(old, new, rtol=0.0, atol=TOLERANCE))
    return type(old) is type(new) and bool(old == new)
