"""How fast the embedded user answers, on one core.

Rates are turns per second of processor time of this process, so that other processes on the machine do not
count; the rates by the clock are given beside them. Replies are varied and about 200 characters long, built from
lines that are written with the scenarios, so that there is something to read in each.

What is measured is the steady state: before the clock starts every user has finished one conversation, so that the
users of a vector environment stand at all stages of theirs, and what they have not needed is collected.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np

import empathy_gym  # noqa: F401  (registers the environments)
from empathy_gym.simulators.library.compiler import load_scenarios

LENGTH: Final = 200
"""Characters of a reply."""
NUM_ENVS: Final = 256
_REPLIES: Final = 4096
_WINDOWS: Final = 3
_IMPORTS: Final = "numpy, pydantic, gymnasium"


def varied_replies(count: int = _REPLIES, length: int = LENGTH, seed: int = 0) -> list[str]:
    """Return different replies of about one length.

    Args:
        count: How many.
        length: Characters of each at most; all but the last word of it is used.
        seed: Seed of the choice of lines.
    """
    lines = sorted(
        {line for s in load_scenarios("train") for item in s.situation.items() for line in item.say}
    )
    rng = np.random.default_rng(seed)
    replies = []
    for number in range(count):
        words = [f"({number})"]
        while sum(map(len, words)) + len(words) <= length:
            words += lines[int(rng.integers(len(lines)))].split()
        # Whole words, as people write: a cut one would be read as a slip of the pen.
        while sum(map(len, words)) + len(words) > length:
            words.pop()
        replies.append(f"{' '.join(words).rstrip('.,:;?!')}.")
    return replies


def rates(step: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Return turns per second of processor time and of the clock, each the best of some windows of `seconds`.

    The best, because what else a machine does can only take away. `step` returns the turns it took.
    """
    gc.collect()
    best_cpu = best_wall = 0.0
    for _ in range(_WINDOWS):
        turns, wall, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            turns += step()
        best_cpu = max(best_cpu, turns / (time.process_time() - cpu))
        best_wall = max(best_wall, turns / (time.perf_counter() - wall))
    return best_cpu, best_wall


def vector_rates(seconds: float, num_envs: int = NUM_ENVS, **kwargs: Any) -> tuple[float, float]:
    """Return the rates of the vector environment once every user has finished a conversation, autoreset included.

    Args:
        seconds: How long they are measured.
        num_envs: Users at a time.
        **kwargs: Arguments of the environment.
    """
    replies: Iterator[str] = itertools.cycle(varied_replies())
    envs = gym.make_vec("EmpathyChat-v0", num_envs=num_envs, **kwargs)
    envs.reset(seed=0)
    finished = np.zeros(num_envs, dtype=np.bool_)

    def step() -> int:
        _, _, terminated, truncated, _ = envs.step(tuple(itertools.islice(replies, num_envs)))
        np.logical_or(finished, terminated | truncated, out=finished)
        return num_envs

    try:
        while not finished.all():
            step()
        return rates(step, seconds)
    finally:
        envs.close()


def single_rates(seconds: float) -> tuple[float, float]:
    """Return the rates of one environment once its user has finished a conversation, resets included."""
    replies: Iterator[str] = itertools.cycle(varied_replies())
    env: gym.Env[str, str] = gym.make("EmpathyChat-v0")
    env.reset(seed=0)
    finished = False

    def step() -> int:
        nonlocal finished
        _, _, terminated, truncated, _ = env.step(next(replies))
        if terminated or truncated:
            finished = True
            env.reset()
        return 1

    try:
        while not finished:
            step()
        return rates(step, seconds)
    finally:
        env.close()


def import_seconds(first: str = "", repeats: int = 3) -> float:
    """Return the seconds that a fresh interpreter takes to import the package: the best of some.

    Args:
        first: Modules to import before the clock starts.
        repeats: How many interpreters are started.
    """
    before = f"import {first}\n" if first else ""
    code = f"{before}import time\nt = time.perf_counter()\nimport empathy_gym\nprint(time.perf_counter() - t)"
    times = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(float(done.stdout))
    return min(times)


def peak_memory_mb() -> float | None:
    """Return the largest resident set of this process so far, in MiB; None where it cannot be asked."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def moodsona_rate(seconds: float) -> float | None:
    """Return the turns a second of moodsona's engine, the nearest simulator that runs rules as code; None without it.

    Talks of eight turns, one after another, with its first bundled persona and its own fake model: what is
    measured is prompts, parsing and state. It does not read the replies, which ours does.
    """
    try:
        package = importlib.import_module("moodsona")
    except ModuleNotFoundError:
        return None
    replies: Iterator[str] = itertools.cycle(varied_replies())

    class Companion:
        """Says the same varied replies."""

        def reply(self, history: Sequence[Any]) -> str:
            return next(replies)

    persona = package.load_bundled_persona(sorted(package.list_bundled_personas())[0])
    companion, seeds = Companion(), itertools.count()

    def step() -> int:
        talk = package.run(
            persona, package.FakeProvider(), companion, days=1, turns_per_day=8, rng_seed=next(seeds)
        )
        return len(list(talk.trajectory()))

    return rates(step, seconds)[0]


def measure(seconds: float = 3.0) -> dict[str, Any]:
    """Return all measurements.

    Args:
        seconds: How long each rate is measured.
    """
    vector, vector_wall = vector_rates(seconds)
    single, single_wall = single_rates(seconds)
    return {
        "vector_turns_per_second": vector,
        "single_turns_per_second": single,
        "peak_memory_mb": peak_memory_mb(),
        "import_seconds": import_seconds(),
        "import_seconds_over_dependencies": import_seconds(_IMPORTS),
        "vector_turns_per_second_wall": vector_wall,
        "single_turns_per_second_wall": single_wall,
        "num_envs": NUM_ENVS,
        "reply_characters": LENGTH,
        "moodsona_turns_per_second": moodsona_rate(seconds),
    }
