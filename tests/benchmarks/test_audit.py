"""The audit finds what scores without understanding, and says so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from empathy_gym.benchmarks import audit as audit_module
from empathy_gym.benchmarks import findings as findings_module
from empathy_gym.benchmarks.attacks import policies, search
from empathy_gym.benchmarks.attacks.play import play, starts
from empathy_gym.benchmarks.audit import CEILINGS, audit, finding_of
from empathy_gym.benchmarks.findings import Finding, marked, wilson_interval
from empathy_gym.cli import main
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import Dialogue, PerceptionRequest
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.rule import TableRule, load_tables
from empathy_gym.simulators.user import User


class Gullible:
    """Takes every reply of three words or more for a specific feeling, warm and rooted in what was told."""

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        """Read nothing but the length."""
        return [
            Appraisal(form=2, grounding=2, feeling=2, warmth=2, touched=tuple(f.id for f in item.facts))
            if len(item.reply.split()) > 2
            else Appraisal(form=0)
            for item in items
        ]


@pytest.fixture
def user() -> User:
    return build_user("embedded")


def test_there_are_as_many_attackers_as_asked_for() -> None:
    attacks = list(audit_module._attacks())
    assert len({name for name, _, _ in attacks}) == len(attacks) >= 30
    assert sum(name.startswith("injection_") for name, _, _ in attacks) >= 10


@pytest.mark.parametrize("difficulty", ["easy", "normal", "hard"])
def test_no_attacker_scores(difficulty: str) -> None:
    result = audit(split="test", difficulty=difficulty, limit=5, pairs=0)
    assert result.passed and len(result.findings) >= 30
    assert max(f.value for f in result.findings if f.kind == "blind") <= CEILINGS["blind"]


def test_a_reward_that_reads_nothing_fails_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    fooled = User(Gullible(), TableRule(load_tables()[-1]), AuthoredSpeaker())
    real = audit_module.ChatSetting.make

    def make(kwargs: Any) -> Any:
        return dataclasses.replace(real(kwargs), user=fooled)

    monkeypatch.setattr(audit_module.ChatSetting, "make", make)
    people = [s for s in load_scenarios("test") if s.need == "deep_empathy"]
    monkeypatch.setattr(audit_module, "starts", lambda _, *rest: starts(people[:6], *rest))
    result = audit(pairs=0, difficulty="easy")
    failed = {finding.name for finding in result.findings if finding.failed}
    assert not result.passed and len(failed) > 5


def test_an_attack_that_raises_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(dialogues: Sequence[Dialogue]) -> list[str]:
        raise ZeroDivisionError("three by nothing")

    def silent(dialogues: Sequence[Dialogue]) -> list[str]:
        return ["" for _ in dialogues]

    attacks = [("bad", "blind", broken), ("quiet", "blind", silent)]
    monkeypatch.setattr(audit_module, "_attacks", lambda: iter(attacks))
    result = audit(limit=2, pairs=0)
    assert [f.name for f in result.findings] == ["quiet"]
    assert result.errors == (("bad", "ZeroDivisionError: three by nothing"),) and not result.passed


def test_a_listed_miss_covers_no_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        {"name": "a", "difficulty": "hard", "figure": 40.0, "tried": "x"},
        {"name": "p", "difficulty": "hard", "figure": 0.8, "tried": "x"},
    ]
    monkeypatch.setattr(findings_module, "known_misses", lambda: listed)

    def known(name: str, kind: str, value: float, difficulty: str = "hard") -> bool:
        finding = Finding(name, kind, value, 35.0 if kind == "blind" else 0.9, passed=False)
        return marked([finding], difficulty)[0].known

    assert (
        known("a", "blind", 40.0) and not known("a", "blind", 40.1) and not known("a", "blind", 40.0, "easy")
    )
    assert known("p", "paired", 0.8) and not known("p", "paired", 0.79)
    assert not marked([Finding("a", "blind", 3.0, 35.0, passed=True)], "hard")[0].known


def test_misses_that_are_listed_say_what_was_tried() -> None:
    for miss in findings_module.known_misses():
        assert set(miss) == {"name", "difficulty", "figure", "tried"} and len(miss["tried"]) > 20


def test_wilson_intervals_are_those_of_the_textbook() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    published = [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]
    for count, n, low, high in published:
        assert wilson_interval(count, n) == pytest.approx((low, high), abs=6e-5)
    with pytest.raises(ValueError, match="at least one"):
        wilson_interval(0, 0)


def test_one_success_fails_a_blind_attacker(user: User) -> None:
    dialogues = play(user, starts(load_scenarios("test")[:2], "normal"), lambda ds: ["" for _ in ds])
    assert finding_of("x", "blind", dialogues, "blind").passed
    lucky = [dataclasses.replace(dialogues[0], outcome="success"), *dialogues[1:]]
    assert not finding_of("x", "blind", lucky, "blind").passed


# -- the search ---------------------------------------------------------------------------------------------


def test_the_search_is_repeatable_and_gets_better(user: User) -> None:
    people = load_scenarios("train")[:6]
    bred = search.evolve(user, people, slotted=True, evaluations=1_500, difficulty="easy", best=5)
    again = search.evolve(user, people, slotted=True, evaluations=1_500, difficulty="easy", best=5)
    first = search.evolve(user, people, slotted=True, evaluations=1, difficulty="easy", best=5)
    assert bred == again and len({one.genome for one in bred}) == 5
    assert bred[0].fitness > first[0].fitness


def test_a_context_free_genome_says_the_same_to_everybody(user: User) -> None:
    assert not any("{" in gene for gene in search.genes(slotted=False))
    a, b = user.begin(starts(load_scenarios("test")[:2], "normal"))
    genome = search.evolve(user, load_scenarios("train")[:2], slotted=False, evaluations=1, best=1)[0].genome
    assert search.said(genome, a) == search.said(genome, b)


def test_slots_are_filled_with_what_the_user_said_braces_included(user: User) -> None:
    dialogue = user.begin(starts(load_scenarios("test")[:1], "normal"))[0]
    odd = dataclasses.replace(
        dialogue, messages=({"role": "user", "content": "My {q} boss, my {0} letter went {n}."},)
    )
    said = search.said((("{Q}. What does {a} mean to you?",),), odd)
    assert said and "{Q}" not in said


def test_best_of_many_pays_no_less_than_one(user: User) -> None:
    people = load_scenarios("test")[:4]
    many, found = search.best_of(user, people, samples=8, difficulty="easy")
    one, _ = search.best_of(user, people, samples=1, difficulty="easy")
    assert search.mean_emotion(many) >= search.mean_emotion(one)
    assert [f.change for f in found] == sorted((f.change for f in found), reverse=True)


def test_what_was_found_is_kept_as_an_attack() -> None:
    names = {name for name, _, _ in audit_module._attacks()}
    assert {f"found_{i:02d}" for i in range(len(search.committed()))} <= names
    assert all(len(genome) == search.TURNS for genome in search.committed())


# -- attackers ----------------------------------------------------------------------------------------------


def test_blind_attackers_read_nothing_and_slot_attackers_do() -> None:
    def reply(answer: policies.Answer, line: str) -> str:
        now = policies.Conversation(key="k", messages=[{"role": "user", "content": line}], turn=3, seed=9)
        return answer(now)

    one, other = (
        "My boss gave my office to Vera last Monday.",
        "Our kitchen floor is ruined and Tom laughed about it.",
    )
    assert all(reply(answer, one) == reply(answer, other) for answer in policies.BLIND.values())
    assert all(reply(answer, one) != reply(answer, other) for answer in policies.SLOT.values())


# -- the command --------------------------------------------------------------------------------------------


def test_the_command_prints_findings_and_fails_on_a_new_miss(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["audit", "--limit", "2", "--pairs", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name", "kind", "value", "ceiling", "passed", "known"} <= set(found[0])
    monkeypatch.setitem(audit_module.CEILINGS, "blind", -1.0)
    assert main(["audit", "--limit", "2", "--pairs", "0"]) == 1


def test_the_command_saves_what_the_search_bred(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one user a lucky bag is no finding.
    monkeypatch.setitem(audit_module.CEILINGS, "slot", 100.0)
    file = tmp_path / "found.yaml"
    status = main(
        ["audit", "--limit", "1", "--pairs", "0", "--search", "--evaluations", "2", "--save", str(file)]
    )
    assert status == 0 and "reply:" in capsys.readouterr().out
    assert all(len(genome) == search.TURNS for genome in yaml.safe_load(file.read_text("utf-8")))


def test_an_unknown_environment_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        audit("EmpathyChta-v0")
