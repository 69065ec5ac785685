"""Integer heads read what was trained, keep, and refuse what is not theirs."""

from __future__ import annotations

import dataclasses
import io
import json
import os

import numpy as np
import pytest

from empathy_gym.simulators.embedded import linear
from empathy_gym.simulators.embedded.fitting import FitSpec, example_weights, fit, minimise
from empathy_gym.simulators.embedded.hashed import UNIT, HashSpec, hashed_rows
from empathy_gym.simulators.embedded.linear import load, quantise, train
from empathy_gym.simulators.errors import ConfigError

SPEC = HashSpec(bits=12, dense=("questions",))
WORDS = (("table", "window", "spoon"), ("sorry", "hug", "dear"), ("terrible", "awful", "sorry"))


def toy(n=240, seed=0):
    """Texts whose words tell the level, with some noise."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 3, n)
    texts = [
        " ".join([*rng.choice(WORDS[level], 2), *rng.choice(["the", "and", "so", "it"], 3)])
        for level in levels
    ]
    return texts, levels, rng.integers(0, 3, (n, 1))


def float_scores(rows, weights):
    return np.stack(
        [np.bincount(rows.owners, rows.values / UNIT * w[rows.indices], len(rows)) for w in weights.T], axis=1
    )


@pytest.fixture(scope="module")
def toy_heads():
    texts, levels, dense = toy()
    rows = hashed_rows(SPEC, texts, None, dense)
    targets = {
        "kind": ((0, 1, 2), levels, FitSpec(penalty=0.1)),
        "stance": ((-1, 0, 1), levels - 1, FitSpec(kind="ordinal", penalty=0.1, balance=1.0)),
    }
    return train(SPEC, rows, targets, {"text": "toy"}), rows, levels


@pytest.mark.parametrize("kind", ["multinomial", "ordinal"])
@pytest.mark.parametrize("bits", [8, 16])
def test_integer_reading_equals_the_float_argmax(kind, bits):
    texts, levels, dense = toy()
    rows = hashed_rows(SPEC, texts, None, dense)
    weights, bias = fit(rows, levels, 3, FitSpec(kind=kind, penalty=0.1))
    unseen, _, more = toy(200, seed=1)
    tested = hashed_rows(SPEC, unseen, None, more)
    scores = float_scores(tested, weights)
    if kind == "multinomial":
        wanted, margin = (scores + bias).argmax(axis=1), np.sort(scores + bias, axis=1)
        clear = margin[:, 2] - margin[:, 1] > 0.3 / 2**bits * 64
    else:
        wanted, clear = (scores > bias).sum(axis=1), np.abs(scores - bias).min(axis=1) > 0.3 / 2**bits * 64
    read = quantise("toy", (0, 1, 2), kind, weights, bias, bits=bits).places(tested)
    assert clear.mean() > 0.95
    assert (read[clear] == wanted[clear]).all()


def test_heads_learn_what_the_words_tell(toy_heads):
    heads, rows, levels = toy_heads
    read = heads.levels(rows)
    assert (read["kind"] == levels).mean() > 0.85
    assert (read["stance"] == levels - 1).mean() > 0.7
    assert set(np.unique(read["stance"])) <= {-1, 0, 1}


def test_probabilities_are_those_of_the_scores_and_sum_to_one(toy_heads):
    heads, rows, _ = toy_heads
    for name, found in heads.probabilities(rows).items():
        head = heads.heads[name]
        assert found.shape == (len(rows), 3) and (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
        logits = head.scores(rows) * head.scale / UNIT
        if head.kind == "multinomial":
            exact = np.exp(logits - logits.max(axis=1, keepdims=True))
            exact /= exact.sum(axis=1, keepdims=True)
            assert (found.argmax(axis=1) == head.places(rows)).all()
        else:
            above = 1 / (1 + np.exp(-(logits - head.bias * head.scale / UNIT)))
            exact = -np.diff(np.hstack([np.ones((len(rows), 1)), above, np.zeros((len(rows), 1))]), axis=1)
        np.testing.assert_allclose(found, exact, atol=3e-3)


def test_rows_of_an_unknown_level_are_left_out():
    texts, levels, dense = toy()
    rows = hashed_rows(SPEC, texts, None, dense)
    half = np.arange(120)
    some = np.where(np.arange(240) < 120, levels, -1)
    a = train(SPEC, rows, {"x": ((0, 1, 2), some, FitSpec())}, {})
    b = train(SPEC, rows.take(half), {"x": ((0, 1, 2), levels[half], FitSpec())}, {})
    assert a.hash == b.hash


def test_an_example_of_weight_two_counts_as_two_examples():
    texts, levels, dense = toy(60)
    rows = hashed_rows(SPEC, texts, None, dense)
    twice = np.concatenate([np.arange(60), np.arange(20)])
    how = FitSpec(tolerance=1e-7)
    counts = np.where(np.arange(60) < 20, 2.0, 1.0)
    one, _ = fit(rows, levels, 3, how, counts)
    two, _ = fit(rows.take(twice), levels[twice], 3, how)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_training_is_deterministic_and_balance_makes_levels_weigh_the_same(toy_heads):
    texts, levels, dense = toy()
    rows = hashed_rows(SPEC, texts, None, dense)
    again = train(SPEC, rows, {"kind": ((0, 1, 2), levels, FitSpec(penalty=0.1))}, {"text": "toy"})
    assert (again.heads["kind"].weights == toy_heads[0].heads["kind"].weights).all()
    targets = np.array([0, 0, 0, 1])
    assert example_weights(targets, 3, 0.0).tolist() == [1, 1, 1, 1]
    balanced = example_weights(targets, 3, 1.0)
    assert balanced[:3].sum() == pytest.approx(balanced[3]) == pytest.approx(2.0)


def test_minimise_finds_the_minimum_of_a_bent_bowl():
    matrix = np.diag([1.0, 10.0, 300.0])
    matrix[0, 1] = matrix[1, 0] = 2.0
    target = np.array([3.0, -2.0, 0.5])

    def bowl(x):
        return 0.5 * (x - target) @ matrix @ (x - target), matrix @ (x - target)

    np.testing.assert_allclose(minimise(bowl, np.zeros(3), 100, 1e-9), target, atol=1e-6)


@pytest.mark.parametrize("targets", [[], [0, 3], [0, -1], [0]])
def test_targets_that_are_no_levels_are_refused(targets):
    rows = hashed_rows(HashSpec(), ["a", "b"])
    with pytest.raises(ValueError, match="0 to 2"):
        fit(rows, np.array(targets, dtype=np.int64), 3, FitSpec())


# -- the file --------------------------------------------------------------------------------------------


def test_saved_heads_load_as_they_were(toy_heads, tmp_path):
    heads, rows, _ = toy_heads
    heads.save(tmp_path / "new" / "heads.npz")
    loaded = load(tmp_path / "new" / "heads.npz")
    assert loaded.hash == heads.hash and loaded.spec == heads.spec and loaded.provenance == {"text": "toy"}
    for name, levels in heads.levels(rows).items():
        assert (loaded.levels(rows)[name] == levels).all()
    assert os.listdir(tmp_path / "new") == ["heads.npz"]


def test_a_failed_write_leaves_the_old_file_and_nothing_half_written(toy_heads, tmp_path, monkeypatch):
    heads, _, _ = toy_heads
    path = tmp_path / "heads.npz"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(linear.os, "replace", refuse)
    with pytest.raises(ConfigError, match="No space left"):
        heads.save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["heads.npz"]


def edited(path, change):
    """Write a copy of a file with something changed in it."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(arrays["about"].tobytes())
    change(about, arrays)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())


def _newer(about, _):
    about["format"] = 99


def _weights(_, arrays):
    arrays["weights0"] = arrays["weights0"] + 1


def _provenance(about, _):
    about["provenance"] = {"text": "somebody else's"}


def _shape(_, arrays):
    arrays["bias0"] = arrays["bias0"][:1]


def _pickle(_, arrays):
    arrays["weights0"] = np.array([{"any": "object"}], dtype=object)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_newer, "format 99; this version reads format 1"),
        (_weights, "not what their hash says"),
        (_provenance, "not what their hash says"),
        (_shape, "holds no weights of empathy-gym, or is damaged"),
        (_pickle, "holds no weights of empathy-gym, or is damaged"),
    ],
)
def test_weights_that_were_changed_are_refused(toy_heads, tmp_path, change, message):
    path = tmp_path / "heads.npz"
    toy_heads[0].save(path)
    edited(path, change)
    with pytest.raises(ConfigError, match=message):
        load(path)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_what_is_no_weights_file_is_refused(tmp_path, data):
    path = tmp_path / "heads.npz"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        load(path)
    with pytest.raises(ConfigError, match="no weights in"):
        load(tmp_path / "nothing.npz")


def test_a_cut_file_is_refused(toy_heads, tmp_path):
    path = tmp_path / "heads.npz"
    toy_heads[0].save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ConfigError, match="damaged"):
        load(path)


def test_weights_for_another_hashing_are_refused(toy_heads, tmp_path, monkeypatch):
    path = tmp_path / "heads.npz"
    toy_heads[0].save(path)
    monkeypatch.setattr(linear, "_PROBE", ("another", "probe"))
    with pytest.raises(ConfigError, match="another hashing"):
        load(path)


def test_the_hash_covers_spec_and_weights(toy_heads):
    heads = toy_heads[0]
    other = dataclasses.replace(heads, spec=dataclasses.replace(heads.spec, sublinear=True))
    head = heads.heads["kind"]
    nudged = dataclasses.replace(head, bias=head.bias + 1)
    changed = dataclasses.replace(heads, heads={**heads.heads, "kind": nudged})
    assert len({heads.hash, other.hash, changed.hash}) == 3
