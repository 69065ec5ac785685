"""How fast conversations are played: the engine in a rollout against the bare engine, and against one by one.

The bare engine is given the very same requests with the same dependencies (a turn's prompt is handed in when the turn
before it has been sampled) and no user, no decoding and no bookkeeping between. What a rollout takes longer, the
engine was idle (`idle_share`). On a machine that does other work, too, the two runs cannot be compared; the share of the
rollout's own time that was spent outside the engine (`outside_engine_share`) can be relied on there.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.rollout.collect import Collector, Start
from empathy_gym.agents.rollout.sampler import Sample, Sampler, SampleRequest
from empathy_gym.agents.trainers.chat_training import ChatTraining
from empathy_gym.agents.trainers.recipe import Recipe

ALONE: Final = 4
"""Conversations that are also played one by one."""


class RecordingSampler:
    """Passes requests on, and remembers them.

    Args:
        sampler: What samples.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.max_model_len = sampler.max_model_len
        self.requests: list[SampleRequest] = []

    @property
    def version(self) -> int:
        """Version of the weights."""
        return self._sampler.version

    @version.setter
    def version(self, value: int) -> None:
        self._sampler.version = value

    def submit(self, requests: Sequence[SampleRequest]) -> None:
        """Take requests in."""
        self.requests += requests
        self._sampler.submit(requests)

    def step(self) -> list[Sample]:
        """Work for a while, and return the replies that are done."""
        return self._sampler.step()


def measure(
    recipe: Recipe, folder: Path, notice: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Play the episodes of a recipe's first step in three ways, learn from them, and return what it took.

    Args:
        recipe: What to play, and with what.
        folder: For the weights that are handed over.
        notice: Told how it goes.

    Returns:
        Seconds, tokens a second, the engine's idle share in two ways, the ratio to one by one, update and hand-over,
        memory.
    """
    training = ChatTraining(recipe, folder)
    try:
        return _measured(training, recipe, notice)
    finally:
        training.sampling.close()


def _measured(training: ChatTraining, recipe: Recipe, notice: Callable[[str], None]) -> dict[str, Any]:
    sampler, starts = training.sampling.sampler, training.starts(1)
    # What is loaded or compiled at the first request belongs to none of the three.
    _collector(training, sampler, 1).collect(starts[:1])
    recording = RecordingSampler(sampler)
    notice("playing together ...")
    training.sampling.hand_over(1)
    collector = _collector(training, recording, recipe.rollout.slots)
    rollout, together = _timed(lambda: collector.collect(starts))
    notice("the bare engine ...")
    training.sampling.hand_over(1)
    tokens, bare = _timed(lambda: replay(sampler, recording.requests, recipe.rollout.slots))
    notice("one by one ...")
    training.sampling.hand_over(1)
    few = [dataclasses.replace(s, key=f"alone-{s.key}") for s in spread(starts, ALONE)]
    alone, single = _timed(lambda: _collector(training, sampler, 1).collect(few))
    notice("learning ...")
    _, update = _timed(lambda: training.learner.learn(rollout, 1))
    _, sync = _timed(lambda: training.sampling.hand_over(1))
    return {
        "engine": recipe.rollout.engine,
        "episodes": len(starts),
        "requests": rollout.requests,
        "tokens": rollout.tokens,
        "rollout_s": round(together, 2),
        "rollout_tokens_per_s": round(rollout.tokens / together, 1),
        "bare_s": round(bare, 2),
        "bare_tokens_per_s": round(tokens / bare, 1),
        "idle_share": round(1.0 - bare / together, 4),
        "outside_engine_share": round(1.0 - collector.engine_s / together, 4),
        "one_by_one_tokens_per_s": round(alone.tokens / single, 1),
        "ratio_to_one_by_one": round(rollout.tokens / together / (alone.tokens / single), 2),
        "update_s": round(update, 2),
        "sync_s": round(sync, 2),
        "peak_gib": round(peak_bytes() / 2**30, 2),
    }


def replay(sampler: Sampler, requests: Sequence[SampleRequest], slots: int) -> int:
    """Have the same requests sampled again, each when the one before it of its conversation is done.

    Args:
        sampler: The engine.
        requests: As they were handed in; those of a conversation in order.
        slots: Conversations at a time.

    Returns:
        Tokens sampled.
    """
    queues: dict[str, list[SampleRequest]] = {}
    for request in requests:
        queues.setdefault(request.key, []).append(request)
    waiting, live, tokens = list(queues.values())[::-1], 0, 0
    while waiting or live:
        fresh = [waiting.pop() for _ in range(min(len(waiting), slots - live))]
        live += len(fresh)
        sampler.submit([queue.pop(0) for queue in fresh])
        done = sampler.step()
        tokens += sum(len(sample.tokens) for sample in done)
        following = [queues[sample.key].pop(0) for sample in done if queues[sample.key]]
        live -= len(done) - len(following)
        sampler.submit(following)
    return tokens


def spread(starts: Sequence[Start], count: int) -> list[Start]:
    """Return some starts, evenly spread."""
    return [starts[i * len(starts) // count] for i in range(min(count, len(starts)))]


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _collector(training: ChatTraining, sampler: Any, slots: int) -> Collector:
    return Collector(
        training.setting, sampler, training.chat, max_tokens=training.recipe.rollout.max_tokens, slots=slots
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    made = work()
    return made, time.perf_counter() - began
