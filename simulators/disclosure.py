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
        # An objection is news too; otherwise honesty would wear out what silence keeps fresh.
        news = _news(after, ()) if matter.startswith("push:") else {}
        return dataclasses.replace(after, beats=tuple(beats), asked=tuple(asked), **news)
    facts = next_facts(scenario, before, after, reading)
    if any(f.layer > 1 for f in facts) and scenario.knobs.declines and "decline" not in asked:
        beats.append("decline")
        asked.append("decline")
        # They tell something easier instead, so that more trust never tells less.
        told = before.disclosed
        facts = [f for f in scenario.situation.facts if f.layer == 1 and f.id not in told][:1]
    if after.misses >= 2:
        beats.append("hint")
    news = _news(after, facts) if facts else {}
    return dataclasses.replace(after, beats=tuple(beats), asked=tuple(asked), **news)


def _news(state: UserState, facts: Sequence[Fact]) -> dict[str, Any]:
    """Return what telling facts changes. Something new makes every act fresh by one use, but not retelling."""
    satiation = tuple(
        (act, uses if act == "grounding" else max(0, uses - 1)) for act, uses in state.satiation
    )
    return {"disclosed": (*state.disclosed, *(fact.id for fact in facts)), "satiation": satiation}


def next_facts(scenario: Scenario, before: UserState, after: UserState, reading: Reading) -> list[Fact]:
    """Return the facts that the user tells next: none, one, or two where a reply opened somebody who trusts.

    Layer 1 is told freely to anybody who says something; layer 2 needs trust and a question or understanding;
    layer 3 needs more trust and that the reply opened it. A fact under a topic that was asked about comes first,
    then one that voices a claim, then the deepest that may be told: being understood is what opens people.
    """
    levels, knobs = reading.levels, scenario.knobs
    if levels["form"] == 0:
        return []
    understood = levels["feeling"] == 2 or levels["grounding"] >= 2
    asked = levels["exploration"] >= 1
    opened = levels["exploration"] == 2 or (levels["feeling"] == 2 and levels["grounding"] >= 2)
    deepest = 1
    if after.trust >= knobs.layer2 and (asked or understood) and not reading.bought_off:
        deepest = 3 if after.trust >= knobs.layer3 and opened else 2
    voicing = {claim.voiced_by for claim in scenario.situation.claims}
    under = set(reading.touched) if asked else set()
    untold = [f for f in scenario.situation.facts if f.id not in before.disclosed and f.layer <= deepest]
    untold.sort(key=lambda f: (under.isdisjoint(f.topics), f.id not in voicing, -f.layer))
    return untold[: 2 if opened and deepest > 1 else 1]


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
    """The outright question, once a claim, where no honest word has ever been said on it."""
    if after.turn < table["ask_from"]:
        return None
    return next((f"ask:{claim.id}" for claim in _unasked(scenario, after, "ask") if claim.asks), None)


def _unasked(scenario: Scenario, state: UserState, what: str) -> list[Claim]:
    return [c for c in live_claims(scenario, state) if f"{what}:{c.id}" not in state.asked]
