"""Running policies on every scenario of a split, a number of times.

Scenarios are enumerated, not sampled. Every policy meets the same people with the same dialogue seeds, so
that rows can be compared pair by pair. What is drawn follows from the run's seed alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from empathy_gym.agents import load_policy
from empathy_gym.agents.policy import fingerprint_of
from empathy_gym.benchmarks.episodes import BATCH_SIZE, Player, Task, is_privileged
from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.benchmarks.qualification import standing
from empathy_gym.benchmarks.strategy_play import STRATEGY_ENV, StrategyPlayer, check_chooses
from empathy_gym.benchmarks.summary import Row
from empathy_gym.envs.instructions import instruction_for, instruction_hash
from empathy_gym.envs.registry import ENVIRONMENTS
from empathy_gym.envs.setting import ChatKwargs, ChatSetting, integer
from empathy_gym.envs.strategy import split_kwargs
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.engines.ledger import usage_since, usage_sum
from empathy_gym.simulators.errors import ConfigError, unknown_name
from empathy_gym.simulators.hashing import plain
from empathy_gym.simulators.library.compiler import library_hash
from empathy_gym.simulators.llm.compose import LEDGER
from empathy_gym.simulators.packaged import package_version
from empathy_gym.simulators.records import EpisodeRecord
from empathy_gym.simulators.scenario import content_hash

SINGLE_TURN: Final = ("EmpathyResponse-v0",)
"""Environments without a conversation: `response_bench` runs them."""


class BenchConfig(BaseModel):
    """What a run is: everything that its results depend on. See `empathy-gym bench --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = "EmpathyChat-v0"
    policies: tuple[str, ...]
    scenarios: str = "test"
    repeats: int = 1
    seed: int = 0
    difficulty: str | None = None
    max_turns: int | None = None
    initial_emotion: int | None = None
    reward: str = "delta"
    think: bool | Literal["strip"] = False
    simulator: str = "embedded"
    simulator_config: str | None = None
    limit: int | None = None
    """Number of scenarios, the first by id; None for all."""

    def kwargs(self) -> ChatKwargs:
        """Return the environment's keyword arguments: those that are not left to their default."""
        kwargs: ChatKwargs = {"scenarios": self.scenarios, "reward": self.reward, "think": self.think}
        kwargs["simulator"] = self.simulator
        if self.difficulty is not None:
            kwargs["difficulty"] = self.difficulty
        if self.max_turns is not None:
            kwargs["max_turns"] = self.max_turns
        if self.initial_emotion is not None:
            kwargs["initial_emotion"] = self.initial_emotion
        if self.simulator_config is not None:
            kwargs["simulator_config"] = self.simulator_config
        return kwargs


class Bench:
    """A run that is ready to start: everything named has been found.

    Args:
        config: What to run.
        reports: Saved reports of `empathy-gym simulators check`; a language-model user that none of them passes
            is marked, and its rows are not ranked.

    Raises:
        ConfigError: If a name or a number is not valid.
        RecordError: If a report cannot be read.
    """

    def __init__(self, config: BenchConfig, reports: Sequence[str | os.PathLike[str]] = ()) -> None:
        self.env_id = environment_id(config.env)
        self.config = config
        strategic = self.env_id == STRATEGY_ENV
        self.setting = ChatSetting.make(strategy_chat_kwargs(config) if strategic else config.kwargs())
        if not config.policies:
            raise ConfigError("No policy; name at least one with --policy, e.g. --policy scripted:listener.")
        for policy in config.policies:
            if config.policies.count(policy) > 1:
                raise ConfigError(f"The policy {policy!r} is named twice; its episodes would be the same.")
        self.qualification = standing(self.setting.user, reports)
        self.policies = {spec: load_policy(spec) for spec in config.policies}
        if strategic:
            for name, loaded in self.policies.items():
                check_chooses(loaded, name, self.env_id)
        limit = None if config.limit is None else integer("limit", config.limit, 1)
        self.scenarios = self.setting.scenarios[:limit]
        repeats, seed = integer("repeats", config.repeats, 1), integer("seed", config.seed, 0)
        self.players: list[Player] = []
        self.usage: dict[str, dict[str, int]] = {}
        self.tasks = [
            Task(spec, scenario, repeat, seed)
            for spec in config.policies
            for scenario in self.scenarios
            for repeat in range(repeats)
        ]

    @property
    def scoring(self) -> str:
        """Who decides the numbers, with name and version."""
        user = self.setting.user
        name = getattr(getattr(user, "rule", None), "fingerprint", None) or user.fingerprint
        return f"{user.scored_by} ({name})"

    def manifest(self) -> dict[str, Any]:
        """Return what the run is, for the folder: no times, so that equal runs leave equal bytes."""
        user, given = self.setting.user, self.config.simulator_config
        loaded = None if given is None else SimulatorConfig.load(given)
        languages = sorted({scenario.language for scenario in self.scenarios})
        return {
            "schema_version": 1,
            "package_version": package_version(),
            "config": plain(self.config),
            "scenario_count": len(self.scenarios),
            "scenario_hash": content_hash([scenario.id for scenario in self.scenarios]),
            "episodes": len(self.tasks),
            "fingerprint": user.fingerprint,
            "rule_hash": getattr(getattr(user, "rule", None), "hash", None),
            "library_hash": library_hash(),
            "scored_by": user.scored_by,
            "scoring": self.scoring,
            "determinism": user.determinism,
            "qualification": self.qualification,
            "simulator_config": None
            if loaded is None
            else loaded.model_dump(mode="json", exclude_defaults=True),
            "instruction_hashes": {
                language: instruction_hash(instruction_for(language, self.setting.think))
                for language in languages
            },
            "policy_fingerprints": {spec: fingerprint_of(policy) for spec, policy in self.policies.items()},
            "privileged": [spec for spec, policy in self.policies.items() if is_privileged(policy)],
            "seed": self.config.seed,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "usage": {},
        }

    def run(
        self,
        out: str | os.PathLike[str],
        *,
        batch_size: int = BATCH_SIZE,
        overwrite: bool | None = False,
        notice: Callable[[str], None] = lambda text: None,
        progress: Callable[[str, int, int], None] = lambda policy, done, total: None,
    ) -> list[Row]:
        """Play what is missing in a folder, and return the rows of all of it.

        Args:
            out: The folder.
            batch_size: Conversations at a time; results do not depend on it.
            overwrite: Whether to throw away what is there; None: only what another run has left.
            notice: Told in words about a continued run and a dropped line.
            progress: Told the policy, and how many episodes of all are done.

        Raises:
            ConfigError: If the folder holds another run.
            RecordError: If an earlier line of it is damaged.
            EmpathyGymError: If a policy fails.
        """
        size = integer("batch_size", batch_size, 1)
        folder = BenchFolder(out)
        with folder.taken_up(self.manifest(), overwrite=overwrite, notice=notice) as continued:
            done = {score.identity for _, _, score in folder.scores()}
            missing = [task for task in self.tasks if task.identity not in done]
            count = len(self.tasks) - len(missing)
            if continued:
                notice(folder.standing("episodes", count, len(self.tasks)))
            with self._counting(folder), folder.writer() as writer:
                progress("", count, len(self.tasks))
                for spec in self.config.policies:
                    for record in self.play(spec, [task for task in missing if task.policy == spec], size):
                        writer.write(record)
                        count += 1
                        progress(spec, count, len(self.tasks))
            return folder.finish([task.identity for task in self.tasks], self.qualification)

    @contextlib.contextmanager
    def _counting(self, folder: BenchFolder) -> Iterator[None]:
        """Add to the manifest what models are asked meanwhile: the user's and the policy's apart.

        That of an interrupted run is there too, so that a continued one adds up.
        """
        before, self.players = LEDGER.snapshot(), []
        try:
            yield
        finally:
            used = [{"policy": player.usage} for player in self.players if player.usage]
            known = folder.read_manifest().get("usage", {})
            self.usage = usage_sum(known, usage_since(before, LEDGER.snapshot()), *used)
            folder.amend(usage=self.usage, qualification=self.qualification)

    def play(self, spec: str, tasks: Sequence[Task], batch_size: int = BATCH_SIZE) -> Iterator[EpisodeRecord]:
        """Yield the records of some of a policy's episodes, as they end."""
        kind = StrategyPlayer if self.env_id == STRATEGY_ENV else Player
        player = kind(self.setting, self.env_id, self.policies[spec], spec, batch_size=batch_size)
        self.players.append(player)
        return player.play(tasks)


def strategy_chat_kwargs(config: BenchConfig) -> ChatKwargs:
    """Return the keyword arguments of the conversation of EmpathyStrategy-v0, checked as there."""
    kwargs: Any = config.kwargs()
    return split_kwargs(kwargs)[0]


def environment_id(name: str) -> str:
    """Return the id of an environment of conversations; a leading ``empathy_gym:`` is left out.

    Raises:
        ConfigError: If there is none of this name, or it is one of single responses.
    """
    id_ = name.removeprefix("empathy_gym:")
    if id_ not in ENVIRONMENTS:
        raise unknown_name("environment", name, ENVIRONMENTS)
    if id_ in SINGLE_TURN:
        raise ConfigError(
            f"{id_} is a single response, no conversation; 'empathy-gym bench --env {id_}' runs it."
        )
    return id_
