"""The published rule: levels in, an integer emotion change with named terms out.

`TableRule.apply` is a pure function of (scenario, state, appraisal, last) and of a table anyone can read
(`simulators/tables/`). No model, no randomness, no clock, no float. docs/appraisal.md lists the principles; each
is a property test in tests/simulators/test_rule.py. The order of evaluation is

    gains by the need's weights -> satiation -> the two strongest pay -> grounding, bought-off, distrust
    -> temperament and doubling -> costs -> patience -> ceiling -> debts -> failure -> clamp to 0..100

A user who ends below the failure line ends at 0: a talk that fails early is worth no more than one that fails late.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import (
    FAILURE_EMOTION,
    EmotionChange,
    UserState,
)
from empathy_gym.simulators.disclosure import requested_with, what_comes_next
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.packaged import read_mapping
from empathy_gym.simulators.reading import ACTS, MOVES, Reading, read, worth
from empathy_gym.simulators.scenario import Fact, Scenario, content_hash

CODE: Final = 1
"""Version of the arithmetic itself; part of every rule's hash, since a table means nothing without it."""
ADJUSTMENTS: Final = ("satiation", "attention", "ungrounded", "bought_off", "distrust", "responsiveness")
COSTS: Final = (
    "form", "repetition", "inflation", "agreement", "evasion", "caving", "bluntness", "early_advice", "crowding",
    "invalidation", "control",
)  # fmt: skip
RULE_TERMS: Final[tuple[str, ...]] = (
    *ACTS, *ADJUSTMENTS, *COSTS, "volatility", "patience", "impatience", "pleasing", "ceiling", "debt", "failure", "harm",
    "clamp",
)  # fmt: skip
"""Every term the rule may use, in the order in which they are summed."""

_ADJUSTS: Final = frozenset(ADJUSTMENTS)
_NOTHING: Final[frozenset[str]] = frozenset()

Terms = dict[str, int]


class TableRule:
    """The rule with one of the published tables.

    Args:
        table: A table as loaded from YAML; the newest packaged one if None.
    """

    def __init__(self, table: Mapping[str, Any] | None = None) -> None:
        self.table: Mapping[str, Any] = load_tables()[-1] if table is None else table
        self.hash = content_hash([CODE, self.table])

    @property
    def fingerprint(self) -> str:
        """Name, version and content hash of the table."""
        return f"{self.table['name']}-v{self.table['version']}@{self.hash[:12]}"

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        """Return what a reply does to the emotion.

        Args:
            scenario: Who heard it, at their difficulty.
            state: The state before it.
            appraisal: What the reply did.
            last: Whether it is the last reply that the turn cap allows.

        Returns:
            The change in points (the emotion stays in 0..100), its terms, and the next state.
        """
        if appraisal.guard == "policy_harm":
            after = dataclasses.replace(state, emotion=0, turn=state.turn + 1, beats=())
            return EmotionChange(-state.emotion, {"harm": -state.emotion} if state.emotion else {}, after)
        reading = read(self.table, scenario, state, appraisal, last)
        terms: Terms = {}
        points = worth(self.table, scenario, reading)
        step = self._progresses(scenario, state, reading, points)
        paid = self._gains(scenario, state, reading, points, terms, step)
        misses = self._misses(scenario, state, reading, step)
        self._charge(scenario, state, reading, misses, terms)
        debts = self._owe(state, reading, terms)
        stances = best_stances(state, reading)
        progress = min(4, state.progress + step)
        ceiling = self._ceiling(scenario, state, progress, debts, stances)
        reached = state.emotion + sum(terms.values())
        if reached > max(ceiling, state.emotion):
            terms["ceiling"] = max(ceiling, state.emotion) - reached
            reached += terms["ceiling"]
        due = self._due(state, reading, debts, reached)
        if due:
            terms["debt"] = -self.table["debt"] * due
            reached += terms["debt"]
        emotion = 0 if reached < FAILURE_EMOTION else min(100, reached)
        if 0 < reached < FAILURE_EMOTION:
            terms["failure"] = -reached
        elif emotion != reached:
            terms["clamp"] = emotion - reached
        after = UserState(
            emotion=emotion,
            trust=self._trust(scenario, state, reading, paid, due),
            progress=progress,
            turn=state.turn + 1,
            disclosed=state.disclosed,
            touched=_joined(state.touched, appraisal.touched),
            stances=stances,
            asked=answered(state, reading),
            boundaries=_joined(state.boundaries, reading.kept),
            satiation=used(state, reading),
            debts=debts[due:],
            misses=misses,
            checks=state.checks + (appraisal.guard == "crisis_check"),
            leaving=state.leaving,
        )
        after = what_comes_next(self.table, scenario, state, after, reading, [c for c, _ in debts[:due]])
        return EmotionChange(emotion - state.emotion, {name: v for name, v in terms.items() if v}, after)

    def _gains(
        self,
        scenario: Scenario,
        state: UserState,
        reading: Reading,
        points: Mapping[str, int],
        terms: Terms,
        step: bool,
    ) -> int:
        """Add what the acts are worth, and what is taken off it. Return what the gains pay in the end."""
        uses = dict(state.satiation)
        gains: list[int] = []
        honest = 0
        for act, worth_ in points.items():
            if not worth_:
                continue
            terms[act] = worth_
            if worth_ > 0:
                gain = self._satiated(worth_, uses.get(act, 0))
                terms["satiation"] = terms.get("satiation", 0) + gain - worth_
                # An honest word pays beside the rest, so that it never costs what silence would have earned.
                if act == "stance":
                    honest = gain
                else:
                    gains.append(gain)
        total = sum(gains) + honest
        if not total:
            return 0
        caps = self.table["ungrounded"]
        grounding = reading.levels["grounding"]
        gains.sort(reverse=True)
        for name, kept in (
            ("attention", sum(gains[: self.table["paid_gains"]]) + honest),
            ("ungrounded", caps[grounding] if grounding < len(caps) else total),
            ("bought_off", 0 if reading.bought_off else total),
        ):
            if kept < total:
                terms[name] = kept - total
                total = kept
        if state.trust < self.table["trust"]["distrust"]:
            terms["distrust"] = total // 2 - total
            total //= 2
        # What helps counts double; what is kind but beside the need counts once.
        factor = self.table["gain_factor"] if step or state.progress >= 4 else 1
        paid: int = factor * total * scenario.knobs.gain // 4
        terms["responsiveness"] = paid - total
        return paid

    def _satiated(self, points: int, uses: int) -> int:
        if uses < self.table["full_uses"]:
            return points
        return points // 2 if uses < self.table["half_uses"] else 0

    def _progresses(
        self, scenario: Scenario, state: UserState, reading: Reading, points: Mapping[str, int]
    ) -> bool:
        """Whether the need's act is the reply's main move, on an item that no reply has engaged yet."""
        if state.progress >= 4 or not points or reading.bought_off:
            return False
        need, levels = self.table["needs"][scenario.need], reading.levels
        steps = [
            step
            for step in need["progress"]
            if levels[step["act"]] >= step["level"] and levels["grounding"] >= step["grounding"]
        ]
        if not steps:
            return False
        moves = [act for act in MOVES if act != "stance"]
        if any(levels[act] >= 2 and act not in need["beside"] for act in moves):
            return False
        main = max(1, *[points[act] for act in moves])
        kind_of = scenario.situation.kind_of
        new = {kind_of.get(id_) for id_ in reading.touched if id_ not in state.touched}
        return any(points[step["act"]] >= main and not new.isdisjoint(step["items"]) for step in steps)

    # -- costs -------------------------------------------------------------------------------------------------

    def _charge(
        self, scenario: Scenario, state: UserState, reading: Reading, misses: int, terms: Terms
    ) -> None:
        """Add every cost that is paid whatever the need, and patience."""
        difficulty = self.table["difficulties"][scenario.knobs.difficulty]
        self._add_costs(reading, terms)
        owed = 0
        for name, points in terms.items():
            if points < 0 and name not in _ADJUSTS:
                owed -= points
        # Rounded up, so that no cost can be scaled away.
        scaled = -(-owed * scenario.knobs.cost * difficulty["volatility"] // 16)
        terms["volatility"] = owed - scaled
        if reading.scored:
            terms["patience"] = -difficulty["patience"]
            # Trying something else is cheap, going on past somebody is not: each further miss costs more.
            terms["impatience"] = -difficulty["impatience"] * max(0, misses - 1)

    def _add_costs(self, reading: Reading, terms: Terms) -> None:
        cost, levels = self.table["costs"], reading.levels
        if reading.scored:
            terms["form"] = cost["form"][levels["form"]]
            # Where the form is bad nothing else counts, save that the question is still unanswered and that
            # leverage is leverage.
            if levels["form"]:
                terms["repetition"] = cost["repetition"] * levels["repetition"]
                terms["inflation"] = cost["inflation"] * (levels["affirmation"] == -1)
                terms["agreement"] = cost["agreement"] * (levels["stance"] == -1)
            terms["evasion"] = cost["evasion"] * reading.evades
            if levels["form"]:
                moves = sum([levels[act] > 0 for act in MOVES if act != "stance"])
                terms["caving"] = cost["caving"] * reading.caves
                terms["bluntness"] = cost["bluntness"] * reading.blunt
                terms["early_advice"] = 0 if reading.ready else cost["early_advice"] * levels["advice"]
                terms["crowding"] = self.table["crowding"] * max(0, moves - self.table["free_moves"])
        terms["invalidation"] = cost["invalidation"] * levels["invalidation"]
        terms["control"] = cost["control"][levels["control"]]

    def _misses(self, scenario: Scenario, state: UserState, reading: Reading, step: bool) -> int:
        if not reading.scored or state.progress >= 4:
            return state.misses
        # Before the story is told nobody can be expected to have understood it. The grace is counted in replies: by
        # trust, whoever lost it would be spared, and flattery would pay.
        grace = self.table["difficulties"][scenario.knobs.difficulty]["grace"]
        return 0 if step or state.turn < grace else state.misses + 1

    # -- debts and ceilings --------------------------------------------------------------------------------------

    def _owe(self, state: UserState, reading: Reading, terms: Terms) -> tuple[tuple[str, int], ...]:
        """Flattery pleases at once and is owed for, one debt a use, first in first out."""
        if not reading.flatters:
            return state.debts
        # What one has asked to be told pleases nobody: then even the next moment is no reason to say it.
        if reading.scored and not reading.last and reading.levels["form"] and not reading.complied:
            terms["pleasing"] = self.table["pleasing"]
        return (*state.debts, (reading.claims[0], state.turn + 1 + self.table["debt_delay"]))

    def _due(
        self, state: UserState, reading: Reading, debts: tuple[tuple[str, int], ...], emotion: int
    ) -> int:
        """Return how many debts are charged now: by their turn, at the end, or all when the mood is at the edge."""
        if reading.last or reading.farewell:
            return len(debts)
        due = sum(turn <= state.turn + 1 for _, turn in debts)
        # Otherwise a falsehood could carry a user past the failure line that silence would have ended at.
        at_the_edge = emotion - self.table["debt"] * len(debts) < FAILURE_EMOTION
        return len(debts) if at_the_edge else due

    def _ceiling(
        self,
        scenario: Scenario,
        state: UserState,
        progress: int,
        debts: tuple[tuple[str, int], ...],
        stances: tuple[tuple[str, int], ...],
    ) -> int:
        ceiling: int = self.table["ceilings"][progress]
        if 0 < progress < 4:
            ceiling -= self.table["difficulties"][scenario.knobs.difficulty]["resistance"]
        addressed = {claim for claim, stance in stances if stance > 0} if stances else _NOTHING
        unaddressed = bool(scenario.need_claims) and addressed.isdisjoint(scenario.need_claims)
        if debts or unaddressed:
            ceiling = min(ceiling, self.table["owed_ceiling"])
        unanswered = sum([what.startswith("ask:") and what[4:] not in addressed for what in state.asked])
        return ceiling - int(self.table["unanswered"]) * unanswered

    # -- trust -------------------------------------------------------------------------------------------------

    def _trust(self, scenario: Scenario, state: UserState, reading: Reading, paid: int, due: int) -> int:
        """Trust rises slowly with helpful, grounded replies and falls fast with the rest."""
        trust, levels = self.table["trust"], reading.levels
        change: int = trust["debt"] * due
        change += trust["invalidation"] * levels["invalidation"] + trust["control"][levels["control"]]
        if reading.scored:
            for what, times in (
                ("form", levels["form"] == 0),
                ("repetition", levels["repetition"]),
                ("inflation", levels["affirmation"] == -1),
                ("agreement", levels["stance"] == -1),
                ("early_advice", levels["advice"] > 0 and not reading.ready),
                ("evasion", reading.evades),
                ("caving", reading.caves),
                ("boundary", len(reading.kept)),
                ("declined", len(reading.declined)),
                ("held", reading.holds),
            ):
                if times:
                    change += trust[what] * times
            if paid > 0 and levels["grounding"] >= 1 and not reading.flatters:
                change += self.table["difficulties"][scenario.knobs.difficulty]["openness"]
        return min(100, max(0, state.trust + change))


def _joined(before: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """Return sorted ids with some more; the very same tuple if there is nothing new in them."""
    both = {*before, *new} if new else before
    return before if len(both) == len(before) else tuple(sorted(both))


def used(state: UserState, reading: Reading) -> tuple[tuple[str, int], ...]:
    """Return the uses of each act after a reply."""
    if not reading.scored or reading.levels["form"] == 0:
        return state.satiation
    levels = reading.levels
    acts = [act for act in ACTS if levels[act] > (act == "grounding")]
    if not acts:
        return state.satiation
    uses = dict(state.satiation)
    for act in acts:
        uses[act] = uses.get(act, 0) + 1
    return tuple(sorted(uses.items()))


def best_stances(state: UserState, reading: Reading) -> tuple[tuple[str, int], ...]:
    """Return the best stance taken on each claim so far; affirming a falsehood takes back what was said."""
    stance = reading.levels["stance"]
    if not (reading.honest or (stance < 0 and not reading.checked)):
        return state.stances
    stances = dict(state.stances)
    for claim in reading.claims:
        stances[claim] = stance if stance < 0 else max(stance, stances.get(claim, stance))
    return tuple(sorted(stances.items()))


def answered(state: UserState, reading: Reading) -> tuple[str, ...]:
    """Return what the user does not ask any more: an honest word answers the question before it is asked."""
    if not reading.honest:
        return state.asked
    return tuple(dict.fromkeys((*state.asked, *(f"ask:{claim}" for claim in reading.claims))))


def opening_facts(scenario: Scenario) -> tuple[Fact, ...]:
    """Return the fact told together with the opening: the first of layer 1."""
    return next(((fact,) for fact in scenario.situation.facts if fact.layer == 1), ())


def initial_state(scenario: Scenario, initial_emotion: int | None = None) -> UserState:
    """Return the state in which a conversation begins.

    Raises:
        ConfigError: If the emotion is not an integer in 0..100.
    """
    emotion = scenario.initial_emotion if initial_emotion is None else initial_emotion
    if isinstance(emotion, bool) or not isinstance(emotion, int) or not 0 <= emotion <= 100:
        raise ConfigError(f"initial_emotion is {initial_emotion!r}; it must be an integer from 0 to 100.")
    told = tuple(fact.id for fact in opening_facts(scenario))
    beats = tuple(requested_with(scenario, told))
    return UserState(emotion=emotion, trust=scenario.initial_trust, disclosed=told, beats=beats)


@functools.cache
def load_tables() -> tuple[Mapping[str, Any], ...]:
    """Return the packaged rule tables, oldest first. Released ones stay, so that old records can be verified."""
    folder = resources.files("empathy_gym.simulators") / "tables"
    names = sorted((f.name for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda n: (len(n), n))
    return tuple(read_mapping("empathy_gym.simulators", f"tables/{name}") for name in names)


def rule_by_hash(hash_: str) -> TableRule:
    """Return the rule whose table has this content hash (or starts with it).

    Raises:
        RecordError: If no packaged table has it.
    """
    for table in load_tables():
        rule = TableRule(table)
        if rule.hash.startswith(hash_):
            return rule
    known = ", ".join(TableRule(table).fingerprint for table in load_tables())
    raise RecordError(f"No packaged rule table has the hash {hash_!r}; this version has {known}.")
