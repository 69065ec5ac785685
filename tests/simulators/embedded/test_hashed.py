"""The hashed rows equal a slow reference on any text, and are pinned integer by integer."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.simulators.embedded import hashed
from empathy_gym.simulators.embedded.hashed import DENSE_UNIT, UNIT, HashSpec, hashed_rows

MASK = (1 << 64) - 1
LETTERS = st.one_of(
    st.sampled_from("abT'?! \n\t\u2019\u2018\u201c\u00ad\u200b\ufe0f\ud83d\ude00😀你好éÉßİǅΣ\u3000\x1f0"),
    st.characters(exclude_categories=()),
)
TEXTS = st.lists(st.text(LETTERS, max_size=25), max_size=5)
SPECS = st.builds(
    HashSpec,
    bits=st.sampled_from([10, 16]),
    words=st.sampled_from([(), (1,), (2,), (1, 2)]),
    chars=st.sampled_from([(), (3,), (4, 5), (3, 4, 5)]),
    signed=st.booleans(),
    sublinear=st.booleans(),
    context=st.booleans(),
    normalise=st.booleans(),
)


# -- the reference: one text, one character, one n-gram at a time --------------------------------------------


def kind(letter):
    point = ord(letter)
    if point in (0x27, 0x2018, 0x2019, 0x2BC):
        return "word"
    if point == 0xAD:
        return "invisible"
    if point < 0x530:
        return "word" if letter.isalnum() else "space" if letter.isspace() or point < 32 else "single"
    names = ("space", "word", "single", "invisible")
    return names[max((first, cls) for first, cls in hashed._RANGES if first <= point)[1]]


def folded(letter):
    quote = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'}.get(letter)
    if quote or ord(letter) >= 0x530 or len(letter.lower()) != 1:
        return quote or letter
    return letter.lower()


def plain(text):
    """Words and single characters, and the text with one space between words."""
    letters = [(folded(x), kind(x)) for x in text if kind(x) != "invisible"]
    letters = [(" ", k) if k == "space" else (x, k) for x, k in letters]
    tokens, line, previous = [], " ", "space"
    for letter, k in letters:
        if k == "word" and previous == "word":
            tokens[-1] += letter
        elif k != "space":
            tokens.append(letter)
        if k != "space" or previous != "space":
            line += letter
        previous = k
    return tokens, line if line.endswith(" ") else line + " "


def scramble(number):
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def token_hash(token):
    return scramble(sum((ord(x) + 1) * pow(hashed.POWER, i, 1 << 64) for i, x in enumerate(token)) & MASK)


def seeded(number, space):
    return scramble((number + hashed.SPACES[space]) & MASK)


def words_of(spec, text, context):
    tokens = [token_hash(t) for t in plain(text)[0]]
    found = [seeded(t, "word1") for t in tokens] if 1 in spec.words else []
    if 2 in spec.words and tokens:
        marked = [hashed.BEGIN, *tokens, hashed.END]
        found += [seeded((a * hashed.PREVIOUS + b) & MASK, "word2") for a, b in itertools.pairwise(marked)]
    if spec.context:
        theirs = [token_hash(t) for t in plain(context)[0]]
        shared = set(tokens) & set(theirs)
        found += [seeded(t, "context") for t in theirs] + [seeded(t, "shared") for t in shared]
        found.append(seeded(8 * len(shared) // max(1, len(set(tokens))), "overlap"))
    return found


def chars_of(spec, text):
    line = plain(text)[1]
    return [
        (sum(ord(x) * hashed._LETTER[j] for j, x in enumerate(gram)) + hashed.SPACES[f"char{n}"]) & MASK
        for n in spec.chars
        for gram in (line[i : i + n] for i in range(len(line) - n + 1))
        if " " not in gram[1:-1]
    ]


def reference(spec, text, context):
    row = {}
    for part, found in enumerate((words_of(spec, text, context), chars_of(spec, text))):
        counts = Counter()
        for number in found:
            sign = (-1 if (number >> 43) & 1 else 1) if spec.signed else 1
            counts[(number >> (65 - spec.bits)) + (part << (spec.bits - 1))] += sign
        values = {}
        for bucket, count in counts.items():
            steps = (1 + (abs(count) >= 2) + (abs(count) >= 4)) if spec.sublinear else 1
            if count:
                values[bucket] = steps if count > 0 else -steps
        squares = sum(v * v for v in values.values())
        scale = math.isqrt(UNIT * UNIT // max(1, squares)) if spec.normalise else UNIT
        row.update({bucket: v * scale for bucket, v in values.items()})
    return row


def as_dicts(rows):
    return [
        dict(zip(rows.indices[a:b].tolist(), rows.values[a:b].tolist(), strict=True))
        for a, b in zip(rows.indptr, rows.indptr[1:], strict=False)
    ]


# -- tests -----------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(spec=SPECS, texts=TEXTS, data=st.data())
def test_rows_equal_the_slow_reference_on_any_text(spec, texts, data):
    contexts = [data.draw(st.text(LETTERS, max_size=12)) for _ in texts]
    rows = hashed_rows(spec, texts, contexts)
    assert as_dicts(rows) == [reference(spec, t, c) for t, c in zip(texts, contexts, strict=True)]
    assert len(rows) == len(texts) and rows.width == spec.width
    assert all(
        np.all(np.diff(rows.indices[a:b]) > 0) for a, b in zip(rows.indptr, rows.indptr[1:], strict=False)
    )


def test_the_integers_are_these_on_every_machine():
    texts = ["I’m SO sorry – that's hard… 😀 Zoë?", "你好\uff0c吃了吗", "", "a\ud83d!!"]
    rows = hashed_rows(HashSpec(context=True, sublinear=True), texts, ["That's it.", "好", "", "A"])
    assert rows.indptr.tolist() == GOLDEN_INDPTR
    text = repr((rows.indices.tolist(), rows.values.tolist()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN_ROWS


def test_a_text_has_the_same_row_whatever_stands_beside_it(monkeypatch):
    texts = ["one two", "", "Three? four", " ", "it's  'five'", "x" * 50, "six\nseven"]
    whole = as_dicts(hashed_rows(HashSpec(), texts))
    assert whole == [as_dicts(hashed_rows(HashSpec(), [text]))[0] for text in texts]
    monkeypatch.setattr(hashed, "_CHUNK", 9)
    assert whole == as_dicts(hashed_rows(HashSpec(), texts))


def test_case_curly_quotes_and_spacing_make_no_difference_and_punctuation_does():
    same = as_dicts(hashed_rows(HashSpec(), ["Don’t  GO\u200b", "don't go", " don't\ngo "]))
    assert same[0] == same[1] == same[2]
    assert same[0] != as_dicts(hashed_rows(HashSpec(), ["don't go?"]))[0]


def test_context_words_have_buckets_of_their_own():
    spec = HashSpec(chars=(), words=(1,), context=True)
    swapped = as_dicts(hashed_rows(spec, ["cake", "bus"], ["bus", "cake"]))
    assert set(swapped[0]) != set(swapped[1])
    shared = as_dicts(hashed_rows(spec, ["cake"], ["cake"]))[0]
    assert len(shared) == 4  # the word, the context's word, the shared word, the share


def test_dense_columns_follow_the_buckets_and_zeros_are_left_out():
    spec = HashSpec(bits=10, dense=("length", "questions"))
    texts, dense = ["one", "", "two"], np.array([[3, 0], [0, 0], [-1, 2]])
    rows = as_dicts(hashed_rows(spec, texts, None, dense))
    plain_rows = as_dicts(hashed_rows(HashSpec(bits=10), texts))
    assert rows[0] == {**plain_rows[0], 1024: 3 * DENSE_UNIT}
    assert rows[1] == {} and rows[2] == {**plain_rows[2], 1024: -DENSE_UNIT, 1025: 2 * DENSE_UNIT}


def test_rows_can_be_taken_in_any_order():
    rows = hashed_rows(HashSpec(), ["one", "", "two three"])
    assert as_dicts(rows.take(np.array([2, 1, 0, 2]))) == [as_dicts(rows)[i] for i in (2, 1, 0, 2)]
    assert len(rows.take(np.zeros(0, dtype=np.int64))) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HashSpec(bits=9), "bits is 9"),
        (lambda: HashSpec(words=(3,)), "words"),
        (lambda: hashed_rows(HashSpec(context=True), ["a"]), "contexts"),
        (lambda: hashed_rows(HashSpec(context=True), ["a"], ["b", "c"]), "contexts"),
        (lambda: hashed_rows(HashSpec(dense=("x",)), ["a"], None, np.zeros((1, 2), dtype=np.int64)), "dense"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


GOLDEN_INDPTR = [0, 84, 115, 116, 136]
GOLDEN_ROWS = "6548935ded952765"
