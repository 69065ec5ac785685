"""The HTTP engine against real servers on loopback: whatever they do, a reply for each and no hang."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import traceback

import pytest

from empathy_gym.simulators.engines import ChatRequest, OpenAIEngine
from empathy_gym.simulators.engines.connection import base_url, retry_after
from empathy_gym.simulators.errors import ConfigError, EngineError

from .conftest import Stopwatch, completion

KEY = "sk-verysecret0123456789"


def ask(text="hello", **options):
    return ChatRequest(
        messages=({"role": "system", "content": "s"}, {"role": "user", "content": text}), **options
    )


def engine(*urls, **options):
    options = {"timeout_s": 5.0, "retries": 0, "api_key_env": None, **options}
    return OpenAIEngine("m", list(urls), **options)


def one(server_url, request=None, **options):
    built = engine(server_url, **options)
    try:
        return built.complete([request or ask()])[0]
    finally:
        built.close()


def test_a_good_answer_gives_text_usage_and_finish_reason(serve):
    reply = one(serve().url)
    assert (reply.text, reply.error, reply.finish_reason) == ("fine", None, "stop")
    assert reply.usage == {"prompt_tokens": 7, "completion_tokens": 3}


def test_the_request_says_everything_that_shapes_the_answer(serve):
    server = serve()
    one(server.url, ask("x", max_tokens=9, temperature=0.5, top_p=0.9, seed=2**62, stop=("a", "b")))
    body = server.calls[0].body
    assert body["model"] == "m" and body["messages"][1] == {"role": "user", "content": "x"}
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (9, 0.5, 0.9)
    assert body["seed"] == 2**62 and body["stop"] == ["a", "b"]


def test_order_is_kept_when_answers_come_back_in_another(serve):
    def answer(call):
        time.sleep(0.05 * (int(call.last) % 3))
        call.json(completion(call.last))

    built = engine(serve(answer).url)
    assert [r.text for r in built.complete([ask(str(i)) for i in range(40)])] == [str(i) for i in range(40)]
    built.close()


def test_requests_run_at_once_but_no_more_than_allowed(serve):
    def answer(call):
        time.sleep(0.1)
        call.json(completion())

    server = serve(answer)
    built = engine(server.url, max_concurrency=8)
    with Stopwatch() as watch:
        built.complete([ask()] * 24)
    assert server.most == 8
    assert watch.seconds < 1.5
    built.close()


def test_a_server_that_is_down_is_a_transport_error(dead_url):
    reply = one(dead_url, retries=1)
    assert reply.error_kind == "transport" and dead_url in reply.error and reply.text == ""


def test_a_slow_server_is_a_timeout_and_nothing_hangs(serve):
    server = serve(lambda call: time.sleep(3))
    with Stopwatch() as watch:
        reply = one(server.url, timeout_s=0.3, retries=5)
    assert reply.error_kind == "timeout" and watch.seconds < 1.0
    assert len(server.calls) == 1, "a slow server is not asked again"


def test_a_server_that_drips_is_cut_off_too(serve):
    def answer(call):
        call.handler.send_response(200)
        call.handler.send_header("Content-Length", "1000")
        call.handler.end_headers()
        for _ in range(30):
            call.handler.wfile.write(b" ")
            time.sleep(0.1)

    with Stopwatch() as watch:
        reply = one(serve(answer).url, timeout_s=0.5)
    assert reply.error_kind == "timeout" and watch.seconds < 1.2


def test_the_total_timeout_bounds_a_call_with_its_queue(serve):
    def answer(call):
        time.sleep(0.2)
        call.json(completion())

    built = engine(serve(answer).url, max_concurrency=2, total_timeout_s=0.5)
    with Stopwatch() as watch:
        replies = built.complete([ask()] * 20)
    assert watch.seconds < 1.0
    kinds = [r.error_kind for r in replies]
    assert kinds[:2] == [None, None] and kinds[-1] == "timeout"
    assert [r.text for r in built.complete([ask()])] == ["fine"], "the engine goes on working"
    built.close()


def test_a_server_that_drops_half_its_connections_costs_retries_only(serve):
    server = serve(lambda call: call.drop() if call.n % 2 else call.json(completion(call.last)))
    built = engine(server.url, retries=8, timeout_s=20.0)
    replies = built.complete([ask(str(i)) for i in range(12)])
    assert [r.text for r in replies] == [str(i) for i in range(12)]
    assert sum(r.usage.get("retries", 0) for r in replies) == len(server.calls) - 12 > 0
    built.close()


def test_without_retries_only_the_dropped_requests_fail(serve):
    server = serve(lambda call: call.drop() if int(call.last) % 2 else call.json(completion(call.last)))
    built = engine(server.url)
    replies = built.complete([ask(str(i)) for i in range(12)])
    assert [r.error_kind for r in replies] == [None, "transport"] * 6
    built.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"<html><body>Bad gateway</body></html>",
        b'{"choices": [',
        b'{"choices": [{"message": {"content": "x"}, "logprob": NaN}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"total": Infinity}}',
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"null",
        b"[" * 50_000,
        b'{"choices": []}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}',
        b'{"choices": {"0": 1}}',
        b'{"usage": {}}',
    ],
)
def test_what_is_not_an_answer_is_malformed(serve, raw):
    reply = one(serve(lambda call: call.send(raw)).url)
    assert reply.error_kind == "malformed" and reply.text == ""
    assert "\n" not in reply.error and len(reply.error) <= 300


def test_an_answer_of_100_kb_is_refused_without_being_read_whole(serve):
    reply = one(serve(lambda call: call.json(completion("x" * 100_000))).url)
    assert reply.error_kind == "malformed" and "bytes" in reply.error


def test_an_endless_answer_is_cut(serve):
    def answer(call):
        call.handler.send_response(200)
        call.handler.send_header("Transfer-Encoding", "chunked")
        call.handler.end_headers()
        while True:
            call.handler.wfile.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")

    with Stopwatch() as watch:
        assert one(serve(answer).url).error_kind == "malformed"
    assert watch.seconds < 3


def test_an_empty_text_is_an_answer(serve):
    reply = one(serve(lambda call: call.json(completion(""))).url)
    assert reply.text == "" and reply.error is None


def test_odd_usage_never_costs_the_answer(serve):
    usage = {"prompt_tokens": -1, "completion_tokens": True}
    reply = one(serve(lambda call: call.json(completion("x", usage=usage))).url)
    assert reply.text == "x" and reply.usage == {}


def test_lone_surrogates_are_replaced_in_both_directions(serve):
    server = serve(lambda call: call.send(b'{"choices": [{"message": {"content": "a\\ud800b"}}]}'))
    reply = one(server.url, ask("x\ud83dy\udfff", stop=("\ud800",)))
    assert server.calls[0].last == "x\ufffdy\ufffd" and server.calls[0].body["stop"] == ["\ufffd"]
    assert reply.text == "a\ufffdb"


def test_429_is_tried_again_when_the_server_says(serve):
    def answer(call):
        if call.n == 0:
            call.json({"error": {"message": "slow down"}}, 429, Retry_After="0.9")
        else:
            call.json(completion("ok"))

    with Stopwatch() as watch:
        reply = one(serve(answer).url, retries=2)
    assert reply.text == "ok" and reply.usage["retries"] == 1
    assert 0.9 <= watch.seconds < 3


def test_a_retry_after_beyond_the_timeout_is_not_waited_for(serve):
    with Stopwatch() as watch:
        reply = one(serve(lambda call: call.json({}, 429, Retry_After="3600")).url, retries=3)
    assert reply.error_kind == "status" and watch.seconds < 2


def test_500_is_tried_again_and_bounded(serve):
    server = serve(
        lambda call: call.json({"error": "oops"}, 500) if call.n < 2 else call.json(completion("ok"))
    )
    assert one(server.url, retries=3).text == "ok"
    failing = serve(lambda call: call.json({"error": "oops"}, 503))
    reply = one(failing.url, retries=1)
    assert reply.error_kind == "status" and "503" in reply.error and len(failing.calls) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_other_refusals_are_never_tried_again(serve, status):
    server = serve(
        lambda call: call.json({"error": {"message": "no such model"}}, status, Location="/elsewhere")
    )
    reply = one(server.url, retries=3)
    assert reply.error_kind == "rejected" and "no such model" in reply.error and len(server.calls) == 1


@pytest.mark.parametrize(
    "status, error",
    [
        (
            400,
            {"message": "This model's maximum context length is 2048 tokens. However, your prompt has"},
        ),
        (400, {"message": "Input length (9) exceeds model's maximum context length (8)."}),
        (400, {"message": "x", "code": "context_length_exceeded"}),
        (500, {"message": "the request is too big", "type": "exceed_context_size_error"}),
        (
            400,
            {"message": "The input (61709 tokens) is longer than the model's context length (40960 tokens)."},
        ),
    ],
)
def test_a_context_overflow_is_recognised(serve, status, error):
    server = serve(lambda call: call.json({"error": error}, status))
    assert one(server.url, retries=2).error_kind == "context"
    assert len(server.calls) == 1


def test_an_error_inside_a_200_is_an_error(serve):
    server = serve(lambda call: call.json({"error": {"code": 402, "message": "no credit"}}))
    assert one(server.url, retries=2).error_kind == "rejected"


def test_the_rest_of_a_batch_is_unharmed_by_each_fault(serve):
    def answer(call):
        n = int(call.last)
        faults = [call.drop, lambda: call.send(b"<html>"), lambda: call.json({}, 500), lambda: time.sleep(6)]
        faults[n // 2]() if n % 2 and n < 8 else call.json(completion(call.last))

    built = engine(serve(answer).url, timeout_s=3.0)
    replies = built.complete([ask(str(i)) for i in range(16)])
    assert [r.text for r in replies if not r.error] == [str(i) for i in range(16) if i % 2 == 0 or i > 8]
    assert [r.error_kind for r in replies if r.error] == ["transport", "malformed", "status", "timeout"]
    built.close()


def test_a_schema_goes_as_response_format(serve):
    schema = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "integer"}}}
    server = serve()
    one(server.url, ask(schema=schema))
    sent = server.calls[0].body["response_format"]["json_schema"]["schema"]
    assert list(sent["properties"]) == ["z", "a"], "the order of fields is the order of generation"


def test_vllm_is_recognised_and_gets_its_own_constraints(serve):
    server = serve(owner="vllm")
    built = engine(server.url)
    built.complete([ask(choices=("yes", "no")), ask(regex="[0-3]{3}")])
    bodies = {str(c.body["structured_outputs"]): c.body for c in server.calls}
    assert set(bodies) == {"{'choice': ['yes', 'no']}", "{'regex': '[0-3]{3}'}"}
    assert all(b["top_k"] == 0 and b["repetition_penalty"] == 1.0 for b in bodies.values())
    built.close()


def test_other_servers_get_choices_and_patterns_as_a_schema(serve):
    def answer(call):
        inner = call.body["response_format"]["json_schema"]["schema"]["properties"]["answer"]
        call.json(completion(json.dumps({"answer": inner.get("enum", ["012"])[0]})))

    built = engine(serve(answer, owner="somebody").url)
    replies = built.complete([ask(choices=("yes", "no")), ask(regex="[0-3]{3}")])
    assert [r.text for r in replies] == ["yes", "012"]
    assert "structured_outputs" not in str(serve)
    built.close()


def test_a_broken_wrapping_is_malformed(serve):
    assert (
        one(serve(lambda call: call.json(completion("yes"))).url, ask(choices=("yes",))).error_kind
        == "malformed"
    )


def test_extra_fields_are_added_and_none_takes_one_out(serve):
    server = serve()
    one(server.url, extra_body={"chat_template_kwargs": {"enable_thinking": False}, "top_p": None})
    body = server.calls[0].body
    assert body["chat_template_kwargs"] == {"enable_thinking": False} and "top_p" not in body


def test_a_request_that_is_not_json_is_rejected_alone(serve):
    built = engine(serve().url)
    replies = built.complete([ask(temperature=float("nan")), ask()])
    assert [r.error_kind for r in replies] == ["rejected", None]
    built.close()


def test_several_urls_share_the_work(serve):
    servers = [serve(), serve(), serve()]
    built = engine(*(s.url for s in servers))
    built.complete([ask()] * 30)
    assert [len(s.calls) for s in servers] == [10, 10, 10]
    built.close()


def test_a_dead_url_is_set_aside_and_its_requests_go_elsewhere(serve, dead_url):
    server = serve()
    built = engine(dead_url, server.url, retries=2)
    with Stopwatch() as watch:
        replies = built.complete([ask()] * 20)
    assert all(r.text == "fine" for r in replies) and watch.seconds < 2
    assert built.health()[dead_url] > 0 and built.health()[server.url] == 0
    built.close()


def test_a_url_that_recovers_is_used_again(serve):
    state = {"well": False}

    def answer(call):
        call.json(completion()) if state["well"] else call.json({}, 503)

    flaky, good = serve(answer), serve()
    built = engine(flaky.url, good.url, retries=2)
    built.complete([ask()] * 4)
    assert built.health()[flaky.url] >= 1
    state["well"] = True
    seen, deadline = len(flaky.calls), time.monotonic() + 10
    while built.health()[flaky.url] and time.monotonic() < deadline:
        built.complete([ask()])
        time.sleep(0.1)
    assert built.health()[flaky.url] == 0 and len(flaky.calls) > seen
    built.close()


def test_it_works_inside_a_running_loop(serve):
    built = engine(serve().url)

    async def main():
        return built.complete([ask()] * 3)

    assert len(asyncio.run(main())) == 3
    built.close()


def _in_child(built, queue):
    queue.put([r.text for r in built.complete([ask("child")])])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_after_a_fork_in_child_and_parent(serve):
    built = engine(serve(lambda call: call.json(completion(call.last))).url)
    built.complete([ask("before")])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(built, queue))
    child.start()
    assert queue.get(timeout=20) == ["child"]
    child.join(10)
    assert child.exitcode == 0
    assert built.complete([ask("after")])[0].text == "after"
    built.close()


def test_a_process_that_never_closes_ends_at_once_and_silently(serve):
    code = (
        "from empathy_gym.simulators.engines import *; import sys\n"
        "e = OpenAIEngine('m', sys.argv[1], timeout_s=5)\n"
        "r = ChatRequest(messages=({'role': 'user', 'content': 'x'},))\n"
        "assert e.complete([r])[0].text == 'fine'\n"
        "import threading; threading.Thread(target=e.complete, args=([r],), daemon=True).start()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}
    with Stopwatch() as watch:
        done = subprocess.run(
            [sys.executable, "-c", code, serve().url], capture_output=True, text=True, env=environment
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert watch.seconds < 20


def test_closing_ends_what_is_in_flight_and_refuses_more(serve):
    import threading

    built = engine(serve(lambda call: time.sleep(5)).url)
    got = []
    thread = threading.Thread(target=lambda: got.extend(built.complete([ask()] * 2)))
    thread.start()
    time.sleep(0.3)
    built.close()
    built.close()
    thread.join(5)
    assert [r.error_kind for r in got] == ["engine", "engine"]
    with pytest.raises(EngineError, match="closed"):
        built.complete([ask()])


def test_the_key_is_sent_and_shows_up_nowhere_else(serve, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    echo = serve(
        lambda call: call.json({"error": {"message": f"bad key {call.headers['authorization']}"}}, 401)
    )
    built = engine(echo.url, api_key_env="MY_KEY", retries=2)
    reply = built.complete([ask()])[0]
    assert echo.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert reply.error_kind == "rejected" and "***" in reply.error and "'MY_KEY'" in reply.error
    shown = [repr(built), str(built), str(vars(built)), repr(reply), caplog.text]
    assert caplog.text and KEY not in "".join(shown)
    built.close()


def test_a_key_that_a_header_cannot_hold_is_named_but_not_shown(serve, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    built = engine(serve().url, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY + "\nX-Injected: ü")
    reply = built.complete([ask()])[0]
    assert reply.error_kind == "rejected" and "MY_KEY" in reply.error
    with pytest.raises(ConfigError) as caught:
        engine(serve().url, api_key_env="MY_KEY")
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(reply) + caplog.text
    built.close()


def test_a_named_key_that_is_not_set_says_so(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"NO_SUCH_KEY.*not set"):
        engine("http://127.0.0.1:1", api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize(
    "url", [f"http://me:{KEY}@host/v1", f"https://host/v1?api-key={KEY}", f"https://host/v1#{KEY}"]
)
def test_a_url_with_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        engine(url)
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"total_timeout_s": -1},
        {"retries": -1},
        {"max_concurrency": 0},
        {"max_concurrency": 1.5},
        {"dialect": "vlm"},
    ],
)
def test_a_wrong_argument_is_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        engine("http://127.0.0.1:1", **options)


def test_urls_are_checked_and_completed():
    assert base_url("http://127.0.0.1:8000/") == "http://127.0.0.1:8000/v1"
    assert base_url("https://host/api/v3/") == "https://host/api/v3"
    for wrong in ("", "host:80", "ftp://host", "http://", "http://host:99999", 7, "http://[::1"):
        with pytest.raises(ConfigError):
            base_url(wrong)
    with pytest.raises(ConfigError, match="no URL"):
        OpenAIEngine("m", [])


def test_retry_after_reads_seconds_and_dates():
    assert retry_after("1.5") == 1.5 and retry_after("-3") == 0.0
    assert retry_after("Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert retry_after("soon") is None and retry_after("nan") is None and retry_after(None) is None


def test_an_empty_batch_asks_nobody(dead_url):
    assert engine(dead_url).complete([]) == []


def test_importing_it_does_not_import_httpx():
    code = "import sys, empathy_gym.simulators.engines; sys.exit('httpx' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_replies_can_be_pickled(serve):
    reply = one(serve().url)
    assert pickle.loads(pickle.dumps(reply)) == reply


def test_a_failing_url_is_left_alone_while_others_do_well(serve):
    failing, good = serve(lambda call: call.json({}, 503)), serve()
    built = engine(failing.url, good.url, retries=1)
    assert all(built.complete([ask()])[0].text == "fine" for _ in range(60))
    assert len(failing.calls) <= 5 and len(good.calls) == 60
    built.close()
