from __future__ import annotations

import hashlib
import re

import pytest

from empathy_gym.envs.instructions import instruction_for, instruction_hash
from empathy_gym.simulators.scenario import NEEDS

REVEALING = r"scor|reward|emotion|empath|trust|point|band|evaluat|simulat|hidden|need"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("think", [False, True])
def test_an_instruction_says_nothing_of_how_a_conversation_is_judged(language, think):
    text = instruction_for(language, think)
    assert not re.search(REVEALING, text, re.IGNORECASE)
    assert not any(need in text for need in NEEDS)
    assert "empathy-gym" not in text and not text.startswith("<!--")
    assert not re.search("分数|奖励|情绪|评分|信任|需求", text)


def test_a_language_without_an_instruction_gets_the_english_one():
    assert instruction_for("sw", True) == instruction_for("en", True) != instruction_for("zh", True)


def test_the_hash_is_that_of_the_text():
    text = instruction_for("en")
    assert instruction_hash(text) == hashlib.sha256(text.encode()).hexdigest()
    assert (
        len({instruction_hash(instruction_for(lang, t)) for lang in ("en", "zh") for t in (False, True)}) == 4
    )
