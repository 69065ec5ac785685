# ruff: noqa: RUF001  (the marks of Chinese text are meant)
"""What does not fit together in documents whose fields are all there: named with file and field, everything at once."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from empathy_gym.cli import main
from empathy_gym.simulators.errors import ScenarioError
from empathy_gym.simulators.library import REACTIONS, documents
from empathy_gym.simulators.library.checks import SPOKEN, scenario_problems, situation_problems
from empathy_gym.simulators.library.compiler import (
    PARTS,
    bundled_situations,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.library.scripts import foreign_script

Write = Callable[..., Path]
LATE_BUS: dict[str, Any] = {
    "schema_version": 1,
    "slug": "late-bus",
    "language": "en",
    "topic": "work",
    "provenance": "Written for a test.",
    "occupation": "clerk",
    "ages": [30, 40],
    "goal": "Decide what to say on Monday.",
    "needs": ["venting", "fair_fault"],
    "openings": ["The bus was late again."],
    "hints": {"venting": ["It goes round in my head."], "fair_fault": ["I keep looking at the clock."]},
    "situation": {
        "summary": "A clerk missed a meeting because of a bus.",
        "people": [{"name": "Ruth", "role": "team lead"}],
        "topics": [{"id": "t_bus", "text": "the bus", "cues": ["bus"]}],
        "facts": [
            {"id": "f1", "layer": 1, "topics": ["t_bus"], "text": "It came at nine."},
            {"id": "f2", "layer": 2, "text": "I had overslept."},
            {"id": "f3", "layer": 3, "text": "I don't like the job."},
        ],
        "claims": [
            {
                "id": "c1", "kind": "fault", "truth": "half", "voiced_by": "f1", "text": "It wasn't my fault.",
                "evidence": ["f2"], "fair_readings": ["The bus was late, and you had overslept."],
            }
        ],
    },
    "twins": [{"truth": "true", "facts": [{"id": "f2", "layer": 2, "text": "I was at the stop at seven."}]}],
}  # fmt: skip
CHINESE = "公交车又晚点了，我错过了开会。"


def edited(path: str, value: Any, data: dict[str, Any] = LATE_BUS) -> dict[str, Any]:
    """Return a document in which what stands at a place is another value; None takes it away."""
    data = copy.deepcopy(data)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner: Any = data
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


def scenario(**changes: Any) -> dict[str, Any]:
    data = next(s for s in load_scenarios("test") if s.need == "venting").model_dump(mode="json")
    for path, value in {"id": None, **changes}.items():
        data = edited(path.replace("__", "."), value, data)
    return data


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: Any, name: str = "late-bus.yaml") -> Path:
        path = tmp_path / name
        if isinstance(data, bytes):
            path.write_bytes(data)
        elif name.endswith("l") and "json" in name:
            path.write_text("".join(json.dumps(row) + "\n" for row in data), "utf-8")
        else:
            path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "utf-8")
        return path

    return write


def complaints(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(path)
    return str(caught.value).splitlines()


def only(path: Path) -> str:
    lines = complaints(path)
    assert len(lines) == 1, lines
    return lines[0]


def test_the_good_documents_are_good(write: Write) -> None:
    assert len(load_scenarios(write(LATE_BUS))) == 6
    assert len(load_scenarios(write([scenario()], "x.jsonl"))) == 1


def test_nothing_is_found_in_the_bundled_users() -> None:
    for source in bundled_situations():
        assert not list(situation_problems(source.model_dump()))
    for part in PARTS:
        for one in load_scenarios(part)[::7]:
            assert not list(scenario_problems(one.model_dump()))


def test_the_bundled_files_are_valid_by_the_command(capsys) -> None:
    library = Path(documents.__file__).parent
    folders = [str(library / "situations"), str(library / "temperaments")]
    assert main(["scenarios", "validate", *folders, *PARTS]) == 0
    out = capsys.readouterr().out
    assert (
        out.count(", valid") == 2 + len(PARTS)
        and f"{folders[1]}: {len(load_temperaments())} temperaments" in out
    )


def test_the_bundled_users_are_loaded_in_less_than_a_second() -> None:
    code = (
        "import time; from empathy_gym.simulators.library.compiler import load_scenarios as load; "
        "start = time.process_time(); load('train'); print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1


# -- layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [2, 3])
def test_a_situation_without_a_layer_is_refused(write: Write, layer: int) -> None:
    data = edited(f"situation.facts.{layer - 1}.layer", 1)
    assert f"situation.facts: no fact of layer {layer} (a situation needs all three)" in only(write(data))
    facts = [f for f in scenario()["situation"]["facts"] if f["layer"] != layer]
    lines = complaints(write([scenario(situation__facts=facts)], "x.jsonl"))
    assert any(f"x.jsonl:1: situation.facts: no fact of layer {layer}" in line for line in lines)


def test_a_twin_that_takes_the_last_fact_of_a_layer_is_refused(write: Write) -> None:
    line = only(write(edited("twins.0.facts.0.layer", 3)))
    assert "twins.0: facts: no fact of layer 2" in line


# -- persons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "age"),
    [
        ("I'm 52, and still running for buses.", 52),
        ("I am fifty-two years old.", 52),
        ("Look, I’m only nineteen.", 19),
        ("Well, I'm forty now and it shows.", 40),
    ],
)
def test_an_age_that_the_user_gives_has_to_be_theirs(write: Write, said: str, age: int) -> None:
    data = edited("situation.facts.2.text", said)
    line = only(write(data))
    assert line.endswith(f"situation.facts.f3.text: says that the user is {age}, and `ages` is [30, 40]")
    assert load_scenarios(write({**data, "ages": [age, age]}))
    twin = edited("twins.0.facts.0.text", said)
    assert "twins.0.facts.f2.text: says that" in only(write(twin))
    row = scenario(persona__age=33, openings=[said])
    assert only(write([row], "x.jsonl")).endswith(
        f"x.jsonl:1: persona.age: 33, and openings.0 says that the user is {age}"
    )
    assert load_scenarios(write([scenario(persona__age=age, openings=[said])], "x.jsonl"))


@pytest.mark.parametrize(
    "said",
    [
        "I'm twenty minutes late again.",
        "Am I to run till I'm sixty?",
        "When I'm 64, perhaps.",
        "I'm 12 again in that office.",
        "I'm 200 miles from there.",
        "I'm 50 percent sure.",
        "She's fifty-two.",
    ],
)
def test_other_numbers_are_no_ages(write: Write, said: str) -> None:
    assert load_scenarios(write(edited("situation.facts.2.text", said)))


def test_an_occupation_has_to_go_with_the_age(write: Write) -> None:
    data = edited("occupation", "retired bus driver")
    assert only(write(data)).endswith(
        "ages: [30, 40], and the occupation is 'retired bus driver', which takes ages from 40 to 99"
    )
    assert load_scenarios(write({**data, "ages": [60, 70]}))
    row = scenario(persona__age=30, persona__occupation="Pensioner")
    assert "x.jsonl:1: persona.age: 30, and the occupation is 'Pensioner'" in only(write([row], "x.jsonl"))


def test_nobody_is_somebody_else_in_their_own_story(write: Write) -> None:
    people = [
        {"name": "Ada", "role": "boss"},
        {"name": "Ben", "role": "friend"},
        {"name": "Ben", "role": "dog"},
    ]
    row = scenario(persona__name="Ada", situation__people=people)
    lines = complaints(write([row], "x.jsonl"))
    assert [line.split(": ", 1)[1] for line in lines] == [
        "situation.people.2.name: the name 'Ben' is used twice",
        "persona.name: 'Ada' is also somebody in `situation.people`",
    ]
    assert "situation.people.1.name: the name 'Ruth' is used twice" in only(
        write(edited("situation.people", [{"name": "Ruth", "role": "a"}, {"name": "Ruth", "role": "b"}]))
    )


def test_a_persons_age_is_that_of_an_adult(write: Write) -> None:
    assert "x.jsonl:1: persona.age: " in only(write([scenario(persona__age=17)], "x.jsonl"))
    assert "ages: [12, 40]; two ages of adults" in only(write(edited("ages", [12, 40])))


def temperament(**changes: Any) -> dict[str, Any]:
    data = load_temperaments()[0].model_dump(mode="json")
    return {**data, "id": "own", "label": "own", **changes}


@pytest.mark.parametrize("layer3", [50, 40])
def test_the_third_layer_takes_more_trust_than_the_second(write: Write, capsys, layer3: int) -> None:
    path = write(temperament(layer2=50, layer3=layer3), "own.yaml")
    assert main(["scenarios", "validate", str(path)]) == 1
    says = f"layer3: {layer3}; the third layer takes more trust than the second (50)"
    assert f"own.yaml:10: {says}" in capsys.readouterr().err
    row = scenario(knobs__layer2=50, knobs__layer3=layer3)
    assert only(write([row], "x.jsonl")).endswith(f"x.jsonl:1: knobs.{says}")


# -- temperaments of one's own -----------------------------------------------------------------------------------


def test_the_situations_of_a_folder_are_dealt_the_temperaments_beside_them(
    write: Write, tmp_path: Path, capsys
) -> None:
    own = write(temperament(trust=51), "own.yaml")
    assert main(["scenarios", "validate", str(own)]) == 0
    assert "own.yaml: 1 temperament, valid" in capsys.readouterr().out
    assert "temperaments need a situation beside them" in only(own)
    write(LATE_BUS)
    users = load_scenarios(tmp_path)
    assert {s.persona.temperament for s in users} == {"own"} and {s.initial_trust for s in users} == {51}


def test_a_temperament_lacks_no_reaction_and_has_six_lines_for_each(write: Write) -> None:
    reactions = dict(temperament()["reactions"])
    del reactions["hurt"]
    line = only(write(temperament(reactions=reactions), "own.yaml"))
    assert "own.yaml:14: reactions: missing ['hurt'], unknown []" in line
    few = {**temperament()["reactions"], "hurt": ["Ow."] * 5}
    assert "reactions.hurt: Tuple should have at least 6 items" in only(
        write(temperament(reactions=few), "own.yaml")
    )
    assert set(temperament()["reactions"]) == set(REACTIONS)


# -- names used twice --------------------------------------------------------------------------------------------


def test_an_id_used_twice_is_named_wherever_it_stands(write: Write) -> None:
    data = edited("situation.facts.1.id", "f1")
    data["situation"]["claims"][0].update(id="t_bus", evidence=["f1"])
    data["twins"] = []
    lines = complaints(write(data))
    assert [line.split(": ", 1)[1] for line in lines] == [
        "situation.facts.f1.id: the id 'f1' is used twice (first in facts)",
        "situation.claims.t_bus.id: the id 't_bus' is used twice (first in topics)",
    ]


def test_a_slug_used_twice_in_a_folder_is_named_with_both_files(write: Write, tmp_path: Path) -> None:
    write(LATE_BUS, "a.yaml")
    write({**LATE_BUS, "goal": "Something else."}, "b.yaml")
    write(edited("topic", None), "c.yaml")
    lines = complaints(tmp_path)
    assert f"{tmp_path / 'c.yaml'}:1: topic: missing" in lines
    assert f"{tmp_path / 'b.yaml'}: slug: 'late-bus' is used twice (first in {tmp_path / 'a.yaml'})" in lines
    assert len(lines) == 2


def test_a_temperament_id_used_twice_in_a_folder_is_named(write: Write, tmp_path: Path) -> None:
    write(LATE_BUS)
    write(temperament(), "one.yaml")
    write(temperament(gain=3), "two.yaml")
    assert f"two.yaml: id: 'own' is used twice (first in {tmp_path / 'one.yaml'})" in only(tmp_path)


def test_a_scenario_that_stands_twice_in_a_file_is_named_along_with_the_rest(write: Write) -> None:
    lines = complaints(write([scenario(), scenario(), scenario(need="prais")], "x.jsonl"))
    assert "x.jsonl:3: need: " in lines[0] and "x.jsonl:2: the scenario" in lines[1]
    assert "occurs twice (first in" in lines[1] and len(lines) == 2


def test_a_key_that_stands_twice_in_a_json_line_is_named(write: Write) -> None:
    text = json.dumps(scenario()).replace('"need": ', '"need": "praise", "need": ', 1)
    line = only(write(f"{text}\n".encode(), "x.jsonl"))
    assert line.endswith("x.jsonl:1: not valid JSON (the key 'need' is written twice).")


# -- languages ---------------------------------------------------------------------------------------------------


def test_a_line_in_another_script_is_named(write: Write) -> None:
    says = "more than a third of the line is in Chinese characters, and `language` is 'en'"
    for place, field in (
        ("situation.facts.1.text", "situation.facts.f2.text"),
        ("openings", "openings.0"),
        ("hints.venting", "hints.venting.0"),
        ("twins.0.facts.0.text", "twins.0.facts.f2.text"),
    ):
        value = CHINESE if place.endswith("text") else [CHINESE]
        line = only(write(edited(place, value)))
        assert line.endswith(f": {field}: {says}") and int(line.split(":")[1]) > 1
    row = scenario(hints=["Well.", CHINESE])
    row["situation"]["claims"][0]["asks"] = [CHINESE]
    lines = complaints(write([row], "x.jsonl"))
    assert [line.split(": ")[1] for line in lines] == ["hints.1", "situation.claims.c1.asks.0"]


def test_a_language_that_most_lines_are_not_in_is_named_once(write: Write) -> None:
    line = only(write([scenario(language="zh")], "x.jsonl"))
    assert (
        "x.jsonl:1: language: 'zh', and " in line and "lines are in Latin letters (first openings.0)" in line
    )


def test_a_scenario_in_another_language_that_talks_in_it_throughout_is_good(write: Write) -> None:
    data = scenario(language="zh")
    data["openings"], data["hints"] = [CHINESE], [CHINESE]
    data["speech"]["reactions"] = {key: [CHINESE] for key in REACTIONS}
    for kind, fields in SPOKEN.items():
        for item in data["situation"].get(kind, ()):
            item |= {field: [CHINESE] * len(item[field]) for field in fields if field != "text"}
            item["text"] = CHINESE
    assert load_scenarios(write([data], "x.jsonl"))[0].language == "zh"
    data["speech"]["reactions"]["hurt"] = ["That was unkind."]
    assert "speech.reactions.hurt.0: more than a third of the line is in Latin letters" in only(
        write([data], "x.jsonl")
    )


def test_a_situation_in_another_language_brings_its_temperaments(write: Write, tmp_path: Path) -> None:
    data = {**LATE_BUS, "language": "de"}
    assert "late-bus.yaml:3: language: 'de', and the bundled temperaments speak 'en'" in only(write(data))
    write(temperament(), "own.yaml")
    assert len(load_scenarios(tmp_path)) == 2
    chinese = {key: [f"{CHINESE}{i}" for i in range(6)] for key in REACTIONS}
    write(temperament(reactions=chinese), "own.yaml")
    assert "own.yaml: reactions: 180 of 180 lines are not in the script of 'de'" in only(tmp_path)


@pytest.mark.parametrize(
    ("line", "language", "script"),
    [
        ("The bus was late, naïve of me to hope – and it's Zoë's again.", "en", None),
        ("She calls it 面子, and says that I'll never understand it.", "en", None),
        ("好的。", "en", "Chinese characters"),
        ("I told him 我真的不想再去上班了 and left.", "en", "Chinese characters"),
        ("Автобус опять опоздал.", "en", "Cyrillic letters"),
        ("Автобус опять опоздал.", "ru", None),
        ("我和Daniel说了PPT的事，他没回我。", "zh", None),
        ("OK。", "zh", None),
        ("I really cannot go on like this 了", "zh", "Latin letters"),
        ("バスがまた遅れた。会議に間に合わない。", "ja", None),
        ("バスがまた遅れた。", "zh", "kana"),
        ("버스가 또 늦었어요.", "ko", None),
        ("Le bus était encore en retard.", "fr", None),
        ("12:45 ... !!", "zh", None),
        ("ბავშვი", "ka", None),
        ("", "en", None),
    ],
)  # fmt: skip
def test_scripts_are_told_apart(line: str, language: str, script: str | None) -> None:
    assert foreign_script(line, language) == script


# -- needs -------------------------------------------------------------------------------------------------------


def test_a_need_that_the_situation_does_not_carry_is_named(write: Write) -> None:
    data = edited("situation.claims.0.kind", "belief")
    assert only(write(data)).endswith("needs: fair_fault needs a claim of kind 'fault'")
    claims = [{**c, "kind": "belief"} for c in scenario()["situation"]["claims"]]
    row = scenario(need="fair_fault", situation__claims=claims)
    assert only(write([row], "x.jsonl")).endswith("x.jsonl:1: need: fair_fault needs a claim of kind 'fault'")


def test_needs_and_hints_go_together(write: Write) -> None:
    data = edited("hints", {"venting": [], "advice": ["Hm."], "praise": ["Well."]})
    assert [line.split(": ", 1)[1] for line in complaints(write(data))] == [
        "needs.0: 'venting' has no hints; write some as `hints.venting`, three are usual",
        "needs.1: 'fair_fault' has no hints; write some as `hints.fair_fault`, three are usual",
        "hints.advice: `needs` does not list 'advice'",
        "hints.praise: `needs` does not list 'praise'",
    ]
    assert "x.jsonl:1: hints: no hints" in only(write([scenario(hints=[])], "x.jsonl"))


# -- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# only a comment\n", b"---\n"])
def test_an_empty_file_is_named(write: Write, text: bytes) -> None:
    assert "late-bus.yaml: (document): should be a mapping of fields" in only(write(text))


@pytest.mark.parametrize("name", ["x.yaml", "x.jsonl"])
@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00", bytes(range(128, 256)), b"\x1f\x8b\x08\x00"])
def test_a_binary_file_is_named(write: Write, name: str, data: bytes) -> None:
    assert "not UTF-8" in only(write(data, name))
    assert "not valid" in only(write(b"\x00\x01\x02 abc", name))


@pytest.mark.parametrize("name", ["x.yaml", "x.jsonl"])
def test_a_file_that_cannot_be_read_is_named(write: Write, monkeypatch, name: str) -> None:
    path = write(b"a: 1\n", name)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    assert only(path) == f"{path}: cannot be read (Permission denied)."


@pytest.mark.parametrize("name", ["x.yaml", "x.jsonl"])
def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert only(tmp_path / name) == f"{tmp_path / name}: not a regular file."


def test_a_huge_json_lines_file_is_refused_before_it_is_read(write: Write, monkeypatch) -> None:
    path = write([scenario()], "x.jsonl")
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 1000)
    assert "a scenario file has at most 1,000. Split it." in only(path)


def test_a_file_of_broken_lines_is_not_read_to_its_end(write: Write) -> None:
    lines = complaints(write(b"{\n" * 5000, "x.jsonl"))
    assert len(lines) == 101 and lines[-1].endswith("x.jsonl: 100 broken lines; the rest was not looked at.")


@pytest.mark.parametrize("name", ["x.yaml", "x.jsonl"])
def test_deep_nesting_in_a_field_is_refused(write: Write, name: str) -> None:
    deep = "[" * 900 + "]" * 900
    text = f'{{"schema_version": 1, "twins": {deep}, "tags": {deep}}}\n'
    assert all(
        line.startswith(str(write(text.encode(), name))) for line in complaints(write(text.encode(), name))
    )


# -- everything at once, nothing by halves -------------------------------------------------------------------------


def test_every_problem_of_every_kind_is_named_at_once(write: Write, capsys) -> None:
    data = edited("hints.venting", [CHINESE])
    data.update(
        topik="work", ages=[30, 40], needs=["venting", "fair_fault", "advice"], occupation="retired clerk"
    )
    data["situation"]["facts"][2]["text"] = "I'm seventy-one."
    data["situation"]["people"].append({"name": "Ruth", "role": "driver"})
    path = write(data)
    assert main(["scenarios", "validate", str(path)]) == 1
    fields = [line.split(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert fields == [
        "topik", "needs.2", "situation.people.1.name", "hints.venting.0", "situation.facts.f3.text", "ages"
    ]  # fmt: skip


def test_what_hangs_together_is_told_along_with_fields_that_are_wrong(write: Write) -> None:
    data = edited("situation.facts.0.layer", "two")
    data["situation"]["facts"][0]["topcs"] = ["t_bus"]
    data["situation"]["facts"][1].update(layer=1, topics=["t_buss"])
    data["situation"]["facts"].append({"id": "f3", "layer": 3, "text": "Again."})
    data["situation"]["feelings"] = [{"id": "e1", "text": "I went red.", "because": ["f7"]}]
    data["situation"]["claims"][0].update(truth=True, evidence=["f8"])
    lines = [line.split(": ", 1)[1].split(" (")[0] for line in complaints(write({**data, "twins": []}))]
    assert [line for line in lines if "should be" not in line and "unknown field" not in line] == [
        "situation.feelings.e1.name: missing",
        "situation.facts.f3.id: the id 'f3' is used twice",
        "situation.facts.f2.topics: no topic 't_buss'. Did you mean 't_bus'?",
        "situation.feelings.e1.because: no fact 'f7'. Did you mean 'f3'?",
        "situation.claims.c1.evidence: no fact 'f8'. Did you mean 'f3'?",
    ]
    # The first fact may well be the second layer's, so that nothing is said of a layer that is missing.
    assert len(lines) == 8 and not any("no fact of layer" in line for line in lines)
    row = scenario(persona__age="old")
    row["situation"]["facts"][3]["id"] = row["situation"]["facts"][2]["id"]
    row["situation"]["summary"] = 7
    fields = [line.split(": ")[1] for line in complaints(write([row], "x.jsonl"))]
    assert fields[:2] == ["persona.age", "situation.summary"] and "situation.facts.f3.id" in fields


def test_nothing_is_guessed_of_a_situation_whose_lists_cannot_be_read(write: Write) -> None:
    for path, value in (("situation.facts", "none"), ("situation.facts.1", 7), ("situation.fcats", [])):
        data = edited(path, value)
        if path.endswith("fcats"):
            del data["situation"]["facts"]
        assert not [line for line in complaints(write(data)) if "no fact" in line or "no topic" in line]


def test_one_broken_file_leaves_nothing_loaded_and_a_mended_one_everything(
    write: Write, tmp_path: Path
) -> None:
    write(LATE_BUS, "a.yaml")
    bad = write({**LATE_BUS, "slug": "b", "ages": [9, 10]}, "b.yaml")
    assert only(tmp_path).startswith(f"{bad}:")
    write({**LATE_BUS, "slug": "b"}, "b.yaml")
    assert len(load_scenarios(tmp_path)) == 12


def test_documents_of_wrong_types_throughout_are_named_and_crash_nothing(write: Write) -> None:
    wrong: list[Any] = [7, "x", [], {}, [1], [[]], {"a": 1}, [{"id": 1}], True, 1.5]
    for field in (*LATE_BUS, "situation.facts", "situation.people", "situation.claims", "twins"):
        for value in wrong:
            try:
                load_scenarios(write(edited(field, value)))
            except ScenarioError as error:
                assert all("late-bus.yaml" in line for line in str(error).splitlines())
    for field in ("persona", "situation", "hints", "openings", "knobs", "speech", "need", "language", "tags"):
        for value in wrong:
            try:
                load_scenarios(write([scenario(**{field: value})], "x.jsonl"))
            except ScenarioError as error:
                assert all("x.jsonl:1: " in line for line in str(error).splitlines())
