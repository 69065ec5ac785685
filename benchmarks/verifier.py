"""Checking records: do the numbers follow from the levels, and the levels from the words?

Each episode is played again by the same `User` that plays live ones, with its parts replaced: the perceiver
gives the recorded readings, the speaker the recorded lines, and the rule is the packaged table with the
recorded hash. Every number that comes out is compared with the one on record. `perceive=True` then reads
every reply afresh, as the embedded user does or as a language-model user does from its tape, and compares
levels and lines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from empathy_gym.benchmarks.replaying import Played, again, begun, rule_of, scenario_of
from empathy_gym.envs.strategies import STRATEGIES
from empathy_gym.envs.strategy import choice
from empathy_gym.envs.think import parse
from empathy_gym.rewards.registry import Reward, evaluate, floor_of, make_reward, registered_rewards
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import Dialogue
from empathy_gym.simulators.errors import EmpathyGymError, TapeMiss
from empathy_gym.simulators.records import AppraisalRecord, EpisodeRecord, TurnRecord
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User, part_fingerprint

TOLERANCE: Final = 1e-9
_CHUNK: Final = 64
"""Episodes whose replies are read afresh at a time."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that does not follow.

    Attributes:
        where: File and line.
        episode: Policy, scenario and repeat.
        turn: Number of the reply from 1; 0 for the start, None for the episode as a whole.
        field: Which value.
        recorded: What the record says.
        recomputed: What follows from the rest of the record.
    """

    where: str
    episode: str
    turn: int | None
    field: str
    recorded: Any
    recomputed: Any

    def __str__(self) -> str:
        """Return it as one line."""
        turn = "" if self.turn is None else f", turn {self.turn}"
        return (
            f"{self.where}: {self.episode}{turn}, {self.field}: recorded {_brief(self.recorded)}, "
            f"recomputed {_brief(self.recomputed)}"
        )


def _brief(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


@dataclass(slots=True)
class Report:
    """What a verification found. Counts are of what was compared; `ok` says whether everything held.

    Attributes:
        lines: Records and damaged lines in the file.
        episodes: Episodes verified against the rule.
        matched: Those of them in which everything matched.
        turns: Replies of verified episodes.
        numbers: Values compared: changes, terms, emotions, trust, rewards, endings.
        wrong: Values that did not match.
        unscored: Episodes not scored by a packaged rule, by who scored them; they are not verified.
        rewards_skipped: Episodes whose reward is not registered: a record does not name code that is run.
        readings: Values compared with a fresh reading: levels, kinds, items, evidence, lines.
        misread: Those that did not match.
        readings_skipped: Episodes that were not read afresh, by reason.
        unread: Those of them that should have been.
        damaged: Lines that cannot be read, and episodes that cannot be checked.
        mismatches: The first of the mismatches of each episode.
        notes: What else there is to say.
    """

    lines: int = 0
    episodes: int = 0
    matched: int = 0
    turns: int = 0
    numbers: int = 0
    wrong: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    rewards_skipped: int = 0
    readings: int = 0
    misread: int = 0
    readings_skipped: dict[str, int] = field(default_factory=dict)
    unread: int = 0
    damaged: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was verified and all of it held, and whatever was to be read afresh was."""
        bad = self.damaged or self.mismatches or self.wrong or self.misread or self.unread
        return self.episodes > 0 and not bad


@dataclass(frozen=True, slots=True)
class _Said:
    """A reply that can be read afresh, and the rule and the speaker it was answered by."""

    where: str
    episode: str
    turn: int
    before: Dialogue
    record: TurnRecord
    rule: TableRule
    same_voice: bool


class Verifier:
    """Checks records one after another, and counts.

    Args:
        scenarios: Scenarios beside the bundled ones.
        perceive: Whether to read the replies afresh.
        user: Who reads them, and says the lines; the embedded user by default. Only what was read by this very
            perceiver is read afresh (any version of the embedded one where that is who reads).
    """

    def __init__(
        self, scenarios: Iterable[Scenario] = (), *, perceive: bool = False, user: User | None = None
    ) -> None:
        self.report = Report()
        self.perceive = perceive
        self._user = user or build_user("embedded")
        self._reader, self._voice = map(part_fingerprint, (self._user.perceiver, self._user.speaker))
        self._extra = {scenario.id: scenario for scenario in scenarios}
        self._said: list[_Said] = []
        self._perceivers: set[str] = set()

    def check(self, record: EpisodeRecord, where: str) -> None:
        """Check one record against the rule."""
        if record.scored_by != "rule":
            _count(self.report.unscored, record.scored_by)
            return
        episode = f"episode {record.policy or '-'} / {record.scenario} / {record.seeds.repeat}"
        try:
            found = list(self._compare(record, where, episode))
        except EmpathyGymError as error:
            self.report.damaged.append(f"{where}: {episode}: cannot be verified. {error}")
            return
        self.report.episodes += 1
        self.report.turns += len(record.turns)
        wrong = [mismatch for mismatch in found if mismatch is not None]
        self.report.numbers += len(found)
        self.report.wrong += len(wrong)
        self.report.matched += not wrong
        self.report.mismatches += wrong[:1]

    def finish(self) -> Report:
        """Read what is left to be read afresh, and return the report."""
        self._read_afresh()
        for perceiver in sorted(self._perceivers - {self._reader}):
            self.report.notes.append(
                f"Read by {perceiver}; this version has {self._reader}, which may read otherwise."
            )
        return self.report

    # -- against the rule ------------------------------------------------------------------------------

    def _compare(self, record: EpisodeRecord, where: str, episode: str) -> Iterator[Mismatch | None]:
        """Play a record again, and yield None for every value that matches."""

        def same(turn: int | None, name: str, recorded: Any, recomputed: Any) -> Mismatch | None:
            equal = recorded == recomputed
            if isinstance(recorded, float) and isinstance(recomputed, float):
                equal = math.isclose(recorded, recomputed, rel_tol=0.0, abs_tol=TOLERANCE)
            return None if equal else Mismatch(where, episode, turn, name, recorded, recomputed)

        played, rule = Played(), rule_of(record)
        user = User(played, rule, played)
        said: list[_Said] = []
        parts = dict(part.partition("=")[::2] for part in record.fingerprint.split(";"))
        speaker = parts.get("speaker", "")
        same_voice = speaker == self._voice or (
            speaker.startswith("authored") and self._voice.startswith("authored")
        )
        yield same(None, "rule_hash", record.rule_hash, rule.hash)
        yield same(None, "fingerprint", parts.get("rule"), rule.fingerprint)
        scenario = scenario_of(record.scenario, self._extra)
        for name, recorded, given in _given(record, scenario):
            yield same(0, name, recorded, given)
        dialogue = begun(user, record, scenario)
        yield same(0, "trust", record.initial.trust, dialogue.state.trust)
        yield same(0, "opening", record.opening, dialogue.last_line)
        reward = make_reward(record.reward) if record.reward in registered_rewards() else None
        self.report.rewards_skipped += reward is None
        for number, turn in enumerate(record.turns, 1):
            if dialogue.ended:
                yield Mismatch(where, episode, number, "outcome", None, dialogue.outcome)
                break
            for name, missing in _missing(record, number - 1):
                yield Mismatch(where, episode, number, name, None, missing) if missing else None
            before = dialogue
            dialogue = again(user, played, before, turn)
            if turn.heard is not None and turn.appraisal is not None:
                said.append(_Said(where, episode, number, before, turn, rule, same_voice))
            for name, recorded, recomputed in _values(record, turn, before, dialogue, reward):
                yield same(number, name, recorded, recomputed)
        yield same(None, "outcome", record.outcome, dialogue.outcome)
        yield same(None, "final_emotion", record.final_emotion, dialogue.emotion)
        yield same(None, "safety", record.safety, dialogue.safety)
        yield same(None, "sim_fault", record.sim_fault, dialogue.sim_fault)
        if self.perceive:
            self._queue(said, parts.get("perceiver", "an unknown perceiver"))

    # -- against the words -----------------------------------------------------------------------------

    def _queue(self, said: Sequence[_Said], perceiver: str) -> None:
        """Keep the replies of an episode to be read afresh, where that can be done."""
        embedded = perceiver.startswith("embedded") and self._reader.startswith("embedded")
        if perceiver != self._reader and not embedded:
            _count(self.report.readings_skipped, perceiver)
            self.report.unread += 1
            return
        self._perceivers.add(perceiver)
        self._said += said
        if len(self._said) >= _CHUNK:
            self._read_afresh()

    def _read_afresh(self) -> None:
        said, self._said = self._said, []
        bad = {mismatch.where for mismatch in self.report.mismatches}
        for rule in {item.rule.hash: item.rule for item in said}.values():
            items = [item for item in said if item.rule.hash == rule.hash]
            reader = User(self._user.perceiver, rule, self._user.speaker)
            for item, after in zip(items, _answers(reader, items), strict=True):
                wrong = [found for found in self._readings(item, after) if found is not None]
                self.report.misread += len(wrong)
                if wrong and item.where not in bad:
                    bad.add(item.where)
                    self.report.mismatches.append(wrong[0])

    def _readings(self, item: _Said, after: Dialogue | TapeMiss) -> Iterator[Mismatch | None]:
        recorded = item.record.appraisal
        if recorded is None:
            return
        if isinstance(after, TapeMiss):
            # What is asked follows from the record: where that was changed, the tape knows nothing of it.
            self.report.readings += 1
            yield Mismatch(item.where, item.episode, item.turn, "tape", "an answer", "none to this request")
            return
        if len(after.appraisals) == len(item.before.appraisals):
            self.report.readings += 1
            yield Mismatch(item.where, item.episode, item.turn, "sim_fault", None, after.sim_fault)
            return
        fresh = AppraisalRecord.of(after.appraisals[-1])
        pairs: list[tuple[str, Any, Any]] = [
            (name, recorded.levels[name], fresh.levels[name]) for name in fresh.levels
        ]
        for name in ("insight_kind", "touched", "guard", "evidence"):
            pairs.append((name, getattr(recorded, name), getattr(fresh, name)))
        if recorded == fresh and item.same_voice:
            # How the user answers follows from the reading, so the line says nothing new where that is off.
            pairs.append(("line", item.record.line, after.last_line))
        for name, old, new in pairs:
            self.report.readings += 1
            yield None if old == new else Mismatch(item.where, item.episode, item.turn, name, old, new)


def _answers(reader: User, items: Sequence[_Said]) -> list[Dialogue | TapeMiss]:
    """Return the dialogues after some replies; what the tape does not hold leaves the others alone."""
    try:
        return [*reader.respond([i.before for i in items], [i.record.heard or "" for i in items])]
    except TapeMiss as miss:
        if len(items) == 1:
            return [miss]
        return [answer for item in items for answer in _answers(reader, [item])]


def _given(record: EpisodeRecord, scenario: Scenario) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, recorded, given) of what the environment was made with, as far as the record tells it."""
    resumed = bool(record.turns) and record.turns[0].reward is None
    given = record.env_kwargs
    yield "reward", record.reward, given.get("reward", "delta")
    yield "difficulty", record.difficulty, given.get("difficulty") or record.difficulty
    yield "max_turns", record.max_turns, given.get("max_turns") or record.max_turns
    # A dialogue that was gone on with keeps the emotion it began with.
    if not resumed:
        emotion = given.get("initial_emotion")
        own = scenario.at(record.difficulty).initial_emotion if emotion is None else emotion
        yield "initial.emotion", record.initial.emotion, own


def _missing(record: EpisodeRecord, at: int) -> Iterator[tuple[str, str | None]]:
    """Yield (name, what should be there) of what a turn cannot lack; nothing should where it lacks nothing.

    A reply that was scored was heard and answered; one that was taken while the record was kept has a reward and, if
    no fault came of it, the action.
    """
    turn = record.turns[at]
    scored = turn.appraisal is not None
    yield "heard", "the words that were read" if scored and turn.heard is None else None
    yield "line", "the user's answer" if scored and turn.line is None else None
    kept = turn.action is not None or (at > 0 and record.turns[at - 1].reward is not None)
    yield "reward", "a number" if kept and turn.reward is None else None
    silent = turn.action is None and turn.reward is not None and not turn.faults
    yield "action", "what the policy wrote" if silent else None


def _values(
    record: EpisodeRecord, turn: TurnRecord, before: Dialogue, after: Dialogue, reward: Reward | None
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, recorded, recomputed) of every value of a turn."""
    terms = after.terms[-1] if len(after.terms) > len(before.terms) else {}
    yield "change", turn.change, after.emotion - before.emotion
    for name in sorted({*turn.terms, *terms}):
        yield f"terms.{name}", turn.terms.get(name, 0), terms.get(name, 0)
    yield "emotion", turn.emotion, after.emotion
    yield "trust", turn.trust, after.state.trust
    yield "need_progress", turn.need_progress, after.state.need_progress
    if turn.strategy is not None:
        yield "strategy", turn.strategy, _strategy(record, turn, before)
    elif turn.action is not None:
        heard = parse(turn.action, record.env_kwargs.get("think", False))
        if not turn.faults:
            yield "heard", turn.heard, heard
    if reward is not None and turn.reward is not None:
        expected = _reward_terms(reward, before, after, turn.heard or "")
        for name in sorted({*turn.reward_terms, *(n for n, v in expected.items() if v)}):
            yield f"reward_terms.{name}", turn.reward_terms.get(name, 0.0), expected.get(name, 0.0)
        yield "reward", turn.reward, math.fsum(expected.values())


def _strategy(record: EpisodeRecord, turn: TurnRecord, before: Dialogue) -> str | None:
    """Return the strategy that a recorded action comes to; None if it is no action."""
    try:
        action = json.loads(turn.action or "")
        return STRATEGIES[choice(action, bool(record.env_kwargs.get("intensity")), before.turn)[0]]
    except (ValueError, RecursionError):
        return None


def _reward_terms(reward: Reward, before: Dialogue, after: Dialogue, heard: str) -> Mapping[str, float]:
    if after.outcome == "format":
        return {"format": floor_of(reward, before)}
    if after.outcome == "fault":
        return {} if after.truncated else {"fault": floor_of(reward, before)}
    return evaluate(reward, before, heard, after)


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
