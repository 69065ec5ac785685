"""The learning table of chat models: rows, differences, signs of gaming, curves, conversations."""

from __future__ import annotations

import json

import pytest

from empathy_gym import ConfigError
from empathy_gym.agents.trainers.recipe import load_recipe
from empathy_gym.benchmarks.chat_learning import curve, grown, main, table
from empathy_gym.benchmarks.chat_learning_play import Plan, moved, parse_rows, play_all
from empathy_gym.benchmarks.chat_learning_report import chart, conversations, markdown

LISTENER, TEMPLATE = "scripted:listener", "scripted:template"


@pytest.fixture(scope="module")
def plan():
    """Scripted policies stand where models would."""
    recipe = load_recipe({"model": "none"}, ["task.max_turns=4", "task.difficulty=easy"])
    return Plan(recipe, (), (TEMPLATE, LISTENER), ("easy", "hard"), repeats=2, limit=6)


@pytest.fixture(scope="module")
def played(plan, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    said = []
    found = play_all(plan, work, said.append)
    assert said == [f"{name}, {level} ..." for name in (TEMPLATE, LISTENER) for level in ("easy", "hard")]
    assert play_all(plan, work, said.append) == found and len(said) == 4
    return found


@pytest.fixture(scope="module")
def rows(plan, played):
    """The first row is what the others are compared with."""
    import dataclasses

    rows = ((TEMPLATE, None), (TEMPLATE, None), (LISTENER, None))
    return table(dataclasses.replace(plan, rows=rows), played, runs={})


def test_rows_meet_the_same_people_and_are_compared_pair_by_pair(played, rows) -> None:
    easy = rows["difficulties"]["easy"]
    assert [row["episodes"] for row in easy["rows"]] == [12, 12]
    assert {r.difficulty for r in played["hard"][LISTENER]} == {"hard"}
    gains = [
        a.final_emotion - b.final_emotion
        for a, b in zip(played["easy"][LISTENER], played["easy"][TEMPLATE], strict=True)
    ]
    less = easy["less_base"][LISTENER]
    assert less["emotion"]["value"] == pytest.approx(sum(gains) / 12)
    low, high = less["emotion"]["ci95"]
    assert easy["last"] == LISTENER and easy["last_less"][TEMPLATE]["emotion"] == less["emotion"]
    assert low < less["emotion"]["value"] < high and less.keys() == {"emotion", "identifiers", "moved"}


def test_replies_said_to_somebody_else_are_worth_less_where_they_listened(plan, played, rows) -> None:
    records = played["easy"][LISTENER]
    elsewhere = moved(plan, "easy", LISTENER, records)
    heard = [[turn.heard for turn in record.turns] for record in elsewhere]
    # Two repeats a person: the next person is two places on.
    assert heard[0] == [turn.heard for turn in records[2].turns][: len(heard[0])]
    assert elsewhere[0].scenario == records[0].scenario and elsewhere[0].opening == records[0].opening
    row = rows["difficulties"]["easy"]["rows"][1]
    assert row["moved"] == pytest.approx(sum(r.final_emotion for r in elsewhere) / 12)
    assert row["moved"] < row["emotion"] - 10


def test_what_grew_is_named(rows) -> None:
    first, second = rows["difficulties"]["easy"]["rows"]
    assert grown(first, first) == {}
    # A listener says more than a template; nobody grows in what is its own.
    assert grown(second, first)["reply_words"] > 1.3
    assert grown({"signatures": {"copy": 0.2}}, {"signatures": {"copy": 0.0}}) == {"copy": None}
    assert grown({"signatures": {"copy": 0.04}}, {"signatures": {"copy": 0.01}}) == {}


def test_the_report_has_a_table_for_each_difficulty_and_a_curve_for_each_run(rows) -> None:
    lines = [
        {"step": 0, "eval_emotion": 30.0},
        {"step": 1, "emotion": 28.5, "tokens": 100, "seconds": {"rollout": 1.0}, "gap": 0.01},
        {"step": 2, "emotion": 33.0, "tokens": 210, "seconds": {"rollout": 2.0}, "eval_emotion": 34.0},
    ]
    run = curve(lines)
    assert run["steps"] == 2 and run["tokens"] == 210 and run["seconds"] == {"rollout": 3}
    text = "\n".join(markdown({**rows, "runs": {"GRPO": run}}, "the command"))
    assert "## easy" in text and "## hard" in text and "the command" in text
    assert f"{LISTENER} less {TEMPLATE}: emotion +" in text
    assert "bar [28.5, 33.0]" in text and "line [30.0, 34.0]" in text
    assert chart("none", [], []) == []


def test_conversations_are_chosen_by_the_gain_alone(played) -> None:
    before, after = played["easy"][TEMPLATE], played["easy"][LISTENER]
    text = conversations(before, after)
    heads = [line for line in text if line.startswith("# ")]
    assert [head.split(":")[0] for head in heads] == [
        f"# At the {q} quantile of the gain" for q in ("10%", "50%", "90%")
    ]
    gains = [int(head.rpartition(" ")[2]) for head in heads]
    assert gains == sorted(gains)
    assert sum(line.startswith("## ") for line in text) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["GRPO"], "NAME=FOLDER"),
        (["=runs"], "NAME=FOLDER"),
        (["GRPO=nowhere/at/all"], "neither a model's folder nor a run"),
        ([], "at least one"),
    ],
)
def test_a_row_that_cannot_be_is_named(given, said) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_rows(given)


def test_two_rows_of_a_name_are_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="a name of its own"):
        parse_rows([f"a={tmp_path}", f"a={tmp_path}"])


def test_records_of_another_row_are_not_taken_for_its_own(plan, tmp_path) -> None:
    import dataclasses

    play_all(dataclasses.replace(plan, beside=(TEMPLATE,), limit=1, repeats=1), tmp_path, lambda text: None)
    with pytest.raises(ConfigError, match="another --work"):
        play_all(
            dataclasses.replace(plan, beside=(LISTENER,), limit=1, repeats=1), tmp_path, lambda text: None
        )


def test_the_output_is_named_without_a_suffix(capsys, tmp_path) -> None:
    command = ["--config", "smollm2-cpu", "--row", "a=b", "--out", str(tmp_path / "x.md")]
    assert main(command) == 2 and "without a suffix" in capsys.readouterr().err


def test_results_are_plain_json(rows) -> None:
    assert json.loads(json.dumps(rows)) == rows
