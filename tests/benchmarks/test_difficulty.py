"""Whether difficulties are apart: the figures by hand, groups that differ, and a command that fails when a line does."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest

from empathy_gym.agents.policies import SCRIPTED
from empathy_gym.benchmarks import difficulty
from empathy_gym.benchmarks.difficulty import (
    COLUMNS,
    ENDS,
    FROZEN,
    GROUP,
    SAMPLED,
    Difficulties,
    Line,
    Mean,
    Standing,
    accepted,
    alive,
    difficulty_table,
    markdown_table,
    measure,
    samples,
    sections,
    standing,
    taus,
)
from empathy_gym.benchmarks.runner import Bench, BenchConfig
from empathy_gym.cli import main
from empathy_gym.simulators.scenario import DIFFICULTIES


def episode(scenario, emotion, *changes):
    """The parts of a record that the figures are made from."""
    turns = tuple(SimpleNamespace(change=change) for change in changes)
    return SimpleNamespace(scenario=scenario, final_emotion=emotion, turns=turns)


def found(gaps=(9.0, 8.0), tau=1.0, mid=0.8, weak=0.6):
    """What a measurement might have found."""
    emotion = {d: Mean(60.0 - 9 * at, 50.0, 70.0) for at, d in enumerate(DIFFICULTIES)}
    standings = tuple(Standing(p, emotion, tuple(Mean(g, g - 1, g + 1) for g in gaps)) for p in FROZEN)
    hardest = {"mid-level": mid, "weak": weak}
    return Difficulties(
        title="test",
        rule="rule",
        standings=standings,
        ends=tuple(dataclasses.replace(standings[0], policy=policy) for policy in ENDS),
        taus=(1.0, tau),
        alive={
            kind: {
                "final": {"easy": 1.0, "normal": 1.0, "hard": hardest[kind]},
                "delta": dict.fromkeys(DIFFICULTIES, 1.0),
            }
            for kind in SAMPLED
        },
        accepted=dict.fromkeys(DIFFICULTIES, 0.5),
    )


def test_eight_frozen_policies_and_the_sampled_ones_are_there():
    assert len(set(FROZEN)) == 8
    assert all(spec.removeprefix("scripted:") in SCRIPTED for spec in (*FROZEN, *ENDS, *SAMPLED.values()))


# -- figures ---------------------------------------------------------------------------------------------------------


def test_a_group_is_alive_where_its_rewards_differ():
    same = [episode("a", 40, 2, -2), episode("a", 40, 2, -2)]
    otherwise = [episode("b", 40, -2, 2), episode("b", 40, 2, -2)]
    apart = [episode("c", 30, 2, -12), episode("c", 40, 2, -2)]
    assert alive([*same, *otherwise, *apart], "final") == pytest.approx(1 / 3)
    assert alive([*same, *otherwise, *apart], "delta") == pytest.approx(2 / 3)
    assert alive(same, "final") == alive(same, "delta") == 0


def test_a_reply_is_accepted_where_the_emotion_rose():
    assert accepted([episode("a", 40, 2, 0, -2), episode("b", 41, 1)]) == pytest.approx(0.5)


def test_gaps_compare_the_same_people_and_average_repeats_first():
    played = {
        d: {"p": [record(s, e) for s, e in people]}
        for d, people in {
            "easy": [("a", 90), ("a", 70), ("b", 60)],
            "normal": [("a", 60), ("b", 50)],
            "hard": [("b", 20), ("a", 30)],
        }.items()
    }
    found = standing("p", played)
    assert [found.emotion[d].mean for d in DIFFICULTIES] == [70, 55, 25]
    assert [gap.mean for gap in found.gaps] == [15, 30]
    # Of two people, the interval is the whole range: 10 to 20, and 30 to 30.
    assert [(gap.low, gap.high) for gap in found.gaps] == [(10, 20), (30, 30)]


def record(scenario, emotion):
    """A record as far as `Score.of` reads it."""
    return SimpleNamespace(
        policy="p", scenario=scenario, seeds=SimpleNamespace(repeat=0), final_emotion=emotion, outcome="timeout",
        truncated=False, turns=(), episode_return=0.0, privileged=False, scored_by="rule", determinism="exact",
        safety=None,
    )  # fmt: skip


def test_the_order_is_compared_step_by_step():
    rising = {p: [record("a", at)] for at, p in enumerate(FROZEN)}
    falling = {p: [record("a", -at)] for at, p in enumerate(FROZEN)}
    assert taus({"easy": rising, "normal": rising, "hard": falling}) == pytest.approx((1, -1))


# -- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLED)
def test_samples_of_a_group_meet_the_same_person_and_answer_otherwise(kind):
    policy = SAMPLED[kind]
    bench = Bench(BenchConfig(policies=(policy,), limit=3))
    tasks = samples(bench, policy)
    records = list(bench.play(policy, tasks))
    assert len(records) == 3 * GROUP
    for scenario in bench.scenarios:
        group = [r for r in records if r.scenario == scenario.id]
        assert len({r.seeds.dialogue for r in group}) == len({r.opening for r in group}) == 1
        assert len({tuple(turn.action for turn in r.turns) for r in group}) > 1
    assert list(bench.play(policy, tasks)) == records


# -- the table and the command ---------------------------------------------------------------------------------------


def test_a_line_passes_only_if_every_value_reaches_the_target():
    assert Line("x", (8.0, 9.0), 8.0).passed
    assert not Line("x", (7.9, 20.0), 8.0).passed


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        ({}, 0),
        ({"gaps": (8.0, 7.9)}, len(FROZEN)),
        ({"tau": 0.79}, 1),
        ({"mid": 0.79}, 1),
        ({"weak": 0.59}, 1),
    ],
)
def test_the_table_says_pass_or_fail_and_the_command_exits_by_it(
    capsys, monkeypatch, tmp_path, given, failed
):
    result = found(**given)
    monkeypatch.setattr(difficulty, "measure", lambda *args, **kwargs: result)
    rows = [row for section in sections(result) for row in section]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert sum(row[-1] == "FAIL" for row in rows) == failed
    assert sum(row[-1] == "pass" for row in rows) == len(result.lines) - failed
    assert main(["difficulty", "--out", str(tmp_path / "found.json")]) == (1 if failed else 0)
    printed = capsys.readouterr()
    assert ("lines fail" in printed.err) is bool(failed)
    assert all(policy in printed.out for policy in FROZEN)
    assert "52.4% (vanilla)" in printed.out and "33.1% (challenging)" in printed.out
    assert json.loads((tmp_path / "found.json").read_text("ascii"))["ok"] is not failed
    assert difficulty_table(result).row_count == len(rows) == markdown_table(result).count("\n") - 2


def test_the_command_plays_every_policy_on_every_difficulty(capsys, tmp_path):
    told = []
    first = measure("test", limit=1, progress=lambda what, done, total: told.append((what, done, total)))
    assert {s.policy for s in first.standings} == set(FROZEN)
    count = len(DIFFICULTIES) * (len(FROZEN) + len(ENDS) + GROUP * len(SAMPLED))
    assert [done for _, done, _ in told] == list(range(1, count + 1))
    assert {total for *_, total in told} == {count}
    for s in first.standings:
        for at, (easier, harder) in enumerate(difficulty.STEPS):
            assert s.gaps[at].mean == pytest.approx(s.emotion[easier].mean - s.emotion[harder].mean)
    status = main(["difficulty", "--limit", "1", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["standings"] == json.loads(json.dumps(dataclasses.asdict(first)))["standings"]
    assert status == (0 if printed["ok"] else 1)


@pytest.mark.parametrize(
    ("argv", "message"), [(["--split", "tset"], "Did you mean 'test'?"), (["--limit", "0"], "limit is 0")]
)
def test_a_mistake_is_one_line(capsys, argv, message):
    assert main(["difficulty", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
