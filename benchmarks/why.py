"""Why a reply did what it did: the terms behind a change, and what would have done better.

It knows everything the rule knows, the need included: it is for people who read records, not for policies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from empathy_gym.benchmarks.replaying import replayed, rule_of
from empathy_gym.benchmarks.rule_analysis import aimed, catalogue
from empathy_gym.benchmarks.transcript import WITHHELD, episodes
from empathy_gym.simulators.appraisal import LEVELS, Appraisal
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import Dialogue, Fault, perception_request
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.reading import ACTS
from empathy_gym.simulators.records import EpisodeRecord, TurnRecord
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Scenario

SHOWN: Final = 5
MEANING: Final[Mapping[str, str]] = {
    "satiation": "acts used before pay less",
    "attention": "only the two strongest gains of a reply pay",
    "ungrounded": "it rests on little of what was told",
    "bought_off": "harm in the reply voids its gains",
    "distrust": "trust is below 30: gains are halved",
    "responsiveness": "temperament, and gains that count double where the need is served",
    "form": "not something a person would say",
    "repetition": "it repeats earlier replies",
    "inflation": "praise out of proportion",
    "agreement": "blanket agreement",
    "evasion": "the user had asked outright, or objected, and got no honest answer",
    "caving": "it gave up its view on push-back",
    "bluntness": "true, and without any kindness",
    "early_advice": "advice before the story was told",
    "crowding": "more than three moves",
    "invalidation": "it minimises, hurries, blames or mocks",
    "control": "it directs, overrides or leverages",
    "volatility": "temperament and difficulty scale the costs",
    "patience": "every reply costs patience",
    "impatience": "not the first reply in a row without a step towards the need",
    "pleasing": "flattery pleases at once",
    "debt": "earlier flattery is paid for",
    "ceiling": "no higher before more steps towards the need, or honest words",
    "failure": "below 10 the user leaves",
    "clamp": "the scale ends at 0 and 100",
    "harm": "the reply encourages harm",
}
"""Terms of the rule in words; the others are named after the act they stand for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reply, or a kind of reply, with what it would have done.

    Attributes:
        change: Points of emotion.
        progress: Whether it would have been a step towards the need.
        levels: Its levels other than 0; form only where it is not 2.
        touched: Items it engages.
        terms: Terms of the change.
        insight_kind: What an insight is about.
        text: The reply; None for a kind of reply.
    """

    change: int
    progress: bool
    levels: Mapping[str, int]
    touched: tuple[str, ...]
    terms: Mapping[str, int]
    insight_kind: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """One reply explained.

    Attributes:
        turn: Number of the reply, from 1.
        need: The hidden need.
        line: The user's line before it.
        given: The reply as it was taken.
        evidence: For levels, the words they rest on.
        emotion: Emotion before.
        trust: Trust before.
        items: Texts of the items it engages, by id.
        better: Kinds of reply that would have done more, best first.
        tried: Replies that were tried in its place, best first.
    """

    turn: int
    need: str
    line: str
    given: Candidate
    evidence: Mapping[str, str]
    emotion: int
    trust: int
    items: Mapping[str, str]
    better: tuple[Candidate, ...]
    tried: tuple[Candidate, ...] = ()


def episode(
    path: str | os.PathLike[str], *, policy: str | None = None, scenario: str | None = None
) -> EpisodeRecord:
    """Return the first record of a file that is asked for.

    Raises:
        ConfigError: If there is no such file, or nothing in it is asked for.
    """
    return next(episodes(path, policy=policy, scenario=scenario))


def why(
    record: EpisodeRecord,
    turn: int,
    *,
    tried: Sequence[str] = (),
    scenarios: Mapping[str, Scenario] | None = None,
) -> Why:
    """Explain a recorded reply.

    Args:
        record: The episode.
        turn: Number of the reply, from 1.
        tried: Replies to try in its place; the embedded perceiver reads them.
        scenarios: Scenarios beside the bundled ones, by id.

    Raises:
        ConfigError: If there is no such reply, or it was not scored by a packaged rule.
        RecordError: If the scenario or the rule is not known.
    """
    if not 1 <= turn <= len(record.turns):
        raise ConfigError(f"There is no reply {turn}; the episode has {len(record.turns)}, counted from 1.")
    told = record.turns[turn - 1]
    if record.scored_by != "rule" or told.appraisal is None:
        raise ConfigError(f"Reply {turn} {_unscored(record, told)}; there is nothing to explain.")
    rule, before = rule_of(record), replayed(record, scenarios or {}, turn - 1)
    appraisal = told.appraisal.appraisal()
    # Words that urge harm stand in the record and in no report.
    harmful = appraisal.guard == "policy_harm"
    given = _taken(rule, before, appraisal, WITHHELD if harmful else told.heard)
    by_id = before.source.situation.by_id
    return Why(
        turn=turn,
        need=before.source.need,
        line=before.last_line,
        given=given,
        evidence={} if harmful else appraisal.evidence,
        emotion=before.emotion,
        trust=before.state.trust,
        items={id_: by_id[id_].text for id_ in appraisal.touched if id_ in by_id},
        better=tuple(_better(rule, before, given.change)),
        tried=tuple(_tried(rule, before, tried)),
    )


def _unscored(record: EpisodeRecord, turn: TurnRecord) -> str:
    """Return why there is a reply that no rule has scored."""
    if turn.strategy == "close" and not turn.faults and turn.heard is not None:
        return "closed the conversation, and such a goodbye moves nothing"
    return "was not scored by a rule"


def _taken(rule: TableRule, before: Dialogue, appraisal: Appraisal, text: str | None = None) -> Candidate:
    """Return what the rule makes of an appraisal here."""
    last = before.turn + 1 >= before.max_turns
    change = rule.apply(before.source, before.state, appraisal, last)
    shown = {
        name: level for name, level in appraisal.levels().items() if level != (2 if name == "form" else 0)
    }
    return Candidate(
        change=change.change,
        progress=change.state.progress > before.state.progress,
        levels=shown,
        touched=appraisal.touched,
        terms=change.terms,
        insight_kind=appraisal.insight_kind,
        text=text,
    )


def _better(rule: TableRule, before: Dialogue, change: int) -> Iterator[Candidate]:
    """Yield kinds of reply that do more, best first; of equals the plainest, and none that only adds to another."""
    options = [
        _taken(rule, before, aimed(before.source, before.state, replace(reply, grounding=grounding)))
        for reply in catalogue()
        for grounding in (2, 3)
        if reply.stance >= 0
    ]
    options.sort(key=lambda c: (-c.change, len(c.levels), sum(c.levels.values()), str(c.levels)))
    kept: list[Candidate] = []
    for option in options:
        if option.change <= change or len(kept) == SHOWN:
            break
        if not any(_adds_to(option, known) for known in kept):
            kept.append(option)
            yield option


def _adds_to(option: Candidate, known: Candidate) -> bool:
    same_kind = known.insight_kind in (None, option.insight_kind)
    return same_kind and all(option.levels.get(name, 0) >= level for name, level in known.levels.items())


def _tried(rule: TableRule, before: Dialogue, replies: Sequence[str]) -> list[Candidate]:
    """Return replies as the embedded user would take them, best first."""
    perceiver = build_user("embedded").perceiver
    read = perceiver.perceive([perception_request(before, reply) for reply in replies])
    taken = [
        _taken(rule, before, appraisal, text)
        for text, appraisal in zip(replies, read, strict=True)
        if not isinstance(appraisal, Fault)
    ]
    return sorted(taken, key=lambda c: (-c.change, c.text or ""))


def why_lines(found: Why) -> list[str]:
    """Return an explanation in sentences."""
    given = found.given
    lines = [
        f"user: {found.line}",
        f"reply {found.turn}: {given.text or '(nothing)'}",
        "",
        f"Emotion {found.emotion} {given.change:+d}, trust {found.trust}; the need is {found.need}"
        f"{', and this was a step towards it' if given.progress else ''}.",
        f"Read as {_levels(given)}.",
        *(f'  {name} rests on "{span}"' for name, span in found.evidence.items()),
        *(f"  touches {id_}: {text}" for id_, text in found.items.items()),
        "Terms:",
        *(
            f"  {points:+4d}  {name.replace('_', ' ')}{_meaning(name)}"
            for name, points in given.terms.items()
        ),
    ]
    if found.better:
        lines.append("What would have done more here, by level:")
        lines += [f"  {c.change:+4d}  {_levels(c)}{_towards(c)}" for c in found.better]
    else:
        lines.append("Nothing would have done more here.")
    if found.tried:
        lines.append("Tried in its place:")
        lines += [f"  {c.change:+4d}  {c.text}  ({_levels(c)}{_towards(c)})" for c in found.tried]
    return lines


def _levels(candidate: Candidate) -> str:
    kind = f" ({candidate.insight_kind})" if candidate.insight_kind else ""
    named = [f"{name} {level}{kind if name == 'insight' else ''}" for name, level in candidate.levels.items()]
    about = f" on {', '.join(candidate.touched)}" if candidate.touched else ""
    return f"{', '.join(named) or 'a plain reply'}{about}"


def _towards(candidate: Candidate) -> str:
    return "; a step towards the need" if candidate.progress else ""


def _meaning(name: str) -> str:
    return f": {MEANING[name]}" if name in MEANING else ""


KNOWN_TERMS: Final = frozenset(MEANING) | frozenset(ACTS) | frozenset(LEVELS)
"""Every term that can be explained."""
