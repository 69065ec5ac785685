"""What a reply shows to have understood: facts, feelings and meanings."""

from __future__ import annotations

import functools
from typing import Final

from empathy_gym.simulators.embedded.features import load
from empathy_gym.simulators.embedded.reply import Reply, about_user, connected, negated
from empathy_gym.simulators.embedded.sentences import Sentence
from empathy_gym.simulators.scenario import (
    Attempt,
    Constraint,
    Fact,
    Feeling,
    Perspective,
    Strength,
)

OTHERS: Final = frozenset({"he", "she", "they", "him", "her", "them", "his", "their", "himself", "herself"})


def grounding(reply: Reply) -> int:
    """Return how far a reply rests on what the user has told; with something made up, no further than 1."""
    level = _grounding(reply)
    return min(level, 1) if level and invented(reply) else level


def invented(reply: Reply) -> bool:
    """Whether a reply states a particular of the user's life that was never told, such as a name or a day.

    Nor can a sentence on the user rest on what was told if not one of its telling words was.
    """
    for sentence in reply.sentences:
        if sentence.question or sentence.has(
            "tentative", "advice", "sharing", "human_claim", "self_disclosure"
        ):
            continue
        if not _ABOUT_SELF.isdisjoint(sentence.words):
            continue
        if any(_untold(reply, one) for one in sentence.particulars):
            return True
        telling = () if _ON_USER.isdisjoint(sentence.words) else sentence.telling
        if telling and all(_untold(reply, one) for one in telling):
            return True
    return False


_ABOUT_SELF: Final = frozenset({"i", "my", "me", "if", "like", "any", "every", "no"})
_ON_USER: Final = frozenset({"you", "your"})


def _untold(reply: Reply, one: str) -> bool:
    return not (one in reply.view or reply.view.words(one) or any([one in line.stems for line in reply.said]))


def _grounding(reply: Reply) -> int:
    facts = [(item.id, at) for item, at in reply.items(Fact)]
    others = _told(reply) if reply.mentioned else []
    reply.touched.update(id_ for id_, _ in (*facts, *others))
    if facts or others:
        at = min(at for _, at in (*facts, *others))
        reply.quote("grounding", at)
        if _two_apart(reply, [id_ for id_, _ in facts]) or _linked(reply, facts):
            return 3
        return 2
    topical, factual = reply.view.masks["topics"], reply.view.masks["facts"]
    for at, tokens in enumerate(reply.tokens):
        if any(token.strong & topical or token.rare & factual for token in tokens):
            reply.quote("grounding", at)
            return 1
    for at, sentence in enumerate(reply.sentences):
        if reply.named_by_user(sentence):
            reply.quote("grounding", at)
            return 1
    return 0


def _told(reply: Reply) -> list[tuple[str, int]]:
    """Return what counts as a fact restated: attempts, constraints, and what disclosed facts show."""
    found = [(item.id, at) for item, at in reply.items(Attempt)]
    found += [(item.id, at) for item, at in reply.items(Constraint)]
    disclosed = {fact.id for fact in reply.request.facts}
    for strength, at in reply.items(Strength):
        if not strength.evidence or not disclosed.isdisjoint(strength.evidence):
            found.append((strength.id, at))
    for perspective, at in reply.items(Perspective):
        if not disclosed.isdisjoint(perspective.because):
            found.append((perspective.id, at))
    return found


def _two_apart(reply: Reply, ids: list[str]) -> bool:
    """Whether two facts are mentioned by words of their own, four at least."""
    if len(ids) < 2:
        return False
    words: dict[str, set[tuple[int, int]]] = {}
    for id_ in ids:
        mask = reply.mask([id_])
        words[id_] = {
            (at, token.at)
            for at, tokens in enumerate(reply.tokens)
            for token in tokens
            if (token.strong | token.weak) & mask
        }
    return any(len(words[a] | words[b]) >= 4 and words[a] != words[b] for a in ids for b in ids if a < b)


def _linked(reply: Reply, facts: list[tuple[str, int]]) -> bool:
    """Whether a fact is joined to a feeling, a strength or a perspective."""
    inner = [at for item, at in reply.items(Feeling) if item.held]
    inner += [at for item, at in reply.items(Strength)]
    inner += [at for item, at in reply.items(Perspective)]
    for _, at in facts:
        for there in inner:
            if abs(at - there) <= 1 and (
                connected(reply.sentences[at]) or connected(reply.sentences[there]) or at != there
            ):
                return True
    return False


# -- feelings ------------------------------------------------------------------------------------


def feeling(reply: Reply) -> int:
    """Return whether the user's feeling is named, and tied to its reason."""
    felt = 0
    for tokens in reply.tokens:
        for token in tokens:
            felt |= token.strong | token.weak | token.family
    felt &= reply.view.masks["feelings"]
    if not felt:
        return _generic(reply)
    denied = _denied(reply, felt)
    best = 0
    for item in reply.known(Feeling):
        mask = reply.mask([item.id])
        if not item.held or not mask & felt:
            continue
        for at, sentence in enumerate(reply.sentences):
            place = _named(reply, sentence, at, mask)
            if place is None:
                continue
            level = 2 if _has_reason(reply, item, at, place) else 1
            reply.touched.add(item.id)
            if level > best:
                best = level
                reply.quote("feeling", at)
    if denied is not None and best < 2:
        reply.evidence.pop("feeling", None)
        return 0
    if denied is not None:
        return 1
    return best or _generic(reply)


def _named(reply: Reply, sentence: Sentence, at: int, mask: int) -> int | None:
    """Return where a sentence names a feeling as the user's."""
    for token in reply.tokens[at]:
        if not (token.strong | token.weak | token.family) & mask:
            continue
        if not token.strong & mask and token.family & mask and _literal_denial(reply, token.strong):
            continue
        if about_user(sentence, token.at) and not negated(sentence, token.at):
            return token.at
    return None


def _literal_denial(reply: Reply, strong: int) -> bool:
    return any(
        not item.held and strong & reply.view.index.entries[item.id].mask for item in reply.known(Feeling)
    )


def _denied(reply: Reply, felt: int) -> int | None:
    """Return the sentence that asserts a feeling which the user has denied."""
    held = 0
    for item in reply.known(Feeling):
        if item.held:
            held |= reply.view.index.entries[item.id].mask
    for item in reply.known(Feeling):
        mask = reply.mask([item.id])
        if item.held or not mask & felt:
            continue
        for at, sentence in enumerate(reply.sentences):
            for token in reply.tokens[at]:
                literal = token.strong & mask
                if not literal and (not token.family & mask or (token.strong | token.family) & held):
                    continue
                asked = sentence.question and not sentence.has("rhetorical", "tentative")
                if not asked and about_user(sentence, token.at) and not negated(sentence, token.at, 7):
                    return at
    return None


def _has_reason(reply: Reply, item: Feeling, at: int, place: int) -> bool:
    """Whether a named feeling is tied to a fact it comes from, or to another that was mentioned."""
    because = reply.mask(item.because)
    for here in (at - 1, at, at + 1):
        if not 0 <= here < len(reply.sentences):
            continue
        if any(token.strong & because and (here, token.at) != (at, place) for token in reply.tokens[here]):
            return True
    return any(abs(there - at) <= 1 for _, there in reply.items(Fact))


def _generic(reply: Reply) -> int:
    hard = _hard_words()
    for at, sentence in enumerate(reply.sentences):
        if sentence.has("feel_generic", "therapy_speak"):
            reply.quote("feeling", at)
            return 1
        if sentence.question or hard.isdisjoint(sentence.words):
            continue
        for i, word in enumerate(sentence.words):
            if word in hard and about_user(sentence, i) and not negated(sentence, i):
                if _felt(sentence, i):
                    reply.quote("feeling", at)
                    return 1
    return 0


_FEEL: Final = frozenset(
    {"feel", "feels", "felt", "feeling", "sounds", "sound", "must", "seem", "seems", "so", "are", "were"}
)


def _felt(sentence: Sentence, at: int) -> bool:
    return not _FEEL.isdisjoint(sentence.words[max(0, at - 4) : at]) or at == 0


@functools.cache
def _hard_words() -> frozenset[str]:
    """Return the words that call something hard, or name a feeling and nothing else."""
    data = load("feelings.yaml")
    return frozenset(f"{data['hard']} {' '.join(data['families'].values())}".split()) - {"small"}


# -- meanings ------------------------------------------------------------------------------------


def insight(reply: Reply) -> tuple[int, str | None]:
    """Return whether a reply offers a reading of the matter, how tentatively, and what it is about."""
    for item, at in reply.hints(Perspective):
        if reply.sentences[at].has("advice"):
            continue
        near = reply.near(at, "tentative")
        if near is not None and not reply.sentences[near].has("advice"):
            reply.touched.add(item.id)
            reply.quote("insight", at)
            return 2, _marked_kind(reply, item, at)
    found = _own_reading(reply)
    if found is not None:
        return found
    for at, sentence in enumerate(reply.sentences):
        if sentence.has("commonplace"):
            reply.quote("insight", at)
            return 1, None
        if _mind_asserted(sentence) or _mind_guessed(sentence):
            reply.quote("insight", at)
            return 1, "other"
    return 0, None


def _marked_kind(reply: Reply, first: Perspective, at: int) -> str:
    """Return the kind of the perspective that most cues speak for, among those mentioned."""
    best, kind = 0, str(first.kind)
    for item, there in reply.hints(Perspective):
        if abs(there - at) > 1:
            continue
        mask = reply.view.index.entries[item.id].mask
        here = reply.tokens[there] + (reply.tokens[there - 1] if there else [])
        strong = weak = 0
        for token in here:
            strong |= token.strong & mask
            weak |= token.weak & mask
        score = 2 * strong.bit_count() + (weak & ~strong).bit_count()
        if score > best:
            best, kind = score, str(item.kind)
            reply.touched.add(item.id)
    return kind


def _own_reading(reply: Reply) -> tuple[int, str] | None:
    """A tentative reading that is not marked in the situation, but rests on what was disclosed."""
    facts = reply.view.masks["facts"]
    for at, sentence in enumerate(reply.sentences):
        if not sentence.has("tentative") or sentence.has("advice") or not sentence.has("meaning"):
            continue
        if sentence.question and sentence.has("open_question"):
            continue
        around = reply.tokens[at] + (reply.tokens[at - 1] if at else [])
        rests = len({token.at for token in around if token.strong & facts}) >= 2
        if rests or any(abs(there - at) <= 1 for _, there in reply.items(Fact)):
            reply.quote("insight", at)
            return 2, _kind(sentence)
    return None


def _kind(sentence: Sentence) -> str:
    """Return what a reading is about, from what it speaks of after its tentative word."""
    if sentence.has("both_sides"):
        return "both_sides"
    if sentence.has("proportion"):
        return "proportion"
    after = sentence.words[min(s[1] for s in sentence.hits["tentative"]) :]
    for word in after:
        if word in OTHERS:
            return "other"
        if word in ("you", "your", "yourself"):
            return "self"
    return "other"


_MIND: Final = frozenset(
    "wants wanted thinks thought feels felt hates envies fears feared hopes hoped knows knew regrets meant "
    "believes".split()
)


def _mind_guessed(sentence: Sentence) -> bool:
    """Whether a sentence guesses at another person, on whatever grounds."""
    if sentence.has("advice", "open_question") or not sentence.has("tentative"):
        return False
    after = sentence.words[min(s[1] for s in sentence.hits["tentative"]) :]
    return not _SUBJECTS.isdisjoint(after[:4])


_SUBJECTS: Final = frozenset({"he", "she", "they"})


def _mind_asserted(sentence: Sentence) -> bool:
    """Whether a sentence states outright what goes on in another person."""
    if (
        _MIND.isdisjoint(sentence.words)
        or sentence.question
        or sentence.has("tentative", "advice")
        or not {"if", "whether"}.isdisjoint(sentence.words)
    ):
        return False
    words = sentence.words
    return any(
        word in _MIND and i > 0 and any(w in ("he", "she", "they") for w in words[max(0, i - 2) : i])
        for i, word in enumerate(words)
    )
