"""The tape: what is recorded is replayed byte for byte, by any process, without the engine."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.simulators.engines import ChatReply, ChatRequest, ScriptedEngine, Tape
from empathy_gym.simulators.engines.tape import canonical, export, prune, stats
from empathy_gym.simulators.engines.tape_store import TapeStore, acquire, release
from empathy_gym.simulators.errors import ConfigError, EngineError, RecordError, TapeMiss


def ask(text="hello", **options):
    return ChatRequest(
        messages=({"role": "system", "content": "s"}, {"role": "user", "content": text}), **options
    )


def upper(request):
    return request.messages[-1]["content"].upper()


class Counting(ScriptedEngine):
    """Answers with a running number: asking twice gives two answers."""

    def __init__(self, model="counting", revision="r1"):
        super().__init__(
            lambda request: f"{upper(request)} {next(self.numbers)}", model=model, revision=revision
        )
        self.numbers = iter(range(1_000_000))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.tape"


def record(path, requests, mode="auto", engine=None):
    tape = Tape(engine or Counting(), path, mode)
    replies = tape.complete(requests)
    tape.close()
    return replies


def replay(path, requests, **options):
    tape = Tape(None, path, "replay", **options)
    try:
        return tape.complete(requests)
    finally:
        tape.close()


def as_bytes(replies):
    return json.dumps(
        [[r.text, r.error, r.error_kind, r.finish_reason, dict(r.usage)] for r in replies]
    ).encode()


def test_a_replay_without_engine_is_byte_identical(path):
    requests = [ask(str(i), seed=i, temperature=0.7) for i in range(50)]
    recorded = record(path, requests)
    replayed = replay(path, requests)
    assert as_bytes(recorded) == as_bytes(replayed)
    assert not any(r.cached for r in recorded) and all(r.cached for r in replayed)


def test_order_and_batching_do_not_matter(path):
    requests = [ask(str(i)) for i in range(20)]
    recorded = record(path, requests)
    one_by_one = [replay(path, [r])[0] for r in reversed(requests)][::-1]
    assert as_bytes(one_by_one) == as_bytes(recorded)


def test_identical_requests_in_a_batch_are_asked_once_and_agree(path):
    engine = Counting()
    replies = record(path, [ask("a"), ask("b"), ask("a")], engine=engine)
    assert [r.text for r in replies] == ["A 0", "B 1", "A 0"] and engine.calls == 2
    assert [r.cached for r in replies] == [False, False, True]


def test_a_replay_tells_model_and_revision_without_an_engine(path):
    record(path, [ask()])
    tape = Tape(None, path, "replay")
    assert (tape.model, tape.revision) == ("counting", "r1")
    tape.close()


def test_a_miss_names_request_model_tape_and_remedy(path):
    record(path, [ask()])
    with pytest.raises(TapeMiss) as caught:
        replay(path, [ask(), ask("something else " + "x" * 200), ask("third")])
    message = str(caught.value)
    assert str(path) in message and "'counting'" in message and "something else" in message
    assert "x" * 81 not in message and "1 more" in message and "tape_mode='auto'" in message


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 257},
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"seed": 1},
        {"stop": ("x",)},
        {"schema": {}},
        {"regex": ""},
        {"choices": ("a",)},
        {"messages": ({"role": "user", "content": "hello"},)},
    ],
)
def test_whatever_shapes_the_answer_is_in_the_address(path, change):
    import dataclasses

    record(path, [ask()])
    with pytest.raises(TapeMiss):
        replay(path, [dataclasses.replace(ask(), **change)])


def test_the_order_of_a_schemas_fields_is_in_the_address():
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert canonical(ask(schema=one), "m", "") != canonical(ask(schema=other), "m", "")


def test_equal_numbers_have_one_address():
    assert canonical(ask(temperature=0, top_p=1), "m", "") == canonical(
        ask(temperature=0.0, top_p=1.0), "m", ""
    )
    assert canonical(ask(), "m", "") != canonical(ask(), "m", "2")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=1, max_size=4), st.integers(0, 2**63))
def test_any_text_can_be_taped(tmp_path_factory, texts, seed):
    path = tmp_path_factory.mktemp("tape") / "t"
    requests = [ask(text, seed=seed) for text in texts]
    engine = ScriptedEngine(lambda request: request.messages[-1]["content"])
    recorded = record(path, requests, engine=engine)
    assert as_bytes(recorded) == as_bytes(replay(path, requests))
    assert canonical(requests[0], "m", "").isascii()


def test_tokens_and_logprobs_come_back_as_they_were(path):
    reply = ChatReply("x", tokens=(1, 2), logprobs=(-0.1, -1e-9), usage={"prompt_tokens": 3, "retries": 2})
    record(path, [ask()], engine=ScriptedEngine([reply]))
    (back,) = replay(path, [ask()])
    assert (back.tokens, back.logprobs) == ((1, 2), (-0.1, -1e-9))
    assert back.usage == {"prompt_tokens": 3}, "retries belong to the day, not to the answer"


def test_failures_are_not_taped_but_a_context_overflow_is(path):
    failed = ChatReply(error="late", error_kind="timeout")
    over = ChatReply(error="too long", error_kind="context")
    recorded = record(path, [ask("a"), ask("b"), ask("c")], engine=ScriptedEngine([failed, over, "fine"]))
    assert recorded[0] == failed
    (back,) = replay(path, [ask("b")], model="scripted")
    assert (back.error, back.error_kind) == ("too long", "context")
    with pytest.raises(TapeMiss):
        replay(path, [ask("a")])
    assert record(path, [ask("a")], engine=ScriptedEngine("now"))[0].text == "now"


def test_auto_asks_only_for_what_is_missing(path):
    record(path, [ask("a"), ask("b")])
    engine = Counting()
    replies = record(path, [ask("c"), ask("a")], engine=engine)
    assert [r.text for r in replies] == ["C 0", "A 0"] and engine.calls == 1


def test_record_replaces_earlier_recordings_once(path):
    record(path, [ask("a"), ask("b")])
    engine = Counting()
    engine.numbers = iter(range(100, 200))
    tape = Tape(engine, path, "record")
    first, second = tape.complete([ask("a")]), tape.complete([ask("a")])
    tape.close()
    assert first[0].text == second[0].text == "A 100", "within a recording the first answer stands"
    assert [r.text for r in replay(path, [ask("a"), ask("b")])] == ["A 100", "B 1"]


def test_a_tape_at_rest_is_one_file_and_a_replay_leaves_it_alone(path):
    record(path, [ask()])
    before = path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    replay(path, [ask()])
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_replay_can_run_beside_a_recording(path):
    tape = Tape(Counting(), path, "auto")
    tape.complete([ask("a")])
    assert replay(path, [ask("a")])[0].text == "A 0"
    tape.complete([ask("b")])
    assert replay(path, [ask("b")])[0].text == "B 1"
    tape.close()


def test_a_process_has_one_connection_for_a_path(path):
    first, second = acquire(path, write=True), acquire(str(path), write=True)
    assert first is second
    release(first)
    second.query("SELECT 1")
    release(second)


def test_a_tape_that_was_replaced_on_disk_is_opened_anew(path, tmp_path):
    record(tmp_path / "other", [ask("new")])
    record(path, [ask("old")])
    keeps_it_open = Tape(None, path, "replay")
    os.replace(tmp_path / "other", path)
    assert replay(path, [ask("new")])[0].text == "NEW 0"
    keeps_it_open.close()


def _write(path, start, barrier, queue):
    barrier.wait(20)
    tape = Tape(Counting(), path, "auto")
    got = {}
    for i in range(start, start + 40):
        (got[i % 60],) = (r.text for r in tape.complete([ask(str(i % 60))]))
    tape.close()
    queue.put(got)


def test_several_processes_write_one_tape_and_agree_with_its_replay(path):
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork")
    barrier, queue = context.Barrier(4), context.Queue()
    children = [context.Process(target=_write, args=(path, 20 * i, barrier, queue)) for i in range(4)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    replayed = {i: replay(path, [ask(str(i))])[0].text for i in range(60)}
    for got in results:
        assert got == {i: replayed[i] for i in got}, "who asked second was given the first one's answer"
    assert stats(path)["replies"] == 60


def test_several_threads_share_a_tape(path):
    tape = Tape(Counting(), path, "auto")
    results = [None] * 8

    def run(n):
        results[n] = [r.text for i in range(30) for r in tape.complete([ask(str((i + n) % 30))])]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tape.close()
    replayed = [replay(path, [ask(str(i))])[0].text for i in range(30)]
    for n, got in enumerate(results):
        assert got == [replayed[(i + n) % 30] for i in range(30)]


def _fork_child(tape, queue):
    inherited = tape._store
    queue.put([r.text for r in tape.complete([ask("a"), ask("child")])])
    queue.put(tape._store is not inherited)  # SQLite forbids to carry a connection across a fork
    tape.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_tape_that_was_open_at_a_fork_works_on_both_sides(path):
    tape = Tape(Counting(), path, "auto")
    tape.complete([ask("a")])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_fork_child, args=(tape, queue))
    child.start()
    assert queue.get(timeout=20) == ["A 0", "CHILD 1"]
    assert queue.get(timeout=20) is True
    child.join(10)
    assert tape.complete([ask("child")])[0].text == "CHILD 1"
    tape.close()
    assert stats(path)["replies"] == 2


def test_a_killed_writer_leaves_a_usable_tape(path):
    code = (
        "import os, sys\n"
        "from empathy_gym.simulators.engines import *\n"
        "tape = Tape(ScriptedEngine('x', model='m'), sys.argv[1])\n"
        "tape.complete([ChatRequest(messages=({'role': 'user', 'content': str(i)},)) for i in range(100)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment)
    assert stats(path)["replies"] == 100


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_torn_file_is_an_error_that_says_so(path, keep):
    record(path, [ask("x" * 3000 + str(i)) for i in range(60)])
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(RecordError, match=r"run\.tape.*damaged"):
        stats(path)
    with pytest.raises((RecordError, TapeMiss)) as caught:
        replay(path, [ask("x" * 3000 + str(i)) for i in range(60)])
    assert isinstance(caught.value, RecordError)


@pytest.mark.parametrize("mode", ["replay", "auto"])
def test_what_is_not_a_database_is_left_alone(path, mode):
    path.write_text("These are my notes, not a tape. " * 200)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="not a tape"):
        Tape(Counting(), path, mode)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["replay", "auto"])
def test_another_programs_database_is_left_alone(path, mode):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not a tape"):
        Tape(Counting(), path, mode)
    assert path.read_bytes() == before


def test_a_tape_of_another_version_is_refused(path):
    record(path, [ask()])
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE version SET version = 99")
    raw.close()
    with pytest.raises(ConfigError, match="version 99"):
        replay(path, [ask()])


def test_a_damaged_reply_is_an_error(path):
    record(path, [ask()])
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE replies SET reply = '{'")
    raw.close()
    with pytest.raises(RecordError, match="cannot be read"):
        replay(path, [ask()])


def test_a_locked_tape_is_an_engine_error(path, monkeypatch):
    monkeypatch.setattr("empathy_gym.simulators.engines.tape_store.BUSY_S", 0.2)
    record(path, [ask()])
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(EngineError, match="locked by another process"):
        record(path, [ask("b")])
    assert time.monotonic() - started < 5
    other.rollback()
    other.close()
    assert record(path, [ask("b")])[0].text == "B 0"


@pytest.mark.parametrize("make", ["missing", "folder", "empty"])
def test_a_path_that_cannot_be_replayed_says_why(tmp_path, make):
    path = tmp_path / "t"
    if make == "folder":
        path.mkdir()
    if make == "empty":
        path.touch()
    with pytest.raises(ConfigError, match={"missing": "no tape", "folder": "folder", "empty": "empty"}[make]):
        replay(path, [ask()])
    assert make != "missing" or not path.exists()


def test_a_tape_of_several_models_asks_which(path):
    record(path, [ask()], engine=Counting("m1", "a"))
    record(path, [ask()], engine=Counting("m2", "b"))
    record(path, [ask()], engine=Counting("m2", "c"))
    with pytest.raises(ConfigError, match="more than one"):
        replay(path, [ask()])
    with pytest.raises(ConfigError, match="'m1'"):
        replay(path, [ask()], model="m9")
    assert replay(path, [ask()], model="m1")[0].text == "HELLO 0"
    assert replay(path, [ask()], model="m2", revision="c")[0].text == "HELLO 0"


def test_wrong_arguments_are_named(path):
    with pytest.raises(ConfigError, match="Did you mean 'replay'"):
        Tape(None, path, "reply")
    with pytest.raises(ConfigError, match="needs an engine"):
        Tape(None, path, "auto")
    with pytest.raises(ConfigError, match="JSON"):
        record(path, [ask(schema={"x": object()})])
    with pytest.raises(ConfigError, match="JSON"):
        record(path, [ask(temperature=float("inf"))])


def test_an_engine_that_breaks_down_leaves_the_tape_usable(path):
    tape = Tape(ScriptedEngine([EngineError("gone"), "back"]), path)
    with pytest.raises(EngineError, match="gone"):
        tape.complete([ask()])
    assert tape.complete([ask()])[0].text == "back"
    tape.close()
    tape.close()
    with pytest.raises(EngineError, match="closed"):
        tape.complete([ask()])


def test_stats_count_replies_and_tokens_by_model(path):
    record(path, [ask("a"), ask("b")], engine=Counting("m1"))
    record(path, [ask("a")], engine=Counting("m2"))
    found = stats(path)
    assert found["replies"] == 3 and found["bytes"] == path.stat().st_size
    assert [(m["model"], m["replies"]) for m in found["models"]] == [("m1", 2), ("m2", 1)]
    assert found["models"][0]["completion_tokens"] == 2 and found["models"][0]["first"].endswith("Z")
    assert json.dumps(found)


def test_export_writes_json_lines_that_hold_everything(path, tmp_path):
    record(path, [ask("ü\ud800"), ask("b")])
    out = tmp_path / "out.jsonl"
    assert export(path, out) == 2
    assert out.read_bytes().isascii()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0]["request"]["messages"][-1]["content"] == "ü\ud800"
    assert lines[1]["reply"]["text"] == "B 1" and len(lines[1]["key"]) == 64
    with pytest.raises(ConfigError, match="cannot be written"):
        export(path, tmp_path / "no" / "such" / "folder")


def test_prune_by_model_and_by_day(path):
    record(path, [ask("a"), ask("b")], engine=Counting("m1"))
    record(path, [ask("a")], engine=Counting("m2"))
    with pytest.raises(ConfigError, match="Did you mean 'm1'"):
        prune(path, model="m11")
    with pytest.raises(ConfigError, match="Nothing says what"):
        prune(path)
    assert prune(path, model="m1", dry_run=True) == 2 and stats(path)["replies"] == 3
    assert prune(path, model="m1") == 2
    assert [m["model"] for m in stats(path)["models"]] == ["m2"]
    today = datetime.datetime.now(datetime.UTC).date()
    assert prune(path, unused_since=today - datetime.timedelta(days=2)) == 0
    assert prune(path, unused_since=today + datetime.timedelta(days=2)) == 1


def test_prune_of_a_missing_tape_makes_none(path):
    with pytest.raises(ConfigError, match="no tape"):
        prune(path, model="m")
    assert not path.exists()


def test_use_by_an_auto_run_counts_as_use(path):
    record(path, [ask("old"), ask("used")])
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE replies SET used = 0")
    raw.close()
    record(path, [ask("used")])
    assert prune(path, unused_since=datetime.date(2000, 1, 1)) == 1
    assert replay(path, [ask("used")])[0].text == "USED 1"


def test_a_pruned_model_can_be_recorded_again_by_an_open_tape(path):
    tape = Tape(Counting("m1"), path)
    tape.complete([ask("a")])
    prune(path, model="m1")
    tape.complete([ask("b")])
    tape.close()
    assert stats(path)["models"][0]["replies"] == 1


def test_a_store_that_fails_to_open_leaks_no_connection(path):
    path.write_bytes(b"x" * 5000)
    with pytest.raises(RecordError):
        TapeStore(path, write=False)
    path.unlink()


def test_replay_makes_a_thousand_turns_a_second(path):
    # A tenth of what an idle machine reaches, so a busy one passes; it catches a scan or an fsync a reply.
    prompt = "You are a judge. " * 400
    requests = [ask(prompt + str(i)) for i in range(400)]
    record(path, requests, engine=ScriptedEngine("x" * 200))
    tape = Tape(None, path, "replay")
    started = time.perf_counter()
    for i in range(0, 400, 2):
        tape.complete(requests[i : i + 1])
        tape.complete(requests[i + 1 : i + 2])
    rate = 200 / (time.perf_counter() - started)
    tape.close()
    assert rate > 300, f"{rate:.0f} turns/s"


def test_a_tape_is_not_exported_onto_itself(path):
    tape = Tape(ScriptedEngine(lambda _: "Hello."), path, mode="record")
    tape.complete([ChatRequest(({"role": "user", "content": "Hi."},))])
    tape.close()
    before = os.path.getsize(path)
    for target in (path, f"{path}-wal"):
        with pytest.raises(ConfigError, match="is the tape itself"):
            export(path, target)
    assert os.path.getsize(path) == before and stats(path)["replies"] == 1
