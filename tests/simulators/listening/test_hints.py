"""The listener's ear for hints: counted in `train`, tried on situations it has not seen."""

from __future__ import annotations

import pytest

from empathy_gym.simulators.library.compiler import bundled_situations
from empathy_gym.simulators.listening.hints import MODES, hinted
from empathy_gym.simulators.listening.phrasebook import untold

STRANGE = "The reservoir was drained on a Thursday. Forty crates of plums stood by the weir."


@pytest.mark.parametrize("split", ["validation", "test"])
def test_hints_of_unseen_situations_are_mostly_understood(split: str) -> None:
    hints = [
        (n, h) for s in bundled_situations() if s.split == split for n, own in s.hints.items() for h in own
    ]
    heard = sum(hinted(hint, 0)[:1] == (MODES[need],) for need, hint in hints)
    assert 100 * heard >= 55 * len(hints), f"{heard} of {len(hints)}"


def test_what_is_no_hint_is_not_taken_for_one() -> None:
    assert hinted(STRANGE, 4) == ()
    assert hinted("", 0) == ()


def test_facts_and_questions_of_bundled_users_are_set_aside() -> None:
    source = bundled_situations()[0]
    fact, hint = source.situation.facts[0].text, source.hints["advice"][0]
    assert untold(f"{fact} {hint}") == hint
    assert untold(fact) == ""
    assert untold(STRANGE) is None
