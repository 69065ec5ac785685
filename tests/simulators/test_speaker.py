"""The authored speaker: what is said, what is never said twice, and what is not given away."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_gym.simulators.appraisal import GUARDS, INSIGHT_KINDS, LEVELS, Appraisal
from empathy_gym.simulators.dialogue import (
    BeginRequest,
    Dialogue,
    EmotionChange,
    PerceptionRequest,
    SpeakRequest,
    UserState,
)
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker, reaction_of
from empathy_gym.simulators.library import REACTIONS
from empathy_gym.simulators.library.compiler import SPLITS, load_scenarios
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

EVERY = [scenario for split in SPLITS for scenario in load_scenarios(split)]
WITH_FALSE = [s for s in EVERY if any(c.truth in ("half", "false") and c.beats for c in s.situation.claims)]
UNDERSTOOD = Appraisal(grounding=2, feeling=2, touched=("f1",))
OPENED = Appraisal(grounding=2, feeling=2, exploration=2, touched=("f1",))


class Script:
    """Reads the n-th reply as the n-th appraisal; the reply is its number."""

    def __init__(self, appraisals: Sequence[Appraisal]) -> None:
        self.appraisals = appraisals

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        return [self.appraisals[int(item.reply) % len(self.appraisals)] for item in items]


class Gentle(TableRule):
    """The rule for a user who never goes, so that a talk can be as long as a test wants it."""

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        change = super().apply(scenario, state, appraisal, last)
        emotion = min(95, max(30, change.state.emotion))
        after = dataclasses.replace(change.state, emotion=emotion, leaving=None)
        return EmotionChange(emotion - state.emotion, change.terms, after)


def talk(
    scenario: Scenario,
    appraisals: Sequence[Appraisal],
    *,
    rule: Any = None,
    turns: int | None = None,
    **options: Any,
) -> list[Dialogue]:
    """Return every state of a talk in which the replies are read as given."""
    user = User(Script(appraisals), rule or TableRule(), AuthoredSpeaker())
    turns = len(appraisals) if turns is None else turns
    dialogues = user.begin([BeginRequest(scenario, **{"max_turns": turns + 1, **options})])
    while not dialogues[-1].ended and dialogues[-1].turn < turns:
        dialogues += user.respond(dialogues[-1:], [str(dialogues[-1].turn)])
    return dialogues


def lines(dialogue: Dialogue) -> list[str]:
    return [m["content"] for m in dialogue.messages if m["role"] == "user"]


def said(dialogue: Dialogue) -> str:
    return "\n".join(lines(dialogue))


def random_appraisal(rng: random.Random, scenario: Scenario) -> Appraisal:
    """Return levels anywhere in range, more often plain than not."""
    levels = {
        name: rng.choice(valid) if rng.random() < 0.4 else 2 * (name == "form")
        for name, valid in LEVELS.items()
    }
    ids = list(scenario.situation.by_id)
    guard = rng.choice([g for g in GUARDS if g != "policy_harm"]) if rng.random() < 0.1 else None
    touched = tuple(sorted(rng.sample(ids, rng.randint(0, 3))))
    return Appraisal(**levels, insight_kind=rng.choice(INSIGHT_KINDS), touched=touched, guard=guard)


def few_words(scenario: Scenario, reactions: dict[str, tuple[str, ...]], **changes: Any) -> Scenario:
    """Return a user with next to no lines of their own."""
    data = scenario.model_dump(exclude={"id"})
    data.update(speech={"reactions": reactions}, **changes)
    return Scenario.model_validate(data)


def request(scenario: Scenario = EVERY[0], **changes: Any) -> SpeakRequest:
    """Return what a speaker is told after a plain reply."""
    state = changes.pop("state", UserState(emotion=50, turn=1, disclosed=("f1",)))
    change = changes.pop("change", EmotionChange(0, {}, state))
    base = SpeakRequest(
        scenario=scenario,
        state=state,
        appraisal=Appraisal(),
        change=change,
        disclose=(),
        messages=({"role": "user", "content": "It begins."}, {"role": "assistant", "content": "Oh."}),
        outcome=None,
        seed=1,
    )
    return dataclasses.replace(base, **changes)


# -- never twice -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sampled_from(EVERY), st.integers(0, 10**6), st.sampled_from(["easy", "normal", "hard"]))
def test_no_line_is_said_twice_in_sixty_turns(scenario: Scenario, seed: int, difficulty: str) -> None:
    rng = random.Random(seed)
    appraisals = [random_appraisal(rng, scenario) for _ in range(60)]
    done = talk(scenario, appraisals, rule=Gentle(), seed=seed, difficulty=difficulty)[-1]
    spoken = lines(done)
    assert len(spoken) == 61 and max(Counter(spoken).values()) == 1 and all(spoken)


@pytest.mark.parametrize("appraisal", [Appraisal(), Appraisal(form=0), UNDERSTOOD, Appraisal(control=1)])
def test_the_same_reply_sixty_times_gets_sixty_answers(appraisal: Appraisal) -> None:
    for scenario in EVERY[::60]:
        spoken = lines(talk(scenario, [appraisal], rule=Gentle(), turns=60)[-1])
        assert len(set(spoken)) == len(spoken) == 61


@pytest.mark.parametrize(
    "reactions",
    [
        {},
        {"flat_mid": ("Hm.",)},
        {key: ("Well.",) for key in REACTIONS},
        {"flat_low": ("No.", "Yes."), "hurt": ()},
    ],
    ids=["none", "one", "one for all", "few"],
)
def test_somebody_of_few_words_never_repeats_a_line_either(reactions: dict[str, tuple[str, ...]]) -> None:
    scenario = few_words(EVERY[0], reactions, hints=())
    spoken = lines(talk(scenario, [Appraisal(), OPENED, Appraisal(form=0)], rule=Gentle(), turns=60)[-1])
    assert len(set(spoken)) == len(spoken) == 61 and all(line.strip() for line in spoken)


def test_no_authored_line_is_said_twice_while_there_are_others() -> None:
    for scenario in EVERY[::20]:
        rng = random.Random(scenario.id)
        done = talk(scenario, [random_appraisal(rng, scenario) for _ in range(12)], rule=Gentle())[-1]
        text = said(done)
        for item in (
            *scenario.situation.facts,
            *scenario.situation.feelings,
            *scenario.situation.constraints,
        ):
            assert text.count(item.text) <= 1, item.text
        assert all(text.count(hint) <= 1 for hint in scenario.hints)


def test_a_fact_that_was_said_before_is_not_said_again() -> None:
    fact = EVERY[0].situation.facts[1]
    earlier = ({"role": "user", "content": f"Well. {fact.text}"}, {"role": "assistant", "content": "Oh."})
    line = AuthoredSpeaker().speak([request(disclose=(fact,), messages=earlier)])[0]  # type: ignore[arg-type]
    assert line and fact.text not in line


# -- what has to be said ---------------------------------------------------------------------------------------


def beats_of(dialogues: Sequence[Dialogue], kind: str) -> list[tuple[Dialogue, str]]:
    """Return the (dialogue, what) of every beat of a kind."""
    found = [(d, beat.partition(":")) for d in dialogues for beat in d.state.beats]
    return [(d, what) for d, (name, _, what) in found if name == kind]


def test_a_user_asks_outright_once_for_each_claim() -> None:
    asked = 0
    for scenario in EVERY[::6]:
        dialogues = talk(scenario, [UNDERSTOOD, OPENED], rule=Gentle(), turns=24)
        claims = {claim.id: claim for claim in scenario.situation.claims}
        for dialogue, what in beats_of(dialogues, "ask"):
            assert any(line in dialogue.last_line for line in claims[what].asks)
        for claim in claims.values():
            count = sum(said(dialogues[-1]).count(line) for line in claim.asks)
            assert count == [what for _, what in beats_of(dialogues, "ask")].count(claim.id) <= 1
            asked += count
    assert asked >= 20


def test_a_user_who_pushes_back_does_so_once_in_their_own_words_and_others_never() -> None:
    honest = Appraisal(grounding=2, feeling=2, stance=2, touched=("c1", "f1"))
    pushed: Counter[bool] = Counter()
    for scenario in WITH_FALSE[::4]:
        dialogues = talk(scenario, [UNDERSTOOD, OPENED, honest], rule=Gentle(), turns=12)
        pushes = beats_of(dialogues, "push")
        claims = {claim.id: claim for claim in scenario.situation.claims}
        for dialogue, what in pushes:
            assert any(line in dialogue.last_line for line in claims[what].pushbacks)
            assert claims[what].truth != "true"
        assert max(Counter(what for _, what in pushes).values(), default=0) <= 1
        pushed[scenario.knobs.pushes_back] += len(pushes)
        if not scenario.knobs.pushes_back:
            text = said(dialogues[-1])
            assert not [line for claim in claims.values() for line in claim.pushbacks if line in text]
    assert pushed[True] >= 10 and pushed[False] == 0


def test_flattery_is_answered_by_reality_two_turns_later() -> None:
    heard = 0
    for scenario in WITH_FALSE[::8]:
        claim = next(c for c in scenario.situation.claims if c.truth in ("half", "false") and c.beats)
        state = UserState(disclosed=tuple(f.id for f in scenario.situation.facts), emotion=60, trust=60)
        start = User(Script([]), TableRule(), AuthoredSpeaker()).begin(
            [BeginRequest(scenario, max_turns=12)]
        )[0]
        start = dataclasses.replace(start, states=(state,))
        user = User(
            Script([Appraisal(stance=-2, touched=(claim.id,)), UNDERSTOOD]), Gentle(), AuthoredSpeaker()
        )
        dialogues = [start]
        for reply in ("0", "1", "1"):
            dialogues += user.respond(dialogues[-1:], [reply])
        spoken = [any(beat in d.last_line for beat in claim.beats) for d in dialogues]
        due = [f"debt:{claim.id}" in d.state.beats for d in dialogues]
        assert spoken == due == [False, False, False, True]
        heard += 1
    assert heard >= 8


def test_flattery_with_the_last_reply_is_answered_in_the_goodbye() -> None:
    for scenario in WITH_FALSE[::8]:
        claim = next(c for c in scenario.situation.claims if c.truth in ("half", "false") and c.beats)
        user = User(Script([Appraisal(stance=-2, touched=(claim.id,))]), TableRule(), AuthoredSpeaker())
        start = user.begin([BeginRequest(scenario, max_turns=1)])[0]
        told = tuple(fact.id for fact in scenario.situation.facts)
        done = user.respond([dataclasses.replace(start, states=(UserState(disclosed=told),))], ["0"])[0]
        assert done.outcome == "timeout" and any(beat in done.last_line for beat in claim.beats)


def test_who_is_missed_twice_in_a_row_gives_a_hint() -> None:
    hinted = 0
    for scenario in EVERY[::10]:
        dialogues = talk(scenario, [Appraisal(exploration=1)], rule=Gentle(), turns=10)
        for before, dialogue in itertools.pairwise(dialogues):
            new = [hint for hint in scenario.hints if hint in dialogue.last_line]
            assert len(new) <= ("hint" in dialogue.state.beats)
            assert not new or dialogue.state.misses >= 2
            unused = [hint for hint in scenario.hints if hint not in said(before)]
            assert not ("hint" in dialogue.state.beats and unused) or new
            hinted += len(new)
    assert hinted >= 30


def test_who_declines_does_so_once_and_tells_something_easier() -> None:
    declined = 0
    for scenario in EVERY[::10]:
        dialogues = talk(scenario, [UNDERSTOOD, OPENED], rule=Gentle(), turns=14)
        declines = beats_of(dialogues, "decline")
        assert len(declines) <= scenario.knobs.declines
        for dialogue, _ in declines:
            assert any(line in dialogue.last_line for line in scenario.speech.reactions["declines"])
            told = set(dialogue.state.disclosed) - set(dialogues[dialogue.turn - 1].state.disclosed)
            assert all(fact.layer == 1 for fact in scenario.situation.facts if fact.id in told)
            declined += 1
    assert declined >= 5


# -- what is told ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(EVERY), st.integers(0, 10**6))
def test_exactly_the_facts_that_were_disclosed_have_been_said(scenario: Scenario, seed: int) -> None:
    rng = random.Random(seed)
    appraisals = [random_appraisal(rng, scenario) for _ in range(10)]
    for dialogue in talk(scenario, appraisals, rule=Gentle(), seed=seed):
        text = said(dialogue)
        told = {fact.id for fact in scenario.situation.facts if fact.text in text}
        assert told == set(dialogue.state.disclosed)
        for feeling in scenario.situation.feelings:
            assert feeling.text not in text or not feeling.because or told & set(feeling.because)
        for boundary in scenario.situation.boundaries:
            assert (boundary.text in text) == (boundary.voiced_by is None or boundary.voiced_by in told)
        assert not any(
            attempt.text in text
            for attempt in scenario.situation.attempts
            if attempt.fact not in {None, *told}
        )


def test_goodbyes_tell_nothing_new() -> None:
    for outcome in ("success", "failure", "timeout", "closed"):
        line = AuthoredSpeaker().speak(
            [request(outcome=outcome, state=UserState(misses=3, beats=("hint",)))]
        )[0]
        texts = [item.text for item in EVERY[0].situation.items()] + list(EVERY[0].hints)
        assert line and not [text for text in texts if text in line]


def test_a_suggestion_is_answered_with_what_stands_against_it() -> None:
    for scenario in EVERY[::30]:
        line = AuthoredSpeaker().speak([request(scenario, appraisal=Appraisal(advice=1))])[0]
        assert scenario.situation.constraints[0].text in line


# -- reactions -------------------------------------------------------------------------------------------------


def after(
    emotion: int = 50, points: int = 0, *, terms: Sequence[str] = (), beats: tuple[str, ...] = ()
) -> dict[str, Any]:
    state = UserState(emotion=emotion, turn=1, disclosed=("f1",), beats=beats)
    return {"state": state, "change": EmotionChange(points, dict.fromkeys(terms, -1), state)}


TAKEN: list[tuple[dict[str, Any], str]] = [
    ({**after(30, 8)}, "moved_low"),
    ({**after(69, 20)}, "moved_mid"),
    ({**after(70, 8)}, "moved_high"),
    ({**after(39, 7)}, "eased_low"),
    ({**after(40, 1)}, "eased_mid"),
    ({**after(90, 1)}, "eased_high"),
    ({**after(30, 0)}, "flat_low"),
    ({**after(50, -3)}, "flat_mid"),
    ({**after(80, 0)}, "flat_high"),
    ({**after(30, -4)}, "missed_low"),
    ({**after(50, -4)}, "missed_mid"),
    ({**after(80, -4)}, "missed_mid"),
    ({**after(), "appraisal": Appraisal(control=3, invalidation=2)}, "clingy"),
    ({**after(), "appraisal": Appraisal(invalidation=1, control=2)}, "hurt"),
    ({**after(), "appraisal": Appraisal(form=0)}, "puzzled"),
    ({**after(), "appraisal": Appraisal(form=0, guard="copy")}, "echoed"),
    ({**after(), "appraisal": Appraisal(repetition=2)}, "echoed"),
    ({**after(), "appraisal": Appraisal(affirmation=-1)}, "inflated"),
    ({**after(terms=["control"]), "appraisal": Appraisal(control=2, advice=1)}, "pressed"),
    ({**after(terms=["control", "early_advice"]), "appraisal": Appraisal(control=1, advice=1)}, "early_advice"),
    ({**after(terms=["evasion"])}, "evaded"),
    ({**after(terms=["pleasing"])}, "agreed"),
    ({**after(terms=["agreement"])}, "agreed"),
    ({**after(beats=("held",))}, "held"),
    ({**after(beats=("kept",))}, "boundary_kept"),
    ({**after(points=-4, beats=("kept",))}, "missed_mid"),
    ({**after(), "appraisal": Appraisal(guard="crisis_check")}, "crisis_denial"),
    ({**after(), "outcome": "failure"}, "leave_failure"),
    ({**after(), "outcome": "success"}, "leave_success"),
    ({**after(), "outcome": "closed"}, "leave_time"),
    ({**after(20), "outcome": "timeout"}, "last_low"),
    ({**after(50), "outcome": "timeout"}, "last_mid"),
    ({**after(75), "outcome": "timeout"}, "last_high"),
]  # fmt: skip
"""What a speaker is told, and the reaction that fits."""


@pytest.mark.parametrize(("changes", "key"), TAKEN)
def test_the_reaction_fits_how_the_reply_was_taken(changes: dict[str, Any], key: str) -> None:
    assert key in REACTIONS and reaction_of(request(**changes)) == key
    line = AuthoredSpeaker().speak([request(**changes)])[0]
    assert any(line.startswith(reaction) for reaction in EVERY[0].speech.reactions[key])


@pytest.mark.parametrize("why", ["success", "time"])
def test_an_announced_leaving_is_a_goodbye(why: str) -> None:
    state = UserState(emotion=80, leaving=why, beats=(f"leave:{why}",))
    line = AuthoredSpeaker().speak([request(state=state)])[0]
    assert line in EVERY[0].speech.reactions[f"leave_{why}"]


def test_every_reaction_that_has_lines_is_one_that_comes_up() -> None:
    goodbyes = {"leave_success", "leave_time"}
    assert {key for _, key in TAKEN} | goodbyes | {"declines"} == set(REACTIONS)


def test_lines_follow_from_the_seed_alone() -> None:
    speaker = AuthoredSpeaker()
    requests = [request(scenario, seed=seed) for scenario in EVERY[:4] for seed in range(6)]
    together = speaker.speak(requests)
    assert together == [speaker.speak([one])[0] for one in requests]
    assert len({speaker.speak([request(seed=seed)])[0] for seed in range(40)}) > 5
    assert speaker.speak([]) == []
