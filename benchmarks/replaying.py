"""Playing a record again: the rule at work, and the rest as it is on record."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, Fault, PerceptionRequest, SpeakRequest
from empathy_gym.simulators.errors import RecordError
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.records import EpisodeRecord, TurnRecord
from empathy_gym.simulators.rule import TableRule, rule_by_hash
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User, with_format_failure, with_goodbye


class Played:
    """A perceiver and a speaker that give what is on record."""

    def __init__(self) -> None:
        self.reading: Appraisal | Fault = Appraisal()
        self.line = ""

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal | Fault]:
        """Return the reading on record."""
        return [self.reading]

    def speak(self, items: Sequence[SpeakRequest]) -> list[str]:
        """Return the line on record."""
        return [self.line for _ in items]


def begun(user: User, record: EpisodeRecord, scenario: Scenario) -> Dialogue:
    """Return the dialogue with which a recorded episode began."""
    request = BeginRequest(
        scenario, record.seeds.dialogue, record.difficulty, record.max_turns, record.initial.emotion
    )
    return user.begin([request])[0]


def again(user: User, played: Played, before: Dialogue, turn: TurnRecord) -> Dialogue:
    """Return the dialogue after a recorded reply."""
    if turn.faults:
        played.reading = Fault(turn.faults[0].kind, turn.faults[0].cause)
    elif turn.appraisal is None:
        if turn.strategy == "close" and turn.heard is not None:
            return with_goodbye(before, turn.heard, turn.line or "")
        return with_format_failure(before)
    else:
        played.reading, played.line = turn.appraisal.appraisal(), turn.line or ""
    return user.respond([before], [turn.heard or ""])[0]


def replayed(record: EpisodeRecord, scenarios: Mapping[str, Scenario], replies: int) -> Dialogue:
    """Return the dialogue after some replies of a recorded episode.

    Raises:
        RecordError: If its scenario or its rule is not known.
    """
    played = Played()
    user = User(played, rule_of(record), played)
    dialogue = begun(user, record, scenario_of(record.scenario, scenarios))
    for turn in record.turns[:replies]:
        dialogue = again(user, played, dialogue, turn)
    return dialogue


def rule_of(record: EpisodeRecord) -> TableRule:
    """Return the rule that scored a record.

    Raises:
        RecordError: If it names none, or one that is not packaged.
    """
    if not record.rule_hash:
        raise RecordError("The record names no rule table.")
    return _rule(record.rule_hash)


_rule = functools.cache(rule_by_hash)


def scenario_of(id_: str, extra: Mapping[str, Scenario]) -> Scenario:
    """Return a scenario by its id, from some files or the library.

    Raises:
        RecordError: If there is none.
    """
    found = extra.get(id_) or _bundled().get(id_)
    if found is None:
        raise RecordError(f"No scenario {id_!r}; give the file it is from with --scenarios.")
    return found


@functools.cache
def _bundled() -> Mapping[str, Scenario]:
    return {scenario.id: scenario for split in PARTS for scenario in load_scenarios(split)}
