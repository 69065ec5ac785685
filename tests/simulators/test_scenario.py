"""The schema of scenarios: frozen, strict, identified by content."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from empathy_gym.simulators import scenario as module
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.scenario import (
    DIFFICULTIES,
    ITEM_KINDS,
    NEEDS,
    Boundary,
    Persona,
    Scenario,
    Situation,
    canonical_json,
    content_hash,
)
from empathy_gym.simulators.situation import Inconsistent

# One of each kind, so that a fresh computation of an id has something to differ in.
SAMPLE = [scenarios[0] for scenarios in map(load_scenarios, PARTS)]
PUBLIC = """
    Attempt Boundary Claim ClaimKind Constraint Cue DIFFICULTIES Difficulty Fact Feeling Frozen ITEM_KINDS InsightKind
    Item ItemId Knobs Line NEEDS NEED_CLAIMS Need Percent Person Persona Perspective Quarter Request SCHEMA_VERSION
    Scenario Situation Speech Strength TRUTHS Topic Truth canonical_json content_hash scenario_id
""".split()


def data_of(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario's data without its id."""
    data = copy.deepcopy(scenario.model_dump(mode="json"))
    del data["id"]
    return data


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every string, number and truth value in a document."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from leaves(one, (*path, i))
    elif value is not None:
        yield path


def changed(data: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """Return the data with one leaf changed."""
    data = copy.deepcopy(data)
    holder = data
    for part in path[:-1]:
        holder = holder[part]
    old = holder[path[-1]]
    holder[path[-1]] = not old if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old}x"
    return data


def test_every_public_name_is_importable_from_the_one_module() -> None:
    assert sorted(module.__all__) == sorted(PUBLIC)
    assert all(hasattr(module, name) for name in PUBLIC)


def test_an_id_is_sixteen_hexadecimal_digits_and_says_nothing() -> None:
    for scenario in SAMPLE:
        assert len(scenario.id) == 16 and int(scenario.id, 16) >= 0
    assert len({s.id for split in PARTS for s in load_scenarios(split)}) == sum(
        map(len, map(load_scenarios, PARTS))
    )


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_ids_are_the_same_in_another_process(hash_seed: str) -> None:
    code = "from empathy_gym.simulators.library.compiler import library_hash; print(library_hash())"
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    from empathy_gym.simulators.library.compiler import library_hash

    assert done.stdout.strip() == library_hash()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_any_change_of_content_changes_the_id(data: st.DataObject) -> None:
    scenario = data.draw(st.sampled_from(SAMPLE))
    original = data_of(scenario)
    path = data.draw(st.sampled_from([p for p in leaves(original) if p != ("knobs", "difficulty")]))
    try:
        other = Scenario.model_validate(changed(original, path))
    except ValidationError:
        return  # The change is refused, which is just as good.
    assert other.id != scenario.id, path


def test_the_order_of_lines_is_content_and_the_order_of_keys_is_not() -> None:
    data = data_of(SAMPLE[0])
    backwards = dict(reversed(data.items()))
    assert Scenario.model_validate(backwards).id == SAMPLE[0].id
    data["openings"] = data["openings"][::-1]
    assert Scenario.model_validate(data).id != SAMPLE[0].id


def test_an_id_that_does_not_fit_the_content_is_refused_and_a_missing_one_computed() -> None:
    data = data_of(SAMPLE[0])
    assert Scenario.model_validate({**data, "id": ""}) == Scenario.model_validate(data) == SAMPLE[0]
    with pytest.raises(ValidationError, match="leave `id` out to have it computed"):
        Scenario.model_validate({**data, "id": "0" * 16})


@pytest.mark.parametrize("scenario", SAMPLE, ids=PARTS)
def test_a_scenario_survives_json_and_pickle(scenario: Scenario) -> None:
    again = Scenario.model_validate(json.loads(json.dumps(scenario.model_dump(mode="json"))))
    thawed = pickle.loads(pickle.dumps(scenario.at("hard")))
    assert again == scenario and again.id == scenario.id and hash(again) == hash(scenario)
    assert thawed == scenario.at("hard") and thawed.at("normal") == scenario


def test_the_difficulties_of_a_user_share_the_id_and_are_told_apart() -> None:
    scenario = SAMPLE[0]
    users = {difficulty: scenario.at(difficulty) for difficulty in DIFFICULTIES}
    for difficulty, user in users.items():
        assert user.id == scenario.id and user.knobs.difficulty == difficulty
        assert user.situation is scenario.situation and user.model_dump(
            exclude={"knobs"}
        ) == scenario.model_dump(exclude={"knobs"})
        # However one gets there, it is the same object.
        assert all(users[other].at(difficulty) is user for other in DIFFICULTIES)
    assert len(set(users.values())) == 3 and users["easy"] != users["hard"]
    data = data_of(users["hard"])
    assert Scenario.model_validate(data).id == scenario.id


def test_an_unknown_difficulty_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Unknown difficulty 'hrad'\. Did you mean 'hard'\?"):
        SAMPLE[0].at("hrad")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("persona", "age"), 17),
        (("persona", "age"), 100),
        (("need",), "agree_no_fault"),
        (("initial_emotion",), 101),
        (("initial_trust",), -1),
        (("language",), "english"),
        (("openings",), []),
        (("openings",), ["x" * 1001]),
        (("knobs", "gain"), 6),
        (("knobs", "cost"), 2),
        (("schema_version",), 2),
        (("situation", "facts", 0, "layer"), 0),
        (("situation", "facts", 0, "id"), "F1"),
        (("situation", "facts", 0, "id"), "f" * 33),
        (("situation", "facts", 0, "text"), ""),
        (("situation", "claims", 0, "truth"), "maybe"),
        (("persona", "shoe_size"), 42),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused(path: tuple[Any, ...], value: Any) -> None:
    data = data_of(SAMPLE[0])
    holder = data
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    with pytest.raises(ValidationError):
        Scenario.model_validate(data)


def test_scenarios_and_their_parts_are_frozen() -> None:
    scenario = SAMPLE[0]
    for thing, name in ((scenario, "need"), (scenario.situation, "facts"), (scenario.persona, "age")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(thing, name, getattr(thing, name))


def test_everything_that_does_not_fit_together_is_reported_with_its_place() -> None:
    data = data_of(SAMPLE[0])["situation"]
    data["facts"][1]["topics"] = ["t_nowhere"]
    data["strengths"][0]["evidence"] = ["f99"]
    data["boundaries"] = [{"id": "b9", "kind": "topic", "text": "Not that.", "until": "f98"}]
    data["feelings"][1]["id"] = data["feelings"][0]["id"]
    for fact in data["facts"]:
        fact["layer"] = min(2, fact["layer"])
    with pytest.raises(ValidationError) as caught:
        Situation.model_validate(data)
    cause = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, Inconsistent)
    assert [loc for loc, _ in cause.problems] == [
        ("feelings", 1, "id"), ("facts",), ("facts", 1, "topics"), ("strengths", 0, "evidence"),
        ("boundaries", 0, "until"),
    ]  # fmt: skip
    assert "t_nowhere" in str(cause) and "f99" in str(cause) and "layer 3" in str(cause)


@pytest.mark.parametrize(("kind", "needed"), [("act", "act"), ("time", "after")])
def test_a_boundary_says_what_it_is_about(kind: str, needed: str) -> None:
    with pytest.raises(ValidationError, match=f"needs `{needed}`"):
        Boundary.model_validate({"id": "b1", "text": "Not that.", "kind": kind})
    assert Boundary.model_validate({"id": "b1", "text": "Not that.", "kind": "topic"}).act is None


def test_items_are_found_by_id_with_their_kind() -> None:
    for scenario in SAMPLE:
        situation = scenario.situation
        authored = [item["id"] for kind in ITEM_KINDS for item in situation.model_dump()[kind]]
        assert [item.id for item in situation.items()] == list(situation.by_id) == authored
        for kind in ITEM_KINDS:
            assert all(situation.kind_of[item.id] == kind for item in getattr(situation, kind))


def test_the_claims_a_need_turns_on_follow_from_the_need() -> None:
    kinds = {
        "fair_fault": {"fault"},
        "critical_analysis": {"belief", "forecast"},
        "others_motives": {"mind_reading"},
    }
    found = set()
    for scenario in (s for split in PARTS for s in load_scenarios(split)):
        claims = [c.id for c in scenario.situation.claims if c.kind in kinds.get(scenario.need, ())]
        assert list(scenario.need_claims) == claims
        found |= {scenario.need} if claims else set()
    assert found >= {"fair_fault", "others_motives"} and found <= set(NEEDS)


def test_canonical_json_is_ascii_and_sorted() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"\\u00e9"]}'
    assert content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1}) != content_hash({"a": 1, "b": 2})


def test_persona_names_what_is_missing() -> None:
    with pytest.raises(ValidationError, match="temperament"):
        Persona.model_validate({"name": "A", "age": 30, "occupation": "b", "style": "c"})
