"""The role-play speaker: a language model says the user's line, and code has decided what it says.

The rule has settled what is told and what has to be said. The model is given the person, what has been
told so far, what is to be told now and a mood in words; never the need, a number, or a fact that is not to
be told yet. Every line is checked: mended where that is enough, asked for again where it is not, and in
the end replaced by the authored one. What it was is counted by kind.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from empathy_gym.simulators.dialogue import Fault, SpeakRequest, derive_seed
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker, reaction_of
from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, model_of, revision_of
from empathy_gym.simulators.llm import guards
from empathy_gym.simulators.llm.asking import BadAnswer, Counts, Failure, Question, ask
from empathy_gym.simulators.llm.fence import fence, mark_of
from empathy_gym.simulators.llm.prompts import Prompt, load_prompt, prompts_hash
from empathy_gym.simulators.llm.reading import conversation
from empathy_gym.simulators.scenario import Scenario, content_hash

VERSION: Final = 1
REPAIRS: Final = 2
MAX_TOKENS: Final = 200
MAX_PROBLEM: Final = 120
"""Characters of the problem named in a re-ask."""
TEMPERATURE: Final = 0.7
SAFETY: Final = ("policy_harm", "crisis_check")
"""Guards of a reply that is answered by an authored line."""
_SEEDS: Final = 1 << 31
"""Sampling seeds are 31-bit: servers refuse larger ones."""


class RolePlaySpeaker:
    """Speaks with a language model.

    Args:
        engine: The model.
        temperature: Sampling temperature, 0-2.
        seed: Sampling seed, mixed with each line's own.
        repairs: Most re-asks of a line that may not be said.
    """

    def __init__(
        self, engine: ChatEngine, *, temperature: float = TEMPERATURE, seed: int = 0, repairs: int = REPAIRS
    ) -> None:
        self.engine, self.temperature, self.seed, self.repairs = engine, temperature, seed, repairs
        self.counts = Counts()
        self._authored = AuthoredSpeaker()
        checked = content_hash([VERSION, guards.data_text()])[:8]
        self.fingerprint = (
            f"roleplay-v{VERSION}-t{temperature:g}-s{seed}-{repairs}@{prompts_hash('roleplay')}-{checked}"
            f"+{model_of(engine)}@{revision_of(engine) or 'unknown'}"
        )

    def speak(self, items: Sequence[SpeakRequest]) -> list[str | Fault]:
        """Return the user's next line for each request: one engine call, one more a round of repairs."""
        # Where safety is concerned no model is asked: these lines are always the authored ones.
        played = [item for item in items if item.appraisal.guard not in SAFETY]
        checks = [_Check(item, self.counts) for item in played]
        questions = [
            Question(self.request(item), check, _labels(item)["retry"])
            for item, check in zip(played, checks, strict=True)
        ]
        answers = ask(self.engine, questions, repairs=self.repairs, counts=self.counts)
        said = iter(
            self._settled(item, answer, check.crises)
            for item, check, answer in zip(played, checks, answers, strict=True)
        )
        return [
            self._authored.speak([item])[0] if item.appraisal.guard in SAFETY else next(said)
            for item in items
        ]

    def _settled(self, item: SpeakRequest, answer: str | Failure, crises: int) -> str | Fault:
        """Return the line, the authored one where there is none, or a fault.

        A model that brings up a crisis twice is not to be talked with; nor is one that cannot be reached.
        """
        if not isinstance(answer, Failure):
            return answer
        if crises > 1:
            self.counts.add("fault:crisis")
            return Fault("simulator", "speaker: the model brought up a crisis again")
        if not answer.of_reply:
            self.counts.add("fault:simulator")
            return Fault("simulator", f"speaker: {answer.cause}")
        self.counts.add("authored")
        return self._authored.speak([item])[0]

    def request(self, item: SpeakRequest) -> ChatRequest:
        """Return what the model is asked for one line."""
        prompt = load_prompt("roleplay", item.scenario.language)
        return ChatRequest(
            messages=(
                {"role": "system", "content": f"{prompt['system']}\n\n{person_of(item.scenario, prompt)}"},
                {"role": "user", "content": _task(item, prompt)},
            ),
            max_tokens=MAX_TOKENS,
            temperature=self.temperature,
            seed=derive_seed(item.seed, self.seed, "roleplay") % _SEEDS,
        )


class _Check:
    """Reads a completion as a line: mended, or refused with what is wrong. Counts, and remembers crises."""

    def __init__(self, item: SpeakRequest, counts: Counts) -> None:
        self.item, self.counts, self.crises = item, counts, 0

    def __call__(self, reply: ChatReply) -> str:
        line = guards.cleaned(reply.text, self.item.scenario.persona.name)
        kinds = guards.refused(line, self.item)
        for kind in kinds:
            self.counts.add(f"guard:{kind}")
        self.crises += "crisis" in kinds
        if kinds:
            problems = _problems(self.item.scenario.language)
            raise BadAnswer("; ".join(problems[kind] for kind in kinds)[:MAX_PROBLEM])
        whole = guards.cut(line, guards.limit(self.item))
        if whole != line:
            self.counts.add("guard:too_long")
        return self._completed(whole)

    def _completed(self, line: str) -> str:
        """Return the line with the authored words of whatever it leaves out: what is told has to be said."""
        missing = [f.text for f in self.item.disclose if not guards.tells(line, f, self.item)]
        asked = "?" in guards.plain(line)
        for kind, text in guards.beat_lines(self.item):
            said = asked if kind == "ask" else kind == "push"
            if not said and text not in line:
                missing.append(text)
        leaving = self.item.state.leaving if self.item.outcome is None else None
        bye = guards.patterns(self.item.scenario.language)["bye"]
        if leaving is not None and not bye.search(guards.plain(line)):
            missing += self.item.scenario.speech.reactions.get(f"leave_{leaving}", ())[:1]
        if missing:
            self.counts.add("guard:missing", len(missing))
        return " ".join((line, *missing))


# -- the prompt ------------------------------------------------------------


def _labels(item: SpeakRequest) -> Mapping[str, str]:
    return load_prompt("roleplay", item.scenario.language).labels


@functools.cache
def _problems(language: str) -> Mapping[str, str]:
    return load_prompt("roleplay", language).mapping("problems")


@functools.cache
def _reactions(language: str) -> Mapping[str, str]:
    return load_prompt("roleplay", language).mapping("reactions")


_persons: OrderedDict[tuple[str, str], str] = OrderedDict()


def person_of(scenario: Scenario, prompt: Prompt) -> str:
    """Return the description of a scenario's person; the last 512 are kept, and nothing depends on that."""
    key = (scenario.id, prompt.language)
    found = _persons.get(key)
    if found is None:
        found = _persons[key] = _person(scenario, prompt)
        while len(_persons) > 512:
            _persons.popitem(last=False)
    return found


def _person(scenario: Scenario, prompt: Prompt) -> str:
    """Return who the person is and what it is about: what never changes for a scenario."""
    labels, persona = prompt.labels, scenario.persona
    name = labels["name"].format(
        name=persona.name, age=persona.age, occupation=persona.occupation, style=persona.style
    )
    people = ", ".join(f"{p.name} ({p.role})" for p in scenario.situation.people)
    lines = [
        f"{labels['person']}: {name}",
        f"{labels['situation']}: {scenario.topic}",
        f"{labels['goal']}: {scenario.goal}",
    ]
    return "\n".join([*lines, f"{labels['people']}: {people}"] if people else lines)


def _task(item: SpeakRequest, prompt: Prompt) -> str:
    """Return the dialogue and what the next line has to do."""
    labels = prompt.labels
    dialogue = conversation(item.messages, labels)
    mark = mark_of(item.scenario.id, dialogue)
    told = "\n".join(f"- {text}" for text in _told(item))
    return "\n\n".join(
        (
            fence(labels["conversation"], dialogue, mark),
            f"## {labels['told']}\n{told}",
            f"## {labels['next']}\n" + "\n".join(f"- {line}" for line in _instructions(item, prompt)),
            labels["write"],
        )
    )


def _told(item: SpeakRequest) -> list[str]:
    """Return what has been told before this line, and the feelings that have become known by it."""
    situation, now = item.scenario.situation, {fact.id for fact in item.disclose}
    told = [i for i in item.state.disclosed if i not in now]
    facts = [situation.by_id[i].text for i in told]
    known = frozenset(told)
    return facts + [f.text for f in situation.feelings if not known.isdisjoint(f.because)]


def _instructions(item: SpeakRequest, prompt: Prompt) -> Iterator[str]:
    """Yield what the next line has to do, in words."""
    labels = prompt.labels
    key = reaction_of(item)
    stem = key.rpartition("_")[0]
    reactions = _reactions(item.scenario.language)
    yield reactions.get(key) or reactions.get(stem, reactions["flat"])
    yield labels[f"mood_{'low' if item.state.emotion < 40 else 'mid' if item.state.emotion < 70 else 'high'}"]
    for fact in item.disclose:
        yield f"{labels['tell']}: {fact.text}"
    for kind, text in guards.beat_lines(item):
        yield f"{labels[kind]}: {text}"
    if item.outcome is not None or item.state.leaving is not None:
        yield labels["bye"]
        return
    beats = {beat.partition(":")[0] for beat in item.state.beats}
    if "declined" in beats:
        yield labels["declined"]
    if "decline" in beats:
        yield labels["decline"]
    if "hint" in beats and item.scenario.hints:
        yield f"{labels['hint']}: {_hint(item)}"
    if not item.disclose:
        yield labels["nothing"]


def _hint(item: SpeakRequest) -> str:
    said = "\n".join(m["content"] for m in item.messages if m["role"] == "user")
    hints = item.scenario.hints
    return next((hint for hint in hints if hint not in said), hints[0])
