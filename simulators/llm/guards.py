# ruff: noqa: RUF001  (the marks of Chinese text are meant)
"""Guards on a line that a model speaks for the user: what may not be said, and what has to be.

Everything here is code and data files (``data/lines.yaml``); a line is either let through, mended (cut,
unquoted, completed) or refused with the kinds of what is wrong.
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from empathy_gym.simulators.dialogue import SpeakRequest
from empathy_gym.simulators.packaged import packaged_text, read_yaml
from empathy_gym.simulators.reading import requests_in
from empathy_gym.simulators.scenario import Claim, Fact, Item

FILE: Final = ("empathy_gym.simulators.llm", "data/lines.yaml")
"""The patterns: the package they lie in, and the path there."""
MAX_CHARACTERS: Final = {"en": 480, "zh": 200}
"""Characters of a spoken turn; facts to be told now come on top."""
MAX_RAW: Final = 8000
"""Characters of a completion that are looked at."""
KINDS: Final = (
    "empty", "role_flip", "agent", "refusal", "leak", "language", "repeat", "undisclosed", "leaving", "crisis"
)  # fmt: skip
"""Reasons to refuse a line."""
MENDED: Final = ("too_long", "unquoted", "missing")
"""Reasons to mend one."""
_PLAIN: Final = str.maketrans("’‘“”„？\u00a0\u3000", '\'\'"""?  ')
_SPACE: Final = re.compile(r"\s+")
_LABEL: Final = re.compile(r"^\s*(?:\*\*)?([\w .'-]{1,24})(?:\*\*)?\s*[:：]\s*(?:\*\*)?\s*")
_DIRECTION: Final = re.compile(
    r"\*[^*\n]{1,60}\*|\((?:sighs?|pauses?|laughs?|smiles?|silence|nods?)[^)\n]{0,30}\)", re.I
)
_TURN: Final = re.compile(
    r"\n\s*(?:\*\*)?(?:listener|user|assistant|person|speaker|system|human|ai|倾听者|倾诉者|这个人|用户|助手)(?:\*\*)?\s*[:：]"
    r"|<\|?/?(?:im_|start_|end_|eot|s>|user|assistant|system)|\[/?INST\]",
    re.IGNORECASE,
)
_MARKS: Final = frozenset("\n<[")
"""Characters without one of which no turn can begin."""
_OWN: Final = frozenset({"user", "person", "me", "speaker", "i", "这个人", "我", "倾诉者", "用户"})
_END: Final = re.compile(r"[.!?。！？…][\"'”’)]*")
_CJK: Final = re.compile(r"[\u3400-\u9fff]")
_LATIN: Final = re.compile(r"[A-Za-z]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_COMMON: Final = frozenset(
    "the a an i it to of and in that is was he she you me my we they at on for with but not so this what "
    "have had be do don't it's i'm just like no yes know there about as if when are all would can one up "
    "out how".split()
)
_WORD: Final = re.compile(r"[\w']+")


def data_text() -> str:
    """Return the text of the file of patterns."""
    return packaged_text(*FILE)


@functools.cache
def patterns(language: str, lowered: bool = False) -> Mapping[str, re.Pattern[str]]:
    """Return one pattern for each kind of refusal, in a language (English where there is none).

    Args:
        language: ISO 639-1 code.
        lowered: Whether they are for ASCII in lower case, which is searched in half the time.
    """
    data: dict[str, dict[str, list[str]]] = read_yaml(*FILE)
    chosen, flags = data.get(language, data["en"]), re.NOFLAG if lowered else re.IGNORECASE
    return {kind: re.compile("|".join(f"(?:{p})" for p in parts), flags) for kind, parts in chosen.items()}


@functools.cache
def triggers() -> Mapping[str, frozenset[str]]:
    """Return, by kind, the words without one of which no English pattern can match."""
    return {kind: frozenset(words.split()) for kind, words in read_yaml(*FILE)["triggers"].items()}


def matching(text: str, language: str) -> dict[str, re.Pattern[str]]:
    """Return the patterns that may match a text. Most lines hold no trigger of most kinds."""
    if language == "zh":
        return {kind: pattern for kind, pattern in patterns(language).items() if kind in KINDS}
    lowered = text.lower()
    found, words = patterns(language, lowered == text and text.isascii()), words_of(lowered)
    return {kind: found[kind] for kind, needed in triggers().items() if not words.isdisjoint(needed)}


@functools.lru_cache(maxsize=2048)
def words_of(lowered: str) -> frozenset[str]:
    """Return the distinct words of a text in lower case."""
    return frozenset(_WORD.findall(lowered))


@functools.lru_cache(maxsize=8192)
def plain(text: str) -> str:
    """Return text with plain quotation marks and single spaces."""
    return " ".join((text if text.isascii() else text.translate(_PLAIN)).split())


@functools.lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """Return plain text in lower case, in which lines are compared."""
    return plain(text).lower()


@functools.lru_cache(maxsize=8192)
def _runs(lowered: str) -> frozenset[tuple[str, str, str]]:
    words = _WORD.findall(lowered)
    return frozenset(zip(words, words[1:], words[2:], strict=False))


# -- mending ------------------------------------------------------------


def cleaned(text: str, name: str) -> str:
    """Return a line without the person's name in front, quotation marks around it and stage directions."""
    line = text[:MAX_RAW].encode("utf-8", "replace").decode("utf-8").strip()
    label = _LABEL.match(line)
    if label is not None and label[1].strip().lower() in _OWN | {name.lower(), name.split()[0].lower()}:
        line = line[label.end() :]
    if "*" in line or "(" in line:
        line = _DIRECTION.sub(" ", line).strip()
    inside = line[1:-1]
    if inside and line[0] in "\"“'‘「" and line[-1] in "\"”'’」" and not set(inside) & set('"“”「」'):
        line = inside
    return line if "\n" not in line or _TURN.search(line) else _SPACE.sub(" ", line).strip()


def limit(request: SpeakRequest) -> int:
    """Return the most characters that a line may have."""
    told = sum(len(fact.text) for fact in request.disclose)
    return MAX_CHARACTERS.get(request.scenario.language, MAX_CHARACTERS["en"]) + told


def cut(line: str, most: int) -> str:
    """Return a line of at most `most` characters, cut at the end of a sentence where there is one."""
    if len(line) <= most:
        return line
    ends = [m.end() for m in _END.finditer(line, 0, most)]
    if ends:
        return line[: ends[-1]]
    head = line[: most - 1]
    return (head.rpartition(" ")[0] or head) + "…"


# -- refusing ------------------------------------------------------------


def refused(line: str, request: SpeakRequest) -> tuple[str, ...]:
    """Return the kinds of what is wrong with a line, in the order of `KINDS`; empty if it may be said.

    Args:
        line: The line, cleaned.
        request: What the speaker was told.
    """
    text = plain(line)
    if not _LETTER.search(text):
        return ("empty",)
    lowered = text.lower()
    searched = lowered if text.isascii() else text
    found = matching(searched, request.scenario.language)
    # What the authors wrote into this very line is no slip of the model.
    own = plain(" ".join(required(request))) if found else ""
    kinds = {kind for kind, pattern in found.items() if _says(pattern, searched, own)}
    if request.outcome is not None or request.state.leaving is not None:
        kinds.discard("leaving")
    if (not _MARKS.isdisjoint(line) and _TURN.search(line)) or echoes(text, request):
        kinds.add("role_flip")
    if not in_language(text, request.scenario.language):
        kinds.add("language")
    if lowered in [folded(m["content"]) for m in request.messages if m["role"] == "user"]:
        kinds.add("repeat")
    if undisclosed(text, request):
        kinds.add("undisclosed")
    return tuple(kind for kind in KINDS if kind in kinds)


def _says(pattern: re.Pattern[str], text: str, own: str) -> bool:
    return any(m[0].lower() not in own.lower() for m in pattern.finditer(text))


def echoes(text: str, request: SpeakRequest) -> bool:
    """Whether a line mostly copies what the listener has just said: six words in ten, in runs of three."""
    words = _WORD.findall(text.lower())
    if len(words) < 8:
        return False
    reply = folded(next((m["content"] for m in reversed(request.messages) if m["role"] == "assistant"), ""))
    runs = list(zip(words, words[1:], words[2:], strict=False))
    # Most lines have not even words enough in common with it.
    known = list(map(reply.__contains__, words))
    if 10 * sum(map(all, zip(known, known[1:], known[2:], strict=False))) < 6 * len(runs):
        return False
    return 10 * sum(map(_runs(reply).__contains__, runs)) >= 6 * len(runs)


def in_language(text: str, language: str) -> bool:
    """Whether a line is in the user's language, by script and, for English, by its commonest words."""
    if language == "en" and text.isascii():
        words = text.lower().split()
        return len(words) < 8 or any(w.strip('.,;:!?"') in _COMMON for w in words)
    cjk, latin = len(_CJK.findall(text)), len(_LATIN.findall(text))
    if language == "zh":
        return cjk >= latin or cjk >= 4
    letters = len(_LETTER.findall(text))
    if 10 * latin < 7 * letters or 10 * cjk > letters:
        return False
    words = text.lower().split()
    return language != "en" or len(words) < 8 or any(w.strip('.,;:!?"') in _COMMON for w in words)


# -- facts ------------------------------------------------------------


class Cues:
    """The cues of some items, so that it is quickly seen which of them a text hits.

    Args:
        items: The items.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.sizes: dict[str, int] = {}
        self._words: dict[str, list[tuple[str, int]]] = {}
        self._phrases: dict[str, list[tuple[str, str, int]]] = {}
        self._first: frozenset[str] = frozenset()
        for item in items:
            self.sizes[item.id] = len(item.cues)
            for number, cue in enumerate(item.cues):
                for alternative in map(str.strip, cue.lower().split("|")):
                    words = _WORD.findall(alternative) if alternative.isascii() else [""]
                    if words == [alternative]:
                        self._words.setdefault(alternative, []).append((item.id, number))
                    elif words:
                        self._phrases.setdefault(words[0], []).append((alternative, item.id, number))
        self._first = frozenset((*self._words, *self._phrases))

    def hits(self, text: str, but: Container[str] = ()) -> dict[str, set[int]]:
        """Return, by item, the numbers of the cues that a text hits.

        Args:
            text: The text.
            but: Ids of items that are left out.
        """
        lowered = text.lower()
        found: dict[str, set[int]] = {}
        # Phrases are looked for where their first word is; Chinese has no words to look for.
        for word in (*(words_of(lowered) & self._first), ""):
            for id_, number in self._words.get(word, ()):
                if id_ not in but:
                    found.setdefault(id_, set()).add(number)
            for phrase, id_, number in self._phrases.get(word, ()):
                if id_ not in but and phrase in lowered:
                    found.setdefault(id_, set()).add(number)
        return found


_cues: OrderedDict[tuple[str, str], Cues] = OrderedDict()


def cues_of(request: SpeakRequest) -> Cues:
    """Return the cues of a scenario's facts; the last 256 are kept."""
    key = (request.scenario.situation.content_hash, request.scenario.language)
    found = _cues.get(key)
    if found is None:
        found = _cues[key] = Cues(request.scenario.situation.facts)
        while len(_cues) > 256:
            _cues.popitem(last=False)
    return found


def undisclosed(text: str, request: SpeakRequest) -> tuple[str, ...]:
    """Return the ids of facts that a line gives away though they are not told yet.

    A fact is given away by at least two of its cues that nobody has used in the conversation so far.
    """
    told = set(request.state.disclosed)
    cues = cues_of(request)
    suspects = {i: hit for i, hit in cues.hits(text, but=told).items() if len(hit) >= 2}
    if not suspects:
        return ()
    said = " ".join(
        (*(m["content"] for m in request.messages), *required(request), request.scenario.situation.summary)
    )
    used = cues.hits(plain(said), but=cues.sizes.keys() - suspects.keys())
    return tuple(sorted(i for i, hit in suspects.items() if len(hit - used.get(i, set())) >= 2))


def tells(line: str, fact: Fact, request: SpeakRequest) -> bool:
    """Whether a line tells a fact: verbatim, or by half of its cues and at least two."""
    if plain(fact.text).lower() in plain(line).lower():
        return True
    cues = cues_of(request)
    needed = max(2, (cues.sizes.get(fact.id, 0) + 1) // 2)
    return len(cues.hits(plain(line)).get(fact.id, ())) >= needed


def required(request: SpeakRequest) -> Sequence[str]:
    """Return the authored texts that a line has to carry: facts told now, and what its beats say."""
    return [*(fact.text for fact in request.disclose), *(text for _, text in beat_lines(request))]


def beat_lines(request: SpeakRequest) -> list[tuple[str, str]]:
    """Return (kind, authored line) of every question, objection, beat of reality, limit and request to be voiced now.

    The first authored line that has not been said is taken, so that the choice is a function of the dialogue.
    """
    if not (request.state.beats or request.disclose):
        return []
    situation = request.scenario.situation
    lines: list[tuple[str, str]] = []
    for beat in request.state.beats:
        kind, _, what = beat.partition(":")
        claim = situation.by_id.get(what) if kind in ("debt", "ask", "push") else None
        if isinstance(claim, Claim):
            said = "\n".join([m["content"] for m in request.messages if m["role"] == "user"])
            options = {"debt": claim.beats, "ask": claim.asks, "push": claim.pushbacks}[kind]
            lines += [(kind, line) for line in options if line not in said][:1]
    told = {fact.id for fact in request.disclose}
    lines += [("limit", b.text) for b in situation.boundaries if b.voiced_by in told]
    lines += [("request", r.text) for r in requests_in(request.scenario, request.state.beats)]
    return lines
