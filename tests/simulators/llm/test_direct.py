"""SAGE's protocol: what the model is shown, how its number is taken, and when it is given up."""

from __future__ import annotations

import json

import pytest

from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.engines.base import ChatReply
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.llm.direct import CHOICES, DirectJudge, DirectUser
from empathy_gym.simulators.llm.perceiver import NEUTRAL


def change(value, analysis="It lands."):
    return json.dumps({"analysis": analysis, "change": value})


@pytest.fixture
def user(watching):
    return lambda answer, **kwargs: DirectUser(DirectJudge(watching(answer), **kwargs), AuthoredSpeaker())


@pytest.fixture
def start(scenario):
    return lambda user, n=1, **kwargs: user.begin(
        [BeginRequest(scenario, seed=i, **kwargs) for i in range(n)]
    )


@pytest.mark.parametrize(("said", "moved"), [(5, 5), (-10, -10), (10, 10), (99, 10), (-99, -10), (0, 0)])
def test_the_emotion_moves_by_the_models_number_clamped(said, moved, user, start):
    user = user(lambda _: change(said))
    after = user.respond(start(user), ["Go on."])[0]
    assert after.emotion == 40 + moved
    assert after.terms[-1] == ({"model": moved} if moved else {})
    assert (after.scored_by, after.determinism) == ("model", "rule-only")
    assert after.appraisals[-1].evidence["analysis"] == "It lands."


@pytest.mark.parametrize(("initial", "said", "emotion"), [(4, -10, 0), (96, 10, 100)])
def test_the_emotion_stays_within_its_bounds_by_a_named_term(initial, said, emotion, user, start):
    user = user(lambda _: change(said))
    after = user.respond(start(user, initial_emotion=initial), ["Go on."])[0]
    assert after.emotion == emotion
    assert after.terms[-1] == {"model": said, "clamp": emotion - initial - said}


def test_success_grants_one_farewell_and_failure_ends_at_once(user, start):
    rising = user(lambda _: change(10))
    dialogue = rising.respond(start(rising, initial_emotion=95), ["Go on."])[0]
    assert dialogue.state.leaving == "success" and not dialogue.ended
    assert rising.respond([dialogue], ["Take care."])[0].outcome == "success"
    falling = user(lambda _: change(-10))
    assert falling.respond(start(falling, initial_emotion=15), ["So what."])[0].outcome == "failure"


def test_the_model_sees_need_and_mood_as_sages_does(user, start, scenario, text_of):
    user = user(lambda _: change(1))
    user.respond(start(user, initial_emotion=57), ["Go on."])
    text = text_of(user.judge.engine.requests[0])
    assert ": 57" in text and scenario.situation.facts[-1].text in text


@pytest.mark.parametrize(
    "broken", ["", "+5", "Change: +5", change("5"), change(2.5), change(True), "[5]", change(None)]
)
def test_an_answer_without_an_integer_is_asked_for_again_a_bounded_number_of_times(broken, user, start):
    user = user(lambda _: broken)
    after = user.respond(start(user), ["Go on."])[0]
    assert after.outcome == "fault" and after.truncated and after.emotion == 40
    assert len(user.judge.engine.requests) == 6


def test_a_reply_that_alone_cannot_be_judged_is_the_policys_fault(user, start):
    def answer(request):
        neutral = NEUTRAL["en"] in request.messages[1]["content"].rpartition(" begins ===\n")[2]
        return change(1) if neutral else ChatReply(error="too long", error_kind="context")

    user = user(answer)
    after = user.respond(start(user), ["x" * 4000])[0]
    assert after.outcome == "fault" and not after.truncated and after.emotion == 0


def test_one_engine_call_judges_a_batch(user, start):
    user = user(lambda _: change(2))
    assert {d.emotion for d in user.respond(start(user, 5), ["Go on."] * 5)} == {42}
    assert user.judge.engine.batches == [5]


def test_a_choice_of_five_is_taken_as_it_is(user, start):
    user = user(lambda _: "-5", choices=True)
    assert user.respond(start(user), ["Go on."])[0].emotion == 35
    assert user.judge.engine.requests[0].choices == CHOICES


def test_a_judge_alone_is_no_perceiver(watching):
    with pytest.raises(ConfigError, match="DirectUser"):
        DirectJudge(watching(lambda _: "")).perceive([])


def test_ended_dialogues_are_refused_before_anything_is_asked(user, start):
    falling = user(lambda _: change(-10))
    ended = falling.respond(start(falling, initial_emotion=12), ["So what."])
    asked = len(falling.judge.engine.requests)
    with pytest.raises(ConfigError, match="ended"):
        falling.respond(ended, ["again"])
    assert len(falling.judge.engine.requests) == asked
