"""SAGE's protocol, written afresh: a model analyses the reply and writes the change of the emotion itself.

For comparison only (arXiv 2505.02847). The model sees the need and the mood, as SAGE's does; its number is
clamped to -10..+10 and the emotion to 0..100; an answer that cannot be used is asked for again a bounded
number of times. No rule decides, so everything it scores is `scored_by="model"` and is never ranked with
the rest.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import (
    FAILURE_EMOTION,
    SUCCESS_EMOTION,
    Determinism,
    Dialogue,
    EmotionChange,
    Fault,
    PerceptionRequest,
    UserState,
)
from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, model_of, revision_of
from empathy_gym.simulators.errors import ConfigError, EngineError
from empathy_gym.simulators.llm.answers import load_object
from empathy_gym.simulators.llm.asking import BadAnswer, Counts, Failure, Question, ask
from empathy_gym.simulators.llm.fence import MAX_REPLY, fence, mark_of, shown
from empathy_gym.simulators.llm.perceiver import NEUTRAL
from empathy_gym.simulators.llm.prompts import load_prompt, prompts_hash
from empathy_gym.simulators.llm.reading import conversation
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import Speaker, User

VERSION: Final = 1
REPAIRS: Final = 2
CHANGE: Final = 10
"""Largest change either way."""
CHOICES: Final = ("-10", "-5", "0", "5", "10")
"""The five values that 99.9 % of SAGE's published changes come close to or are."""
MAX_ANALYSIS: Final = 400
MAX_TOKENS: Final = 300
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "analysis": {"type": "string", "maxLength": MAX_ANALYSIS},
        "change": {"type": "integer", "enum": list(range(-CHANGE, CHANGE + 1))},
    },
    "required": ["analysis", "change"],
    "additionalProperties": False,
}


class DirectJudge:
    """Asks a model by how much a reply changes the mood.

    Args:
        engine: The model.
        choices: Ask for one of five values in place of an analysis and a number.
        repairs: Most re-asks of an answer that cannot be used.
        prompt: Name of the prompt.
    """

    def __init__(
        self, engine: ChatEngine, *, choices: bool = False, repairs: int = REPAIRS, prompt: str = "direct"
    ) -> None:
        self.engine, self.choices, self.repairs, self.prompt = engine, choices, repairs, prompt
        self.counts = Counts()
        form = "choices" if choices else "json"
        revision = revision_of(engine) or "unknown"
        self.fingerprint = (
            f"direct-v{VERSION}-{form}-{repairs}@{prompts_hash(prompt)}+{model_of(engine)}@{revision}"
        )

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal | Fault]:
        """Refuse: this judge needs the whole dialogue, which `DirectUser` gives it.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "A DirectJudge is no perceiver of its own; compose it as DirectUser(judge, speaker)."
        )

    def judge(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Appraisal | Fault]:
        """Return an appraisal for each reply that carries analysis and change as its evidence."""
        answers = self._ask(dialogues, replies)
        failed = {i: a for i, a in enumerate(answers) if isinstance(a, Failure)}
        suspects = [i for i, failure in failed.items() if failure.of_reply]
        neutral = [NEUTRAL.get(dialogues[i].source.language, NEUTRAL["en"]) for i in suspects]
        probes = dict(zip(suspects, self._ask([dialogues[i] for i in suspects], neutral), strict=True))
        return [
            self._fault(answer, probes.get(i, answer)) if isinstance(answer, Failure) else answer
            for i, answer in enumerate(answers)
        ]

    def _fault(self, failure: Failure, probe: Appraisal | Failure) -> Fault:
        by_policy = not isinstance(probe, Failure)
        self.counts.add("fault:policy" if by_policy else "fault:simulator")
        return Fault("policy" if by_policy else "simulator", f"direct: {failure.cause}")

    def _ask(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Appraisal | Failure]:
        read = partial(read_change, choices=self.choices)
        questions = [
            Question(self.request(d, r), read, load_prompt(self.prompt, d.source.language).labels["retry"])
            for d, r in zip(dialogues, replies, strict=True)
        ]
        return ask(self.engine, questions, repairs=self.repairs, counts=self.counts)

    def request(self, dialogue: Dialogue, reply: str) -> ChatRequest:
        """Return what the model is asked about one reply."""
        scenario = dialogue.source
        prompt = load_prompt(self.prompt, scenario.language)
        labels = prompt.labels
        talk, said = conversation(dialogue.messages, labels), shown(reply, MAX_REPLY)
        mark = mark_of(scenario.id, talk, said)
        text = "\n\n".join(
            (
                _person(scenario, labels, prompt.mapping("needs")),
                fence(labels["conversation"], talk, mark),
                f"{labels['emotion']}: {dialogue.emotion}",
                fence(labels["reply"], said, mark),
                labels["task"],
            )
        )
        form = prompt["choice" if self.choices else "json"]
        return ChatRequest(
            messages=(
                {"role": "system", "content": f"{prompt['system']}\n\n{form}"},
                {"role": "user", "content": text},
            ),
            max_tokens=8 if self.choices else MAX_TOKENS,
            schema=None if self.choices else SCHEMA,
            choices=CHOICES if self.choices else (),
        )


def _person(scenario: Scenario, labels: Any, needs: dict[str, str]) -> str:
    persona, situation = scenario.persona, scenario.situation
    name = labels["name"].format(
        name=persona.name, age=persona.age, occupation=persona.occupation, style=persona.style
    )
    facts = "\n".join(f"- {fact.text}" for fact in situation.facts)
    return (
        f"{labels['person']}: {name}\n{labels['situation']}: {situation.summary}\n{facts}\n"
        f"{labels['goal']}: {scenario.goal}\n{labels['need']}: {needs[scenario.need]}"
    )


def read_change(reply: ChatReply, *, choices: bool = False) -> Appraisal:
    """Return the change of an answer, clamped, as the evidence of a plain appraisal.

    Raises:
        BadAnswer: If there is no integer change in it.
    """
    if choices:
        if not re.fullmatch(r"[-+]?[0-9]{1,2}", reply.text.strip()):
            raise BadAnswer(f"it must be one of {', '.join(CHOICES)}")
        change, analysis = int(reply.text), ""
    else:
        data = load_object(reply.text)
        value, told = data.get("change"), data.get("analysis")
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadAnswer("change must be an integer from -10 to 10")
        change, analysis = value, told if isinstance(told, str) else ""
    change = min(CHANGE, max(-CHANGE, change))
    return Appraisal(evidence={"change": str(change), "analysis": shown(analysis, MAX_ANALYSIS)})


class DirectRule:
    """Takes the model's change. Not a rule that scores: it clamps, and settles what is told next.

    A reply that does not lower the mood is answered with the next fact in authored order; SAGE's user
    knows its whole profile and tells of it as it likes.
    """

    fingerprint = f"direct-change-v{VERSION}"

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        """Return the change that the appraisal carries; terms ``model`` and ``clamp`` sum to it."""
        wanted = int(appraisal.evidence.get("change", "0"))
        emotion = min(100, max(0, state.emotion + wanted))
        change = emotion - state.emotion
        terms = {"model": wanted, "clamp": change - wanted}
        ended = last or state.leaving is not None or emotion < FAILURE_EMOTION
        leaving = state.leaving or ("success" if emotion >= SUCCESS_EMOTION and not ended else None)
        told = state.disclosed
        if not ended and leaving is None and wanted >= 0:
            told += tuple(f.id for f in scenario.situation.facts if f.id not in told)[:1]
        after = dataclasses.replace(
            state,
            emotion=emotion,
            turn=state.turn + 1,
            leaving=leaving,
            disclosed=told,
            beats=("leave:success",) if leaving and not state.leaving else (),
        )
        return EmotionChange(change, {name: value for name, value in terms.items() if value}, after)


class _Judged:
    """The readings of one step, for the one step."""

    def __init__(self, readings: Sequence[Appraisal | Fault]) -> None:
        self.readings = readings

    def perceive(self, items: Sequence[PerceptionRequest]) -> Sequence[Appraisal | Fault]:
        """Return them."""
        return self.readings


class DirectUser(User):
    """A user whose emotion a model writes.

    Args:
        judge: Who writes it.
        speaker: Who says the lines.
        determinism: Grade of the judge and the speaker together.
        taped: As of `User`.
    """

    def __init__(
        self,
        judge: DirectJudge,
        speaker: Speaker,
        determinism: Determinism = "rule-only",
        *,
        taped: bool = False,
    ) -> None:
        super().__init__(
            judge, DirectRule(), speaker, scored_by="model", determinism=determinism, taped=taped
        )
        self.judge = judge

    def respond(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Dialogue]:
        """Take one reply in each dialogue: one batched judgement, one batched speak call."""
        going = len(dialogues) == len(replies) and not any(d.ended for d in dialogues)
        # The composition checks its arguments; nothing is asked about those it refuses.
        readings = self._readings(dialogues, replies) if going else ()
        step = User(
            _Judged(readings), self.rule, self.speaker, scored_by="model", determinism=self.determinism
        )
        return step.respond(dialogues, replies)

    def _readings(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Appraisal | Fault]:
        try:
            return self.judge.judge(dialogues, replies)
        except EngineError as error:
            return [Fault("simulator", f"direct: {error}")] * len(dialogues)
