"""Broken scenario files: every problem is named with file, line and field, and nothing crashes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from empathy_gym.cli import main
from empathy_gym.simulators.errors import ConfigError, ScenarioError
from empathy_gym.simulators.library import documents
from empathy_gym.simulators.library.compiler import load_scenarios

GOOD = """\
schema_version: 1
slug: late-bus
language: en
topic: work
provenance: Written for a test.
occupation: clerk
ages: [30, 40]
goal: Decide what to say on Monday.
needs: [venting, fair_fault]
openings: ["The bus was late again."]
hints:
  venting: ["It goes round and round in my head."]
  fair_fault: ["I keep looking at the clock."]
situation:
  summary: A clerk missed a meeting because of a bus.
  topics:
    - id: t_bus
      text: the bus
      cues: ["bus"]
  facts:
    - id: f1
      layer: 1
      topics: [t_bus]
      text: "It came at nine."
    - id: f2
      layer: 2
      text: "I had overslept."
    - id: f3
      layer: 3
      text: "I don't like the job."
  feelings:
    - id: e1
      name: ashamed
      text: "I went red."
      because: [f1]
  claims:
    - id: c1
      kind: fault
      truth: "half"
      voiced_by: f1
      text: "It wasn't my fault."
      evidence: [f2]
      fair_readings: ["The bus was late, and you had overslept."]
twins:
  - truth: "true"
    facts:
      - id: f2
        layer: 2
        text: "I was at the stop at seven."
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "late-bus.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    return write


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


def complaint(path: Path) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(path)
    return str(caught.value)


def scenario_data() -> dict[str, Any]:
    return copy.deepcopy(load_scenarios("test")[0].model_dump(mode="json"))


def test_the_good_file_is_good(write) -> None:
    assert len(load_scenarios(write(GOOD))) == 6


@pytest.mark.parametrize(
    ("old", "new", "at", "field", "says"),
    [
        ("topic: work", "topik: work", "topik", "topik", "unknown field. Did you mean 'topic'?"),
        ("topic: work", "topik: work", "schema_version", "topic", "missing"),
        ("      because: [f1]", "      becuase: [f1]", "becuase", "situation.feelings.e1.becuase", "'because'"),
        ("  summary: A", "  sumary: A", "sumary", "situation.sumary", "Did you mean 'summary'?"),
        ("      layer: 3", "      layer: 4", "layer: 4", "situation.facts.f3.layer", "1, 2 or 3 (got 4)"),
        ("      layer: 3", "      layer: two", "layer: two", "situation.facts.f3.layer", "got 'two'"),
        ("ages: [30, 40]", "ages: thirty", "ages", "ages", "should be a list (got 'thirty')"),
        ("ages: [30, 40]", "ages: [30, 17]", "ages", "ages", "from 18 to 99"),
        ("[venting, fair_fault]", "[ventin]", "needs", "needs.0", "Did you mean 'venting'?"),
        ("[venting, fair_fault]", "[venting, venting]", "needs", "needs.1", "listed twice"),
        ('truth: "half"', "truth: true", "truth: true", "situation.claims.c1.truth", "Did you mean 'true'?"),
        ("      topics: [t_bus]", "      topics: t_bus", "topics: t_bus", "situation.facts.f1.topics", "a list"),
        ("      topics: [t_bus]", "      topics: [t_buss]", "t_buss", "situation.facts.f1.topics", "'t_bus'?"),
        ("because: [f1]", "because: [f7]", "because: [", "situation.feelings.e1.because", "no fact 'f7'"),
        ("voiced_by: f1", "voiced_by: c1", "voiced_by", "situation.claims.c1.voiced_by", "no fact 'c1'"),
        ("    - id: f3", "    - id: t_bus", "- id: t_bus", "situation.facts.t_bus.id", "used twice"),
        ("      layer: 3", "      layer: 2", "  facts:", "situation.facts", "no fact of layer 3"),
        ("evidence: [f2]", "evidence: []", "- id: c1", "situation.claims.c1", "a half claim needs `evidence`"),
        ("      name: ashamed\n", "", "- id: e1", "situation.feelings.e1.name", "missing"),
        ("kind: fault", "kind: belief", "needs", "needs", "fair_fault needs a claim of kind 'fault'"),
        ("  venting: [", "  ventig: [", "ventig", "hints.ventig", "Did you mean 'venting'?"),
        ("      - id: f2\n", "      - id: f9\n", "- id: f9", "twins.0.facts.f9.id", "no item 'f9' to replace"),
        ("        layer: 2\n", "        layer: 2\n        txet: x\n", "txet", "twins.0.facts.f2.txet", "'text'?"),
        ("twins:\n", 'twins:\n  - truth: "true"\n', "twins", "twins.1.truth", "a second twin"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_file_line_field_and_a_suggestion(write, old, new, at, field, says) -> None:
    text = edited(old, new)
    path = write(text)
    lines = complaint(path).splitlines()
    found = [line for line in lines if f": {field}: " in line]
    assert len(found) == 1, lines
    where = found[0].removeprefix(f"{path}:").split(":")[0]
    # `t_bus` and `twins` stand in the file more than once; there the second place is meant.
    if field not in ("situation.facts.t_bus.id", "twins.1.truth"):
        assert int(where) == line_of(text, at)
    assert says in found[0]


def test_a_second_use_of_an_id_is_named_at_the_second_place(write) -> None:
    text = edited("    - id: f3", "    - id: f1")
    number = text.splitlines().index("    - id: f1", line_of(text, "- id: f2")) + 1
    assert complaint(write(text)).startswith(
        f"{write(text)}:{number}: situation.facts.f1.id: the id 'f1' is used"
    )


def test_a_twin_that_leaves_the_rest_inconsistent_is_named_with_its_own_line(write) -> None:
    text = edited('      truth: "half"', '      truth: "open"').replace("      evidence: [f2]\n", "")
    text = text.replace('twins:\n  - truth: "true"', 'twins:\n  - truth: "false"')
    message = complaint(write(text))
    assert f":{line_of(text, '  - truth:')}: twins.0: claims.c1: a false claim needs `evidence`" in message


def test_every_problem_of_a_file_is_named_at_once(write) -> None:
    text = (
        GOOD.replace("layer: 1", "layer: 9")
        .replace("ages: [30, 40]", "ages: no")
        .replace("slug: late-bus\n", "")
    )
    lines = complaint(write(text)).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["slug", "ages", "situation.facts.f1.layer"]
    text = GOOD.replace("because: [f1]", "because: [x]").replace("topics: [t_bus]", "topics: [y]")
    assert len(complaint(write(text)).splitlines()) == 2


def test_every_file_of_a_folder_and_every_line_is_checked(write, tmp_path: Path) -> None:
    write(edited("topic: work", "topik: work"), "a.yaml")
    write(edited("goal: D", "gaol: D"), "b.yaml")
    write("[", "c.yaml")
    message = complaint(tmp_path)
    assert all(str(tmp_path / name) in message for name in ("a.yaml", "b.yaml", "c.yaml"))
    data = scenario_data()
    broken = {**data, "need": "prais", "id": ""}
    path = write("\n".join([json.dumps(data), "", json.dumps(broken), "{", json.dumps({})]), "x.jsonl")
    message = complaint(path)
    assert f"{path}:3: need: " in message and "Did you mean 'praise'?" in message
    assert f"{path}:4: not valid JSON" in message and f"{path}:5: topic: missing" in message
    assert f"{path}:1:" not in message and f"{path}:2:" not in message


def test_the_problems_of_one_document_are_counted_beyond_a_hundred(write) -> None:
    text = edited('openings: ["The bus was late again."]', f"openings: [{'1, ' * 500}2]")
    lines = complaint(write(text)).splitlines()
    assert len(lines) == documents.MAX_PROBLEMS + 1 and lines[-1].endswith(": and 401 more problems")


def test_an_unknown_field_lists_the_fields_of_the_thing_it_stands_in(write) -> None:
    message = complaint(write(edited("      name: ashamed\n", "      name: ashamed\n      colour: red\n")))
    assert "Valid: because, cues, held, id, name, say, text." in message
    data = scenario_data()
    data["persona"]["tempermant"] = "blunt"
    data["situation"]["claims"][0]["beat"] = ["x"]
    message = complaint(write(json.dumps(data), "x.jsonl"))
    assert "x.jsonl:1: persona.tempermant: unknown field. Did you mean 'temperament'?" in message
    assert "situation.claims.c1.beat: unknown field. Did you mean 'beats'?" in message


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is written twice"),
        ("a: {b: 1, c: {d: 1, d: 2}}\n", 1, "the key 'd' is written twice"),
        ("a: &x [1]\nb: *x\n", 2, "aliases (*x) are not accepted"),
        ("x: 1\na: !!python/object/apply:os.getcwd []\n", 2, "is not accepted"),
        ("a: 1\nb: 2\nc: \x07\n", 3, "not valid YAML"),
        ('a: "\\ud800"\n', 1, "not valid YAML"),
        ("? [1]\n: 2\n", 1, "a key is a list or a mapping"),
        ("a: 2026-13-45\n", None, "month must be in 1..12"),
        (f"a: {'1' * 5000}\n", None, "a value cannot be read"),
        ("a: !!bool maybe\n", 1, "is not accepted"),
        ("a: !!timestamp never\n", 1, "is not accepted"),
        ("a: !!float never\n", 1, "is not accepted"),
        ("", None, "(document): should be a mapping of fields"),
        ("- 1\n", 1, "(document): should be a mapping of fields"),
        ("late bus\n", 1, "(document): should be a mapping of fields (got 'late bus')"),
    ],
)
def test_what_is_not_a_yaml_document_is_named_in_one_line(write, text, line, says) -> None:
    path = write(text)
    message = complaint(path)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ") and says in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 200_000 + "a", "{a: " * 100_000, "[" * 65 + "]" * 65])
def test_deep_nesting_is_refused_before_it_exhausts_the_stack(write, text) -> None:
    assert complaint(write(text)).endswith("nested deeper than 64 levels.")


def test_an_alias_bomb_is_refused_at_once(write) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert ":2: YAML aliases (*a0) are not accepted" in complaint(write("\n".join(levels)))


def test_a_star_in_a_text_is_no_alias(write) -> None:
    assert load_scenarios(write(edited('"It came at nine."', '"It came at *nine*, & late."')))


def test_a_huge_document_is_refused_before_it_is_read(write, monkeypatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 2000)
    path = write(GOOD + "#" * 2000)
    assert "Split it." in complaint(path)
    path = write('{"a": 1}\n{"a": "' + "x" * 2000 + '"}\n', "x.jsonl")
    assert f"{path}:2: a line of more than 2,000 bytes" in complaint(path)


def test_json_lines_may_be_longer_together_than_one_document(write, monkeypatch) -> None:
    lines = [json.dumps(s.model_dump(mode="json")) for s in load_scenarios("test")[:3]]
    monkeypatch.setattr(documents, "MAX_BYTES", max(map(len, lines)) + 1)
    assert len(load_scenarios(write("\n".join(lines), "x.jsonl"))) == 3


def test_what_is_not_utf_8_is_named_with_its_line(write) -> None:
    path = write(GOOD.replace("clerk\n", "café clerk\n").encode("latin-1"))
    assert complaint(path).startswith(f"{path}:6: not UTF-8 (byte ")
    path = write(b"\n\n\xff\xfe{}\n", "x.jsonl")
    assert complaint(path).startswith(f"{path}:3: not UTF-8")
    path = write(GOOD.encode("utf-16"), "wide.yaml")
    assert "not UTF-8" in complaint(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
        ("1" * 5000, "not valid JSON"),
        ("NaN", "(document): should be a mapping of fields"),
        ("[]", "(document): should be a mapping of fields"),
        ("null", "(document): should be a mapping of fields (got None)"),
        ('{"topic": "\\ud800"}', "topic: "),
    ],
)
def test_a_broken_json_line_is_named_by_its_number(write, text, says) -> None:
    path = write(f"\n\n{text}\n", "x.jsonl")
    assert all(line.startswith(f"{path}:3: ") for line in complaint(path).splitlines())
    assert says in complaint(path)


def plain(count: int = 3) -> list[dict[str, Any]]:
    return [s.model_dump(mode="json", exclude={"id"}) for s in load_scenarios("test")[:count]]


@pytest.mark.parametrize("listed", [True, False])
def test_yaml_may_hold_whole_scenarios(write, listed: bool) -> None:
    rows = plain() if listed else plain(1)
    path = write(yaml.safe_dump(rows if listed else rows[0], allow_unicode=True), "users.yaml")
    assert [s.id for s in load_scenarios(str(path))] == [s.id for s in load_scenarios("test")[: len(rows)]]


def test_a_broken_scenario_of_a_yaml_list_is_named_by_its_line(write) -> None:
    rows = plain()
    rows[1]["need"] = "sleep"
    text = yaml.safe_dump(rows)
    line = text.splitlines().index("  need: sleep") + 1
    with pytest.raises(ScenarioError, match=rf"users.yaml:{line}: need: .*got 'sleep'"):
        load_scenarios(str(write(text, "users.yaml")))


@pytest.mark.parametrize(("text", "says"), [("[]\n", "the list is empty"), ("- 3\n", ":1: .*got 3")])
def test_a_yaml_list_without_scenarios_is_refused(write, text, says) -> None:
    with pytest.raises(ScenarioError, match=says):
        load_scenarios(str(write(text, "users.yaml")))


def test_a_json_line_ends_at_a_newline_only(write) -> None:
    data = scenario_data()
    data["goal"], data["id"] = "One\u2028two\u0085three.", ""
    path = write(json.dumps(data, ensure_ascii=False) + "\r\n", "x.jsonl")
    assert load_scenarios(path)[0].goal == "One\u2028two\u0085three."


def test_a_scenario_whose_content_was_changed_does_not_keep_its_id(write) -> None:
    data = scenario_data()
    data["goal"] += " Or not."
    message = complaint(write(json.dumps(data), "x.jsonl"))
    assert "leave `id` out to have it computed" in message


def test_the_same_scenario_twice_is_named_with_both_places(write) -> None:
    line = json.dumps(scenario_data())
    path = write(f"{line}\n{line}\n", "x.jsonl")
    assert f"{path}:2: the scenario" in complaint(path) and f"first in {path}:1" in complaint(path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.jsonl", "\n \n", "no scenarios; the file is empty"),
        ("x.txt", "a", "unknown kind of file '.txt'; valid: .yaml, .yml, .jsonl, .ndjson"),
        ("x", "a", "unknown kind of file ''"),
    ],
)
def test_a_file_without_scenarios_is_named(write, name, text, says) -> None:
    assert says in complaint(write(text, name))


def test_a_name_that_is_neither_a_split_nor_a_path_gets_the_nearest_split(tmp_path: Path) -> None:
    for name in ("tran", "nowhere/tran.yaml", "x\0y", str(tmp_path / "no.yaml")):
        with pytest.raises(ConfigError, match="Valid splits are: train, validation, test"):
            load_scenarios(name)
    with pytest.raises(ConfigError, match=r"Did you mean 'validation'\?"):
        load_scenarios("valdation")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenarios("x" * 5000)


def test_an_edited_file_is_read_again(write) -> None:
    before = load_scenarios(write(GOOD))
    assert load_scenarios(write(edited("It came at nine.", "It came at half past ten."))) != before


# -- the command -----------------------------------------------------------------------------------------------


def command(capsys, *paths: object) -> tuple[int, str, str]:
    status = main(["scenarios", "validate", *map(str, paths)])
    return (status, *capsys.readouterr())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.yaml", b"a: [1\n", ":2: not valid YAML"),
        ("a.yaml", edited("ages: [30, 40]", "ages: thirty").encode(), ":7: ages: should be a list"),
        ("a.yaml", edited("topics: [t_bus]", "topcs: [t_bus]").encode(), "Did you mean 'topics'?"),
        ("a.yaml", b"a: &a [x]\nb: [*a, *a]\n", ":2: YAML aliases"),
        ("a.yaml", b"#" * (documents.MAX_BYTES + 1), "1,000,001 bytes"),
        ("a.yaml", "slug: café".encode("latin-1"), ":1: not UTF-8"),
        ("a.yaml", b"[" * 200_000, "nested deeper"),
        ("a.jsonl", b"\n{\n", ":2: not valid JSON"),
        ("a.csv", b"x", "unknown kind of file"),
    ],
)
def test_validate_names_a_broken_file_in_one_line_without_a_traceback(
    write, capsys, name, content, says
) -> None:
    path = write(content, name)
    status, out, err = command(capsys, path)
    assert status != 0 and out == ""
    assert err.count("\n") == 1 and err.startswith(f"Error: {path}") and says in err


def test_validate_goes_on_after_a_broken_file_and_names_all_problems(write, capsys) -> None:
    good = write(GOOD)
    first = write(edited("topic: work", "topik: work"), "a.yaml")
    second = write("{\n[\n", "b.jsonl")
    status, out, err = command(capsys, first, good, second)
    assert status == 1 and out == f"{good}: 6 scenarios, valid\n"
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        f"{first}:1", f"{first}:4", f"{second}:1", f"{second}:2"
    ]  # fmt: skip


def test_validate_checks_a_folder(write, capsys, tmp_path: Path) -> None:
    assert command(capsys, tmp_path)[2] == f"Error: {tmp_path}: the folder holds no YAML files.\n"
    write(GOOD)
    write(GOOD.replace("late-bus", "late-tram").replace("The bus was", "The tram was"), "late-tram.yml")
    assert command(capsys, tmp_path) == (0, f"{tmp_path}: 12 scenarios, valid\n", "")
    (tmp_path / "odd.yaml").mkdir()
    status, _, err = command(capsys, tmp_path)
    assert status != 0 and err == f"Error: {tmp_path / 'odd.yaml'}: cannot be read (Is a directory).\n"


def test_validate_of_a_missing_path_is_a_wrong_use_with_a_suggestion(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command(capsys, "tran")
    assert status == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("Error: Unknown scenarios 'tran'. Did you mean 'train'?")


def test_the_bundled_files_have_no_key_twice_and_no_alias() -> None:
    folder = Path(documents.__file__).parent
    files = [*folder.glob("*.yaml"), *folder.glob("situations/*.yaml"), *folder.glob("temperaments/*.yaml")]
    assert len(files) > 10
    for path in files:
        assert documents.load_yaml(path) == yaml.safe_load(path.read_text("utf-8"))
