"""The compiler: what a situation file and the temperaments become."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from empathy_gym.simulators.errors import ScenarioError
from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.library import compiler as module
from empathy_gym.simulators.library.compiler import (
    DECK,
    SPLITS,
    SituationFile,
    Temperament,
    Twin,
    apply_twin,
    bundled_situations,
    compile_situation,
    find_scenario,
    library_hash,
    load_names,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.scenario import ITEM_KINDS, Boundary, Scenario
from empathy_gym.simulators.situation import Inconsistent

WITH_TWINS = [source for source in bundled_situations() if source.twins]
MAY_DIFFER = {
    "facts": {"text", "cues", "say", "topics"},
    "claims": {"truth", "evidence", "fair_readings", "repair", "asks", "pushbacks", "beats"},
    "perspectives": {"text", "cues", "say", "because"},
    "strengths": {"text", "cues", "say", "evidence"},
    "attempts": {"text", "cues", "say"},
    "constraints": {"text", "cues", "say"},
    "feelings": {"text", "cues", "say", "because"},
}


def compiled(source: SituationFile) -> list[Scenario]:
    return list(compile_situation(source, load_temperaments(), load_names()))


def edited(source: SituationFile, **changes: object) -> SituationFile:
    return SituationFile.model_validate({**source.model_dump(), **changes})


def test_a_situation_becomes_one_scenario_for_each_need_and_temperament() -> None:
    for source in bundled_situations():
        pairs = Counter((s.need, s.persona.temperament) for s in compiled(source))
        assert pairs == Counter((n, t.id) for n in source.needs for t in load_temperaments())


def test_a_scenario_takes_its_manner_from_the_temperament_and_its_matter_from_the_situation() -> None:
    temperaments = {t.id: t for t in load_temperaments()}
    for source in bundled_situations():
        for s in compiled(source):
            t = temperaments[s.persona.temperament]
            assert (
                s.speech.reactions == t.reactions
                and s.persona.style == t.style
                and s.initial_trust == t.trust
            )
            assert (s.knobs.gain, s.knobs.cost, s.knobs.layer2, s.knobs.layer3) == (
                t.gain,
                t.cost,
                t.layer2,
                t.layer3,
            )
            assert (s.knobs.pushes_back, s.knobs.declines) == (t.pushes_back, t.declines)
            assert s.openings == source.openings and s.hints == source.hints.get(s.need, ())
            assert (
                source.ages[0] <= s.persona.age <= source.ages[1]
                and s.persona.occupation == source.occupation
            )
            assert s.initial_emotion == 40 and s.knobs.difficulty == "normal"


def test_nothing_of_a_scenario_names_the_file_it_is_from() -> None:
    for source in bundled_situations():
        assert all(source.slug not in json.dumps(s.model_dump(mode="json")) for s in compiled(source))


@pytest.mark.parametrize("source", WITH_TWINS, ids=lambda source: source.slug)
def test_twins_differ_only_in_what_they_may(source: SituationFile) -> None:
    base = source.situation
    for twin in source.twins:
        other = apply_twin(base, twin)
        assert (other.summary, other.people, other.topics) == (base.summary, base.people, base.topics)
        assert other.boundaries == base.boundaries
        for kind in ITEM_KINDS:
            for a, b in zip(getattr(base, kind), getattr(other, kind), strict=True):
                before, after = a.model_dump(), b.model_dump()
                differs = {name for name in before if before[name] != after[name]}
                assert differs <= MAY_DIFFER.get(kind, set()), (kind, a.id)
                assert (a is b) == (not differs), (kind, a.id)
                # What is told freely is the same: only who asks finds out which twin it is.
                assert not (differs and kind == "facts" and before["layer"] == 1), a.id


@pytest.mark.parametrize("source", WITH_TWINS, ids=lambda source: source.slug)
def test_a_twin_with_another_truth_rests_on_other_facts(source: SituationFile) -> None:
    variants = {twin.truth: apply_twin(source.situation, twin) for twin in source.twins}
    assert set(variants) == {"true", "half", "false", "open"}
    for truth, situation in variants.items():
        for claim in (c for c in situation.claims if c.kind == "fault"):
            assert claim.truth == truth
            shown = [situation.by_id[ref].text for ref in claim.evidence]
            for other, there in variants.items():
                if other != truth and {truth, other} != {"true", "open"}:
                    assert shown != [there.by_id[ref].text for ref in claim.evidence], (truth, other)


def test_a_twin_replaces_facts_and_overrides_fields_of_other_items() -> None:
    source = WITH_TWINS[0]
    fact, claim = source.situation.facts[-1], source.situation.claims[0]
    twin = Twin.model_validate(
        {
            "truth": "open",
            "facts": [{"id": fact.id, "layer": fact.layer, "text": "Something else."}],
            "claims": [{"id": claim.id, "repair": "Ask."}],
        }
    )
    other = apply_twin(source.situation, twin)
    assert other.facts[-1].text == "Something else." and other.facts[-1].cues == ()
    assert other.claims[0].repair == "Ask." and other.claims[0].text == claim.text
    assert other.facts[:-1] == source.situation.facts[:-1] and other.claims[0].truth == "open"


def test_every_problem_of_a_twin_is_reported_at_once() -> None:
    situation = WITH_TWINS[0].situation
    fact = situation.facts[0]
    twin = Twin.model_validate(
        {
            "truth": "half",
            "facts": [{"id": fact.id, "layer": 7, "text": "x"}],
            "claims": [{"id": "c77"}, {"no": "id"}],
        }
    )
    with pytest.raises(Inconsistent) as caught:
        apply_twin(situation, twin)
    assert [loc for loc, _ in caught.value.problems] == [
        ("claims", 0, "id"),
        ("claims", 1, "id"),
        ("facts", 0, "layer"),
    ]


def test_the_deck_deals_the_shares_of_fault_that_are_published() -> None:
    assert {truth: 5 * count for truth, count in Counter(DECK).items()} == {
        "true": 35, "half": 35, "false": 15, "open": 15
    }  # fmt: skip


def test_situations_are_dealt_from_different_cards() -> None:
    dealt = {
        tuple(c.truth for s in compiled(source) for c in s.situation.claims if c.kind == "fault")
        for source in WITH_TWINS
    }
    assert len(dealt) > len(WITH_TWINS) // 2


def test_nobody_who_needs_advice_forbids_it() -> None:
    source = bundled_situations()[0]
    no_advice = Boundary(id="b99", text="No advice, please.", kind="act", act="advice")
    no_questions = Boundary(id="b98", text="No questions, please.", kind="act", act="exploration")
    situation = source.situation.model_dump()
    situation["boundaries"] = [no_advice.model_dump(), no_questions.model_dump()]
    source = edited(source, situation=situation, needs=("venting", "advice"), twins=())
    for scenario in compiled(source):
        assert no_questions in scenario.situation.boundaries
        assert (no_advice in scenario.situation.boundaries) == (scenario.need != "advice")


def test_adding_a_situation_changes_no_other_scenario() -> None:
    one, two = bundled_situations()[:2]
    alone = [s.id for s in compiled(one)]
    assert [s.id for source in (two, one) for s in compiled(source)][-len(alone) :] == alone


def test_nobody_has_the_name_of_somebody_in_the_story() -> None:
    source = bundled_situations()[0]
    names = load_names()
    cast = [{"name": entry["name"], "role": "friend"} for entry in names[:-3]]
    source = edited(source, situation={**source.situation.model_dump(), "people": cast})
    assert {s.persona.name for s in compiled(source)} == {entry["name"] for entry in names[-3:]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ages": (40, 30)}, "ages: "),
        ({"needs": ("venting", "venting")}, "needs.1: 'venting' is listed twice"),
        ({"hints": {"advise": ("x",)}}, "hints.advise: no such need. Did you mean 'advice'?"),
        ({"slug": "Not A Slug"}, "slug"),
        ({"needs": ()}, "needs"),
    ],
)
def test_a_situation_file_that_does_not_fit_together_is_refused(changes, says) -> None:
    with pytest.raises(ValidationError) as caught:
        edited(bundled_situations()[0], **changes)
    assert says in str(caught.value)


def test_a_temperament_has_lines_for_every_reaction_and_no_other() -> None:
    data = load_temperaments()[0].model_dump()
    reactions = dict(data["reactions"])
    reactions["hurtt"] = reactions.pop("hurt")
    with pytest.raises(ValidationError, match=r"missing \['hurt'\], unknown \['hurtt'\]"):
        Temperament.model_validate({**data, "reactions": reactions})
    with pytest.raises(ValidationError, match="at least 6"):
        Temperament.model_validate({**data, "reactions": {**data["reactions"], "hurt": ["Ow."]}})
    assert list(load_temperaments()[0].speech.reactions) == list(REACTIONS)


def test_scenarios_come_ordered_by_id_and_are_loaded_once() -> None:
    for split in SPLITS:
        scenarios = load_scenarios(split)
        assert [s.id for s in scenarios] == sorted(s.id for s in scenarios)
        assert load_scenarios(split) is scenarios
        assert {s.split for s in scenarios} == {"test" if "heldout" in split else split.split("-")[0]}


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_written_as_json_lines_comes_back_with_the_same_ids(split: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for scenario in reversed(load_scenarios(split)):
            file.write(json.dumps(scenario.model_dump(mode="json"), ensure_ascii=False) + "\n")
    again = load_scenarios(path)
    assert again == load_scenarios(split)
    assert [s.model_dump() for s in again[:5]] == [s.model_dump() for s in load_scenarios(split)[:5]]


def test_a_bundled_file_given_by_path_makes_the_same_users() -> None:
    folder = Path(module.__file__).parent / "situations"
    every = {s.id for split in ("train", "validation", "test") for s in load_scenarios(split)}
    assert {s.id for s in load_scenarios(folder)} == {s.id for s in load_scenarios(str(folder))} == every


def test_a_scenario_is_found_by_id_in_the_splits_and_in_others_given() -> None:
    scenario = load_scenarios("test")[3]
    assert find_scenario(scenario.id) is scenario
    own = Scenario.model_validate({**scenario.model_dump(exclude={"id"}), "goal": "Another."})
    assert find_scenario(own.id, [own]) is own
    with pytest.raises(ScenarioError, match="Unknown scenario"):
        find_scenario(own.id)


def test_the_library_hash_covers_every_user() -> None:
    assert len(library_hash()) == 64 and int(library_hash(), 16) >= 0
