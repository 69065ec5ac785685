"""The talks written by hand for the warm start."""

from __future__ import annotations

import re

import pytest

from empathy_gym import ConfigError
from empathy_gym.agents.trainers.warm_start import written_talks
from empathy_gym.simulators.library.compiler import load_scenarios

CLICHES = re.compile(
    r"that must be|i hear you|it sounds like you|valid|i understand how|you are not alone|reach out|self-care",
    re.IGNORECASE,
)


def test_the_bundled_talks_are_short_varied_and_free_of_cliches() -> None:
    talks = written_talks("bundled")
    replies = [line for talk in talks for line in talk[1::2]]
    assert len(talks) >= 20 and all(len(talk) == 8 for talk in talks)
    assert len(set(replies)) == len(replies) and max(len(r.split()) for r in replies) <= 24
    assert not [r for r in replies if CLICHES.search(r)]
    openings = [" ".join(r.lower().split()[:3]) for r in replies]
    assert max(map(openings.count, openings)) <= 3
    # Not every turn is a question: people who only ask do not listen.
    assert 0.3 < sum("?" in r for r in replies) / len(replies) < 0.75


def test_no_person_of_the_library_says_a_line_of_the_talks() -> None:
    said = {
        line
        for split in ("train", "validation", "test")
        for s in load_scenarios(split)
        for line in s.openings
    }
    assert len(said) > 100
    assert not said & {x for t in written_talks("bundled") for x in t}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b", "must be a list of conversations"),
        ("[]", "must be a list of conversations"),
        ('[["a", "b"], ["a"]]', "conversation 2 must be a list of lines"),
        ('[["a", 3]]', "conversation 1 must be a list of lines"),
        ('[["a", " "]]', "conversation 1 must be a list of lines"),
        ("[", "talks.yaml"),
    ],
)
def test_a_file_of_talks_that_cannot_be_used_is_named(tmp_path, text, said) -> None:
    file = tmp_path / "talks.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        written_talks(str(file))


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        written_talks("nowhere.yaml")
