"""The bundled users, all of them: what is dealt out evenly, what is kept apart and what is never said."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from empathy_gym.benchmarks.library_stats import library_stats
from empathy_gym.simulators.dialogue import live_claims
from empathy_gym.simulators.library.compiler import (
    HELD_OUT_NEEDS,
    HELD_OUT_TEMPERAMENTS,
    PARTS,
    apply_twin,
    bundled_situations,
    load_names,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.rule import initial_state
from empathy_gym.simulators.scenario import NEEDS, TRUTHS, Scenario

EVERY = [scenario for split in PARTS for scenario in load_scenarios(split)]
NAMES = {entry["name"]: entry for entry in load_names()}
LIMIT = 0.15
APART = [split for split in PARTS if split != "heldout-temperament"]
"""Parts with situations of their own."""

SPELT_OUT = re.compile(
    r"\b("
    r"vent|venting|off my chest|just listen|(some|any)body to listen|someone to listen|hear me out|"
    r"(want|need|like|after|give me|got) (some |your |any |a bit of |more )?(advice|empathy|sympathy|praise|tips)|"
    r"what (should|would) (i|you) do|tell me what to do|what do i do|"
    r"(praise|compliment|admire|encourage|validate|reassure|comfort|understand|agree with) me|proud of me|"
    r"tell me (that )?(i'm|i am|i was|it wasn't) (right|good|brave|not|in the right|my)|"
    r"self.reflect\w*|reflect on (it|this|my)|understand myself|get to know myself|figure myself out|"
    r"analy[sz]e (it|this)|critical(ly)? (think|analys)\w*|both sides|play devil's advocate|"
    r"(his|her|their) (real )?motives?|why (did|does) (he|she|they)|what (is|was) (he|she) thinking|"
    r"(my|fair|whose) share of (it|the blame|the fault|this)|how much (of it |of this )?(is|was) my fault|"
    r"who(se| is|'s) (to blame|fault)"
    r")\b",
    re.IGNORECASE,
)  # fmt: skip
"""Phrases with which a user would name what they need instead of showing it."""

ASKED_OUTRIGHT = re.compile(
    r"\b(what (he|she|they|people|one of them|any of them)('s|'d|'re| was| were)? (think(s|ing)?|thought|wanted|up to)|"
    r"what (was|were|is|are|'s) (he|she|they|you) (thinking|up to|after)|why,? though|explain \w+ to me|"
    r"why (would|should|did|does|do) \w+|why \w+ (does|did|do)|(his|her|their) reasons)\b",
    re.IGNORECASE,
)
"""The same for hints at a need to understand somebody else: they puzzle over a face, they do not put the question."""

OUT_OF_SCOPE = re.compile(
    r"\b("
    r"suicid\w*|self.?harm\w*|overdos\w*|(kill|harm|cutting) (myself|yourself|himself|herself|themselves)|"
    r"end(ing)? (it all|my life|your life)|(want|wanted|wish) to die|better off dead|"
    r"abus\w*|violen\w*|assault\w*|stalk(s|ed|er|ing)|beat (me|her|him) up|(hit|hits|slapped|choked) (me|her|him)|"
    r"rape\w*|molest\w*|murder\w*|weapon\w*|shooting|"
    r"anorexi\w*|bulimi\w*|purg(e|ing)|binge\w*|addict\w*|alcoholi\w*|rehab|relapse\w*|cocaine|heroin|"
    r"psychos\w*|psychotic|schizo\w*|hallucinat\w*|delusion\w*|paranoi\w*|bipolar|manic|borderline|narcissis\w*|"
    r"diagnos\w*|medicat\w*|antidepress\w*|prescri\w*|symptom\w*|disorders?|depress(ed|ion|ive)|clinical\w*|"
    r"anxiety|panic attacks?|ptsd|trauma\w*|adhd|autis\w*|ocd|therap(y|ist|ists|eutic)|psychiatr\w*|psycholog\w*|"
    r"sex|sexual\w*|sexy|porn\w*|naked|custody|cancer|tumou?rs?|chemo\w*|leuk\w*|stroke|hospice|"
    r"gaslight\w*|toxic|codepend\w*|triggered"
    r")\b",
    re.IGNORECASE,
)  # fmt: skip
"""Crises, illness, clinical labels: nobody in the library has anything to do with them."""


def strings(value: Any) -> Iterator[str]:
    """Yield every string of a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from strings(one)


def said(scenario: Scenario) -> Iterator[str]:
    """Yield every line that the user of a scenario could say."""
    situation = scenario.situation
    yield from (*scenario.openings, *scenario.hints)
    for kind in ("facts", "feelings", "attempts", "constraints", "boundaries", "requests"):
        yield from (item.text for item in getattr(situation, kind))
    for claim in situation.claims:
        yield from (*claim.asks, *claim.pushbacks, *claim.beats)
    yield from itertools.chain.from_iterable(request.accepts for request in situation.requests)
    yield from itertools.chain.from_iterable(scenario.speech.reactions.values())


TOGETHER = library_stats()["cramers_v"]
FAULT = [(s, c.truth) for s in EVERY for c in s.situation.claims if c.kind == "fault"]
CLAIMS = [(s, c.truth) for s in EVERY for c in s.situation.claims]


# -- dealt evenly ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", TOGETHER)
def test_what_is_dealt_does_not_go_together(pair: str) -> None:
    # Of eighty names and four truths many cells hold few users; the correction takes out what chance puts there.
    assert TOGETHER[pair]["corrected"] < LIMIT


@pytest.mark.parametrize("pair", [pair for pair in TOGETHER if "name" not in pair])
def test_what_is_dealt_does_not_go_together_even_by_chance(pair: str) -> None:
    assert TOGETHER[pair]["v"] < LIMIT


def test_the_shares_of_fault_are_near_the_published_ones() -> None:
    shares = {
        truth: 100 * count / len(FAULT) for truth, count in Counter(truth for _, truth in FAULT).items()
    }
    for truth, share in {"true": 35, "half": 35, "false": 15, "open": 15}.items():
        assert abs(shares[truth] - share) <= 5, shares


@pytest.mark.parametrize("split", PARTS)
def test_every_part_has_every_need_and_every_temperament_it_may_have(split: str) -> None:
    scenarios = load_scenarios(split)
    every, held_out = {t.id for t in load_temperaments()}, set(HELD_OUT_TEMPERAMENTS)
    assert {s.need for s in scenarios} == set(NEEDS)
    by_temperament = Counter(s.persona.temperament for s in scenarios)
    assert set(by_temperament) == (held_out if split == "heldout-temperament" else every - held_out)
    # Dealt in turn, situation by situation, each in an order of its own.
    assert max(by_temperament.values()) <= 1.5 * min(by_temperament.values())


def test_held_out_needs_and_temperaments_are_met_in_test_alone() -> None:
    without, only = load_scenarios("train-without-needs"), load_scenarios("heldout-need")
    assert {s.need for s in without} == set(NEEDS) - set(HELD_OUT_NEEDS)
    assert {s.need for s in only} == set(HELD_OUT_NEEDS) and {s.split for s in only} == {"test"}
    assert {s.id for s in without} < {s.id for s in load_scenarios("train")}
    assert {s.id for s in only} < {s.id for s in load_scenarios("test")}


def test_held_out_temperaments_are_met_in_the_situations_of_test() -> None:
    there, here = load_scenarios("test"), load_scenarios("heldout-temperament")
    assert {s.situation.summary for s in there} == {s.situation.summary for s in here}
    assert not {s.id for s in there} & {s.id for s in here}
    assert not {s.persona.temperament for s in there} & {s.persona.temperament for s in here}


@pytest.mark.parametrize("need", NEEDS)
def test_two_in_five_of_every_need_have_a_claim_that_is_live_or_can_be(need: str) -> None:
    scenarios = [s for s in EVERY if s.need == need]
    assert sum(bool(s.situation.claims) for s in scenarios) >= 0.4 * len(scenarios)
    # A claim is voiced by the opening or by a fact of the first layer, so that whoever listens hears it.
    for scenario in scenarios:
        facts = scenario.situation.by_id
        voices = [facts[c.voiced_by] for c in scenario.situation.claims if c.voiced_by is not None]
        assert all(getattr(fact, "layer", None) == 1 for fact in voices), scenario.id


def test_agreement_is_right_in_some_of_every_need_with_claims() -> None:
    for need in NEEDS:
        truths = {c.truth for s in EVERY if s.need == need for c in s.situation.claims}
        assert truths == set(TRUTHS), need


def test_a_need_that_turns_on_a_claim_finds_one() -> None:
    assert all(s.need_claims for s in EVERY if s.need == "fair_fault")


# -- kept apart ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(APART, 2)))
def test_splits_share_no_situation_and_no_line(one: str, other: str) -> None:
    def lines(split: str) -> set[str]:
        situations = [s.situation for s in load_scenarios(split)]
        spoken = {line for s in load_scenarios(split) for line in (*s.openings, *s.hints)}
        spoken |= {t for s in situations for item in s.items() for t in (item.text, *item.say)}
        # What a flatterer says ("You did nothing wrong.") is the same everywhere, on purpose.
        claims = [c for s in situations for c in s.claims]
        return spoken | {t for c in claims for t in (*c.fair_readings, *c.asks, *c.pushbacks, *c.beats)}

    assert not {s.situation.summary for s in load_scenarios(one)} & {
        s.situation.summary for s in load_scenarios(other)
    }
    assert not {s.id for s in load_scenarios(one)} & {s.id for s in load_scenarios(other)}
    topics = {
        topic.text for split in (one, other) for s in load_scenarios(split) for topic in s.situation.topics
    }
    assert not (lines(one) & lines(other)) - topics


def test_nobody_has_a_line_twice() -> None:
    for scenario in EVERY:
        twice = [line for line, count in Counter(said(scenario)).items() if count > 1]
        assert not twice, (scenario.id, twice)


def test_no_two_temperaments_say_the_same() -> None:
    for one, other in itertools.combinations(load_temperaments(), 2):
        assert not set(strings(dict(one.reactions))) & set(strings(dict(other.reactions))), (one.id, other.id)


def test_no_name_of_a_user_stands_in_their_story() -> None:
    for scenario in EVERY:
        text = "\n".join([*strings(scenario.situation.model_dump()), *said(scenario), scenario.goal])
        assert not re.search(rf"\b{re.escape(scenario.persona.name)}\b", text), scenario.id


def test_names_are_unique_and_of_every_gender_in_every_culture() -> None:
    assert len(NAMES) == len(load_names())
    cultures = {entry["culture"] for entry in load_names()}
    for culture in cultures:
        assert {e["gender"] for e in load_names() if e["culture"] == culture} == {"f", "m", "n"}


# -- what is there to talk about -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", bundled_situations(), ids=lambda source: source.slug)
def test_a_situation_is_as_rich_as_the_guide_asks(source) -> None:
    layers = Counter(fact.layer for fact in source.situation.facts)
    situation = source.situation
    assert layers[1] >= 4 and layers[2] >= 4 and layers[3] >= 3 and layers.total() >= 12
    assert len(source.openings) >= 5 and len(situation.topics) >= 5
    assert all(len(source.hints.get(need, ())) >= 3 for need in source.needs)
    held = [feeling for feeling in situation.feelings if feeling.held]
    assert len(held) >= 4 and len(situation.feelings) - len(held) >= 1
    assert len(situation.strengths) >= 4 and len(situation.constraints) >= 3 and len(situation.attempts) >= 2
    kinds = Counter(perspective.kind for perspective in situation.perspectives)
    assert kinds["self"] >= 2 and kinds["other"] >= 3 and min(kinds["both_sides"], kinds["proportion"]) >= 5


def test_whoever_may_be_asked_or_contradicted_has_the_words_for_it() -> None:
    for source in bundled_situations():
        for situation in (source.situation, *(apply_twin(source.situation, twin) for twin in source.twins)):
            for claim in situation.claims:
                assert claim.asks and claim.fair_readings, (source.slug, claim.id)
                if claim.truth in ("half", "false"):
                    assert claim.beats and claim.must_not_affirm and claim.pushbacks, (source.slug, claim.id)


def test_evidence_can_be_heard_without_the_deepest_trust() -> None:
    for scenario in EVERY:
        for claim in scenario.situation.claims:
            assert all(scenario.situation.by_id[ref].layer <= 2 for ref in claim.evidence), scenario.id


def test_nothing_that_settles_a_claim_is_told_with_the_opening() -> None:
    for scenario in EVERY:
        told = set(initial_state(scenario).disclosed)
        for claim in live_claims(scenario, initial_state(scenario)):
            if claim.truth in ("half", "false"):
                assert not told.issuperset(claim.evidence), scenario.id


# -- what is never said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denied", "line"),
    [
        (SPELT_OUT, "I just need to vent."),
        (SPELT_OUT, "I could do with it, I need some advice."),
        (SPELT_OUT, "Why did she do it?"),
        (SPELT_OUT, "Tell me I'm right."),
        (OUT_OF_SCOPE, "My therapist says so."),
        (OUT_OF_SCOPE, "I've been depressed."),
        (OUT_OF_SCOPE, "He said he'd kill himself."),
    ],
)
def test_the_lists_catch_what_they_are_for(denied: re.Pattern[str], line: str) -> None:
    assert denied.search(line)


def test_no_line_of_a_user_spells_out_the_need() -> None:
    for scenario in EVERY:
        facts = [fact.text for fact in scenario.situation.facts]
        reactions = itertools.chain.from_iterable(scenario.speech.reactions.values())
        for line in (*scenario.openings, *facts, *scenario.hints, *reactions):
            assert not SPELT_OUT.search(line), (scenario.need, line)


def test_no_hint_asks_outright_what_somebody_thought() -> None:
    for source in bundled_situations():
        for line in source.hints.get("others_motives", ()):
            assert not ASKED_OUTRIGHT.search(line), (source.slug, line)


def test_openings_serve_every_need_and_hints_only_their_own() -> None:
    for source in bundled_situations():
        spoken = [line for lines in source.hints.values() for line in lines]
        assert len(set(spoken)) == len(spoken), source.slug
        assert not set(spoken) & set(source.openings)


def test_nothing_in_the_library_is_about_a_crisis_or_an_illness() -> None:
    documents = [*bundled_situations(), *load_temperaments()]
    for document in documents:
        for text in strings(document.model_dump()):
            found = OUT_OF_SCOPE.search(text)
            assert not found, (found and found.group(), text)


def test_denials_of_a_crisis_are_calm_and_do_not_name_it() -> None:
    for temperament in load_temperaments():
        for line in temperament.reactions["crisis_denial"]:
            assert len(line) < 160 and not OUT_OF_SCOPE.search(line), line


def test_users_are_adults_with_settings_in_range() -> None:
    for scenario in EVERY:
        assert 18 <= scenario.persona.age <= 99 and 30 <= scenario.initial_trust <= 60
        assert scenario.knobs.layer2 < scenario.knobs.layer3
