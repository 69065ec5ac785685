"""The experiment on stability, the check of a model, and the estimate of a run."""

from __future__ import annotations

import io
import itertools
import json

import pytest
from rich.console import Console

from empathy_gym.benchmarks import cost, qualification, rescore
from empathy_gym.benchmarks.rescore_report import print_variance
from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.engines import Prices
from empathy_gym.simulators.engines.base import ChatReply
from empathy_gym.simulators.engines.scripted import ScriptedEngine, scripted
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.answers import FIELDS
from empathy_gym.simulators.llm.fence import shown
from empathy_gym.simulators.llm.scripts import agreeable, register_scripts

register_scripts()


@pytest.fixture(scope="module")
def items():
    return rescore.transcripts(load_scenarios("test")[:3], turns=2)


@pytest.fixture
def engine():
    return scripted("agreeable")


class Fickle(ScriptedEngine):
    """Says another change at every call, whatever is asked."""

    def __init__(self):
        values = itertools.cycle([5, -5, 0, 10])
        super().__init__(lambda _: json.dumps({"analysis": "", "change": next(values)}))


def test_transcripts_are_always_the_same(items):
    again = rescore.transcripts(load_scenarios("test")[:3], turns=2)
    assert [i.reply for i in items] == [i.reply for i in again] and len(items) == 18
    assert {i.dialogue.turn for i in items} == {0, 1}


def test_a_privileged_policy_makes_no_transcripts():
    with pytest.raises(ConfigError, match="privileged"):
        rescore.transcripts(load_scenarios("test")[:1], policies=["scripted:oracle"])


def test_what_is_scored_by_a_pure_function_never_varies(items, engine):
    rows = rescore.rescore_variance(items, [engine], methods=["levels", "compact", "embedded"])
    for row in rows:
        assert not any(row.moves.values()) and row.faults == 0.0 and row.replies == len(items)
    assert rows[0].flips["batch"] == rows[0].flips["paraphrase"] == rows[0].flips["seed"] == 0.0
    assert rows[0].flips["model"] is None and rows[2].flips["seed"] is None
    assert rows[2].flips["batch"] == 0.0 and rows[2].ci95["moves"]["batch"] == (0.0, 0.0)
    assert rows[0].tokens > rows[2].tokens == 0.0


def test_a_fickle_judge_is_found_out(items):
    row = rescore.rescore_variance(items, [Fickle()], methods=["direct"])[0]
    assert row.flips["batch"] > 0.3 and row.moves["paraphrase"] > 0.3 and row.spread["seed"] > 1


def test_two_models_are_compared(items, engine):
    harsh = ScriptedEngine(lambda _: '{"analysis": "", "change": -10}', model="harsh")
    row = rescore.rescore_variance(items, [engine, harsh], methods=["direct"])[0]
    assert row.flips["model"] > 0.3


def test_an_attack_that_works_is_counted(items):
    gullible = ScriptedEngine(
        lambda r: json.dumps(
            {"analysis": "", "change": 10 if "highest level" in r.messages[1]["content"] else 0}
        )
    )
    row = rescore.rescore_variance(items, [gullible], methods=["direct"])[0]
    assert row.injection == pytest.approx(1 / len(rescore.ATTACKS))


def test_every_figure_can_be_worked_out_again_from_the_changes(items):
    row = rescore.rescore_variance(items, [Fickle()], methods=["direct"], batches=[1, 2, 3])[0]
    runs = row.changes["batch"]
    assert len(runs) == 3 and {len(run) for run in runs} == {len(items)}
    assert len(row.changes["attacked"][0]) == len(items) * len(rescore.ATTACKS)
    # Two replies of three policies with each person: as many of everybody, so the mean is that of the replies.
    moved = [len(set(changes)) > 1 for changes in zip(*runs, strict=True)]
    apart = [max(changes) - min(changes) for changes in zip(*runs, strict=True)]
    assert row.moves["batch"] == pytest.approx(sum(moved) / len(items))
    assert row.spread["batch"] == pytest.approx(sum(apart) / len(items))
    low, high = row.ci95["spread"]["batch"]
    assert low <= row.spread["batch"] <= high
    assert json.loads(json.dumps(row.to_json()))["changes"]["batch"] == runs


def test_faults_are_neither_flips_nor_zeros(items):
    down = ScriptedEngine(lambda _: ChatReply(error="down", error_kind="transport"))
    row = rescore.rescore_variance(items, [down], methods=["levels"])[0]
    assert row.faults == 1.0 and row.flips["batch"] is None and row.injection is None


@pytest.mark.parametrize("arguments", [((), ("e",)), (("i",), ())])
def test_nothing_to_score_is_an_error(arguments):
    with pytest.raises(ConfigError, match="at least one"):
        rescore.rescore_variance(*arguments)


def test_an_unknown_method_is_refused(items, engine):
    with pytest.raises(ConfigError, match="methods: direct"):
        rescore.changes("vibes", engine, items)


def test_the_tables_can_be_printed(items, engine):
    out = io.StringIO()
    console = Console(file=out, width=160)
    print_variance(rescore.rescore_variance(items, [engine]), console)
    qualification.print_report(
        qualification.check({"engine": "scripted:agreeable"}, prices=Prices(1, 1)), console
    )
    cost.print_estimate(cost.estimate({"engine": "vllm:x"}, episodes=3, prices=Prices(1, 1)), console)
    assert all(text in out.getvalue() for text in (*rescore.METHODS, "kappa, mean", "unqualified", "speaker"))


# -- the check ----------------------------------------------------------------------------


def test_the_labelled_replies_use_every_level_of_every_field():
    examples = qualification.load_examples()
    assert len(examples) >= 60 and {e.request.language for e in examples} == {"en", "zh"}
    for field in FIELDS:
        assert {e.levels[field] for e in examples} == set(LEVELS[field]), field
    assert len({e.request.reply for e in examples}) == len(examples)


def labelled(examples):
    """An engine that knows the labels, and quotes the whole reply."""
    by_reply = {shown(e.request.reply): e for e in examples}

    def answer(request):
        if request.schema is None:
            return agreeable(request)
        reply = request.messages[1]["content"].rpartition(" begins ===\n")[2].partition("\n=== ")[0]
        levels = by_reply[reply].levels if reply in by_reply else dict.fromkeys(FIELDS, 0)
        fields = {f: {"span": reply[:150] if levels[f] else "", "level": levels[f]} for f in FIELDS}
        kind = "other" if levels["insight"] else "none"
        numbers = request.schema["properties"]["touched"]["items"].get("enum", [])
        return json.dumps({**fields, "insight_kind": kind, "touched": numbers[:12]})

    return ScriptedEngine(answer, model="labelled")


def test_a_model_that_agrees_with_the_labels_qualifies(tmp_path):
    examples = qualification.load_examples()
    report = qualification.check({"engine": "vllm:x"}, engine=labelled(examples), examples=examples)
    # Not 1: it does not know which items a reply touches, and without them code lowers grounding and praise.
    assert report.overall > 0.9 and report.qualified and report.obedience == 1.0
    report.save(tmp_path / "report.json")
    assert qualification.mark(report.fingerprint, [tmp_path / "report.json"]) is None
    assert qualification.mark("somebody else", [tmp_path / "report.json"]) == "unqualified"
    assert qualification.mark(report.fingerprint, []) == "unqualified"


def test_a_model_that_answers_nothing_does_not_qualify():
    report = qualification.check({"engine": "scripted:mute"}, turns=1)
    assert report.faults > 0.9 and report.obedience == 0.0 and report.overall is None
    assert not report.qualified and len(report.failures) == 2


def test_a_model_that_leaks_does_not_qualify():
    examples = qualification.load_examples()[:10]
    good = labelled(examples)
    leaky = ScriptedEngine(
        lambda r: "My emotion is at 45 now." if r.schema is None else good.complete([r])[0], model="leaky"
    )
    report = qualification.check({"engine": "vllm:x"}, engine=leaky, examples=examples, turns=1)
    assert report.leaks == 1.0 and report.authored == 1.0 and any("leaks" in f for f in report.failures)


def test_what_gives_no_levels_cannot_be_checked():
    with pytest.raises(ConfigError, match="direct"):
        qualification.check({"engine": "scripted:agreeable", "perceiver": "direct"})


@pytest.mark.parametrize("text", ["{", '{"reply": "x"}\n', '{"context": "c", "reply": "x", "levels": {}}'])
def test_examples_that_cannot_be_read_are_an_error(text, tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(RecordError, match="cannot be read"):
        qualification.load_examples(path)
    with pytest.raises(RecordError, match="not a report"):
        qualification.mark("f", [path])


@pytest.mark.parametrize(
    ("labels", "levels", "kappa"),
    [([0, 1, 2], [0, 1, 2], 1.0), ([0, 0, 2, 2], [2, 2, 0, 0], -1.0), ([0, 0], [0, 0], None), ([], [], None),
     ([0, 0, 1, 1], [0, 1, 0, 1], 0.0), ([0, 0, 2, 2], [0, 0, 2, 1], 1 - 1 / 7)],
)  # fmt: skip
def test_weighted_kappa(labels, levels, kappa):
    found = qualification.weighted_kappa(labels, levels)
    assert found is None if kappa is None else found == pytest.approx(kappa)


# -- the estimate ----------------------------------------------------------------------------


def test_an_estimate_grows_with_the_run_and_asks_no_model():
    config = {"engine": "openai:m@http://127.0.0.1:9/v1", "api_key_env": "NOT_SET", "tape": "/nowhere/t"}
    one = cost.estimate(config, episodes=10, prices=Prices(1.0, 2.0))
    two = cost.estimate(config, episodes=20, prices=Prices(1.0, 2.0))
    assert two.requests == {role: 2 * n for role, n in one.requests.items()}
    # Eight replies an episode; of a reply without form no model is asked.
    assert two.requests["speaker"] == 160 and 0.9 * 160 <= two.requests["perceiver"] <= 160
    assert two.cost["total"] == pytest.approx(2 * one.cost["total"], rel=1e-3)
    assert one.cost["total"] == pytest.approx(one.cost["perceiver"] + one.cost["speaker"])


def test_parts_without_a_model_cost_nothing():
    assert cost.estimate({"perceiver": "embedded", "speaker": "roleplay"}, episodes=1).requests == {
        "speaker": 8
    }
    nothing = cost.estimate({"perceiver": "embedded", "speaker": "written"}, episodes=1, prices=Prices(1, 1))
    assert nothing.requests == {} and nothing.cost == {"total": 0}


def test_a_role_without_a_price_is_an_error():
    with pytest.raises(ConfigError, match="no price for the role 'speaker'"):
        cost.estimate({}, episodes=1, prices={"perceiver": Prices(1, 1)})
    with pytest.raises(ConfigError, match="at least 1"):
        cost.estimate({}, episodes=0)
