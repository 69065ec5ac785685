"""Texts as sparse integer rows: hashed word 1-2-grams and character 3-5-grams.

A whole batch is one array of code points, and every step is an array operation on it; there is no loop over words.
Hashing is our own multiply-shift on 64-bit integers, so a text has the same row on every machine, in every process
and under every version of Python or numpy (the tables of letters stop where Unicode still grows).

* Text is lower-cased, curly quotes are made straight, invisible characters dropped, runs of space made one space.
* A *token* is a run of letters, digits and apostrophes, or any other single character: a comma, an emoji, a Han
  character. Word n-grams run over tokens, with a mark for the beginning and the end of the text.
* Character n-grams stay within a word and the spaces around it: ``" don't "`` has ``" do"`` and ``"'t "``.
* With a second text (what the reply answers) its tokens have buckets of their own, and so have the tokens that reply
  and context share and the share that they make up, in eighths.
* Dense features of the caller's are further columns.

Words, contexts and what they share have the lower half of the buckets, characters the upper. A row's values are
integers: with ``normalise`` each half is divided by its length, so that long replies weigh no more than short ones
and the few words as much as the many character n-grams.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNIT: Final = 4096
"""What 1.0 is as an integer value."""
DENSE_UNIT: Final = UNIT // 16
"""What a dense feature's 1 is worth: about as much as one n-gram of a reply of normal length."""
MIN_BITS, MAX_BITS = 10, 20

_CHUNK: Final = 1 << 17
"""Code points worked on at a time: they fit into the cache, and it does not change the result."""
_FOLD_END: Final = 0x0530
"""Latin, Greek and Cyrillic end here; their letters and cases change no more."""
_SPACE, _WORD, _SINGLE, _INVISIBLE = 0, 1, 2, 3
_QUOTES: Final = {0x2018: 0x27, 0x2019: 0x27, 0x02BC: 0x27, 0x201C: 0x22, 0x201D: 0x22}
# Beyond Cyrillic: first code point of each range and its class.
_RANGES: Final = (
    *((0x0530, _WORD), (0x2000, _SPACE), (0x200B, _INVISIBLE), (0x2010, _SINGLE), (0x2028, _SPACE)),
    *((0x202A, _INVISIBLE), (0x202F, _SPACE), (0x2030, _SINGLE), (0x205F, _SPACE), (0x2060, _INVISIBLE)),
    *((0x2070, _SINGLE), (0x2C00, _WORD), (0x2E00, _SINGLE), (0x3000, _SPACE), (0x3001, _SINGLE)),
    *((0xA000, _WORD), (0xD800, _SINGLE), (0xFB00, _WORD), (0xFE00, _INVISIBLE), (0xFE10, _SINGLE)),
    *((0xFE70, _WORD), (0xFEFF, _INVISIBLE), (0xFF00, _SINGLE), (0x10000, _WORD), (0x1F000, _SINGLE)),
    *((0x1FB00, _WORD), (0x20000, _SINGLE), (0x40000, _WORD), (0xE0000, _INVISIBLE), (0xF0000, _SINGLE)),
)
_MASK: Final = (1 << 64) - 1
ODD: Final = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, odd."""

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def mix(number: int) -> int:
    """Return a 64-bit number that has little to do with its neighbours' (splitmix64)."""
    number = (number + ODD) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


_LETTER: Final = tuple(mix(100 + place) | 1 for place in range(5))
"""Odd multipliers of the letters of a character n-gram."""
POWER: Final = mix(200) | 1
"""A token's hash is a polynomial in this of its code points."""
PREVIOUS: Final = mix(201) | 1
BEGIN, END = mix(202), mix(203)
SPACES: Final = {
    name: mix(300 + i) for i, name in enumerate(("word1", "word2", "context", "shared", "overlap"))
}
SPACES.update({f"char{n}": mix(320 + n) for n in (3, 4, 5)})


@dataclass(frozen=True, slots=True)
class HashSpec:
    """What a row is made of.

    Args:
        bits: 2**bits buckets, half of them for words.
        words: Which word n-grams: 1, 2 or both.
        chars: Which character n-grams, of 3, 4 and 5.
        signed: Give each n-gram a sign, so that those that share a bucket cancel instead of adding up.
        sublinear: Count 1, 2, 3 for an n-gram seen 1, 2-3, 4-7 times, rather than 1 for any.
        context: Read a second text: what the reply answers.
        normalise: Divide each half of a row by its length.
        dense: Names of the caller's own columns, which follow the buckets.

    Raises:
        ValueError: If a number is out of range.
    """

    bits: int = 16
    words: tuple[int, ...] = (1, 2)
    chars: tuple[int, ...] = (3, 4, 5)
    signed: bool = False
    sublinear: bool = False
    context: bool = False
    normalise: bool = True
    dense: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise ValueError(f"bits is {self.bits}; {MIN_BITS} to {MAX_BITS} are valid.")
        if not set(self.words) <= {1, 2} or not set(self.chars) <= {3, 4, 5}:
            raise ValueError(f"words {self.words} and chars {self.chars}; 1-2 and 3-5 are valid.")

    @property
    def width(self) -> int:
        """Number of columns."""
        return (1 << self.bits) + len(self.dense)


@dataclass(frozen=True, slots=True)
class Rows:
    """Sparse rows: those of row i are at ``indptr[i]:indptr[i + 1]`` of the other two, columns ascending.

    Args:
        indptr: Shape (n + 1,).
        indices: Columns, shape (nonzeros,).
        values: Integers; `UNIT` is 1.0. Shape (nonzeros,).
        width: Number of columns.
    """

    indptr: Integers
    indices: Integers
    values: Integers
    width: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def owners(self) -> Integers:
        """The row of each nonzero, shape (nonzeros,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some of the rows, in the order given, shape (m,)."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Rows(indptr, self.indices[where], self.values[where], self.width)


def hashed_rows(
    spec: HashSpec,
    texts: Sequence[str],
    contexts: Sequence[str] | None = None,
    dense: NDArray[np.int64] | None = None,
) -> Rows:
    """Return the rows of texts.

    Args:
        spec: What a row is made of.
        texts: Any strings, shape (n,).
        contexts: What each answers, shape (n,); read only if the spec says so.
        dense: Small integers, shape (n, number of dense columns); needed if the spec names any.

    Raises:
        ValueError: If contexts or dense features are missing or of another length.
    """
    if spec.context and (contexts is None or len(contexts) != len(texts)):
        raise ValueError("this spec reads contexts: give one for each text.")
    if spec.dense and (dense is None or dense.shape != (len(texts), len(spec.dense))):
        raise ValueError(
            f"this spec has dense columns: give an array of shape ({len(texts)}, {len(spec.dense)})."
        )
    parts = [
        _chunk(spec, texts[start:end], (contexts or texts)[start:end])
        for start, end in _chunks(texts, contexts)
    ]
    lengths, indices, values = (
        (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else 3 * (_NONE,)
    )
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = Rows(indptr, indices, values, spec.width)
    return rows if dense is None or not spec.dense else _with_dense(rows, dense, 1 << spec.bits)


_NONE: Final = np.zeros(0, dtype=np.int64)


def _chunks(texts: Sequence[str], contexts: Sequence[str] | None) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts that are worked on together."""
    start = size = 0
    for i in range(len(texts)):
        size += len(texts[i]) + (len(contexts[i]) if contexts else 0)
        if size >= _CHUNK:
            yield start, i + 1
            start, size = i + 1, 0
    if start < len(texts):
        yield start, len(texts)


def _with_dense(rows: Rows, dense: NDArray[np.int64], first: int) -> Rows:
    """Append dense columns to rows; zeros are left out."""
    owner, column = np.nonzero(dense)
    where = rows.indptr[owner + 1]
    indices = np.insert(rows.indices, where, first + column)
    values = np.insert(rows.values, where, dense[owner, column] * DENSE_UNIT)
    added = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=1))])
    return Rows(rows.indptr + added, indices, values, rows.width)


# -- code points -----------------------------------------------------------------------------------------


@functools.cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return the class of every code point, and the lower-cased form of those up to the quotes."""
    classes = np.full(0x110000, _WORD, dtype=np.uint8)
    for first, kind in _RANGES:
        classes[first:] = kind
    fold = np.arange(max(_QUOTES) + 1, dtype=np.uint32)
    for point in range(_FOLD_END):
        letter = chr(point)
        classes[point] = _WORD if letter.isalnum() else _SPACE if letter.isspace() or point < 32 else _SINGLE
        if len(letter.lower()) == 1:
            fold[point] = ord(letter.lower())
    for quote, plain in _QUOTES.items():
        fold[quote] = plain
    classes[[0x27, 0x2019, 0x2018, 0x02BC]] = _WORD
    classes[0xAD] = _INVISIBLE
    return classes, fold


@dataclass(frozen=True, slots=True)
class _Points:
    """A batch as one line: code points with one space between words, and the text of each."""

    letters: Hashes
    owner: Integers
    kind: NDArray[np.uint8]


def _points(texts: Sequence[str]) -> _Points:
    """Return the code points of a batch; a space stands before and after every text."""
    classes, fold = _tables()
    joined = f" {' '.join(texts)} "
    raw = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter((len(text) + 1 for text in texts), dtype=np.int64, count=len(texts))
    owner = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    owner = np.concatenate([owner, owner[-1:]])
    kind = classes[raw]
    letters = np.where(raw < len(fold), fold[np.minimum(raw, len(fold) - 1)], raw)
    if (kind == _INVISIBLE).any():
        seen = kind != _INVISIBLE
        letters, owner, kind = letters[seen], owner[seen], kind[seen]
    space = kind == _SPACE
    kept = np.ones(len(kind), dtype=np.bool_)
    np.logical_not(space[1:] & space[:-1], out=kept[1:])
    letters[space] = 32
    return _Points(letters[kept].astype(np.uint64), owner[kept], kind[kept])


# -- n-grams ---------------------------------------------------------------------------------------------


def _tokens(points: _Points) -> tuple[Integers, Hashes]:
    """Return the text and the hash of each token, in order."""
    kind = points.kind
    begins = (kind[1:] == _SINGLE) | ((kind[1:] == _WORD) & (kind[:-1] != _WORD))
    starts = np.flatnonzero(begins) + 1
    if not len(starts):
        return _NONE, _NONE.astype(np.uint64)
    token = np.cumsum(begins) - 1
    place = np.arange(1, len(kind)) - starts[np.maximum(token, 0)]
    place[kind[1:] == _SPACE] = 0
    powers = np.full(int(place.max()) + 1, POWER, dtype=np.uint64)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    terms = (points.letters[1:] + np.uint64(1)) * powers[np.maximum(place, 0)]
    terms[kind[1:] == _SPACE] = 0
    return points.owner[starts], _scramble(np.add.reduceat(terms, starts - 1))


def _scramble(numbers: Hashes) -> Hashes:
    """Spread what is in the low bits over all of them (the end of splitmix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _seeded(numbers: Hashes, space: str) -> Hashes:
    """Return the hashes that numbers have in a space of their own."""
    return _scramble(numbers + np.uint64(SPACES[space]))


def _char_grams(points: _Points, orders: Sequence[int]) -> Iterator[tuple[Integers, Hashes]]:
    """Yield the owners and hashes of character n-grams: no space but at the ends."""
    letters, inside = points.letters, points.kind != _SPACE
    if not orders or len(letters) < 3:
        return
    sums = letters[:-1] * np.uint64(_LETTER[0]) + letters[1:] * np.uint64(_LETTER[1])
    valid = inside[1:]
    for n in range(3, max(orders) + 1):
        if len(letters) < n:
            return
        sums = sums[:-1] + letters[n - 1 :] * np.uint64(_LETTER[n - 1])
        valid = valid[:-1] if n == 3 else valid[:-1] & inside[n - 2 : -1]
        if n in orders:
            where = np.flatnonzero(valid)
            # Multiply-shift: the high bits of a sum of products with odd random numbers are the hash.
            yield points.owner[where + 1], sums[where] + np.uint64(SPACES[f"char{n}"])


def _word_grams(owner: Integers, token: Hashes, orders: Sequence[int]) -> Iterator[tuple[Integers, Hashes]]:
    """Yield the owners and hashes of word n-grams."""
    if 1 in orders:
        yield owner, _seeded(token, "word1")
    if 2 in orders and len(token):
        first = np.ones(len(token), dtype=np.bool_)
        first[1:] = owner[1:] != owner[:-1]
        before = np.where(first, np.uint64(BEGIN), np.roll(token, 1))
        yield owner, _seeded(before * np.uint64(PREVIOUS) + token, "word2")
        last = np.roll(first, -1)
        yield owner[last], _seeded(token[last] * np.uint64(PREVIOUS) + np.uint64(END), "word2")


def _pair_grams(owner: Integers, token: Hashes, contexts: Sequence[str]) -> Iterator[tuple[Integers, Hashes]]:
    """Yield what the context says, what reply and context share, and the share itself in eighths."""
    context_owner, context_token = _tokens(_points(contexts))
    yield context_owner, _seeded(context_token, "context")
    own = np.unique(_scramble(owner.astype(np.uint64) * np.uint64(ODD) + token), return_index=True)
    theirs = _scramble(context_owner.astype(np.uint64) * np.uint64(ODD) + context_token)
    shared = own[1][np.isin(own[0], theirs)]
    yield owner[shared], _seeded(token[shared], "shared")
    n = len(contexts)
    of, common = np.bincount(owner[own[1]], minlength=n), np.bincount(owner[shared], minlength=n)
    yield np.arange(n), _seeded((8 * common // np.maximum(of, 1)).astype(np.uint64), "overlap")


def _chunk(
    spec: HashSpec, texts: Sequence[str], contexts: Sequence[str]
) -> tuple[Integers, Integers, Integers]:
    """Return the lengths of the rows of some texts, and their columns and values one after the other."""
    points = _points(texts)
    owner, token = _tokens(points)
    grams = [(*gram, 0) for gram in _word_grams(owner, token, spec.words)]
    if spec.context:
        grams += [(*gram, 0) for gram in _pair_grams(owner, token, contexts)]
    grams += [(*gram, 1) for gram in _char_grams(points, spec.chars)]
    keys = [_NONE, *((own << spec.bits) | _bucket(spec, hashes, part) for own, hashes, part in grams)]
    signs = [_NONE, *(_sign(hashes) for _, hashes, _ in grams)] if spec.signed else None
    return _summed(spec, len(texts), np.concatenate(keys), None if signs is None else np.concatenate(signs))


def _bucket(spec: HashSpec, hashes: Hashes, part: int) -> Integers:
    """Return buckets: those of words in the lower half, those of characters in the upper."""
    return (hashes >> np.uint64(65 - spec.bits)).astype(np.int64) + (part << (spec.bits - 1))


def _sign(hashes: Hashes) -> Integers:
    return 1 - 2 * ((hashes >> np.uint64(63 - MAX_BITS)) & np.uint64(1)).astype(np.int64)


def _summed(
    spec: HashSpec, n: int, keys: Integers, signs: Integers | None
) -> tuple[Integers, Integers, Integers]:
    """Add up equal keys (text and bucket) and scale the counts to values."""
    if signs is None:
        keys = np.sort(keys)
        counts = None
    else:
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], signs[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]]))
    totals = np.diff(np.append(starts, len(keys))) if counts is None else _reduced(counts, starts)
    values = np.sign(totals) * _steps(np.abs(totals)) if spec.sublinear else np.sign(totals)
    keys = keys[starts][values != 0]
    values = values[values != 0]
    lengths = np.bincount(keys >> spec.bits, minlength=n)
    scale: int | Integers = UNIT
    if spec.normalise:
        half = keys >> (spec.bits - 1)
        squares = np.bincount(half, weights=values.astype(np.float64) ** 2, minlength=2 * n)
        # The square root of a float is correctly rounded everywhere, so its floor is the same everywhere.
        scale = np.sqrt(UNIT * UNIT // np.maximum(squares, 1)).astype(np.int64)[half]
    return lengths, keys & ((1 << spec.bits) - 1), values * scale


def _reduced(numbers: Integers, starts: Integers) -> Integers:
    return np.add.reduceat(numbers, starts) if len(starts) else _NONE


def _steps(counts: Integers) -> Integers:
    """Return 1, 2, 3 for counts of 1, 2-3 and 4 or more."""
    return np.minimum(counts, 1) + (counts >= 2) + (counts >= 4)
