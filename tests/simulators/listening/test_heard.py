"""What is heard in a conversation: tone, mood, what is at issue, limits, requests, goodbyes, hints."""

from __future__ import annotations

import pytest

from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.library.compiler import bundled_situations, load_scenarios, load_temperaments
from empathy_gym.simulators.listening.heard import MOODS, TONES, hear, heard
from empathy_gym.simulators.listening.hints import MODES, evidence, hinted

SCENARIO = load_scenarios("train")[0]
REACTION = SCENARIO.speech.reactions


@pytest.mark.parametrize("key", sorted(REACTIONS))
def test_every_reaction_has_a_tone(key: str) -> None:
    lines = [line for t in load_temperaments() for line in t.reactions.get(key, ())]
    tones = {hear(line).tone for line in lines}
    assert tones <= set(TONES) and "none" not in tones
    size, _, mood = key.partition("_")
    if size in ("moved", "eased", "flat", "missed"):
        assert size in tones and any(MOODS[hear(line).mood] == mood for line in lines)


@pytest.mark.parametrize(
    ("key", "tone"),
    [
        ("hurt", "harmed"),
        ("held", "held"),
        ("leave_success", "goodbye"),
        ("last_low", "goodbye"),
        ("evaded", "evaded"),
    ],
)
def test_a_reaction_is_heard_as_what_it_is(key: str, tone: str) -> None:
    assert hear(REACTION[key][0]).tone == tone
    assert hear(REACTION[key][0]).goodbye == (tone == "goodbye")


def test_the_opening_answers_nothing_and_shows_no_mood() -> None:
    opening = hear(f"{SCENARIO.openings[0]} {SCENARIO.situation.facts[0].text}", True)
    assert (opening.tone, opening.mood, opening.goodbye, opening.at_issue) == ("none", 0, False, False)
    assert opening.told == (SCENARIO.situation.facts[0].text,) and not any(opening.evidence)


def test_questions_objections_and_requests_are_told_apart() -> None:
    claim = next(c for s in bundled_situations() for c in s.situation.claims if c.asks and c.pushbacks)
    asked, pushed = (
        hear(f"{REACTION['flat_mid'][0]} {line}") for line in (claim.asks[0], claim.pushbacks[0])
    )
    assert asked.at_issue and not asked.objects and asked.raised == (claim.id,)
    assert pushed.at_issue and pushed.objects
    for request in [r for s in bundled_situations() for r in s.situation.requests][:12]:
        line = hear(f"{REACTION['flat_mid'][0]} {request.text}")
        assert line.request == (None if request.claim else request.kind) and line.at_issue == bool(
            request.claim
        )


def test_the_mood_last_shown_is_kept() -> None:
    lines = [REACTION["eased_high"][0], REACTION["evaded"][0]]
    messages = [{"role": "user", "content": "Hm."}]
    for line in lines:
        messages += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": line}]
    conversation = heard(messages)  # type: ignore[arg-type]
    assert MOODS[conversation.mood] == "high" and conversation.last.mood == 0
    assert conversation.spoken == ("I see.", "I see.") and conversation.entry is None


def test_evidence_adds_up_over_lines() -> None:
    first, second = SCENARIO.hints[:2]
    once = heard([{"role": "user", "content": f"{REACTION['flat_mid'][0]} {first}"}]).evidence
    said = [
        {"role": "user", "content": f"{REACTION['flat_mid'][0]} {first}"},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": f"{REACTION['flat_mid'][1]} {second}"},
    ]
    assert heard(said).evidence == tuple(a + b for a, b in zip(once, evidence(second), strict=True))  # type: ignore[arg-type]


def test_evidence_and_the_ways_hinted_at_agree() -> None:
    ways = list(MODES.values())
    for source in bundled_situations()[:20]:
        for lines in source.hints.values():
            for line in lines:
                found, first = evidence(line), hinted(line, 0)[:1]
                assert (not first and not any(found)) or found[ways.index(first[0])] == max(found) > 0


@pytest.mark.parametrize(
    ("line", "tone", "goodbye"),
    [
        ("Thanks, that helps, it's a relief.", "moved", False),
        ("No, that's not it, and it's worse.", "missed", False),
        ("The bus was late.", "flat", False),
        ("I have to go now, bye.", "goodbye", True),
    ],
)
def test_a_user_from_elsewhere_is_heard_by_a_few_words(line: str, tone: str, goodbye: bool) -> None:
    one = hear(line)
    assert (one.tone, one.goodbye, one.known) == (tone, goodbye, False)


def test_what_a_stranger_wants_left_out_is_heard() -> None:
    line = hear("I'd rather not go into my brother's money.")
    assert line.limits == ("topic",) and line.avoided
    assert hear("I went into town.").limits == ()


@pytest.mark.parametrize("text", ["", "...", "\ud800", "你好", "a" * 5000, "{x}"])
def test_any_text_at_all_can_be_heard(text: str) -> None:
    assert hear(text).text == text and heard([{"role": "user", "content": text}]).last.text == text
