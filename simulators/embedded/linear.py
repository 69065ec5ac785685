"""Linear heads with integer weights: reading a text is integer arithmetic, the same to the bit on every machine.

`fitting` trains in floats; `quantise` rounds a head's weights to 8 or 16 bits with one scale. A head's score is a sum
of integer products and its level follows from comparing integers. Probabilities are ratios of whole numbers out of a
table of exponentials that is computed in decimal arithmetic, so they are the same everywhere, too.

Heads are kept in one npz file without pickle: arrays, and a JSON text with the format's version, what a row is made
of, provenance and a content hash. A file of another version, of another hashing or with a wrong hash is refused.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.simulators.embedded.fitting import FitSpec, Floats, Kind, fit
from empathy_gym.simulators.embedded.hashed import UNIT, HashSpec, Integers, Rows, hashed_rows
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.hashing import canonical_json, content_hash

FORMAT: Final = 1
"""Version of the file; raised whenever an old file would be read wrongly."""
_PROBE: Final = ("I’m sorry – that's hard 😀, Zoë. 你好?", "My café shut. That's ΑΒΓ!")
_STEPS, _REACH = 256, 16
"""Exponentials are tabled in steps of 1/256 of a logit, 16 logits far."""
_ONE: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Head:
    """One classifier of texts.

    Args:
        name: What it reads.
        levels: The levels, ascending.
        kind: Whether it has a score for each level, or one score and thresholds.
        weights: int8 or int16, shape (columns, width): a column for each level, or one.
        bias: Score of each level, or thresholds, in units of score, shape (levels,) or (levels - 1,).
        scale: What one unit of weight is in logits.
    """

    name: str
    levels: tuple[int, ...]
    kind: Kind
    weights: NDArray[np.signedinteger[Any]]
    bias: Integers
    scale: float

    def scores(self, rows: Rows) -> Integers:
        """Return integer scores, shape (n, columns): multiply by scale / UNIT for logits."""
        owner = rows.owners
        # A float64 sum of integers below 2**53 is exact, in any order.
        sums = [np.bincount(owner, row[rows.indices] * rows.values, len(rows)) for row in self.weights]
        return np.stack(sums, axis=1).astype(np.int64) + (self.bias if self.kind == "multinomial" else 0)

    def places(self, rows: Rows) -> Integers:
        """Return the place of each row's level, shape (n,); of equals the lower."""
        scores = self.scores(rows)
        if self.kind == "multinomial":
            return np.asarray(scores.argmax(axis=1))
        return np.asarray((scores > self.bias).sum(axis=1))

    def probabilities(self, rows: Rows) -> Floats:
        """Return what each level's probability is, shape (n, levels)."""
        scores = self.scores(rows)
        if self.kind == "multinomial":
            likely = self._exponential(scores.max(axis=1, keepdims=True) - scores)
            return np.asarray(likely / likely.sum(axis=1, keepdims=True))
        far = self._exponential(np.abs(scores - self.bias))
        above = np.where(scores > self.bias, _ONE, far) / (_ONE + far)
        edge = np.ones((len(rows), 1))
        return -np.diff(np.concatenate([edge, above, 0 * edge], axis=1), axis=1)

    def _exponential(self, below: Integers) -> Integers:
        """Return e to the minus that many units of score, times 2**40."""
        place = np.floor(below * (self.scale * _STEPS / UNIT)).astype(np.int64)
        return np.asarray(_exponentials()[np.minimum(place, _STEPS * _REACH)])


@functools.cache
def _exponentials() -> Integers:
    with decimal.localcontext() as context:
        context.prec = 30
        one = decimal.Decimal(_ONE)
        table = [int(one * (decimal.Decimal(-i) / _STEPS).exp()) for i in range(_STEPS * _REACH + 1)]
    return np.array(table, dtype=np.int64)


def quantise(
    name: str, levels: Sequence[int], kind: Kind, weights: Floats, bias: Floats, *, bits: int = 16
) -> Head:
    """Round a trained head to integers.

    Args:
        name: What it reads.
        levels: The levels, ascending.
        kind: The loss it was trained with.
        weights: Shape (width, columns), as `fit` returns them.
        bias: Scores of levels, or thresholds.
        bits: 8 or 16.
    """
    if kind == "multinomial":
        # Only differences count: centred weights are smaller, so that a step is finer.
        weights, bias = weights - weights.mean(axis=1, keepdims=True), bias - bias.mean()
    else:
        bias = np.maximum.accumulate(bias)
    most = (1 << (bits - 1)) - 1
    scale = float(np.abs(weights).max()) / most or 1.0 / most
    dtype: type[np.signedinteger[Any]] = np.int8 if bits == 8 else np.int16
    whole: NDArray[np.signedinteger[Any]] = np.rint(weights.T / scale).astype(dtype)
    return Head(name, tuple(levels), kind, whole, np.rint(bias / scale * UNIT).astype(np.int64), scale)


@dataclass(frozen=True, slots=True)
class LinearHeads:
    """Heads that read the same rows.

    Args:
        spec: What a row is made of.
        heads: By name.
        provenance: Where the weights are from: plain values.
    """

    spec: HashSpec
    heads: Mapping[str, Head]
    provenance: Mapping[str, Any]

    def rows(
        self, texts: Sequence[str], contexts: Sequence[str] | None = None, dense: Integers | None = None
    ) -> Rows:
        """Return the rows of texts (see `hashed_rows`)."""
        return hashed_rows(self.spec, texts, contexts, dense)

    def levels(self, rows: Rows) -> dict[str, Integers]:
        """Return the levels that each head reads, shape (n,)."""
        return {name: np.array(head.levels)[head.places(rows)] for name, head in self.heads.items()}

    def probabilities(self, rows: Rows) -> dict[str, Floats]:
        """Return each head's probabilities of its levels, shape (n, levels)."""
        return {name: head.probabilities(rows) for name, head in self.heads.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of everything: weights, spec, provenance and version."""
        digest = hashlib.sha256(canonical_json(_description(self)).encode("ascii"))
        for array in _arrays(self).values():
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one npz file, whole or not at all: to a temporary file, then renamed.

        Raises:
            ConfigError: If it cannot be written there.
        """
        path = Path(path)
        text = json.dumps({**_description(self), "hash": self.hash})
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"about": np.frombuffer(text.encode("ascii"), np.uint8), **_arrays(self)}
        np.savez_compressed(buffer, **arrays)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, buffer.getvalue())
        except OSError as error:
            raise ConfigError(f"cannot write weights to '{path}': {error.strerror or error}.") from error


def train(
    spec: HashSpec,
    rows: Rows,
    targets: Mapping[str, tuple[Sequence[int], Integers, FitSpec]],
    provenance: Mapping[str, Any],
    *,
    weights: Floats | None = None,
    bits: int = 16,
) -> LinearHeads:
    """Train heads on the same rows.

    Args:
        spec: What the rows are made of.
        rows: n rows.
        targets: Of each head its levels ascending, the level of each row, shape (n,), and how it is trained. A level
            that is not among the levels marks a row that is not used for this head.
        provenance: Where text and labels are from.
        weights: What each row counts, shape (n,); 1 if None.
        bits: 8 or 16: how fine the weights are.
    """
    heads = {}
    for name, (levels, wanted, how) in targets.items():
        known = np.flatnonzero(np.isin(wanted, levels))
        counts = None if weights is None else weights[known]
        places = np.searchsorted(levels, wanted[known])
        heads[name] = quantise(
            name, levels, how.kind, *fit(rows.take(known), places, len(levels), how, counts), bits=bits
        )
    return LinearHeads(spec, heads, dict(provenance))


# -- the file --------------------------------------------------------------------------------------------


def _description(heads: LinearHeads) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "hashing": _hashing(heads.spec),
        "spec": dataclasses.asdict(heads.spec),
        "heads": [[h.name, list(h.levels), h.kind, h.scale] for h in heads.heads.values()],
        "provenance": dict(heads.provenance),
    }


def _arrays(heads: LinearHeads) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for i, head in enumerate(heads.heads.values()):
        arrays[f"weights{i}"], arrays[f"bias{i}"] = head.weights, head.bias
    return arrays


def _hashing(spec: HashSpec) -> str:
    """Return a fingerprint of what the hashing makes of two texts: weights are worth nothing under another."""
    dense = np.ones((1, len(spec.dense)), dtype=np.int64)
    rows = hashed_rows(spec, _PROBE[:1], _PROBE[1:], dense)
    return content_hash([rows.indices.tolist(), rows.values.tolist()])[:16]


def _write_whole(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | Path) -> LinearHeads:
    """Read a file that `LinearHeads.save` wrote.

    Raises:
        ConfigError: If there is none, or it is damaged, of another version, or for another hashing.
    """
    path = Path(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != FORMAT:
                raise ConfigError(
                    f"the weights '{path}' are of format {about['format']}; this version reads "
                    f"format {FORMAT}. Train them again."
                )
            loaded = _assembled(about, {name: file[name] for name in file.files})
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"no weights in '{path}': {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(
            f"'{path}' holds no weights of empathy-gym, or is damaged. Train them again."
        ) from error
    if about["hashing"] != _hashing(loaded.spec):
        raise ConfigError(f"the weights '{path}' are for another hashing of texts. Train them again.")
    if about["hash"] != loaded.hash:
        raise ConfigError(
            f"the weights '{path}' are not what their hash says: damaged or edited. Train them again."
        )
    return loaded


def _assembled(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearHeads:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["spec"].items()}
    spec = HashSpec(**fields)
    heads = {}
    for i, (name, levels, kind, scale) in enumerate(about["heads"]):
        weights, bias = arrays[f"weights{i}"], arrays[f"bias{i}"]
        columns, thresholds = (len(levels),) * 2 if kind == "multinomial" else (1, len(levels) - 1)
        if weights.shape != (columns, spec.width) or bias.shape != (thresholds,):
            raise ValueError(f"weights of {name} have shape {weights.shape}")
        heads[name] = Head(name, tuple(levels), kind, weights, bias.astype(np.int64), float(scale))
    return LinearHeads(spec, heads, about["provenance"])
