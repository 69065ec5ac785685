"""A reply, taken apart once: its sentences, what they say, and which items they mention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.items import Entry, Token, View
from empathy_gym.simulators.embedded.lines import Said
from empathy_gym.simulators.embedded.sentences import Sentence
from empathy_gym.simulators.scenario import (
    Attempt,
    Boundary,
    Claim,
    Constraint,
    Fact,
    Feeling,
    Item,
    Perspective,
    Strength,
    Topic,
)

EVIDENCE: Final = 200
"""Characters of a quoted span."""
POINTS: Final = 4
"""What the words of a mention have to tell together."""
HINT: Final = 3
"""What they have to tell where the act itself (a suggestion, a guess, praise) already points at the item."""

_NAMES: Final[dict[type[Item], str]] = {
    Topic: "topics",
    Fact: "facts",
    Feeling: "feelings",
    Attempt: "attempts",
    Constraint: "constraints",
    Strength: "strengths",
    Perspective: "perspectives",
    Claim: "claims",
    Boundary: "boundaries",
}
_HINTABLE: Final = frozenset({"attempts", "constraints", "strengths", "perspectives"})

Kind = TypeVar("Kind", bound=Item)
Spot = tuple[int, int, Token]
"""A word that hits cues: number of its sentence, the cues it hits, and the word itself."""


@dataclass(slots=True)
class Reply:
    """What the acts are read from.

    Attributes:
        request: What the perceiver may know.
        sentences: The sentences, with their phrases.
        view: The items that may be known.
        tokens: For each sentence, its words that hit cues.
        said: The user's lines.
        mentioned: Sentence in which each item is mentioned, by id.
        hinted: The same for items that are mentioned or only hinted at.
        evidence: For each field, the span its level rests on.
        touched: Ids of the items engaged so far.
    """

    request: PerceptionRequest
    sentences: Sequence[Sentence]
    view: View
    tokens: list[list[Token]]
    said: list[Said]
    mentioned: dict[str, int] = field(default_factory=dict)
    hinted: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Find the items mentioned."""
        spots: list[Spot] = []
        rare = strong = cues = 0
        for at, tokens in enumerate(self.tokens):
            for token in tokens:
                _, own_rare, own_strong, own_weak, _ = token
                hit = own_strong | own_weak
                rare |= own_rare
                strong |= own_strong
                cues |= hit
                spots.append((at, hit, token))
        for kind, mask in self.view.masks.items():
            if not mask & cues:
                continue
            least = HINT if kind in _HINTABLE else POINTS
            for entry in self.view.entries[kind]:
                own = entry.mask
                if entry.single:
                    if own & strong:
                        at = next(at for at, _, token in spots if token.strong & own)
                        self.mentioned[entry.id] = self.hinted[entry.id] = at
                elif (hit := own & cues).bit_count() >= 2:
                    # Most items are hit by words that tell too little even if all of them stood together.
                    told = (own & rare).bit_count() + (own & strong).bit_count() + hit.bit_count()
                    if told >= least:
                        self._place(kind, entry, [spot for spot in spots if spot[1] & own])

    def _place(self, kind: str, entry: Entry, here: Sequence[Spot]) -> None:
        """Record where an item is mentioned, or hinted at."""
        id_ = entry.id
        # A way of seeing things is made of common words: it takes more of them to rest a reply on.
        place = _mention(entry, here, POINTS + (kind == "perspectives"))
        if place is not None:
            self.mentioned[id_] = self.hinted[id_] = place
        elif kind in _HINTABLE:
            place = _mention(entry, here, HINT)
            if place is not None:
                self.hinted[id_] = place

    def items(self, kind: type[Kind]) -> list[tuple[Kind, int]]:
        """Return the items of a kind that are mentioned, each with the sentence that does."""
        return self._placed(kind, self.mentioned)

    def hints(self, kind: type[Kind]) -> list[tuple[Kind, int]]:
        """Return the items of a kind that are at least hinted at, each with the sentence that does."""
        return self._placed(kind, self.hinted)

    def known(self, kind: type[Kind]) -> list[Kind]:
        """Return the items of a kind that may be known."""
        # A kind's group holds nothing but that kind.
        return [cast("Kind", entry.item) for entry in self.view.entries[_NAMES[kind]]]

    def _placed(self, kind: type[Kind], places: dict[str, int]) -> list[tuple[Kind, int]]:
        if not places:
            return []
        entries = self.view.entries[_NAMES[kind]]
        return [(cast("Kind", e.item), places[e.id]) for e in entries if e.id in places]

    def mentions(self, ids: Iterable[str]) -> int | None:
        """Return the first sentence that mentions one of the items."""
        return min((self.mentioned[i] for i in ids if i in self.mentioned), default=None)

    def mask(self, ids: Iterable[str]) -> int:
        """Return the cues of items by id."""
        entries = self.view.index.entries
        mask = 0
        for id_ in ids:
            entry = entries.get(id_)
            mask |= entry.mask if entry is not None else 0
        return mask & self.view.mask

    def near(self, at: int, *categories: str) -> int | None:
        """Return the sentence among one and its neighbours that has one of the phrase categories."""
        for here in (at, at + 1, at - 1):
            if 0 <= here < len(self.sentences) and self.sentences[here].has(*categories):
                return here
        return None

    def quote(self, name: str, at: int) -> None:
        """Record the sentence that a level rests on."""
        self.evidence[name] = self.sentences[at].raw.strip()[:EVIDENCE].strip()

    def named_by_user(self, sentence: Sentence) -> bool:
        """Whether a sentence takes up a telling word that the user has said."""
        return any(one in line.stems for one in sentence.telling for line in self.said)


def _mention(entry: Entry, here: Sequence[Spot], points: int) -> int | None:
    """Return the sentence that mentions an item of several cues, alone or together with the one before."""
    if len(here) < 2:
        return None
    for last in dict.fromkeys([at for at, _, _ in here]):
        own = [token for at, _, token in here if at == last]
        if enough(entry, own, points):
            return last
        both = [token for at, _, token in here if at in (last - 1, last)]
        if len(both) > len(own) and enough(entry, both, points):
            return last
    return None


def enough(entry: Entry, tokens: Iterable[Token], points: int = POINTS) -> bool:
    """Whether words hit an item's cues often enough to mention it.

    Two cues, by two words, which together tell something: a cue counts three if its word is rare, two if it
    is an everyday one, one if it stands everywhere, and four points are enough.
    """
    mask = entry.mask
    rare = strong = weak = words = 0
    for _, own_rare, own_strong, own_weak, _ in tokens:
        rare |= own_rare
        strong |= own_strong
        weak |= own_weak
        words += 1
    strong &= mask
    if entry.single:
        return strong != 0
    rare &= mask
    cues = (strong | weak) & mask
    if words < 2 or cues.bit_count() < 2:
        return False
    return rare.bit_count() + strong.bit_count() + cues.bit_count() >= points


# -- scope ---------------------------------------------------------------------------------------

_NEGATIONS: Final = frozenset("not never no nobody nothing hardly neither nor without none".split())
_USER: Final = frozenset(
    "you your yours yourself i me anyone anybody everyone everybody people most who that it this those these "
    "there which".split()
)
_OTHERS: Final = frozenset(
    "he she they him her them his hers their theirs himself herself themselves".split()
)
_TOWARDS: Final = frozenset("for with to at of about from by near without towards".split())


def clause_start(sentence: Sentence, at: int) -> int:
    """Return where the clause of a word begins."""
    return max((b for b in sentence.breaks if b <= at), default=0)


def negated(sentence: Sentence, at: int, reach: int = 5) -> bool:
    """Whether a negation stands shortly before a word, in its clause.

    "No wonder" is none, and "it's hard not to envy them" does not deny envy.
    """
    words = sentence.words
    for i in range(max(clause_start(sentence, at), at - reach), min(at, len(words))):
        if words[i] not in _NEGATIONS or words[i + 1 : i + 2] in (("wonder",), ("surprise",)):
            continue
        if not (i and words[i] == "not" and words[i - 1] in ("hard", "help", "difficult")):
            return True
    return False


def about_user(sentence: Sentence, at: int) -> bool:
    """Whether the nearest person named before a word, in its clause, is the user or nobody."""
    words, names = sentence.words, sentence.names
    for i in range(at - 1, clause_start(sentence, at) - 1, -1):
        if words[i] in _USER:
            return True
        # "glad for her": whom it is for is not who feels it.
        if (words[i] in _OTHERS or words[i] in names) and not (i and words[i - 1] in _TOWARDS):
            return False
    return True


def connected(sentence: Sentence) -> bool:
    """Whether a sentence joins things by a connective."""
    return not _CONNECTIVES.isdisjoint(sentence.words)


_CONNECTIVES: Final = frozenset(
    "because so since after when while with though although despite yet but wonder course that which given "
    "as and".split()
)
