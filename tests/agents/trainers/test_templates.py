"""A price on phrases that everybody is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_gym.agents.rollout.collect import Rollout, Start, Trajectory, Turn
from empathy_gym.agents.trainers.templates import phrases, priced, template_shares
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import BeginRequest

STOCK = "That sounds really hard for you."
OWN = "Three coffees, and her elbow was on your seat."


def test_a_phrase_is_five_words_in_any_case_and_with_any_marks() -> None:
    assert phrases("One two, THREE four - five six!") == {
        ("one", "two", "three", "four", "five"),
        ("two", "three", "four", "five", "six"),
    }
    assert phrases("one two three four") == frozenset()


def test_what_other_people_are_told_counts_and_what_siblings_say_does_not() -> None:
    shares = template_shares([[STOCK, OWN, OWN], [STOCK + " Really.", "No."], ["Yes.", STOCK.upper()]])
    assert shares == [[2 / 4, 0.0, 0.0], [2 / 5, 0.0], [0.0, 2 / 5]]
    assert template_shares([[STOCK, STOCK]]) == [[0.0, 0.0]] and template_shares([]) == []


@given(
    st.lists(
        st.lists(st.sampled_from(["a b c d e", "a b c d e f", "b c d e f", "x", ""]), max_size=3), max_size=4
    )
)
def test_shares_are_shares(groups) -> None:
    shares = template_shares(groups)
    assert [len(row) for row in shares] == [len(group) for group in groups]
    assert all(0.0 <= share <= 1.0 for row in shares for share in row)


@pytest.fixture(scope="module")
def rollout():
    """Two groups of two, one turn each; the second reply of each group is the same stock phrase."""
    setting = ChatSetting.make({"scenarios": "validation", "max_turns": 1})
    groups = []
    for group, scenario in enumerate(setting.scenarios[:2]):
        siblings = []
        for member, reply in enumerate((OWN if group else "I see.", STOCK)):
            before = setting.begin([BeginRequest(scenario, 7, setting.difficulty, 1, None)])
            (made,) = setting.advance(before, [reply])
            turn = Turn(0, 0, 3, made.reward, f"<think>{STOCK}</think>{reply}")
            start = Start(f"{group}{member}", scenario, 7, member, group)
            siblings.append(Trajectory(start, (), (turn,), made.dialogue))
        groups.append(tuple(siblings))
    return Rollout(tuple(groups), {}, 0, 0, 0)


def test_a_reply_pays_for_what_others_hear_and_not_for_its_thoughts(rollout) -> None:
    paid = priced(rollout, 0.2)
    lost = [
        [old.total - new.total for old, new in zip(*pair, strict=True)]
        for pair in zip(rollout.groups, paid.groups, strict=True)
    ]
    # One of the two replies to somebody else is the same.
    assert lost == [pytest.approx([0.0, 0.1]), pytest.approx([0.0, 0.1])]
    assert priced(rollout, 0.0) is rollout
    assert [t.dialogue for g in paid.groups for t in g] == [t.dialogue for g in rollout.groups for t in g]


def test_an_empty_rollout_stays_empty() -> None:
    assert priced(Rollout((), {"engine": 1}, 0, 0, 0), 1.0).groups == ()
