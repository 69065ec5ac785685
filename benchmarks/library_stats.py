"""What the bundled users are: how many of what, and whether anything that should be independent goes together."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from empathy_gym.simulators.library.compiler import (
    PARTS,
    SPLITS,
    SituationFile,
    apply_twin,
    bundled_situations,
    load_names,
    load_scenarios,
    load_temperaments,
)
from empathy_gym.simulators.scenario import NEEDS, TRUTHS, Claim, Fact, Scenario, Situation

SPOKEN: Final = ("facts", "feelings", "attempts", "constraints", "boundaries", "requests")
"""Kinds of items whose text the user says."""
TRAITS: Final = ("name", "gender", "culture", "age")
AGE_GROUP: Final = 15
"""Years of a group of ages."""


def cramers_v(pairs: Sequence[tuple[Hashable, Hashable]], *, corrected: bool = False) -> float:
    """Return Cramer's V of pairs: 0 where two things have nothing to do with one another, 1 where they go together.

    Args:
        pairs: What was seen together.
        corrected: Take out what chance alone puts into small tables with many cells (Bergsma 2013).
    """
    n, cells = len(pairs), Counter(pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    if min(len(left), len(right)) < 2:
        return 0.0
    chi2 = sum(
        (cells[a, b] - left[a] * right[b] / n) ** 2 * n / (left[a] * right[b]) for a in left for b in right
    )
    rows, columns, phi2 = float(len(left)), float(len(right)), chi2 / n
    if corrected:
        phi2 = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
        rows, columns = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    return math.sqrt(phi2 / (min(rows, columns) - 1))


def variants(source: SituationFile) -> list[Situation]:
    """Return a situation and what its twins make of it."""
    return [source.situation, *(apply_twin(source.situation, twin) for twin in source.twins)]


def user_lines(source: SituationFile) -> set[str]:
    """Return every line that users of a situation could say, the reactions of their temperament apart."""
    lines = {*source.openings, *itertools.chain.from_iterable(source.hints.values())}
    return lines.union(*map(spoken_lines, variants(source)))


def spoken_lines(situation: Situation) -> set[str]:
    """Return every line that a user in just this situation could say of it."""
    lines = {item.text for kind in SPOKEN for item in getattr(situation, kind)}
    lines |= {line for request in situation.requests for line in request.accepts}
    return lines | {line for c in situation.claims for line in (*c.asks, *c.pushbacks, *c.beats)}


def listener_lines(source: SituationFile) -> set[str]:
    """Return every line written for whoever answers the users of a situation."""
    lines = {line for s in variants(source) for item in s.items() for line in item.say}
    claims = [claim for s in variants(source) for claim in s.claims]
    lines |= {line for s in variants(source) for request in s.requests for line in request.comply}
    return lines | {line for c in claims for line in (*c.fair_readings, *c.must_not_affirm)}


def reactions() -> dict[str, set[str]]:
    """Return the lines of each temperament, by its id."""
    return {t.id: set(itertools.chain.from_iterable(t.reactions.values())) for t in load_temperaments()}


def library_stats() -> dict[str, Any]:
    """Return counts of the bundled users, and the figures of association, as plain values."""
    sources = bundled_situations()
    scenarios = [scenario for part in PARTS for scenario in load_scenarios(part)]
    claims = [claim for source in sources for claim in source.situation.claims]
    users = set().union(*map(user_lines, sources))
    listeners = set().union(*map(listener_lines, sources))
    spoken = set().union(*reactions().values())
    live = [
        s for s in scenarios if any(map(functools.partial(_voiced_early, s.situation), s.situation.claims))
    ]
    return {
        "situations": len(sources),
        "scenarios": len(scenarios),
        "splits": {
            split: {
                "situations": len({s.situation.summary for s in load_scenarios(split)}),
                "scenarios": len(load_scenarios(split)),
            }
            for split in SPLITS
        },
        "topics": _counted(source.topic for source in sources),
        "needs": {need: sum(s.need == need for s in scenarios) for need in NEEDS},
        "temperaments": _counted(s.persona.temperament for s in scenarios),
        "names": len(load_names()),
        "situations_with_twins": sum(bool(source.twins) for source in sources),
        "twins": sum(len(source.twins) for source in sources),
        "claims": _counted(claim.kind for claim in claims),
        "truths": {
            truth: sum(c.truth == truth for s in scenarios for c in s.situation.claims) for truth in TRUTHS
        },
        "boundaries": _counted(b.kind for source in sources for b in source.situation.boundaries),
        "requests": _counted(request.kind for source in sources for request in source.situation.requests),
        "lines": {"situations": len(users), "temperaments": len(spoken), "listeners": len(listeners)},
        "words": {
            "situations": _words(users),
            "temperaments": _words(spoken),
            "listeners": _words(listeners),
        },
        "share_with_claims": sum(bool(s.situation.claims) for s in scenarios) / len(scenarios),
        "share_with_live_claims": len(live) / len(scenarios),
        "cramers_v": dict(_associations(scenarios)),
    }


def _voiced_early(situation: Situation, claim: Claim) -> bool:
    """Whether a claim is voiced with the opening or with what is told freely: then it is live in any real talk."""
    voice = situation.by_id.get(claim.voiced_by or "")
    return not isinstance(voice, Fact) or voice.layer == 1


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _words(lines: Iterable[str]) -> int:
    return sum(len(line.split()) for line in lines)


def _associations(scenarios: Sequence[Scenario]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what could go together and should not, with V as it is and corrected."""
    names = {entry["name"]: entry for entry in load_names()}
    dealt: dict[str, list[tuple[Scenario, str]]] = {
        "fault": [(s, c.truth) for s in scenarios for c in s.situation.claims if c.kind == "fault"],
        "truth": [(s, c.truth) for s in scenarios for c in s.situation.claims],
        "temperament": [(s, s.persona.temperament) for s in scenarios],
        "need": [(s, s.need) for s in scenarios],
    }
    for what, pairs in dealt.items():
        for trait in TRAITS:
            yield f"{what} ~ {trait}", _both([(_trait(s, trait, names), value) for s, value in pairs])
    for what in ("fault", "truth", "need"):
        yield f"{what} ~ temperament", _both([(s.persona.temperament, value) for s, value in dealt[what]])
    for what in ("fault", "truth"):
        yield f"{what} ~ need", _both([(s.need, value) for s, value in dealt[what]])


def _both(pairs: Sequence[tuple[Hashable, Hashable]]) -> dict[str, float]:
    return {"v": round(cramers_v(pairs), 3), "corrected": round(cramers_v(pairs, corrected=True), 3)}


def _trait(scenario: Scenario, trait: str, names: Mapping[str, Mapping[str, str]]) -> Hashable:
    if trait == "age":
        return scenario.persona.age // AGE_GROUP
    return scenario.persona.name if trait == "name" else names[scenario.persona.name][trait]


def stats_tables(stats: Mapping[str, Any]) -> list[Table]:
    """Return the counts, the splits and the associations as tables."""
    counts = Table(title="The bundled users", title_justify="left")
    counts.add_column("what", no_wrap=True)
    counts.add_column("how many", overflow="fold")
    for name, value in stats.items():
        if name in ("splits", "cramers_v"):
            continue
        if name.startswith("share"):
            value = f"{value:.1%}"
        elif isinstance(value, Mapping):
            value = ", ".join(f"{key.replace('_', ' ')} {count:,}" for key, count in value.items())
        counts.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else value)
    splits = Table(title="Splits", title_justify="left")
    for name in ("split", "situations", "scenarios"):
        splits.add_column(name, justify="left" if name == "split" else "right")
    for split, row in stats["splits"].items():
        splits.add_row(split, str(row["situations"]), str(row["scenarios"]))
    together = Table(
        title="Cramer's V: what should not go together",
        caption="corrected: less what chance puts into small tables (Bergsma 2013). Below 0.15 is wanted.",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("pair", "V", "corrected"):
        together.add_column(name, justify="left" if name == "pair" else "right", no_wrap=True)
    for pair, row in stats["cramers_v"].items():
        together.add_row(pair, f"{row['v']:.3f}", f"{row['corrected']:.3f}")
    return [counts, splits, together]
