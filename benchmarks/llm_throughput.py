"""How fast a language-model user answers, and what of the time is this package's.

A script that takes no time measures the package alone. On a real model the same turns are taken three times:
by the vector environment; by the bare engine, given the very requests of the first pass batch after batch,
which are the dependencies the turns have; and by some users one after another, one request at a time, as
RLVER's environment asks (arXiv 2507.03112).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gymnasium as gym

import empathy_gym  # noqa: F401  (registers the environments)
from empathy_gym.benchmarks.throughput import rates, varied_replies, vector_rates
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, identity_of, model_of
from empathy_gym.simulators.engines.ledger import Ledger
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.compose import check, composed, engine_of
from empathy_gym.simulators.user import User

TAPED_USERS: Final = 64
"""Users at a time of the run that is replayed from a tape."""


# -- a script ------------------------------------------------------------------------------------------


def measure_script(config: SimulatorConfig, users: int, seconds: float) -> dict[str, Any]:
    """Return turns per second of the vector environment, and of a replay from a tape.

    Rates are of this process's processor time, those by the clock beside them; autoreset is included. Those of the
    vector environment are taken once every user has finished a conversation, as for the embedded user.

    Args:
        config: The user, on an engine that takes no time.
        users: Users at a time.
        seconds: How long each rate is measured.

    Raises:
        ConfigError: If the configuration is not valid.
    """
    check(config)
    plain = config.model_dump(mode="json")
    cpu, wall = vector_rates(seconds, users, simulator="llm", simulator_config=plain)
    replay, replay_wall = _replay_rates(config, seconds)
    return {
        "engine": config.engine,
        "perceiver": config.perceiver or "rubric",
        "speaker": config.speaker or "roleplay",
        "users": users,
        "turns_per_second": cpu,
        "turns_per_second_wall": wall,
        "tape_replay_turns_per_second": replay,
        "tape_replay_turns_per_second_wall": replay_wall,
    }


def _replay_rates(config: SimulatorConfig, seconds: float) -> tuple[float, float]:
    """Return the rates of replaying a run again and again, after recording it."""
    with tempfile.TemporaryDirectory() as folder:
        taped = {"tape": str(Path(folder) / "throughput.sqlite"), "tape_mode": "record"}
        replies = varied_replies(8 * TAPED_USERS)

        def run(mode: str) -> int:
            kwargs = config.model_dump(mode="json") | taped | {"tape_mode": mode}
            envs = gym.make_vec("EmpathyChat-v0", TAPED_USERS, simulator="llm", simulator_config=kwargs)
            envs.reset(seed=0)
            for turn in range(4):
                envs.step(tuple(replies[turn * TAPED_USERS : (turn + 1) * TAPED_USERS]))
            envs.close()
            return 4 * TAPED_USERS

        run("record")
        return rates(lambda: run("replay"), seconds)


# -- a model -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """What was measured on a model. Times are by the clock, in seconds.

    Attributes:
        model: Name of the model.
        users: Users at a time.
        turns: Turns taken by all of them together.
        requests: Requests made.
        batches: Calls of the engine.
        prompt_tokens: Tokens of their prompts.
        completion_tokens: Tokens generated.
        seconds: Time of the turns in the environment.
        inside: Part of it spent inside the engine.
        bare: Time of the bare engine, fed the same requests batch after batch.
        turns_per_second: Turns a second in the environment.
        overhead: What the package adds to the time inside the engine: `seconds` / `inside` - 1.
        overhead_over_bare: `seconds` / `bare` - 1: includes how two runs of the engine differ.
        alone_users: Users that were played one after another.
        alone_turns_per_second: Turns a second of theirs.
        ratio: How much faster the users are together than one after another.
    """

    model: str
    users: int
    turns: int
    requests: int
    batches: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    inside: float
    bare: float
    turns_per_second: float
    overhead: float
    overhead_over_bare: float
    alone_users: int
    alone_turns_per_second: float
    ratio: float


@dataclass(slots=True)
class Watched:
    """An engine whose calls are kept and timed."""

    engine: ChatEngine
    model: str = ""
    revision: str = ""
    calls: list[Sequence[ChatRequest]] = field(default_factory=list)
    replies: list[ChatReply] = field(default_factory=list)
    inside: float = 0.0

    def __post_init__(self) -> None:
        self.model, self.revision = identity_of(self.engine)

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Complete, and note requests, replies and time."""
        started = time.perf_counter()
        replies = self.engine.complete(requests)
        self.inside += time.perf_counter() - started
        self.calls.append(requests)
        self.replies += replies
        return replies

    def close(self) -> None:
        """Leave the engine open: it is somebody else's."""


def measure_model(config: SimulatorConfig, users: int, turns: int, alone: int) -> ModelSpeed:
    """Take the same turns with a user on a model, with the bare model, and one user after another.

    Args:
        config: The user; its tape is not used.
        users: Users at a time.
        turns: Turns of each.
        alone: How many of them are played one after another: that takes long.

    Raises:
        ConfigError: If the configuration is not valid.
        EngineError: If the model cannot be loaded.
    """
    config = config.model_copy(update={"tape": None, "tape_mode": None})
    check(config)
    engine = engine_of(config)
    engine.complete([ChatRequest(({"role": "user", "content": "Hello."},), max_tokens=4)])
    with _cold(engine):
        together = Watched(engine)
        seconds, taken = _take(composed(config, together, Ledger()), users, turns)
    with _cold(engine):
        started = time.perf_counter()
        for requests in together.calls:
            engine.complete(requests)
        bare = time.perf_counter() - started
    with _cold(engine):
        one_by_one = composed(config, engine, Ledger())
        parts = [_take(one_by_one, 1, turns, first) for first in range(min(alone, users))]
    rate = taken / seconds
    rate_alone = sum(count for _, count in parts) / sum(spent for spent, _ in parts)
    used = [reply.usage for reply in together.replies]
    return ModelSpeed(
        model=model_of(engine),
        users=users,
        turns=taken,
        requests=len(together.replies),
        batches=len(together.calls),
        prompt_tokens=sum(usage.get("prompt_tokens", 0) for usage in used),
        completion_tokens=sum(usage.get("completion_tokens", 0) for usage in used),
        seconds=seconds,
        inside=together.inside,
        bare=bare,
        turns_per_second=rate,
        overhead=seconds / together.inside - 1,
        overhead_over_bare=seconds / bare - 1,
        alone_users=len(parts),
        alone_turns_per_second=rate_alone,
        ratio=rate / rate_alone,
    )


def _take(user: User, users: int, turns: int, first: int = 0) -> tuple[float, int]:
    """Take turns with some users; return the seconds and the number of turns. Finished talks leave."""
    scenarios = load_scenarios("train")
    replies = varied_replies(turns * (first + users))
    who = [scenarios[number % len(scenarios)] for number in range(first, first + users)]
    starts = [BeginRequest(s, derive_seed(0, number), "normal", 8) for number, s in enumerate(who, first)]
    started = time.perf_counter()
    live: list[tuple[int, Dialogue]] = list(enumerate(user.begin(starts), first))
    taken = 0
    for turn in range(turns):
        said = [replies[number * turns + turn] for number, _ in live]
        after = user.respond([dialogue for _, dialogue in live], said)
        taken += len(after)
        live = [(n, d) for (n, _), d in zip(live, after, strict=True) if not d.ended]
    return time.perf_counter() - started, taken


@contextlib.contextmanager
def _cold(engine: Any) -> Iterator[None]:
    """Start from an empty prefix cache, where the engine has one that can be emptied."""
    if callable(getattr(engine, "forget", None)):
        engine.forget()
    yield
