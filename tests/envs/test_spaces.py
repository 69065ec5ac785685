from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from empathy_gym.envs import UnicodeText


@given(st.text(st.characters(exclude_categories=())))
def test_every_string_is_in_the_space(text):
    assert text in UnicodeText()


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"], np.array("a")])
def test_nothing_but_strings_is_in_the_space(value):
    assert value not in UnicodeText()


def test_the_length_is_bounded():
    assert "a" * 1_048_576 in UnicodeText() and "a" * 1_048_577 not in UnicodeText()


def test_samples_are_short_strings_of_the_space_and_follow_the_seed():
    space, again = UnicodeText(seed=3), UnicodeText(seed=3)
    samples = [space.sample() for _ in range(300)]
    assert samples == [again.sample() for _ in range(300)]
    assert (
        all(s in space for s in samples)
        and 200 < max(map(len, samples)) <= 256
        and min(map(len, samples)) < 50
    )
    assert len(UnicodeText(4, seed=0).sample()) <= 4


def test_a_mask_without_a_length_still_draws_a_short_string():
    space = UnicodeText(seed=0)
    only_a = np.array([c == "a" for c in space.character_list], dtype=np.int8)
    assert set(space.sample(mask=(None, only_a))) <= {"a"}
    assert len(space.sample(mask=(7, only_a))) == 7
    assert len(space.sample(probability=(None, only_a / only_a.sum()))) <= 256


def test_spaces_are_equal_by_their_length_only():
    assert UnicodeText(seed=1) == UnicodeText(seed=2) != UnicodeText(5)
    assert UnicodeText() != spaces.Text(1_048_576)


def test_the_text_of_a_space_is_short():
    assert repr(UnicodeText()) == "UnicodeText(1048576)"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_space_samples_on(copied):
    space = UnicodeText(seed=0)
    again = copied(space)
    assert again == space and again.sample() == space.sample()


def test_a_batch_of_spaces_is_a_tuple():
    batch = batch_space(UnicodeText(), 3)
    assert isinstance(batch, spaces.Tuple) and ("a", "", "ü") in batch and ("a", "b") not in batch
