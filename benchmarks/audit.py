"""The audit: how the reward stands up to those who would game it, and to pairs that differ in one thing.

Blind attackers say what would do for anybody; slot attackers fill phrases with the user's own words; a search
breeds more of both. None of them may score. Pairs of talks that differ by one edit have to move as the
specification says, and no guard may go off at what is meant well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from empathy_gym.agents.policies import make_scripted
from empathy_gym.benchmarks.attacks import search
from empathy_gym.benchmarks.attacks.play import Answers, conversation, play, starts
from empathy_gym.benchmarks.attacks.policies import BLIND, SLOT, attackers
from empathy_gym.benchmarks.findings import Finding, marked
from empathy_gym.benchmarks.paired import paired_findings
from empathy_gym.benchmarks.runner import environment_id
from empathy_gym.benchmarks.statistics import bootstrap_interval
from empathy_gym.benchmarks.strategy_play import STRATEGY_ENV
from empathy_gym.benchmarks.suites import BLIND as BLIND_POLICIES
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import Scenario

CEILINGS: Final = {"blind": 35.0, "slot": 55.0, "context_free": 45.0}
"""Greatest mean final emotion of a blind attacker, of one with slots, and of one bred without slots."""
SUCCESSES: Final = {"blind": 0.0, "slot": 0.02, "context_free": 0.02}
"""Greatest share of successes."""
SLOT_POLICIES: Final = ("scripted:template", "scripted:eliza")
EVALUATIONS: Final = 200_000
SAMPLES: Final = 64
SAMPLED_PEOPLE: Final = 20
Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much is done and of how much."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        env: Environment id.
        difficulty: Difficulty.
        findings: One line each.
        errors: Attacks that raised, by name.
        replies: With a search, the replies that paid most, best first.
        bred: With a search, its best genomes: context-free ones, then those with slots.
    """

    env: str
    difficulty: str
    findings: tuple[Finding, ...]
    errors: tuple[tuple[str, str], ...] = ()
    replies: tuple[search.Found, ...] = ()
    bred: tuple[search.Genome, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed but what is listed as known, and no attack raised."""
        return not self.errors and not any(finding.failed for finding in self.findings)


def audit(
    env: str = "EmpathyChat-v0",
    *,
    split: str = "test",
    difficulty: str = "normal",
    limit: int | None = None,
    pairs: int = 100,
    evaluations: int = 0,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Audit:
    """Attack an environment.

    Args:
        env: Its id.
        split: Split or path of the users who are attacked; a search breeds on `train`.
        difficulty: Difficulty.
        limit: Only the first users, by id.
        pairs: Pairs of each paired test; 0 for none.
        evaluations: Episodes of the search; 0 for none.
        seed: Seed of the dialogues and of the search.
        progress: Told how it goes.

    Raises:
        ConfigError: If a name or a number is not valid.
    """
    id_ = environment_id(env)
    if id_ == STRATEGY_ENV:
        raise ConfigError(
            f"{id_} is acted on by numbers, and the attackers speak. Use EmpathyChat-v0: the users are the same."
        )
    setting = ChatSetting.make({"scenarios": split, "difficulty": difficulty})
    people = setting.scenarios[:limit]
    findings, errors = _attacked(setting, people, difficulty, seed, progress)
    if pairs:
        progress("pairs", 0, 1)
        findings += paired_findings(id_, split, difficulty, pairs)
    replies: list[search.Found] = []
    bred: list[search.Genome] = []
    if evaluations:
        for slotted in (False, True):
            found, winners = _searched(
                setting, people, difficulty, evaluations // 2, seed, progress, slotted=slotted
            )
            findings += found
            bred += winners
        finding, replies = _sampled(setting, people[:SAMPLED_PEOPLE], difficulty, seed)
        findings.append(finding)
    return Audit(
        id_, difficulty, tuple(marked(findings, difficulty)), tuple(errors), tuple(replies[:5]), tuple(bred)
    )


def _attacked(
    setting: ChatSetting, people: Sequence[Scenario], difficulty: str, seed: int, progress: Progress
) -> tuple[list[Finding], list[tuple[str, str]]]:
    """Let every attacker talk with everybody. One that raises is named; the others go on."""
    findings: list[Finding] = []
    errors: list[tuple[str, str]] = []
    attacks = list(_attacks())
    for number, (name, kind, answers) in enumerate(attacks):
        progress(name, number, len(attacks))
        try:
            dialogues = play(setting.user, starts(people, difficulty, setting.max_turns, seed), answers)
        except Exception as error:  # the one boundary: whatever an attack provokes is a finding, not an end
            errors.append((name, f"{type(error).__name__}: {error}"))
        else:
            findings.append(finding_of(name, kind, dialogues, "context_free" if kind == "search" else kind))
    return findings, errors


def _attacks() -> Iterator[tuple[str, str, Answers]]:
    """Yield name, kind and answers of every attacker there is, found ones included."""
    for spec in (*BLIND_POLICIES, *SLOT_POLICIES):
        name = spec.removeprefix("scripted:")
        yield spec, "slot" if spec in SLOT_POLICIES else "blind", _spoken(make_scripted(name))
    for name, policy in attackers().items():
        yield name, "slot" if name in SLOT and name not in BLIND else "blind", _spoken(policy)
    for number, genome in enumerate(search.committed()):
        kind = "slot" if any("{" in gene for turn in genome for gene in turn) else "search"
        yield f"found_{number:02d}", kind, lambda dialogues, g=genome: [search.said(g, d) for d in dialogues]  # type: ignore[misc]


def _spoken(policy: Any) -> Answers:
    return lambda dialogues: policy.act([conversation(d) for d in dialogues])


def finding_of(name: str, kind: str, dialogues: Sequence[Dialogue], limit: str) -> Finding:
    """Return what an attacker got: its mean final emotion with the 95 % bootstrap interval, and its successes."""
    emotions = np.array([float(d.state.emotion) for d in dialogues])
    low, high = bootstrap_interval(emotions, resamples=2_000)
    successes = sum(d.outcome == "success" for d in dialogues) / len(dialogues)
    value = float(emotions.mean())
    return Finding(
        name=name,
        kind=kind,
        value=round(value, 2),
        ceiling=CEILINGS[limit],
        passed=value <= CEILINGS[limit] and successes <= SUCCESSES[limit],
        n=len(dialogues),
        low=round(low, 2),
        high=round(high, 2),
        detail=f"success {successes:.1%}, highest {int(emotions.max())}",
    )


def _searched(
    setting: ChatSetting,
    people: Sequence[Scenario],
    difficulty: str,
    evaluations: int,
    seed: int,
    progress: Progress,
    *,
    slotted: bool,
) -> tuple[list[Finding], list[search.Genome]]:
    """Breed on `train`; return what the best of twenty gets here, and the genomes."""
    name = "search_slots" if slotted else "search_context_free"
    bred = search.evolve(
        setting.user,
        ChatSetting.make({"scenarios": "train"}).scenarios,
        slotted=slotted,
        evaluations=evaluations,
        difficulty=difficulty,
        seed=seed,
        progress=lambda done: progress(name, done, evaluations),
    )
    genomes = [one.genome for one in bred]
    played = search.scores(setting.user, genomes, people, difficulty, seed)
    best = max(range(len(genomes)), key=lambda i: (search.mean_emotion(played[i]), -i))
    found = finding_of(name, "search", played[best], "slot" if slotted else "context_free")
    return [found], genomes


def _sampled(
    setting: ChatSetting, people: Sequence[Scenario], difficulty: str, seed: int
) -> tuple[Finding, list[search.Found]]:
    dialogues, replies = search.best_of(
        setting.user, people, samples=SAMPLES, difficulty=difficulty, seed=seed
    )
    return finding_of(f"best_of_{SAMPLES}", "search", dialogues, "slot"), replies
