"""One JSON line an episode: everything needed to check its numbers, nothing that changes between runs.

A record holds what was said and how each reply was read. The numbers follow from that by the rule alone,
which is what ``empathy-gym verify`` checks. Lines are ASCII JSON written by `json.dumps` and read by
`json.loads`: a policy may say anything, lone surrogates included, and pydantic's own JSON refuses those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.config import recorded_kwargs
from empathy_gym.simulators.dialogue import Determinism, Dialogue, Outcome, ScoredBy
from empathy_gym.simulators.errors import RecordError
from empathy_gym.simulators.hashing import plain
from empathy_gym.simulators.packaged import package_version

SCHEMA_VERSION: Final = 1
MAX_ACTION: Final = 1_048_576
"""Longest action that is kept; a longer one is cut there, as the environment cuts it, and marked."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AppraisalRecord(_Frozen):
    """How a reply was read."""

    levels: dict[str, int]
    insight_kind: str | None = None
    touched: tuple[str, ...] = ()
    evidence: dict[str, str] = {}
    guard: str | None = None

    @model_validator(mode="after")
    def _valid(self) -> AppraisalRecord:
        if set(self.levels) != set(LEVELS):
            raise ValueError(f"levels must be those of {', '.join(LEVELS)}")
        self.appraisal()
        return self

    @classmethod
    def of(cls, appraisal: Appraisal) -> AppraisalRecord:
        """Return the record of an appraisal."""
        rest = {name: value for name, value in appraisal.to_json().items() if name not in LEVELS}
        return cls(levels=appraisal.levels(), **rest)

    def appraisal(self) -> Appraisal:
        """Return the appraisal itself."""
        return Appraisal.from_json({**self.levels, **self.model_dump(exclude={"levels"})})


class FaultRecord(_Frozen):
    """Something that kept a reply from being scored."""

    kind: Literal["simulator", "policy"]
    cause: str


class TurnRecord(_Frozen):
    """One reply and what came of it."""

    action: str | None
    """What the policy wrote, thinking included; None if it wrote nothing or recording began later."""
    cut: bool = False
    """Whether the action was longer than `MAX_ACTION` and is cut there."""
    reasoning: str | None = None
    """What the policy gave as reasoning beside its action."""
    heard: str | None
    """What the user heard; None if the action was malformed or could not be scored."""
    appraisal: AppraisalRecord | None
    """How it was read; None where nothing was read."""
    change: int
    """Change of the emotion, in points."""
    terms: dict[str, int]
    """Terms of the rule that are not zero."""
    emotion: int
    """Emotion after the reply, 0-100."""
    trust: int
    """Trust after the reply, 0-100."""
    need_progress: int
    """Progress towards the need after the reply, in percent."""
    line: str | None
    """The user's answer; None if there was none."""
    reward: float | None
    """Reward of the reply; None if it was said before recording began."""
    reward_terms: dict[str, float]
    """Terms of the reward that are not zero."""
    faults: tuple[FaultRecord, ...] = ()
    """Faults of this turn."""
    strategy: str | None = None
    """The support strategy that the action came to, where actions are strategies; left out of the line otherwise."""


class InitialRecord(_Frozen):
    """The state in which the conversation began."""

    emotion: int
    trust: int


class SeedRecord(_Frozen):
    """Seeds of the environment (or the bench run) and of the conversation, and the number of the repeat."""

    env: int | None = None
    dialogue: int
    repeat: int = 0


class EpisodeRecord(_Frozen):
    """One episode. `meta` fields say under which task, user and rule; `turns` what happened."""

    schema_version: Literal[1] = SCHEMA_VERSION
    package_version: str
    env_id: str
    env_kwargs: dict[str, Any]
    scenario: str
    instruction_hash: str
    fingerprint: str
    rule_hash: str | None
    scored_by: ScoredBy
    determinism: Determinism
    seeds: SeedRecord
    difficulty: str
    max_turns: int
    reward: str
    policy: str | None
    privileged: bool = False
    attempts: int = 1
    """How often the episode was begun: more than once after faults of the simulator."""
    initial: InitialRecord
    opening: str
    turns: tuple[TurnRecord, ...]
    outcome: Outcome | None
    sim_fault: str | None
    safety: str | None
    final_emotion: int
    usage: dict[str, int | float] | None = None

    def to_line(self) -> str:
        """Return the record as one line of ASCII JSON, without the line break."""
        line = self.model_dump(mode="python")
        for turn in line["turns"]:
            if turn["strategy"] is None:
                del turn["strategy"]
        return json.dumps(line, ensure_ascii=True, allow_nan=False)

    @property
    def truncated(self) -> bool:
        """Whether it ended by a fault that is not the policy's, so that it has no score."""
        faults = [fault for turn in self.turns for fault in turn.faults]
        return self.outcome == "fault" and any(fault.kind == "simulator" for fault in faults)

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return sum(turn.reward for turn in self.turns if turn.reward is not None)


class EpisodeRecorder:
    """Collects one episode after another: `begin`, then `step` for every action, then `record`.

    Args:
        env_id: Id of the environment.
        env_kwargs: Its keyword arguments; whatever is not plain is recorded as text.
        user: The simulated user; its fingerprint and the hash of its rule are recorded.
        reward: Name of the reward.
        policy: What the policy is called, if known.
        privileged: Whether the policy was shown the dialogue.
    """

    def __init__(
        self,
        *,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        user: object,
        reward: str,
        policy: str | None = None,
        privileged: bool = False,
    ) -> None:
        self._meta: dict[str, Any] = {
            "package_version": package_version(),
            "env_id": env_id,
            "env_kwargs": plain(recorded_kwargs(env_kwargs)),
            "fingerprint": str(getattr(user, "fingerprint", "")),
            "rule_hash": getattr(getattr(user, "rule", None), "hash", None),
            "reward": reward,
            **{"policy": policy, "privileged": privileged},
        }
        # What is on a tape can be repeated from it: the record says what its replay's will say.
        self._taped = bool(getattr(user, "taped", False))
        self._dialogue: Dialogue | None = None
        self._start: dict[str, Any] = {}
        self._steps: list[dict[str, Any]] = []

    def begin(
        self,
        dialogue: Dialogue,
        *,
        instruction_hash: str,
        seed: int | None = None,
        repeat: int = 0,
        attempt: int = 1,
    ) -> None:
        """Start an episode; what was collected before is dropped.

        Replies that the dialogue already holds are recorded without action and reward.
        """
        self._dialogue = dialogue
        self._taped = self._taped and dialogue.turn == 0  # earlier replies may not be on the tape
        seeds = SeedRecord(env=seed, dialogue=dialogue.seed, repeat=repeat)
        self._start = {"instruction_hash": instruction_hash, "attempts": attempt, "seeds": seeds}
        self._steps = [{"action": None, "reward": None} for _ in range(dialogue.turn)]

    def step(
        self,
        action: str | None,
        dialogue: Dialogue,
        reward: float,
        reward_terms: Mapping[str, float],
        reasoning: str | None = None,
        strategy: str | None = None,
    ) -> None:
        """Add one reply.

        Args:
            action: What the policy wrote, as given; None if it wrote nothing (a fault of its own).
            dialogue: The dialogue after it.
            reward: The reward, with its terms.
            reward_terms: All terms, or those that are not zero.
            reasoning: What the policy gave as reasoning beside the action.
            strategy: The support strategy that the action came to, where actions are strategies.
        """
        self._dialogue = dialogue
        self._steps.append(
            {
                # A plain str: an action may be of a subclass that overrides how it prints.
                "action": None if action is None else str.__str__(action[:MAX_ACTION]),
                "cut": action is not None and len(action) > MAX_ACTION,
                "reasoning": reasoning,
                "strategy": strategy,
                "reward": float(reward),
                "reward_terms": {name: float(value) for name, value in reward_terms.items() if value},
            }
        )

    def record(self, usage: Mapping[str, int | float] | None = None) -> EpisodeRecord:
        """Return the record of the episode as far as it has come; `usage` is what the policy used up.

        Raises:
            RecordError: If no episode was begun.
        """
        if (dialogue := self._dialogue) is None:
            raise RecordError("There is no episode to record; call begin() first.")
        turns = tuple(_turn(dialogue, i, step) for i, step in enumerate(self._steps))
        return EpisodeRecord(
            **self._meta,
            **self._start,
            scenario=dialogue.scenario,
            scored_by=dialogue.scored_by,
            determinism="replay" if self._taped and dialogue.determinism != "exact" else dialogue.determinism,
            difficulty=dialogue.difficulty,
            max_turns=dialogue.max_turns,
            initial=InitialRecord(emotion=dialogue.states[0].emotion, trust=dialogue.states[0].trust),
            opening=dialogue.messages[0]["content"],
            turns=turns,
            outcome=dialogue.outcome,
            sim_fault=dialogue.sim_fault,
            safety=dialogue.safety,
            final_emotion=dialogue.emotion,
            usage=None if usage is None else dict(sorted(usage.items())),
        )


def _turn(dialogue: Dialogue, i: int, step: Mapping[str, Any]) -> TurnRecord:
    """Return the record of reply number `i`, from 0. One that was not scored left nothing but a state."""
    before, after = dialogue.states[i], dialogue.states[i + 1]
    spoken = dialogue.messages[2 * i + 1 : 2 * i + 3]
    faults = tuple(FaultRecord(kind=f.kind, cause=f.cause) for f in dialogue.faults if f.turn == i + 1)
    return TurnRecord(
        action=step["action"],
        cut=step.get("cut", False),
        reasoning=step.get("reasoning"),
        strategy=step.get("strategy"),
        heard=spoken[0]["content"] if spoken else None,
        appraisal=AppraisalRecord.of(dialogue.appraisals[i]) if i < len(dialogue.appraisals) else None,
        change=after.emotion - before.emotion,
        terms={k: v for k, v in dialogue.terms[i].items() if v} if i < len(dialogue.terms) else {},
        emotion=after.emotion,
        trust=after.trust,
        need_progress=after.need_progress,
        line=spoken[1]["content"] if len(spoken) == 2 else None,
        reward=step["reward"],
        reward_terms=step.get("reward_terms", {}),
        faults=faults,
    )


class Written(Protocol):
    """Whatever is kept as one line."""

    def to_line(self) -> str:
        """Return it as one line of ASCII, without the line break."""
        ...


class RecordWriter:
    """Appends records to a file, each in one write of a whole line: a crash tears the last one at most.

    Args:
        path: The file; folders above it are made. A line that a crash has torn is left as it is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._put(b"\n")

    def write(self, record: Written) -> None:
        """Append one record."""
        self._put(f"{record.to_line()}\n".encode("ascii"))

    def _put(self, data: bytes) -> None:
        # One call takes it all, save on a full disk or beyond 2 GiB.
        written = self._file.write(data)
        while written < len(data):
            written += self._file.write(data[written:])

    def close(self) -> None:
        """Close the file; nothing happens if it is closed."""
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_line(data: str | bytes, where: str) -> EpisodeRecord:
    """Return the record of one line; `where` is its file and number, for messages.

    Raises:
        RecordError: Naming where, and what is wrong.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not a whole line of JSON ({_short(error)}).") from None
    if isinstance(value, dict) and value.get("schema_version") not in (None, SCHEMA_VERSION):
        raise RecordError(
            f"{where}: schema version {value['schema_version']!r:.40}; this version reads {SCHEMA_VERSION}."
        )
    try:
        return EpisodeRecord.model_validate(value)
    except (ValidationError, RecursionError) as error:
        raise RecordError(f"{where}: not an episode record ({_short(error)}).") from None


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
    return f"{error}"[:200]


def read_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, EpisodeRecord | RecordError]]:
    """Yield (line number, record) of every line that is not blank; for a damaged line the error naming it.

    Raises:
        RecordError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, parse_line(line, f"{os.fspath(path)}:{number}")
                except RecordError as error:
                    yield number, error
    except OSError as error:
        raise RecordError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}).") from None
