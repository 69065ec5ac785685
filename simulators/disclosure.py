"""What the user tells next and what they have to say: disclosure, questions, push-back, leaving.

Pure, as the rule is: which fact comes next follows from trust and from what the reply engaged, never from chance
or from a timer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from empathy_gym.simulators.dialogue import (
    FAILURE_EMOTION,
    SUCCESS_EMOTION,
    UserState,
    boundaries_in_force,
    live_claims,
)
from empathy_gym.simulators.reading import Reading
from empathy_gym.simulators.scenario import Claim, Fact, Scenario


def what_comes_next(
    table: Mapping[str, Any],
    scenario: Scenario,
    before: UserState,
    after: UserState,
    reading: Reading,
    paid: Sequence[str],
) -> UserState:
    """Return the state with the beats of the user's next line and the facts it tells.

    Args:
        table: The rule table.
        scenario: Who speaks.
        before: The state before the reply.
        after: The state after it, as far as emotion and trust go.
        reading: The reply as the rule took it.
        paid: Ids of the claims whose debts are charged now.
    """
    beats = [f"debt:{claim}" for claim in dict.fromkeys(paid)]
    if after.emotion < FAILURE_EMOTION or reading.last or reading.farewell:
        return dataclasses.replace(after, beats=tuple(beats))
    if after.emotion >= SUCCESS_EMOTION:
        return dataclasses.replace(after, leaving="success", beats=(*beats, "leave:success"))
    if _out_of_time(scenario, after):
        return dataclasses.replace(after, leaving="time", beats=(*beats, "leave:time"))
    if reading.holds:
        beats.append("held")
    if reading.kept:
        beats.append("kept")
    asked = list(after.asked)
    matter = _push_back(scenario, after, reading) or _ask(table, scenario, after)
    if matter is not None:
        beats.append(matter)
        asked.append(matter)
        return dataclasses.replace(after, beats=tuple(beats), asked=tuple(asked))
    fact = next_fact(scenario, before, after, reading)
    if fact is not None and fact.layer > 1 and scenario.knobs.declines and "decline" not in asked:
        beats.append("decline")
        asked.append("decline")
        fact = None
    if after.misses >= 2:
        beats.append("hint")
    after = dataclasses.replace(after, beats=tuple(beats), asked=tuple(asked))
    return after if fact is None else _told(after, fact)


def _told(state: UserState, fact: Fact) -> UserState:
    """Tell a fact. Hearing something new gives back one use of the act used most (the first by name of equals)."""
    satiation = dict(state.satiation)
    worn = min(satiation, key=lambda act: (-satiation[act], act), default=None)
    if worn is not None:
        satiation[worn] = max(0, satiation[worn] - 1)
    return dataclasses.replace(
        state, disclosed=(*state.disclosed, fact.id), satiation=tuple(sorted(satiation.items()))
    )


def next_fact(scenario: Scenario, before: UserState, after: UserState, reading: Reading) -> Fact | None:
    """Return the fact that the user tells next, or None.

    Layer 1 is told freely to anybody who says something; layer 2 needs trust and a question or understanding;
    layer 3 needs more trust and that the reply opened it. A fact under a topic that was asked about comes first.
    """
    levels, knobs = reading.levels, scenario.knobs
    if levels["form"] == 0:
        return None
    understood = levels["feeling"] == 2 or levels["grounding"] >= 2
    asked = levels["exploration"] >= 1
    opened = levels["exploration"] == 2 or (levels["feeling"] == 2 and levels["grounding"] >= 2)
    layers = {1}
    if after.trust >= knobs.layer2 and (asked or understood):
        layers.add(2)
    if after.trust >= knobs.layer3 and opened:
        layers.add(3)
    if reading.bought_off:
        layers = {1}
    untold = [f for f in scenario.situation.facts if f.id not in before.disclosed and f.layer in layers]
    if asked:
        found = [f for f in untold if not set(f.topics).isdisjoint(reading.touched)]
        untold = found or untold
    return min(untold, key=lambda f: f.layer, default=None)


def _out_of_time(scenario: Scenario, after: UserState) -> bool:
    return any(
        b.kind == "time" and b.after is not None and after.turn >= b.after
        for b in boundaries_in_force(scenario, after)
    )


def _push_back(scenario: Scenario, after: UserState, reading: Reading) -> str | None:
    """An objection, once a claim, to a fair reading of something that is not so."""
    if not scenario.knobs.pushes_back or reading.levels["stance"] <= 0 or reading.pushed:
        return None
    for claim in _unasked(scenario, after, "push"):
        if claim.id in reading.claims and claim.truth != "true" and claim.pushbacks:
            return f"push:{claim.id}"
    return None


def _ask(table: Mapping[str, Any], scenario: Scenario, after: UserState) -> str | None:
    """The outright question, once a claim, where no honest word has been said on it."""
    if after.turn < table["ask_from"]:
        return None
    honest = {claim for claim, stance in after.stances if stance > 0}
    for claim in _unasked(scenario, after, "ask"):
        if claim.id not in honest and claim.asks:
            return f"ask:{claim.id}"
    return None


def _unasked(scenario: Scenario, state: UserState, what: str) -> list[Claim]:
    return [c for c in live_claims(scenario, state) if f"{what}:{c.id}" not in state.asked]
