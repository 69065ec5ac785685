"""Running policies on every exchange of a source: `empathy-gym bench --env EmpathyResponse-v0`.

Every policy answers the same exchanges. Beside them stand two references that are no policies, as they see the answer:
``reference``, what the person said, and ``shuffled``, what the person said to another exchange. A second identifier,
of another family or data than the one that pays, reads all responses for the report.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from empathy_gym.agents import Conversation, Reply, load_policy
from empathy_gym.agents.policy import fingerprint_of
from empathy_gym.benchmarks.episodes import BATCH_SIZE, is_privileged
from empathy_gym.benchmarks.folder import BenchFolder
from empathy_gym.benchmarks.response_asking import ask, likelihoods_of
from empathy_gym.benchmarks.response_folder import finish, identities
from empathy_gym.benchmarks.response_records import Control, Likelihood, Reading, ResponseRecord
from empathy_gym.benchmarks.response_scores import derangement
from empathy_gym.benchmarks.response_summary import ResponseRow
from empathy_gym.envs.instructions import instruction_hash
from empathy_gym.envs.response_setting import Answer, ResponseKwargs, ResponseSetting
from empathy_gym.envs.setting import integer
from empathy_gym.rewards.empathy import TERMS
from empathy_gym.rewards.identifiers import MECHANISMS, STRUCTURE, load_identifier
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.errors import ConfigError, did_you_mean
from empathy_gym.simulators.exchanges import Exchange
from empathy_gym.simulators.hashing import content_hash, plain
from empathy_gym.simulators.packaged import package_version
from empathy_gym.simulators.records import RecordWriter

ENV_ID: Final = "EmpathyResponse-v0"
REFERENCE: Final = "reference"
SHUFFLED: Final = "shuffled"
REFERENCES: Final = (REFERENCE, SHUFFLED)
"""Rows that the bench adds: what a person answered, and the same moved to another exchange."""


class ResponseBenchConfig(BaseModel):
    """What a run is: everything that its results depend on. See `empathy-gym bench --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: tuple[str, ...]
    exchanges: str = "test"
    repeats: int = 1
    seed: int = 0
    identifier: str | None = None
    """Who pays: as the environment's argument."""
    reporting: str = STRUCTURE
    """Who reports: ``"structure"``, a folder, or ``"shipped"``."""
    guard: bool = False
    length_weight: float = 0.0
    repetition_weight: float = 0.0
    copy_weight: float = 0.0
    baseline: str | None = None
    limit: int | None = None

    def kwargs(self) -> ResponseKwargs:
        """Return the environment's keyword arguments: those that are not left to their default."""
        kwargs: ResponseKwargs = {"exchanges": self.exchanges}
        if self.identifier is not None:
            kwargs["identifier"] = self.identifier
        if self.guard:
            kwargs["guard"] = True
        if self.length_weight:
            kwargs["length_weight"] = self.length_weight
        if self.repetition_weight:
            kwargs["repetition_weight"] = self.repetition_weight
        if self.copy_weight:
            kwargs["copy_weight"] = self.copy_weight
        return kwargs


class ResponseBench:
    """A run that is ready to start: everything named has been found.

    Args:
        config: What to run.

    Raises:
        ConfigError: If a name or a number is not valid, or the one who pays is the one who reports.
    """

    def __init__(self, config: ResponseBenchConfig) -> None:
        self.config = config
        if not config.policies:
            raise ConfigError("No policy; name at least one with --policy, e.g. --policy scripted:template.")
        for spec in config.policies:
            if config.policies.count(spec) > 1:
                raise ConfigError(f"The policy {spec!r} is named twice; its responses would be the same.")
            if spec in REFERENCES:
                raise ConfigError(f"{spec!r} is in every table; it is no policy.")
        specs = (*config.policies, *REFERENCES)
        if config.baseline is not None and config.baseline not in specs:
            raise ConfigError(
                f"The baseline {config.baseline!r} is not run.{did_you_mean(config.baseline, specs)} Name it with "
                "--policy, too."
            )
        self.setting = ResponseSetting.make(config.kwargs())
        self.reporting = load_identifier(None if config.reporting == "shipped" else config.reporting)
        if self.reporting.fingerprint == self.setting.reward.identifier.fingerprint:
            raise ConfigError(
                f"The identifier that pays, {self.reporting.fingerprint}, would report on itself. Give another one "
                "with --reporting: structure, shipped, or a folder."
            )
        limit = None if config.limit is None else integer("limit", config.limit, 1)
        self.exchanges = self.setting.exchanges[:limit]
        self.seed = integer("seed", config.seed, 0)
        self.tasks = [
            (spec, exchange.id, repeat)
            for spec in (*REFERENCES, *config.policies)
            if spec != SHUFFLED or len(self.exchanges) > 1
            for exchange in self.exchanges
            for repeat in range(1 if spec in REFERENCES else integer("repeats", config.repeats, 1))
        ]
        self.policies = {spec: _loaded(spec) for spec in config.policies}
        self._by_id = {exchange.id: exchange for exchange in self.exchanges}
        ids = [exchange.id for exchange in self.exchanges]
        moved = derangement(ids, self.seed) if len(ids) > 1 else []
        self._others = {id_: ids[to] for id_, to in zip(ids, moved, strict=False)}
        self._moved_here = {to: from_ for from_, to in self._others.items()}
        self._reported: dict[str, tuple[int, ...]] = {}

    @property
    def scoring(self) -> str:
        """Who pays and who reports, with family and version."""
        pays = self.setting.reward.identifier
        return (
            f"Paid by {self.setting.reward.fingerprint} ({pays.family}); empathy F1 reported by "
            f"{self.reporting.fingerprint} ({self.reporting.family})"
        )

    def manifest(self) -> dict[str, Any]:
        """Return what the run is, for the folder: no times, so that equal runs leave equal bytes."""
        return {
            "schema_version": 1,
            "package_version": package_version(),
            "config": {"env": ENV_ID, **plain(self.config)},
            "scenario_count": len(self.exchanges),
            "scenario_hash": content_hash(
                [[exchange.id, list(exchange.context), exchange.response] for exchange in self.exchanges]
            ),
            "episodes": len(self.tasks),
            "fingerprint": f"{self.setting.reward.fingerprint} | {self.reporting.fingerprint}",
            "paid_by": self.setting.reward.fingerprint,
            "reported_by": self.reporting.fingerprint,
            "families": {
                "paid_by": self.setting.reward.identifier.family,
                "reported_by": self.reporting.family,
            },
            "scored_by": "custom",
            "scoring": self.scoring,
            "determinism": self.setting.determinism,
            "instruction_hashes": {"en": instruction_hash(self.setting.instruction)},
            "policy_fingerprints": {spec: fingerprint_of(policy) for spec, policy in self.policies.items()},
            "privileged": list(REFERENCES),
            "baseline": self.config.baseline,
            "seed": self.seed,
            "python": platform.python_version(),
            "numpy": np.__version__,
        }

    def run(
        self,
        out: str | os.PathLike[str],
        *,
        batch_size: int = BATCH_SIZE,
        overwrite: bool = False,
        notice: Callable[[str], None] = lambda text: None,
        progress: Callable[[str, int, int], None] = lambda policy, done, total: None,
    ) -> list[ResponseRow]:
        """Ask for what is missing in a folder, and return the rows of all of it.

        Args:
            out: The folder.
            batch_size: Exchanges at a time.
            overwrite: Whether to throw away what is there.
            notice: Told in words about a continued run and a dropped line.
            progress: Told the policy, and how many responses of all are done.

        Raises:
            ConfigError: If the folder holds another run.
            RecordError: If an earlier line of it is damaged.
            EmpathyGymError: If a policy fails.
        """
        size = integer("batch_size", batch_size, 1)
        folder = BenchFolder(out)
        with folder.taken_up(self.manifest(), overwrite=overwrite, notice=notice) as continued:
            done = set(identities(folder.episodes))
            missing = [task for task in self.tasks if task not in done]
            count = len(self.tasks) - len(missing)
            if continued:
                notice(folder.standing("responses", count, len(self.tasks)))
            progress("", count, len(self.tasks))
            with RecordWriter(folder.episodes) as writer:
                for spec in (*REFERENCES, *self.config.policies):
                    tasks = [task for task in missing if task[0] == spec]
                    for start in range(0, len(tasks), size):
                        for record in self.play(spec, tasks[start : start + size]):
                            writer.write(record)
                            count += 1
                        progress(spec, count, len(self.tasks))
            return finish(folder, self.tasks, self.config.baseline)

    def play(self, spec: str, tasks: Sequence[tuple[str, str, int]]) -> list[ResponseRecord]:
        """Return the records of some of a policy's responses."""
        exchanges = [self._by_id[id_] for _, id_, _ in tasks]
        likelihoods: Sequence[Likelihood | None] = [None] * len(tasks)
        if spec == REFERENCE:
            replies = [Reply(exchange.response) for exchange in exchanges]
        elif spec == SHUFFLED:
            replies = [Reply(self._by_id[self._moved_here[exchange.id]].response) for exchange in exchanges]
        else:
            asked = [
                self._conversation(exchange, task) for exchange, task in zip(exchanges, tasks, strict=True)
            ]
            replies = ask(self.policies[spec], spec, asked)
            likelihoods = likelihoods_of(self.policies[spec], spec, asked, [x.response for x in exchanges])
        said = [reply.text if reply.error is None else "" for reply in replies]
        paid = self.setting.answer(exchanges, said)
        reports = self._reports(exchanges, said)
        # What is shuffled has been moved already.
        controls = [None] * len(said) if spec == SHUFFLED else self._controls(exchanges, said)
        return [
            self._record(task, exchange, reply, answer, report, control, likelihood)
            for task, exchange, reply, answer, report, control, likelihood in zip(
                tasks, exchanges, replies, paid, reports, controls, likelihoods, strict=True
            )
        ]

    def _conversation(self, exchange: Exchange, task: tuple[str, str, int]) -> Conversation:
        """Return what the policy may see: the context, and nothing that names the exchange."""
        return Conversation(
            key=f"{derive_seed(self.seed, 'key', *task):016x}",
            messages=exchange.messages,
            instruction=self.setting.instruction,
            max_turns=1,
            seed=derive_seed(self.seed, "policy", *task[1:]),
        )

    def _reports(self, exchanges: Sequence[Exchange], said: Sequence[str]) -> list[Reading]:
        read = self.reporting.levels([exchange.text for exchange in exchanges], said)
        references = self._reference_levels(exchanges)
        return [
            Reading(
                identifier=self.reporting.fingerprint,
                levels=_named(levels),
                reference_levels=_named(reference),
            )
            for levels, reference in zip(read.tolist(), references, strict=True)
        ]

    def _controls(self, exchanges: Sequence[Exchange], said: Sequence[str]) -> Sequence[Control | None]:
        """Return what each response comes to at another exchange."""
        if not self._others:
            return [None] * len(said)
        others = [self._by_id[self._others[exchange.id]] for exchange in exchanges]
        paid = self.setting.answer(others, said)
        reports = self._reports(others, said)
        return [
            Control(
                exchange=other.id,
                reward=answer.reward,
                levels=report.levels,
                reference_levels=report.reference_levels,
            )
            for other, answer, report in zip(others, paid, reports, strict=True)
        ]

    def _reference_levels(self, exchanges: Sequence[Exchange]) -> list[tuple[int, ...]]:
        new = {x.id: x for x in exchanges if x.id not in self._reported}
        if new:
            read = self.reporting.levels([x.text for x in new.values()], [x.response for x in new.values()])
            self._reported.update(zip(new, map(tuple, read.tolist()), strict=True))
        return [self._reported[x.id] for x in exchanges]

    def _record(
        self,
        task: tuple[str, str, int],
        exchange: Exchange,
        reply: Reply,
        answer: Answer,
        report: Reading,
        control: Control | None,
        likelihood: Likelihood | None,
    ) -> ResponseRecord:
        failed = reply.error is not None
        terms = dict.fromkeys(TERMS, 0.0) if failed else answer.terms
        references = self.setting.reference_levels([exchange])[0]
        return ResponseRecord(
            package_version=package_version(),
            env_id=ENV_ID,
            env_kwargs=dict(self.setting.kwargs),
            policy=task[0],
            privileged=task[0] in REFERENCES,
            exchange=exchange.id,
            context=exchange.context,
            reference=exchange.response,
            repeat=task[2],
            run_seed=self.seed,
            response=None if failed else answer.response,
            error=reply.error,
            reading=Reading(
                identifier=self.setting.reward.identifier.fingerprint,
                levels=answer.levels,
                reference_levels=_named(references),
            ),
            probabilities=answer.probabilities,
            reward_terms=terms,
            reward=0.0 if failed else answer.reward,
            paid_by=self.setting.reward.fingerprint,
            report=report,
            control=control.model_copy(update={"reward": 0.0}) if failed and control else control,
            likelihood=likelihood,
            safety=answer.safety,
            determinism=self.setting.determinism,
            usage=dict(reply.usage) if reply.usage else None,
        )


def _named(levels: Sequence[int]) -> dict[str, int]:
    return dict(zip(MECHANISMS, levels, strict=True))


def _loaded(spec: str) -> Any:
    policy = load_policy(spec)
    if is_privileged(policy):
        raise ConfigError(
            f"{spec} needs a dialogue to look into; {ENV_ID} has none. The row 'reference' is there."
        )
    return policy
