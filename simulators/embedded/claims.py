"""What a claim says, as far as matching goes: which of its cues carry it, and whether by way of a negation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from empathy_gym.simulators.embedded.features import normalise, stem, tokenise
from empathy_gym.simulators.embedded.items import Entry, View, function_stems, weak_stems
from empathy_gym.simulators.embedded.lexicon import common_words
from empathy_gym.simulators.embedded.phrases import clear
from empathy_gym.simulators.embedded.reply import clause_start
from empathy_gym.simulators.embedded.sentences import Sentence, sentences_of
from empathy_gym.simulators.scenario import Claim

_NOT: Final = frozenset({"not", "no", "never", "nothing", "nobody", "none", "without", "hardly"})
_QUANTITIES: Final = (["no", "one"], ["not", "one"], ["none", "of"])
_REGARD: Final = (
    "believe genuine trust proud proudly credit acknowledge thank remember welcome include count matter mean need "
    "care kind kindness fond miss"
)
"""Words for thinking well of somebody: the opposite of what a hostile guess says."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a claim says.

    Attributes:
        predicate: The cues that say what is claimed, and not merely of whom or what.
        negative: Whether what is claimed is worded with a negation.
        blames_self: For a claim about fault, whether the user takes it on.
        readings: Telling words of its fair readings.
        wording: All their words but those that stand everywhere.
        whole: Stems of cues that say the whole claim, its negation included ("hiding" for "not telling"): they
            affirm it without a negation.
        denied: Stems of cues that are themselves negated ("not telling"), or say the opposite of the claim
            ("believe" for "they think I'm putting it on"): they affirm it with one.
        worded: For each stem of a cue that stands in the claim's own text, whether a negation goes with it there.
    """

    predicate: int
    negative: bool
    blames_self: bool
    readings: frozenset[str]
    wording: frozenset[str]
    whole: frozenset[str]
    denied: frozenset[str]
    worded: Mapping[str, bool]

    def needs_negation(self, one: str) -> bool:
        """Whether a sentence affirms the claim by a stem only with a negation."""
        if one in self.denied:
            return True
        own = self.worded.get(one)
        return own if own is not None else self.negative and one not in self.whole


def shape_of(view: View, entry: Entry, claim: Claim) -> Shape:
    """Return the shape of a claim, worked out once for what is known of its situation."""
    shapes, topical = view.index.shapes, view.masks["topics"]
    found = shapes.get((claim.id, topical))
    if found is None:
        found = shapes[claim.id, topical] = _shape(claim, _predicate(view, entry, topical))
    return found


def _predicate(view: View, entry: Entry, topical: int) -> int:
    """Return the cues of which most words name no topic, or else the one of which the fewest do."""
    words, topics = dict.fromkeys(_bits(entry.mask), 0), dict.fromkeys(_bits(entry.mask), 0)
    for _, _, strong, weak, _, _ in view.index.postings.values():
        for bit in _bits((strong | weak) & entry.mask):
            words[bit] += 1
            topics[bit] += bool((strong | weak) & topical)
    shares = {bit: 100 * topics[bit] // max(1, words[bit]) for bit in words}
    telling = [bit for bit in shares if shares[bit] < TOPICAL]
    return sum(telling or [min(shares, key=lambda bit: (shares[bit], bit))])


def _bits(mask: int) -> list[int]:
    return [1 << at for at in range(mask.bit_length()) if mask >> at & 1]


TOPICAL: Final = 40
"""Share of a cue's words, in a hundred, from which on it names the topic."""


def _shape(claim: Claim, predicate: int) -> Shape:
    sentences = sentences_of(claim.text)
    found = {name for sentence in sentences for name in sentence.hits}
    cues = {one for cue in claim.cues for one in _stems(cue.replace("|", " "))} - function_stems()
    worded: dict[str, bool] = {}
    for sentence in sentences:
        for at, one in enumerate(sentence.stems):
            if one in cues:
                worded.setdefault(one, negated_at(sentence, at))
    negative = next(iter(worded.values()), "negation" in found)
    words = {one for reading in claim.fair_readings for one in _stems(reading)}
    wording = frozenset(w for w in words if w not in weak_stems() and len(w) > 2)
    whole, denied = _polarity(claim, negative)
    return Shape(
        predicate=predicate,
        negative=negative,
        blames_self=claim.kind == "fault" and found.isdisjoint(("negation", "absolve")),
        readings=frozenset(w for w in wording if w not in common_words()),
        wording=wording,
        whole=whole,
        denied=denied,
        worded=worded,
    )


def _stems(text: str) -> list[str]:
    return [stem(word) for word in tokenise(normalise(text))[0]]


@functools.cache
def _regard() -> Set[str]:
    return frozenset(map(stem, _REGARD.split()))


def _polarity(claim: Claim, negative: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Return the stems that affirm a claim against its own wording: without a negation, and with one."""
    whole: set[str] = set()
    denied: set[str] = set()
    for cue in claim.cues:
        plain: set[str] = set()
        negated: set[str] = set()
        for alternative in cue.split("|"):
            words = tokenise(normalise(alternative))[0]
            own = len(words) > 1 and words not in _QUANTITIES and not _NOT.isdisjoint(words)
            (negated if own else plain).update(map(stem, words))
        denied |= negated - plain - weak_stems()
        if negative and negated:
            whole |= plain
    if claim.kind == "mind_reading" and not negative:
        denied |= _regard() - set(_stems(claim.text))
    return frozenset(whole - denied), frozenset(denied)


def negated_at(sentence: Sentence, at: int) -> bool:
    """Whether a word stands in a clause after a negation, or just before one ("the gap isn't there").

    "Not" and "stopped caring" undo each other.
    """
    hits = sentence.hits
    if "negation" not in hits and "halted" not in hits:
        return False
    words, least = sentence.words, max(clause_start(sentence, at), at - REACH)
    # What follows a word denies it only at once: "the gap isn't there".
    ends = [b for b in sentence.breaks if b > at]
    follows = at + 1 < len(words) and words[at + 1] in _COPULAS
    most = min(at + 2 + follows, *ends, len(words))
    own = [s for s in clear(hits, "negation", "negation_not") if least <= s[0] < most]
    stops = [s for s in hits.get("halted", ()) if least <= s[0] < most]
    return bool(own) != bool(stops)


_COPULAS: Final = frozenset("is are was were has have had does do did will would can could".split())
REACH: Final = 8
"""Words over which a negation is felt."""
