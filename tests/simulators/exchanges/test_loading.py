"""Exchanges of one's own, from YAML and JSON Lines: what is read, and what is refused in one line."""

from __future__ import annotations

import json

import pytest
import yaml

from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.exchanges import load_exchanges

ONE = {"context": ["My  bike was\nstolen."], "response": "Oh no. From where?"}
THREE = {
    "context": ["I passed!", "Which one?", "The driving test."],
    "response": "Well done you.",
    "emotion": "proud",
    "split": "test",
    "id": "mine",
}


def written(tmp_path, text, name="own.yaml"):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_yaml_and_json_lines_hold_the_same_exchanges(tmp_path):
    one = load_exchanges(written(tmp_path, yaml.safe_dump([ONE, THREE])))
    two = load_exchanges(str(written(tmp_path, f"{json.dumps(ONE)}\n\n{json.dumps(THREE)}\n", "own.jsonl")))
    three = load_exchanges(written(tmp_path, yaml.safe_dump({"exchanges": [ONE, THREE]}), "other.yml"))
    assert one == two == three
    assert one[0].context == ("My bike was stolen.",) and one[0].split == "train" and len(one[0].id) == 16
    assert (one[1].id, one[1].emotion, one[1].split) == ("mine", "proud", "test")


def test_a_context_may_be_one_text(tmp_path):
    path = written(tmp_path, json.dumps({**ONE, "context": "My bike was stolen."}), "own.jsonl")
    assert load_exchanges(path)[0].context == ("My bike was stolen.",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"context": ["a", "b"], "response": "c"}), r"own.jsonl:1: context: it has 2 utterances"),
        (json.dumps({"context": [], "response": "c"}), r"own.jsonl:1: context:"),
        (json.dumps({"context": [" "], "response": "c"}), r"own.jsonl:1: context: an utterance is empty"),
        (json.dumps({"context": ["a"]}), r"own.jsonl:1: (id|response): Field required"),
        (
            json.dumps({"context": ["a"], "respons": "c"}),
            r"unknown field 'respons'. Did you mean 'response'\?",
        ),
        (
            json.dumps({**ONE, "split": "dev"}),
            r"own.jsonl:1: split: it is 'dev'; valid: train, validation, test",
        ),
        (json.dumps({"context": ["a"], "response": 3}), r"own.jsonl:1:"),
        (f"{json.dumps(ONE)}\n[1]", r"own.jsonl:2: a list; it must be an object"),
        (f"{json.dumps(ONE)}\n{{", r"own.jsonl:2: not a line of JSON"),
        (f"{json.dumps(ONE)}\n{json.dumps(ONE)}", r"own.jsonl:2: the exchange '\w+' is there twice"),
        ("", "own.jsonl holds no exchange"),
    ],
)
def test_a_damaged_line_is_one_error_that_names_it(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        load_exchanges(written(tmp_path, text, "own.jsonl"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("a: 1", "is not a YAML list"), ("- 3", "exchange 1: a int")],
)
def test_a_damaged_yaml_file_is_one_error(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        load_exchanges(written(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_an_unknown_source_is_named_with_the_nearest_valid_one(tmp_path):
    with pytest.raises(ConfigError, match=r"'tets'.*Did you mean 'test'\?"):
        load_exchanges("tets")
    with pytest.raises(ConfigError, match=r"Did you mean 'empathetic-dialogues:train'\?"):
        load_exchanges("empathetic_dialogues:train")
    with pytest.raises(ConfigError, match=r"split of empathetic-dialogues 'valid'.*'validation'"):
        load_exchanges("empathetic-dialogues:valid")
    with pytest.raises(ConfigError, match=r"unknown kind of file '.csv'"):
        load_exchanges(written(tmp_path, "a", "own.csv"))
    with pytest.raises(ConfigError, match="exchanges is a int"):
        load_exchanges(3)
