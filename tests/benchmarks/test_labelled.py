"""Labelled replies: what is in them, and what is said of those that do not fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from empathy_gym.benchmarks.labelled import FIELDS, load_replies, packaged_replies
from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.errors import ScenarioError
from empathy_gym.simulators.library.compiler import bundled_situations

GOOD = {
    "situation": "lent-tent",
    "replies": [
        {
            "told": ["f1", "f2"],
            "twin": "half",
            "text": "Three years of Sundays, and then black all down it.",
            "levels": {"grounding": 2},
            "touched": ["f2"],
            "style": "plain",
            "family": "good",
        }
    ],
}


def written(folder: Path, **changes: object) -> Path:
    entry = {**GOOD["replies"][0], **changes}  # type: ignore[dict-item]
    (folder / "a.yaml").write_text(yaml.safe_dump({**GOOD, "replies": [entry]}), "utf-8")
    return folder


def test_every_situation_has_its_replies_in_its_own_split() -> None:
    replies = load_replies()
    assert len(replies) >= 1500
    assert {(r.situation, r.split) for r in replies} == {(s.slug, s.split) for s in bundled_situations()}
    assert {path.stem for path in packaged_replies().glob("*.yaml")} == {s.slug for s in bundled_situations()}


def test_no_reply_is_there_twice() -> None:
    assert max(Counter(" ".join(r.request.reply.lower().split()) for r in load_replies()).values()) == 1


def test_every_level_of_every_field_is_met_in_train_and_in_test() -> None:
    for split in ("train", "test"):
        met = {(name, level) for r in load_replies(split=split) for name, level in r.levels.items()}
        wanted = {(name, level) for name in FIELDS for level in LEVELS[name]}
        assert not wanted - met, split


def test_replies_are_of_every_family_style_and_length() -> None:
    replies = load_replies()
    assert min(Counter(r.family for r in replies).values()) >= 60
    assert min(Counter(r.style for r in replies).values()) >= 150
    lengths = [len(r.request.reply.split()) for r in replies]
    assert min(lengths) <= 2 and max(lengths) >= 70


def test_a_claim_counts_only_once_it_is_voiced() -> None:
    for reply in load_replies():
        if reply.levels["stance"]:
            assert reply.request.claims, reply.request.reply


def test_affirming_a_falsehood_needs_its_evidence() -> None:
    for reply in load_replies():
        if reply.levels["stance"] == -2:
            told = {fact.id for fact in reply.request.facts}
            contradicted = [c for c in reply.request.claims if c.truth in ("half", "false")]
            assert any(told >= set(c.evidence) for c in contradicted), (reply.situation, reply.request.reply)


def test_the_talk_ends_with_the_fact_that_is_answered() -> None:
    for reply in load_replies():
        last = reply.request.messages[-1]
        assert last["role"] == "user" and any(f.text in last["content"] for f in reply.request.facts)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"levels": {"groundnig": 2}}, r"levels\.groundnig.*Did you mean 'grounding'"),
        ({"levels": {"feeling": 3}}, r"levels\.feeling: is 3; valid: 1, 2"),
        ({"levels": {"feeling": 0}}, "0 is left out"),
        ({"levels": {"insight": 2}}, "insight_kind"),
        ({"told": ["f1", "f99"]}, "told: there is no fact 'f99'"),
        ({"touched": ["f3"]}, "'f3' was not told"),
        ({"touched": ["x1"]}, "there is no item 'x1'"),
        ({"twin": None}, "twin: missing"),
        ({"style": "posh"}, "style"),
        ({"mood": "fine"}, "mood"),
        ({"text": ""}, "text"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint) as caught:
        load_replies(written(tmp_path, **changes))
    assert str(tmp_path / "a.yaml") in str(caught.value)


def test_an_unknown_situation_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no labelled replies"):
        load_replies(tmp_path)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**GOOD, "situation": "lent-tents"}), "utf-8")
    with pytest.raises(ScenarioError, match="Did you mean 'lent-tent'"):
        load_replies(tmp_path)
