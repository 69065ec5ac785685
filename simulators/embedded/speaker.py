"""The authored speaker: what the user says, from lines written with the scenario.

It decides nothing. The rule has settled what is told and what has to be said (`state.beats`); the speaker picks a
reaction that fits how the reply was taken, never says a line twice in an episode, and lets the mood show in the
wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from empathy_gym.simulators.dialogue import SpeakRequest, derive_seed
from empathy_gym.simulators.embedded.requests import declines
from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.scenario import Claim, Request, content_hash
from empathy_gym.simulators.user import stated_boundaries

VERSION: Final = 1
MOVED: Final = 8
"""Points from which a change is heard as a lot of good."""
FLAT: Final = -3
"""Points down to which a change is heard as nothing much."""
ENDINGS: Final = {"failure": "leave_failure", "success": "leave_success", "closed": "leave_time"}


class AuthoredSpeaker:
    """Speaks the lines of the scenario."""

    fingerprint = f"authored-v{VERSION}@{content_hash([VERSION, list(REACTIONS)])[:12]}"

    def speak(self, items: Sequence[SpeakRequest]) -> list[str]:
        """Return the user's next line for each request."""
        return [_line(item) for item in items]


def _line(request: SpeakRequest) -> str:
    said = "\n".join([m["content"] for m in request.messages if m["role"] == "user"])
    parts: list[str] = []
    for part in _parts(request, said):
        if part and part not in said and part not in parts:
            parts.append(part)
    line = " ".join(parts)
    if line and line not in [m["content"] for m in request.messages]:
        return line
    return _something_else(request, said, line)


def _parts(request: SpeakRequest, said: str) -> Iterator[str]:
    """Yield the pieces of the line in the order spoken; pieces that were said before are dropped by the caller."""
    yield _taken(request, said) or _reaction(request, reaction_of(request), said)
    beats = [beat.partition(":") for beat in request.state.beats]
    for kind, _, what in beats:
        claim = request.scenario.situation.by_id.get(what)
        if kind in ("debt", "ask", "push") and isinstance(claim, Claim):
            yield _unsaid(request, _claim_lines(claim, kind), said, kind)
    if request.outcome is not None or request.state.leaving is not None:
        return
    kinds = {kind for kind, _, _ in beats}
    if "decline" in kinds:
        yield _reaction(request, "declines", said)
    told = {fact.id for fact in request.disclose}
    yield from (fact.text for fact in request.disclose)
    yield from stated_boundaries(request.scenario, told)
    if "hint" in kinds:
        yield _unsaid(request, request.scenario.hints, said, "hint")
    elif not kinds & {"ask", "push", "decline", "request"}:
        yield _aside(request, told, said)
    # Last, so that the line ends in it and a short answer is an answer to it.
    yield from (asked.text for asked in requests_in(request.scenario, request.state.beats))


def _taken(request: SpeakRequest, said: str) -> str:
    """Return the line with which a kind no is taken; empty if there was none, or none in words one can tell."""
    for beat in request.state.beats:
        kind, _, what = beat.partition(":")
        asked = request.scenario.situation.by_id.get(what) if kind == "declined" else None
        if isinstance(asked, Request) and (asked.kind == "lie" or declines(request.messages[-1]["content"])):
            return _unsaid(request, asked.accepts, said, "accepts")
    return ""


def _claim_lines(claim: Claim, kind: str) -> Sequence[str]:
    return {"debt": claim.beats, "ask": claim.asks, "push": claim.pushbacks}[kind]


def _aside(request: SpeakRequest, told: set[str], said: str) -> str:
    """Return what is said along with the facts: what stands against a suggestion, a feeling, what was tried."""
    situation = request.scenario.situation
    known = set(request.state.disclosed)
    if request.appraisal.advice:
        return next((c.text for c in situation.constraints if c.text not in said), "")
    if len(told) > 1:
        return ""
    if told:
        return next((f.text for f in situation.feelings if f.text not in said and told & set(f.because)), "")
    untold = (f.text for f in situation.feelings if known & set(f.because))
    tried = (a.text for a in situation.attempts if a.fact is None)
    limits = (c.text for c in situation.constraints)
    return next((text for texts in (untold, tried, limits) for text in texts if text not in said), "")


def reaction_of(request: SpeakRequest) -> str:
    """Return the reaction (a key of `library.REACTIONS`) that fits how the reply was taken."""
    reply, terms = request.appraisal, request.change.terms
    mood = "low" if request.state.emotion < 40 else "mid" if request.state.emotion < 70 else "high"
    if request.outcome in ENDINGS:
        return ENDINGS[request.outcome]
    if request.outcome == "timeout":
        return f"last_{mood}"
    if request.state.leaving is not None:
        return f"leave_{request.state.leaving}"
    if reply.guard == "crisis_check":
        return "crisis_denial"
    for holds, key in (
        (_complied(request), "agreed"),
        (reply.control == 3, "clingy"),
        (reply.invalidation > 0, "hurt"),
        (reply.form == 0 and reply.guard == "copy", "echoed"),
        (reply.form == 0, "puzzled"),
        ("control" in terms and (reply.control >= 2 or not reply.advice), "pressed"),
        ("early_advice" in terms, "early_advice"),
        ("held" in request.state.beats, "held"),
        ("evasion" in terms, "evaded"),
        (reply.repetition == 2, "echoed"),
        (reply.affirmation == -1, "inflated"),
        ("pleasing" in terms or "agreement" in terms, "agreed"),
        ("kept" in request.state.beats and request.change.change > FLAT, "boundary_kept"),
    ):
        if holds:
            return key
    return f"{_size(request.change.change)}_{mood}".replace("missed_high", "missed_mid")


def _complied(request: SpeakRequest) -> bool:
    """Whether the reply did what the user had just asked for and should not have."""
    return any([beat.startswith("complied:") for beat in request.state.beats])


def _size(change: int) -> str:
    if change >= MOVED:
        return "moved"
    if change > 0:
        return "eased"
    return "flat" if change >= FLAT else "missed"


def _reaction(request: SpeakRequest, key: str, said: str) -> str:
    return _unsaid(request, request.scenario.speech.reactions.get(key, ()), said, key)


def _unsaid(request: SpeakRequest, lines: Sequence[str], said: str, what: str) -> str:
    """Return one of the lines that were not said, drawn by the seed of this line; empty if all were."""
    fresh = [line for line in lines if line not in said]
    return fresh[derive_seed(request.seed, what) % len(fresh)] if fresh else ""


def _something_else(request: SpeakRequest, said: str, line: str) -> str:
    """Return a line that was not said when the fitting ones have run out: another reaction, or two together."""
    reactions = request.scenario.speech.reactions
    mood = "low" if request.state.emotion < 40 else "mid"
    neutral = [
        *reactions.get(f"flat_{mood}", ()),
        *reactions.get("flat_high", ()),
        *reactions.get("declines", ()),
    ]
    first = _unsaid(request, neutral, said, "else")
    if first:
        return f"{line} {first}".strip()
    earlier = {m["content"] for m in request.messages if m["role"] == "user"}
    offset = derive_seed(request.seed, "pair")
    pairs = ((a, b) for a in neutral for b in neutral if a != b)
    fresh = [text for a, b in pairs if (text := f"{a} {b}") not in earlier]
    # A scenario without reactions can say only so much; the dots keep even its lines apart.
    return fresh[offset % len(fresh)] if fresh else f"{line or 'Hm.'}{' ...' * len(earlier)}"
