"""Training empathy identifiers, and how far they agree with annotators.

Beside an identifier stand two that know less: the majority (the commonest level, always) and a plain logistic
regression on hashed word n-grams, cross-validated on the very files. Intervals are bootstraps over seekers' posts. Splits
keep a post on one side, so no post is both trained on and tested on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.rewards.identifier_data import (
    COMPOSED,
    Labelled,
    compose,
    joined,
    read_epitome,
    read_replies,
)
from empathy_gym.rewards.identifiers import FILE, LEVELS, MECHANISMS, EmpathyIdentifier, Identifier
from empathy_gym.simulators.embedded.fitting import FitSpec, fit
from empathy_gym.simulators.embedded.hashed import HashSpec, Rows, hashed_rows
from empathy_gym.simulators.embedded.linear import LinearHeads, quantise, train
from empathy_gym.simulators.errors import ConfigError

ROWS: Final = HashSpec(bits=16)
FIT: Final = FitSpec(penalty=0.4, balance=0.75, tolerance=1e-3)
"""How heads are trained on annotators' levels."""
SHIPPED_FIT: Final = FitSpec(penalty=0.4, balance=0.5, tolerance=1e-3)
"""On our own text: rare levels are made up for less, as it already has more of them than people write."""
BASELINE_ROWS: Final = HashSpec(bits=16, chars=())
BASELINE_FIT: Final = FitSpec(penalty=0.5, tolerance=1e-3)
FOLDS: Final = 5
REPLIES: Final = Path(__file__).resolve().parent / "data" / "replies"
"""Where the labelled replies are that come with the package."""
RESAMPLES: Final = 2000
_DRAWN: Final = 4_000_000
"""Numbers drawn at a time: bounds memory, and does not change what is drawn."""
_TIMED: Final = 3
"""Speed is the best of so many runs over all pairs, in processor time: other programs do not slow it."""

Predictions = NDArray[np.int64]
Files = Mapping[str, Labelled]


# -- training --------------------------------------------------------------------------------------------


def read_files(paths: Mapping[str, Path]) -> dict[str, Labelled]:
    """Read EPITOME's three files, by mechanism."""
    return {name: read_epitome(paths[name], name) for name in MECHANISMS}


def train_on_files(files: Files, provenance: Mapping[str, Any]) -> LinearHeads:
    """Train identifiers on EPITOME's files: for research, as its data carry no licence."""
    data = joined([files[name] for name in MECHANISMS])
    return _train(data, None, FIT, {"text": "EPITOME's files; no licence: do not distribute", **provenance})


def train_on_replies(folder: Path | None, composed: int = COMPOSED) -> LinearHeads:
    """Train the identifiers that come with the package, on text written for it alone.

    Labelled replies and replies joined from sentences count the same in all.

    Args:
        folder: Of labelled replies; those that come with the package if None.
        composed: How many replies are joined from sentences.

    Raises:
        ConfigError: If there are none.
    """
    replies, made = read_replies(folder or REPLIES), compose(composed)
    weights = np.repeat([1.0, len(replies) / composed], [len(replies), composed])
    about = {
        "text": "written for empathy-gym: labelled replies, and replies joined from sentences",
        "replies": len(replies),
        "composed": len(made),
    }
    return _train(joined([replies, made]), weights, SHIPPED_FIT, about)


def encoder_data(files: Files | None, folder: Path | None = None) -> Labelled:
    """Return what an encoder's identifiers are trained on: the same pairs as the linear ones.

    Args:
        files: EPITOME's files; None for the text written for this project.
        folder: Of labelled replies, instead of those that come with the package.

    Raises:
        ConfigError: If there are none.
    """
    if files is not None:
        return joined([files[name] for name in MECHANISMS])
    replies = read_replies(folder or REPLIES)
    # As many as there are replies, where linear heads weigh more of them less.
    return joined([replies, compose(len(replies))])


def _train(
    data: Labelled, weights: NDArray[np.float64] | None, how: FitSpec, provenance: Mapping[str, Any]
) -> LinearHeads:
    rows = hashed_rows(ROWS, data.responses, data.contexts)
    targets = {name: (LEVELS, data.levels[:, i], how) for i, name in enumerate(MECHANISMS)}
    return train(ROWS, rows, targets, provenance, weights=weights, bits=8)


def save(heads: LinearHeads, folder: Path) -> Path:
    """Write identifiers into a folder, and return their file."""
    heads.save(folder / FILE)
    return folder / FILE


# -- evaluation ------------------------------------------------------------------------------------------


def evaluate(files: Files, identifier: Identifier | None, folds: int = FOLDS) -> dict[str, Any]:
    """Compare an identifier with annotators.

    Args:
        files: The annotators' levels, by mechanism.
        identifier: What is evaluated; None to cross-validate identifiers trained on the files themselves.
        folds: Parts of the cross-validation, of the identifier and of the baseline.

    Returns:
        By mechanism ``accuracy`` and ``macro_f1``, their intervals, the number of pairs, the same of the majority and
        of the baseline (None where the file has too few posts to split), and how splits are made; and
        ``pairs_per_second``, read by all three heads.
    """
    result: dict[str, Any] = {}
    for i, name in enumerate(MECHANISMS):
        data = files[name]
        parts = split(data.groups, folds)
        if identifier is None:
            rows = hashed_rows(ROWS, data.responses, data.contexts)
            read = cross_validated(rows, data.levels[:, i], parts, FIT)
            if read is None:
                raise ConfigError(
                    f"the file of {name} has one {data.grouped_by}; {folds} folds need two at least."
                )
        else:
            read = identifier.levels(data.contexts, data.responses)[:, i]
        result[name] = _compared(data, data.levels[:, i], read, parts)
    result["pairs_per_second"] = speed(files, identifier or EmpathyIdentifier(train_on_files(files, {})))
    return result


def _compared(data: Labelled, truth: Predictions, read: Predictions, parts: Predictions) -> dict[str, Any]:
    plain = hashed_rows(BASELINE_ROWS, data.responses, data.contexts)
    baseline = cross_validated(plain, truth, parts, BASELINE_FIT)
    commonest = np.full(len(truth), np.bincount(truth, minlength=len(LEVELS)).argmax())
    return {
        **agreement(truth, read, data.groups),
        "n": len(truth),
        "majority": agreement(truth, commonest, data.groups),
        "baseline": None if baseline is None else agreement(truth, baseline, data.groups),
        "split_by": data.grouped_by,
        "folds": int(parts.max()) + 1,
    }


def split(groups: Sequence[str], folds: int, seed: int = 0) -> Predictions:
    """Deal groups into parts of about equal numbers of groups, and return each example's part, shape (n,)."""
    names = sorted(set(groups))
    dealt = np.random.default_rng(seed).permutation(len(names)) % min(folds, len(names))
    part = dict(zip(names, dealt.tolist(), strict=True))
    return np.array([part[group] for group in groups], dtype=np.int64)


def cross_validated(rows: Rows, truth: Predictions, parts: Predictions, how: FitSpec) -> Predictions | None:
    """Return what heads trained on the other parts read in each, shape (n,), or None with a single part."""
    if parts.max() == 0:
        return None
    read = np.zeros(len(truth), dtype=np.int64)
    for part in range(int(parts.max()) + 1):
        known, tested = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        weights, bias = fit(rows.take(known), truth[known], len(LEVELS), how)
        read[tested] = quantise("fold", LEVELS, how.kind, weights, bias, bits=8).places(rows.take(tested))
    return read


def agreement(truth: Predictions, read: Predictions, groups: Sequence[str]) -> dict[str, Any]:
    """Return accuracy and macro-F1 with 95 % intervals over groups."""
    numbers = {name: i for i, name in enumerate(sorted(set(groups)))}
    group = np.array([numbers[name] for name in groups], dtype=np.int64)
    cells = np.zeros((len(numbers), len(LEVELS) ** 2), dtype=np.int64)
    np.add.at(cells, (group, truth * len(LEVELS) + read), 1)
    accuracy, macro = _scores(cells.sum(axis=0, keepdims=True))
    rng, n = np.random.default_rng(0), len(cells)
    size = max(1, _DRAWN // n)
    drawn = [
        rng.multinomial(n, np.full(n, 1 / n), min(size, RESAMPLES - done)) @ cells
        for done in range(0, RESAMPLES, size)
    ]
    spread = _scores(np.concatenate(drawn))
    low, high = np.percentile(spread, [2.5, 97.5], axis=1)
    return {
        "accuracy": float(accuracy[0]),
        "macro_f1": float(macro[0]),
        "accuracy_ci95": [float(low[0]), float(high[0])],
        "macro_f1_ci95": [float(low[1]), float(high[1])],
    }


def _scores(cells: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracy and macro-F1 of confusion matrices, shape (m, levels * levels), rows the truth.

    The mean of F1 is over the levels that occur, in truth or in what was read.
    """
    tables = cells.reshape(-1, len(LEVELS), len(LEVELS))
    right = np.diagonal(tables, axis1=1, axis2=2)
    both = tables.sum(axis=1) + tables.sum(axis=2)
    occurs = (both > 0).sum(axis=1)
    return right.sum(axis=1) / tables.sum(axis=(1, 2)), (2 * right / np.maximum(both, 1)).sum(axis=1) / occurs


def speed(files: Files, identifier: Identifier) -> float:
    """Return how many pairs all three heads read in a second of one core, hashing included."""
    data = joined([files[name] for name in MECHANISMS])
    best = float("inf")
    for _ in range(_TIMED):
        start = time.process_time()
        identifier.levels(data.contexts, data.responses)
        best = min(best, time.process_time() - start)
    return len(data) / best
