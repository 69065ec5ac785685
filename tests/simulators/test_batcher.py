"""Micro-batching: coroutines in, batches out, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import hashlib
import multiprocessing
import os
import threading
import time

import gymnasium as gym
import pytest

import empathy_gym  # noqa: F401
from empathy_gym.simulators.batcher import AsyncUser
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.errors import ConfigError, EngineError


@pytest.fixture(scope="module")
def dialogue():
    env = gym.make("EmpathyChat-v0").unwrapped
    env.reset(seed=3)
    return env.dialogue


class Echo:
    """A user that says a hash of the reply; it counts batches and can fail, block and be slow."""

    scored_by, determinism, fingerprint = "custom", "exact", "echo"

    def __init__(self, dialogue, seconds=0.0):
        self.dialogue, self.seconds = dialogue, seconds
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.running = self.most = 0

    def begin(self, requests):
        self.batches.append(len(requests))
        return [dataclasses.replace(self.dialogue, seed=r.seed) for r in requests]

    def respond(self, dialogues, replies):
        self.batches.append(len(replies))
        self.threads.add(threading.current_thread().name)
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        self.running -= 1
        if "bad" in replies:
            raise ValueError("a bad reply")
        return [_answered(d, r) for d, r in zip(dialogues, replies, strict=True)]


def _answered(dialogue, reply):
    line = hashlib.sha256(f"{dialogue.seed}{reply}".encode()).hexdigest()
    return dataclasses.replace(dialogue, messages=(*dialogue.messages, {"role": "user", "content": line}))


def test_calls_that_arrive_together_share_a_batch_and_get_their_own_results(dialogue):
    user = Echo(dialogue)

    async def main():
        async with AsyncUser(user, max_wait_ms=5000) as shared:  # a full batch does not wait that long
            return await asyncio.gather(*(shared.respond(dialogue, str(i)) for i in range(64)))

    results = asyncio.run(main())
    assert [r.last_line for r in results] == [_answered(dialogue, str(i)).last_line for i in range(64)]
    assert user.batches == [64]


def test_a_batch_is_never_larger_than_asked(dialogue):
    user = Echo(dialogue)

    async def main():
        async with AsyncUser(user, max_batch=10) as shared:
            await asyncio.gather(*(shared.respond(dialogue, str(i)) for i in range(35)))

    asyncio.run(main())
    assert sum(user.batches) == 35 and max(user.batches) == 10


def test_a_lone_call_waits_no_longer_than_asked(dialogue):
    async def main():
        async with AsyncUser(Echo(dialogue), max_wait_ms=5) as shared:
            await shared.respond(dialogue, "warm")
            started = time.perf_counter()
            await shared.respond(dialogue, "x")
            return time.perf_counter() - started

    assert asyncio.run(main()) < 0.3


def test_calls_that_come_during_a_batch_form_the_next_one(dialogue):
    user = Echo(dialogue, seconds=0.2)

    async def main():
        async with AsyncUser(user, max_wait_ms=0) as shared:
            first = asyncio.create_task(shared.respond(dialogue, "0"))
            await asyncio.sleep(0.1)
            await asyncio.gather(first, *(shared.respond(dialogue, str(i)) for i in range(20)))

    asyncio.run(main())
    assert user.batches == [1, 20]


def test_begin_and_respond_can_be_mixed(dialogue):
    async def main():
        async with AsyncUser(Echo(dialogue)) as shared:
            return await asyncio.gather(
                *(shared.begin(BeginRequest(dialogue.source, seed=i)) for i in range(5)),
                *(shared.respond(dialogue, str(i)) for i in range(5)),
            )

    results = asyncio.run(main())
    assert [r.seed for r in results[:5]] == list(range(5))
    assert results[7].last_line == _answered(dialogue, "2").last_line


def test_an_exception_reaches_the_call_that_caused_it_and_no_other(dialogue):
    async def main():
        async with AsyncUser(Echo(dialogue)) as shared:
            replies = ["a", "bad", "b", "bad"]
            return await asyncio.gather(
                *(shared.respond(dialogue, r) for r in replies), return_exceptions=True
            )

    results = asyncio.run(main())
    assert [type(r).__name__ for r in results] == ["Dialogue", "ValueError", "Dialogue", "ValueError"]


def test_wrong_calls_fail_at_once_without_reaching_a_batch(dialogue):
    user = Echo(dialogue)
    ended = dataclasses.replace(dialogue, outcome="success")

    async def main():
        async with AsyncUser(user) as shared:
            with pytest.raises(ConfigError, match="has ended"):
                await shared.respond(ended, "x")
            with pytest.raises(ConfigError, match="must be a str"):
                await shared.respond(dialogue, 7)

    asyncio.run(main())
    assert user.batches == []


def test_a_cancelled_call_leaves_the_others_alone(dialogue):
    user = Echo(dialogue, seconds=0.2)

    async def main():
        async with AsyncUser(user, max_wait_ms=30) as shared:
            tasks = [asyncio.create_task(shared.respond(dialogue, str(i))) for i in range(4)]
            await asyncio.sleep(0)
            tasks[1].cancel()  # still waiting
            await asyncio.sleep(0.1)
            tasks[2].cancel()  # already with the user
            return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(r).__name__ for r in results] == ["Dialogue", "CancelledError", "CancelledError", "Dialogue"]
    assert user.batches == [3]


def test_a_timeout_of_one_caller_is_only_his(dialogue):
    async def main():
        async with AsyncUser(Echo(dialogue, seconds=0.3)) as shared:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(shared.respond(dialogue, "x"), 0.05)
            return await shared.respond(dialogue, "y")

    assert asyncio.run(main()).last_line == _answered(dialogue, "y").last_line


def test_the_loop_is_not_blocked_and_several_loops_share_one_user(dialogue):
    user = Echo(dialogue, seconds=0.05)
    shared = AsyncUser(user)
    ticks, results = [], {}

    async def main(n):
        async def tick():
            while True:
                ticks.append(n)
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        results[n] = await asyncio.gather(*(shared.respond(dialogue, f"{n}-{i}") for i in range(20)))
        ticking.cancel()

    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    shared.close()
    for n in range(4):
        wanted = [_answered(dialogue, f"{n}-{i}").last_line for i in range(20)]
        assert [r.last_line for r in results[n]] == wanted
    assert len(ticks) > 12 and user.threads == {"empathy-gym-batcher"}


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_batches_run_side_by_side_as_there_are_workers(dialogue, workers):
    user = Echo(dialogue, seconds=0.2)

    async def main():
        async with AsyncUser(user, max_batch=5, workers=workers) as shared:
            await asyncio.gather(*(shared.respond(dialogue, str(i)) for i in range(40)))

    asyncio.run(main())
    assert user.most == workers


def test_closing_answers_what_was_asked_and_refuses_more(dialogue):
    async def main():
        shared = AsyncUser(Echo(dialogue, seconds=0.1), max_batch=2)
        tasks = [asyncio.create_task(shared.respond(dialogue, str(i))) for i in range(6)]
        await asyncio.sleep(0)
        await shared.aclose()
        await shared.aclose()
        with pytest.raises(EngineError, match="closed"):
            await shared.respond(dialogue, "x")
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(main())) == 6


def test_an_unclosed_one_leaves_no_thread_behind(dialogue):
    shared = AsyncUser(Echo(dialogue))
    asyncio.run(shared.respond(dialogue, "x"))
    del shared
    gc.collect()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(t.name == "empathy-gym-batcher" for t in threading.enumerate()):
            return
        time.sleep(0.05)
    pytest.fail("the thread still runs")


def test_a_loop_that_dies_with_calls_pending_disturbs_nobody(dialogue, caplog):
    shared = AsyncUser(Echo(dialogue, seconds=0.2))

    async def leave():
        asyncio.create_task(shared.respond(dialogue, "lost"))  # noqa: RUF006
        await asyncio.sleep(0.05)

    asyncio.run(leave())
    assert asyncio.run(shared.respond(dialogue, "x")).last_line == _answered(dialogue, "x").last_line
    shared.close()
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_a_user_that_loses_a_dialogue_is_reported(dialogue):
    class Short(Echo):
        def respond(self, dialogues, replies):
            return super().respond(dialogues, replies)[:-1]

    async def main():
        async with AsyncUser(Short(dialogue)) as shared:
            await shared.respond(dialogue, "x")

    with pytest.raises(ConfigError, match="returned 0 dialogues"):
        asyncio.run(main())


def _in_child(shared, dialogue, queue):
    queue.put(asyncio.run(shared.respond(dialogue, "child")).last_line)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_after_a_fork(dialogue):
    shared = AsyncUser(Echo(dialogue))
    asyncio.run(shared.respond(dialogue, "x"))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(shared, dialogue, queue))
    child.start()
    assert queue.get(timeout=20) == _answered(dialogue, "child").last_line
    child.join(10)
    shared.close()


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_wait_ms": -1}, {"workers": 0}])
def test_wrong_arguments_are_named(dialogue, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        AsyncUser(Echo(dialogue), **options)


def test_the_packaged_user_gives_the_same_results_batched_or_alone(dialogue):
    user = build_user("embedded")
    replies = [f"That sounds hard. What happened then? {i}" for i in range(12)]

    async def main():
        async with AsyncUser(user) as shared:
            return await asyncio.gather(*(shared.respond(dialogue, r) for r in replies))

    assert asyncio.run(main()) == [user.respond([dialogue], [r])[0] for r in replies]
