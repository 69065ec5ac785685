"""Whether a model is fit to be the simulated user: agreement with labelled replies, and conduct.

A model that does not pass still runs; what it scores is marked `unqualified` and never ranked.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from empathy_gym.benchmarks.labelled import load_replies
from empathy_gym.benchmarks.perception import weighted_kappa
from empathy_gym.benchmarks.rescore import transcripts
from empathy_gym.benchmarks.summary import UNQUALIFIED
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.dialogue import Fault, PerceptionRequest
from empathy_gym.simulators.engines.base import ChatEngine, model_of, revision_of
from empathy_gym.simulators.engines.ledger import Ledger, Prices
from empathy_gym.simulators.errors import ConfigError, RecordError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.answers import FIELDS
from empathy_gym.simulators.llm.compose import check as check_config
from empathy_gym.simulators.llm.compose import composed, engine_of
from empathy_gym.simulators.llm.guards import KINDS
from empathy_gym.simulators.scenario import (
    Attempt,
    Boundary,
    Claim,
    Constraint,
    Fact,
    Feeling,
    Perspective,
    Scenario,
    Strength,
    Topic,
    content_hash,
)

if TYPE_CHECKING:
    from rich.console import Console

PASS_KAPPA: Final = 0.7
"""Least mean over fields of the quadratic-weighted kappa."""
PASS_FAULTS: Final = 0.02
PASS_LEAKS: Final = 0.01
QUALIFIED: Final = "qualified"
_ITEMS: Final[Mapping[str, Any]] = {
    "topics": Topic, "facts": Fact, "feelings": Feeling, "attempts": Attempt, "constraints": Constraint,
    "strengths": Strength, "perspectives": Perspective, "claims": Claim, "boundaries": Boundary,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled reply.

    Attributes:
        request: The reply in its context.
        levels: The level of each field that a perceiver reads.
    """

    request: PerceptionRequest
    levels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. Rates are shares from 0 to 1.

    Attributes:
        model: Name of the model.
        revision: Its revision.
        fingerprint: Fingerprint of the user that was checked.
        examples: Labelled replies read.
        kappa: Quadratic-weighted kappa by field; None where labels and levels are all alike.
        overall: Mean of those there are.
        obedience: Share of answers that could be used as they were.
        faults: Share of readings and lines that came to a fault.
        lines: Lines asked for.
        leaks: Share of answered lines that gave away a number, an instruction or an undisclosed fact.
        refusals: Share that refused.
        repeats: Share that repeated an earlier line.
        guards: Hits by kind.
        authored: Share of lines that the authored speaker had to say.
        replies_per_s: Readings a second.
        lines_per_s: Lines a second.
        usage: Requests and tokens by role.
        cost: Cost of the check in the currency of the prices, or None.
    """

    model: str
    revision: str
    fingerprint: str
    examples: int
    kappa: dict[str, float | None]
    overall: float | None
    obedience: float
    faults: float
    lines: int
    leaks: float
    refusals: float
    repeats: float
    guards: dict[str, int]
    authored: float
    replies_per_s: float
    lines_per_s: float
    usage: dict[str, Any]
    cost: float | None

    @property
    def failures(self) -> tuple[str, ...]:
        """What keeps the model from passing, in words; empty if it passes."""
        agrees = self.overall is not None and self.overall >= PASS_KAPPA
        found = (
            (not agrees, f"kappa {_number(self.overall)} is below {PASS_KAPPA}"),
            (self.faults > PASS_FAULTS, f"faults {self.faults:.1%} are above {PASS_FAULTS:.0%}"),
            (self.leaks > PASS_LEAKS, f"leaks {self.leaks:.1%} are above {PASS_LEAKS:.0%}"),
        )
        return tuple(text for failed, text in found if failed)

    @property
    def qualified(self) -> bool:
        """Whether it passes."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the verdict included."""
        return {**dataclasses.asdict(self), "qualified": self.qualified, "failures": list(self.failures)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON."""
        Path(path).write_text(json.dumps(self.to_json(), ensure_ascii=True, indent=1) + "\n", "ascii")


def mark(fingerprint: str, reports: Sequence[str | os.PathLike[str]]) -> str | None:
    """Return ``"unqualified"`` unless one of some saved reports is about this very user and passes.

    Args:
        fingerprint: Fingerprint of the user of a run.
        reports: Paths of saved reports.

    Raises:
        RecordError: If a report cannot be read.
    """
    for path in reports:
        try:
            data = json.loads(Path(path).read_text("utf-8"))
            passed = data["fingerprint"] == fingerprint and data["qualified"] is True
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{os.fspath(path)!r} is not a report of a check: {error!r}.") from error
        if passed:
            return None
    return UNQUALIFIED


def standing(user: object, reports: Sequence[str | os.PathLike[str]] = ()) -> str | None:
    """Return ``"qualified"`` or ``"unqualified"`` for a user that asks a model, None for one that asks none.

    Args:
        user: A simulated user.
        reports: Paths of saved reports.

    Raises:
        RecordError: If a report cannot be read.
    """
    parts = (getattr(user, "perceiver", None), getattr(user, "speaker", None))
    if not any(hasattr(part, "engine") for part in parts):
        return None
    return mark(str(getattr(user, "fingerprint", "")), reports) or QUALIFIED


# -- labelled replies ---------------------------------------------------------------


def load_examples(path: str | os.PathLike[str] | None = None, language: str | None = None) -> list[Example]:
    """Return labelled replies; if there is no path, those of the field definitions and those of the split `test`.

    Args:
        path: JSON lines: contexts (with ``messages`` and items), each followed by replies with ``levels``.
        language: Only those in this language.

    Raises:
        RecordError: If the file cannot be read.
    """
    try:
        packaged = resources.files("empathy_gym.benchmarks") / "data" / "field_examples.jsonl"
        text = packaged.read_text("utf-8") if path is None else Path(path).read_text("utf-8")
        examples = list(_parse(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"The examples {os.fspath(path or 'of the package')!r} cannot be read: {error}."
        ) from error
    if path is None:
        examples += [Example(reply.request, reply.levels) for reply in load_replies(split="test")]
    return [e for e in examples if language in (None, e.request.language)]


def _parse(text: str) -> Iterator[Example]:
    contexts: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        data = json.loads(line)
        if "messages" in data:
            contexts[data["context"]] = data
        elif "reply" in data:
            levels = {name: int(data["levels"].get(name, 0)) for name in FIELDS}
            yield Example(_request(contexts[data["context"]], data["reply"]), levels)


def _request(context: Mapping[str, Any], reply: str) -> PerceptionRequest:
    items = {
        name: tuple(kind.model_validate(item) for item in context.get(name, ()))
        for name, kind in _ITEMS.items()
    }
    return PerceptionRequest(
        situation=content_hash(dict(context)),
        language=context["language"],
        messages=tuple(context["messages"]),
        reply=reply,
        **items,
    )


# -- the check ----------------------------------------------------------------------


def check(
    config: SimulatorConfig | Mapping[str, Any] | str | os.PathLike[str],
    *,
    engine: ChatEngine | None = None,
    examples: Sequence[Example] | None = None,
    scenarios: Sequence[Scenario] | None = None,
    turns: int = 4,
    prices: Prices | None = None,
) -> Report:
    """Check a configuration: agreement on labelled replies, then conversations of scripted policies.

    Args:
        config: What `SimulatorConfig.load` takes.
        engine: Who answers in place of the configuration's engine.
        examples: Labelled replies; those of the field definitions by default.
        scenarios: Who is played; eight of the split ``test`` by default.
        turns: Replies of each conversation.
        prices: What tokens cost.

    Raises:
        ConfigError: If the configuration contradicts itself, or gives no levels.
    """
    loaded = SimulatorConfig.load(config)
    if loaded.perceiver == "direct":
        raise ConfigError("perceiver='direct' gives no levels to check; its results are never ranked anyway.")
    if engine is None:
        check_config(loaded)
        engine = engine_of(loaded)
    ledger = Ledger()
    user = composed(loaded, engine, ledger)
    examples = load_examples() if examples is None else list(examples)
    started = time.perf_counter()
    readings: Sequence[Appraisal | Fault] = user.perceiver.perceive([e.request for e in examples])
    reading_s = time.perf_counter() - started
    kappa = agreement(examples, readings)
    read = _counts(user.perceiver)
    items = transcripts(
        load_scenarios("test")[:8] if scenarios is None else scenarios,
        policies=("scripted:listener",),
        turns=turns,
        user=user,
    )
    usage = ledger.snapshot()
    said = _counts(user.speaker)
    later = _counts(user.perceiver)
    lines = len(items) if said else 0
    answered = max(1, said.get("requests", 0))
    defined = [value for value in kappa.values() if value is not None]
    faults = sum(isinstance(r, Fault) for r in readings) + _faults(later) - _faults(read) + _faults(said)
    return Report(
        model=model_of(engine),
        revision=revision_of(engine),
        fingerprint=user.fingerprint,
        examples=len(examples),
        kappa=kappa,
        overall=sum(defined) / len(defined) if defined else None,
        obedience=1 - later.get("unusable", 0) / max(1, later.get("requests", 0)),
        faults=faults / max(1, len(examples) + len(items)),
        lines=lines,
        leaks=(said.get("guard:leak", 0) + said.get("guard:undisclosed", 0)) / answered,
        refusals=said.get("guard:refusal", 0) / answered,
        repeats=said.get("guard:repeat", 0) / answered,
        guards={
            kind: said[f"guard:{kind}"] for kind in (*KINDS, "missing", "too_long") if f"guard:{kind}" in said
        },
        authored=said.get("authored", 0) / max(1, lines),
        replies_per_s=len(examples) / max(reading_s, 1e-9),
        lines_per_s=lines / max(usage.get("speaker", {}).get("seconds", 0.0), 1e-9),
        usage=usage,
        cost=None if prices is None else ledger.cost(prices)["total"],
    )


def agreement(examples: Sequence[Example], readings: Sequence[Appraisal | Fault]) -> dict[str, float | None]:
    """Return the weighted kappa of each field over the replies that could be read."""
    pairs = [(e, r) for e, r in zip(examples, readings, strict=True) if isinstance(r, Appraisal)]
    return {
        name: weighted_kappa([e.levels[name] for e, _ in pairs], [getattr(r, name) for _, r in pairs])
        for name in FIELDS
    }


def _counts(part: object) -> dict[str, int]:
    counts = getattr(part, "counts", None)
    return {} if counts is None else dict(counts.snapshot())


def _faults(counts: Mapping[str, int]) -> int:
    return sum(amount for name, amount in counts.items() if name.startswith("fault:"))


def print_report(report: Report, console: Console) -> None:
    """Print agreement by field, conduct, and the verdict."""
    from rich.table import Table

    table = Table(title=f"{report.model} ({report.examples} labelled replies, {report.lines} lines)")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in report.kappa.items():
        table.add_row(f"kappa {name}", _number(value))
    table.add_row("kappa, mean", _number(report.overall), end_section=True)
    for label, share in (
        ("usable answers", report.obedience), ("faults", report.faults), ("leaks", report.leaks),
        ("refusals", report.refusals), ("repeats", report.repeats), ("authored lines", report.authored),
    ):  # fmt: skip
        table.add_row(label, f"{share:.1%}")
    table.add_row("readings a second", f"{report.replies_per_s:.1f}")
    table.add_row("lines a second", f"{report.lines_per_s:.1f}")
    if report.cost is not None:
        table.add_row("cost of this check", f"{report.cost:.4f}")
    console.print(table)
    console.print("qualified" if report.qualified else f"{UNQUALIFIED}: {'; '.join(report.failures)}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
