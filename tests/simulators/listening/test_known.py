"""Known sentences are found in the lines of the bundled users, and nothing is found elsewhere."""

from __future__ import annotations

import pytest

from empathy_gym.simulators.library.compiler import bundled_situations, load_scenarios, load_temperaments
from empathy_gym.simulators.listening.known import parts, situations
from empathy_gym.simulators.listening.phrasebook import look_up, reaction_in, untold

SCENARIOS = load_scenarios("train")[::60]
STRANGE = "The reservoir was drained on a Thursday. Forty crates of plums stood by the weir."


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.id)
def test_a_line_is_taken_apart_into_what_it_was_made_of(scenario) -> None:
    reaction = scenario.speech.reactions["eased_mid"][2]
    first, second = scenario.situation.facts[3:5]
    hint = scenario.hints[0]
    taken = parts(f"{reaction} {first.text} {second.text} {hint}")
    assert [(text.kind, text.text) for text in taken.texts] == [
        ("reaction", reaction), ("fact", first.text), ("fact", second.text),
    ]  # fmt: skip
    assert taken.texts[0].what == "eased_mid" and taken.untold == taken.rest == hint


def test_asides_and_limits_are_known_but_are_not_set_aside_for_the_listener() -> None:
    situation = next(s.situation for s in bundled_situations() if s.situation.boundaries)
    fact, limit = situation.facts[0].text, situation.boundaries[0]
    taken = parts(f"{fact} {limit.text}")
    assert [(text.kind, text.what) for text in taken.texts] == [("fact", ""), ("limit", limit.kind)]
    assert taken.untold == limit.text == untold(f"{fact} {limit.text}") and taken.rest == ""


def test_every_reaction_is_known_by_its_key() -> None:
    keys: dict[str, set[str]] = {}
    for temperament in load_temperaments():
        for key, options in temperament.reactions.items():
            for line in options:
                keys.setdefault(line, set()).add(key)
    for line, own in keys.items():
        assert reaction_in(line) in own and reaction_in(f"{line} {STRANGE}") in own


def test_every_fact_is_found_in_a_line() -> None:
    for text in situations():
        found = [one.text for one in parts(f"Mm. {text} So.").texts if one.kind == "fact"]
        assert found == [text]


@pytest.mark.parametrize("line", [STRANGE, "", " ", "  a  b ", "Yes", "你好", "\ud800", "a" * 5000])
def test_of_somebody_else_nothing_is_known(line: str) -> None:
    assert parts(line).untold is None and not parts(line).texts and parts(line).rest == " ".join(line.split())
    assert look_up([line]) is None


def test_a_part_of_a_sentence_is_not_the_sentence() -> None:
    text = next(iter(situations()))
    assert not parts(text[:-1]).texts and not parts(f"{text}s").texts and not parts(f"x{text}").texts


def test_a_claim_just_asked_about_comes_first() -> None:
    situation = next(s.situation for s in bundled_situations() if len(s.situation.claims) > 1)
    told = [fact.text for fact in situation.facts]
    for claim in situation.claims[:2]:
        for line in (claim.asks[0], claim.pushbacks[0]) if claim.pushbacks else claim.asks[:1]:
            entry = look_up([*told, line])
            assert entry is not None and entry.at_issue and entry.fair[0] in claim.fair_readings
    assert not look_up(told).at_issue  # type: ignore[union-attr]
