from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_gym.envs.think import parse

PIECES = st.lists(st.sampled_from(["<think>", "</think>", "a", " b ", "\n", "<", "think>"]), max_size=8).map(
    "".join
)


@pytest.mark.parametrize(
    ("action", "heard"),
    [
        ("<think>plan</think>hello", "hello"),
        ("plan</think>hello", "hello"),
        ("</think>hello", "hello"),
        ("<think>plan</think>", ""),
        ("<think>plan</think>\n\n hello \n", "hello"),
        ("hello", None),
        ("<think>plan", None),
        ("<think>plan hello</think>a</think>b", None),
        ("<think>a</think><think>b</think>c", None),
        ("<think><think>a</think>c", None),
        ("a</think>b<think>c", None),
        ("", None),
    ],
)
def test_with_thinking_exactly_one_closing_tag_is_valid(action, heard):
    assert parse(action, True) == heard


@pytest.mark.parametrize(
    ("action", "heard"),
    [
        (" hello\n", " hello\n"),
        ("<think>plan</think>\nhello", "hello"),
        ("plan</think>hello", "hello"),
        ("<think>cut off", ""),
        ("hello <think>cut off", "hello"),
        ("<think>a</think>one <think>b</think>two", "one two"),
        ("", ""),
    ],
)
def test_strip_takes_thinking_out_where_there_is_some(action, heard):
    assert parse(action, "strip") == heard


@given(PIECES)
def test_strip_never_refuses_and_leaves_no_tag(action):
    heard = parse(action, "strip")
    assert heard is not None and "</think>" not in heard


@given(PIECES)
def test_what_is_valid_with_thinking_is_a_suffix_without_tags(action):
    heard = parse(action, True)
    assert (heard is None) == (action.count("</think>") != 1 or "<think>" in (heard or "") or heard is None)
    if heard is not None:
        assert action.rstrip().endswith(heard) and "think>" not in heard.replace("<think", "").replace(
            "think>", ""
        )


@given(st.text())
def test_without_thinking_every_word_is_heard(action):
    assert parse(action, False) == action


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think></think>", "<"])
@pytest.mark.parametrize("mode", [True, "strip"])
def test_a_megabyte_of_tags_takes_no_time(piece, mode):
    start = time.perf_counter()
    parse(piece * (1_048_576 // len(piece)), mode)
    assert time.perf_counter() - start < 2.0
