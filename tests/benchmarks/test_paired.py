"""The paired tests of the audit: each row runs, and fails where a rule or a perceiver is broken."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Sequence
from typing import Any

import pytest

from empathy_gym.benchmarks import paired_alarms as alarm_parts
from empathy_gym.benchmarks.findings import Finding, wilson_interval
from empathy_gym.benchmarks.paired import (
    ALARMS,
    ROWS,
    alarm_names,
    findings_on,
    paired_findings,
)
from empathy_gym.benchmarks.paired_claims import quarrels
from empathy_gym.benchmarks.paired_edits import slot_template, with_boundary
from empathy_gym.benchmarks.paired_lines import alarms, clumsy, edits, mistyped, polished
from empathy_gym.benchmarks.paired_style import exchanged
from empathy_gym.benchmarks.paired_talk import Stage, altered, partner, replies_of
from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.rule import TableRule, load_tables
from empathy_gym.simulators.user import Perceiver, Rule, User

FEW = 6
PERCEIVER = EmbeddedPerceiver()


def stage(
    perceiver: Perceiver = PERCEIVER, rule: Rule | None = None, every: int = 3, held_out: bool = True
) -> Stage:
    user = User(perceiver, rule or TableRule(), AuthoredSpeaker())
    return Stage(user, [s.at("normal") for s in load_scenarios("test")[::every]], "normal", held_out)


@pytest.fixture(scope="module")
def found() -> dict[str, Finding]:
    """Every row on a few pairs."""
    return {finding.name: finding for finding in findings_on(stage(), FEW)}


class Blind:
    """Reads every reply as the same good one."""

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        return [Appraisal(grounding=2, feeling=2, warmth=1) for _ in items]


class Jumpy:
    """Hears contempt, pressure, flattery and a machine in everything."""

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        levels: dict[str, Any] = {"form": 0, "repetition": 2, "affirmation": -1, "stance": -2}
        return [Appraisal(**levels, invalidation=2, control=3, guard="implausible") for _ in items]


def rule_without(*names: str) -> TableRule:
    """The rule with costs taken out of its table."""
    table: dict[str, Any] = copy.deepcopy(dict(load_tables()[-1]))
    for name in names:
        cost = table["costs"][name]
        table["costs"][name] = [0] * len(cost) if isinstance(cost, list) else 0
    return TableRule(table)


# -- the figures -------------------------------------------------------------------------------------------------


def test_every_row_of_the_specification_is_played(found: dict[str, Finding]) -> None:
    assert set(found) == {*ROWS, *alarm_names()}
    for finding in found.values():
        assert finding.n >= 3, finding
        assert finding.kind == ("false_alarm" if finding.name in alarm_names() else "paired")
        assert 0 <= finding.low <= finding.value + 1e-9 <= finding.high + 2e-9 <= 1 + 2e-9


def test_a_row_passes_by_its_own_threshold_and_nothing_else(found: dict[str, Finding]) -> None:
    for name, finding in found.items():
        if finding.kind == "paired":
            assert finding.ceiling == ROWS[name].least
            assert finding.passed == (finding.value >= finding.ceiling)
        else:
            assert finding.ceiling == ALARMS == 0.05
            assert finding.passed == (finding.value <= finding.ceiling)


def test_the_same_figures_come_out_again(found: dict[str, Finding]) -> None:
    names = ["positivity", "absolve swap", "order flip", "false alarm: hope"]
    assert findings_on(stage(), FEW, names) == [f for name, f in found.items() if name in names]


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(count: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(count, n) == pytest.approx((low, high), abs=5e-5)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="positivity"):
        paired_findings("EmpathyChat-v0", "test", "normal", 1, ["positivty"])
    with pytest.raises(ConfigError, match="EmpathyChat-v0"):
        paired_findings("EmpathyChat-v1", "test", "normal", 1)


def test_the_entry_point_plays_the_packaged_user() -> None:
    (finding,) = paired_findings("EmpathyChat-v0", "test", "hard", 4, ["fact swap"])
    assert (finding.name, finding.n) == ("fact swap", 4)


def test_a_split_that_has_no_such_pair_does_not_pass() -> None:
    bare = stage()
    advisers = Stage(bare.user, [s for s in bare.scenarios if s.need == "advice"][:2], "normal")
    (finding,) = findings_on(advisers, 2, ["asked advice"])
    assert not finding.passed and finding.n == 0 and finding.detail


# -- what is broken fails ----------------------------------------------------------------------------------------


def test_a_perceiver_that_sees_no_difference_fails_every_row_that_asks_for_one() -> None:
    # What must make no difference makes none to somebody who sees none; and other facts are told in other orders.
    unmoved = ("late flattery", "fact dump", "identity", "fault twin", "need flip", "order flip")
    rows = [name for name in ROWS if not name.startswith("style: ") and name not in unmoved]
    same = findings_on(stage(Blind()), FEW, rows)
    assert len(same) == len(rows) and not [f.name for f in same if f.passed]


def test_a_jumpy_perceiver_sets_off_every_false_alarm() -> None:
    real = stage()

    def first(name: str, family: str) -> bool:
        ((reply, _),) = itertools.islice(alarm_parts.readings(real, family), 1)
        assert reply
        (reading,) = Jumpy().perceive([None])  # type: ignore[list-item]
        return alarm_parts.is_alarm(alarms()[family], reading)

    assert all(first(name, family) for name, family in alarm_names().items())


@pytest.mark.parametrize(
    ("costs", "row"),
    [
        (("form", "invalidation", "control"), "parrot"),
        (("control",), "leverage"),
        (("control",), "leverage at goodbye"),
    ],
)
def test_a_rule_without_the_cost_fails_the_row(costs: tuple[str, ...], row: str) -> None:
    # With lines that the perceiver does read, so that it is the rule that fails.
    (sound,) = findings_on(stage(held_out=False), 24, [row])
    (broken,) = findings_on(stage(rule=rule_without(*costs), held_out=False), 24, [row])
    assert broken.value < sound.value and not broken.passed


def test_a_rule_that_pays_for_flattery_fails_the_rows_of_honesty() -> None:
    table: dict[str, Any] = copy.deepcopy(dict(load_tables()[-1]))
    table["pleasing"], table["debt"] = 20, 0
    for need in table["needs"].values():
        need["weights"]["stance"] = 0
    (sound,) = findings_on(stage(), 20, ["side flip"])
    (broken,) = findings_on(stage(rule=TableRule(table)), 20, ["side flip"])
    assert broken.value < sound.value and not broken.passed


# -- the pairs ---------------------------------------------------------------------------------------------------


def test_both_sides_of_a_pair_share_all_that_went_before() -> None:
    here = stage()
    for name, row in ROWS.items():
        if name in (
            "fault twin",
            "side flip",
            "asked advice",
            "need flip",
            "fact swap",
            "identity",
            "order flip",
        ):
            continue
        for pair in itertools.islice(row.pairs(here), 2):
            ends = [arm.end for arm in pair]
            assert len({(d.scenario, d.seed, d.difficulty, d.max_turns) for d in ends}) == 1, name
            if len(pair) > 1:
                replies = [replies_of(d) for d in ends]
                parted = [i for i, said in enumerate(zip(*replies, strict=False)) if len(set(said)) > 1]
                parting = parted[0] if parted else 0
                assert len({d.messages[: 2 * parting + 1] for d in map(_hashable, ends)}) == 1, name


class _Heard:
    def __init__(self, messages: tuple[Any, ...]) -> None:
        self.messages = tuple((m["role"], m["content"]) for m in messages)


def _hashable(dialogue: Any) -> _Heard:
    return _Heard(dialogue.messages)


def test_every_family_has_lines_and_half_of_them_are_held_out() -> None:
    for name, family in edits().items():
        assert len(family.seen) + len(family.held_out) >= 12, name
        assert len(family.seen) == len(family.held_out), name
    for name, family in alarms().items():
        assert len(family.seen) + len(family.held_out) >= 20, name
        assert len(family.seen) == len(family.held_out), name
        assert family.silent and all(
            set(range(a, b + 1)) <= {*LEVELS[f]} for f, (a, b) in family.silent.items()
        )
    lines = [line for f in (*edits().values(), *alarms().values()) for line in (*f.seen, *f.held_out)]
    assert len(lines) == len(set(lines))


def test_figures_are_taken_on_the_lines_that_are_held_out() -> None:
    here = stage()
    assert here.held_out
    assert {here.line("leverage", i) for i in range(20)} == set(edits()["leverage"].held_out)


def test_the_partner_serves_every_need_without_asking_a_perceiver_what_it_likes() -> None:
    here, finals = stage(), list[int]()
    for scenario in here.scenarios[:12]:
        finals.append(here.talk(scenario, 0)[-1].emotion)
    assert sum(finals) / len(finals) > 40
    start = here.begin(here.scenarios[0], 0)
    assert partner(start) == partner(start)


def test_an_altered_user_keeps_id_and_draws() -> None:
    scenario = stage().scenarios[0]
    other = altered(scenario, need="praise" if scenario.need != "praise" else "venting")
    assert other.id == scenario.id and other.need != scenario.need and scenario.at("normal") is scenario
    here = stage()
    assert here.begin(scenario, 1).messages == here.begin(other, 1).messages


def test_a_limit_on_advice_is_stated_or_taken_away() -> None:
    here = stage()
    for scenario in here.scenarios[:6]:
        on, off = with_boundary(scenario, "No advice, please."), with_boundary(scenario, None)
        assert "No advice, please." in here.begin(on, 0).last_line
        assert [b.act for b in on.situation.boundaries].count("advice") == 1
        assert all(b.act != "advice" for b in off.situation.boundaries)


def test_quarrels_are_told_by_both_parties_half_at_fault_each() -> None:
    for quarrel in quarrels():
        assert len(quarrel) >= 40
        for one, other in quarrel:
            assert (one.need, one.persona.temperament) == (other.need, other.persona.temperament)
            assert one.situation != other.situation
            for side in (one, other):
                assert [(c.kind, c.truth) for c in side.situation.claims] == [("fault", "half")]


def test_names_ages_and_pronouns_are_exchanged_in_lines_and_cues_alike() -> None:
    scenario = next(s for s in load_scenarios("test") if any(p.name == "Graham" for p in s.situation.people))
    other, change = exchanged(scenario)
    assert not re.search(
        r"\bgraham\b", str(other.situation.model_dump()), re.IGNORECASE
    )  # ids keep theirs: t_graham
    assert other.persona.name != scenario.persona.name and other.persona.age != scenario.persona.age
    assert 18 <= other.persona.age <= 99
    assert change("Graham's shop") == f"{change('Graham')}'s shop" and other.id == scenario.id


def test_styles_keep_the_words() -> None:
    reply = "I'm sorry. Maybe it wasn't about you, because Friday went well."
    assert polished(reply) == "I am sorry. Perhaps it was not about you, because Friday went well."
    assert clumsy(reply).startswith("so im sorry ... maybe it wasnt about you cos friday")
    typed = mistyped("Somebody carried yesterday's breakfast through another garden entirely", 3)
    assert sorted(typed) == sorted("Somebody carried yesterday's breakfast through another garden entirely")
    assert typed == mistyped("Somebody carried yesterday's breakfast through another garden entirely", 3)


def test_a_template_is_refilled_with_what_the_user_named() -> None:
    (pair,) = itertools.islice(slot_template(stage()), 1)
    said = replies_of(pair[0].end)
    assert len(said) > 1 and said[0] != said[1] and "{" not in said[0] + said[1]
