"""Empathy identifiers: what they are trained on, what they return, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from empathy_gym.rewards.identifier_data import (
    SENTENCES,
    UNKNOWN,
    compose,
    from_appraisal,
    read_epitome,
    read_replies,
)
from empathy_gym.rewards.identifiers import FILE, MECHANISMS, SHIPPED, EmpathyIdentifier
from empathy_gym.simulators.embedded.fitting import FitSpec
from empathy_gym.simulators.embedded.hashed import HashSpec, hashed_rows
from empathy_gym.simulators.embedded.linear import train
from empathy_gym.simulators.errors import ConfigError

HEADER = "sp_id,rp_id,seeker_post,response_post,level,rationales\n"


# -- the shipped weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return EmpathyIdentifier()


def test_the_shipped_weights_are_small_and_say_where_they_are_from(shipped):
    assert (SHIPPED / FILE).stat().st_size < 2_000_000
    about = dict(shipped.heads.provenance)
    assert about["text"].startswith("written for empathy-gym") and about["replies"] > 1000
    assert "epitome" not in json.dumps(about).lower()


@pytest.mark.parametrize(
    ("response", "levels"),
    [
        ("I'm so sorry you're going through this, it makes me sad.", (2, 0, 0)),
        ("Hang in there, it will get better.", (1, 0, 0)),
        ("I feel the same way every day, I felt so alone at college.", (0, 2, 0)),
        ("What happened?", (0, 0, 1)),
        ("Do you have anyone you can talk to?", (0, 0, 2)),
        ("You should go and see a doctor.", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_plain_cases_are_read_as_the_definitions_say(shipped, response, levels):
    assert tuple(shipped.levels(["I feel awful."], [response])[0]) == levels


def test_probabilities_have_the_documented_shape_and_agree_with_levels(shipped):
    responses = ["I'm so sorry.", "", "why?", "\ud83d", "word " * 5000]
    found = shipped.probabilities(["post"] * 5, responses)
    assert found.shape == (5, 3, 3) and (found > 0).all()
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-12)
    assert (found.argmax(axis=2) == shipped.levels(["post"] * 5, responses)).all()
    assert shipped.probabilities([], []).shape == (0, 3, 3) and shipped.levels([], []).shape == (0, 3)


def test_a_pair_is_read_alike_alone_and_in_a_batch(shipped):
    responses = ["I know how you feel.", "Did you tell her?", "Take care!"]
    whole = shipped.probabilities([""] * 3, responses)
    for i, response in enumerate(responses):
        assert (shipped.probabilities([""], [response])[0] == whole[i]).all()


@pytest.mark.parametrize(("contexts", "responses"), [(["a"], []), ("a", "b"), (["a"], "b")])
def test_contexts_and_responses_must_pair_up(shipped, contexts, responses):
    with pytest.raises(ValueError, match="two lists of equal length"):
        shipped.levels(contexts, responses)


def test_weights_that_read_something_else_are_refused(tmp_path):
    rows = hashed_rows(HashSpec(), ["a", "b"])
    heads = train(HashSpec(), rows, {"warmth": ((0, 1), np.array([0, 1]), FitSpec())}, {})
    heads.save(tmp_path / FILE)
    with pytest.raises(ConfigError, match="read warmth; identifiers read ER, IP, EX"):
        EmpathyIdentifier(tmp_path)
    with pytest.raises(ConfigError, match="no weights in"):
        EmpathyIdentifier(tmp_path / "nowhere")


# -- EPITOME's files -------------------------------------------------------------------------------------


def written(tmp_path, text):
    path = tmp_path / "file.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_is_read_with_its_levels_and_grouped_by_post(tmp_path):
    path = written(
        tmp_path, HEADER + 'p1,r1,"sad, very",ok,0,\np1,r2,"sad, very","so\nsorry",2,x\np2,r3,b,c,1,\n'
    )
    data = read_epitome(path, "IP")
    assert data.responses == ("ok", "so\nsorry", "c") and data.contexts[0] == "sad, very"
    assert data.levels.tolist() == [[-1, 0, -1], [-1, 2, -1], [-1, 1, -1]]
    assert (data.groups, data.grouped_by) == (("p1", "p1", "p2"), "sp_id")


def test_without_ids_pairs_are_grouped_by_the_text_of_the_post(tmp_path):
    path = written(tmp_path, "seeker_post,response_post,level\na,b,0\na,c,1\nd,e,2\n")
    data = read_epitome(path, "ER")
    assert (data.groups, data.grouped_by) == (("a", "a", "d"), "seeker_post")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file.csv' is empty"),
        (HEADER, "file.csv' is empty: there is no row"),
        ("seeker_post,response_post\na,b\n", "row 1: no column 'level'"),
        ("seeker_post,level\na,1\n", "row 1: no column 'response_post'"),
        (HEADER + "p,r,a,b,0,\np,r,a,b,3,\n", "row 3: level is '3'; 0, 1 and 2 are valid"),
        (HEADER + "p,r,a,b,,\n", "row 2: level is ''"),
        (HEADER + "p,r,a,b,1.0,\n", "row 2: level is '1.0'"),
        (HEADER + "p,r,a\n", "row 2: it does not have 6 columns"),
        (HEADER + "p,r,a,b,0,,,,\n", "row 2: it does not have 6 columns"),
        (b"seeker_post,response_post,level\n\xff\xfe,b,1\n", "not a CSV file in UTF-8"),
        (HEADER + 'p,r,"a,b,0,\n', "not a CSV file"),
    ],
)
def test_a_wrong_file_is_one_error_that_names_file_and_row(tmp_path, text, message):
    with pytest.raises(ConfigError, match=r"file\.csv") as raised:
        read_epitome(written(tmp_path, text), "ER")
    assert message in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.csv"):
        read_epitome(tmp_path / "none.csv", "ER")


# -- our own text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "family", "expected"),
    [
        ({}, "advice", (0, 0, 0)),
        ({"warmth": 2, "feeling": 2}, "good", (2, 2, 0)),
        ({"warmth": 1, "insight": 2}, "good", (1, 2, 0)),
        ({"feeling": 1}, "generic", (0, UNKNOWN, 0)),
        ({"insight": 1}, "middling", (0, UNKNOWN, 0)),
        ({}, "other", (0, UNKNOWN, 0)),
        ({"exploration": 1}, "generic", (0, 0, 1)),
        ({"exploration": 1, "grounding": 2}, "middling", (0, 0, 2)),
        ({"exploration": 2, "grounding": 3}, "good", (0, 0, 2)),
    ],
)
def test_our_fields_map_to_epitomes_levels_as_documented(levels, family, expected):
    assert tuple(from_appraisal(levels, family)[m] for m in MECHANISMS) == expected


def test_composed_replies_are_deterministic_filled_and_of_every_level():
    made = compose(300, seed=4)
    assert made.responses == compose(300, seed=4).responses != compose(300, seed=5).responses
    assert all(text and "{" not in text for text in made.responses)
    assert all(set(made.levels[:, i]) == {0, 1, 2} for i in range(3))


def test_no_sentence_stands_in_two_lists():
    data = yaml.safe_load(SENTENCES.read_text("utf-8"))
    lists = ("er1", "er2", "ip1", "ip2", "ex1", "ex2", "none")
    sentences = [sentence for name in lists for sentence in data[name]]
    assert len(sentences) == len(set(sentences)) > 400
    assert all(isinstance(sentence, str) for sentence in sentences)


def test_labelled_replies_are_read_by_situation(tmp_path):
    reply = {"text": "poor you", "levels": {"warmth": 1}, "family": "good"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"situation": "a", "replies": [reply, reply]}), "utf-8")
    data = read_replies(tmp_path)
    assert data.levels.tolist() == [[1, 0, 0]] * 2 and data.groups == ("a", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("situation: a\n", r"a\.yaml' is not a YAML file with `replies`"),
        ("replies: [{text: hi, levels: {}}, {levels: {}}]\n", r"a\.yaml', reply 2: it needs"),
        ("replies: [{text: hi, levels: 3}]\n", r"a\.yaml', reply 1: it needs"),
        ("]", "not a YAML file"),
    ],
)
def test_damaged_replies_are_one_error(tmp_path: Path, text, message):
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        read_replies(tmp_path)
    with pytest.raises(ConfigError, match="no labelled replies"):
        read_replies(tmp_path / "nowhere")
