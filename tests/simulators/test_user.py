"""The user as a composition: beginning, taking replies in batches, ending, faults. The perceiver is scripted."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import (
    BeginRequest,
    Dialogue,
    EmotionChange,
    Fault,
    PerceptionRequest,
    SpeakRequest,
    UserState,
    band,
)
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.errors import ConfigError, EngineError, TapeMiss
from empathy_gym.simulators.library.compiler import PARTS, library_hash, load_scenarios
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User, ending, with_format_failure

EVERY = [scenario for split in PARTS for scenario in load_scenarios(split)]
PERSON = next(scenario for scenario in EVERY if scenario.need == "deep_empathy")
PLAIN, HOOK = "", "control=3"
GOOD = "feeling=2 grounding=2 warmth=1 touched=f1"
FAULTS = ("simulator", "policy")


class Scripted:
    """Reads levels written out in the reply: ``"feeling=2 touched=f1,e1"``; ``"simulator"`` is such a fault."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal | Fault]:
        self.batches.append(len(items))
        return [self._read(item.reply) for item in items]

    def _read(self, reply: str) -> Appraisal | Fault:
        if reply in FAULTS:
            return Fault(reply, "it was asked for")  # type: ignore[arg-type]
        fields: dict[str, Any] = dict(pair.split("=") for pair in reply.split())
        touched = tuple(sorted(fields.pop("touched", "").split(","))) if "touched" in fields else ()
        guard = fields.pop("guard", None)
        return Appraisal(**{k: int(v) for k, v in fields.items()}, touched=touched, guard=guard)


class Mute:
    """A speaker that fails on some moods, or does whatever it is told to."""

    def __init__(self, says: Any) -> None:
        self.says = says

    def speak(self, items: Sequence[SpeakRequest]) -> Any:
        return self.says(items)


class Flat:
    """A rule by which nothing moves."""

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        return EmotionChange(0, {}, dataclasses.replace(state, turn=state.turn + 1))


@pytest.fixture
def user() -> User:
    return User(Scripted(), TableRule(), AuthoredSpeaker())


def begin(user: User, scenario: Scenario = PERSON, **options: Any) -> Dialogue:
    return user.begin([BeginRequest(scenario, **options)])[0]


def take(user: User, dialogue: Dialogue, *replies: str) -> Dialogue:
    for reply in replies:
        dialogue = user.respond([dialogue], [reply])[0]
    return dialogue


def with_boundary(**fields: Any) -> Scenario:
    """Return a user with one boundary more."""
    data = copy.deepcopy(PERSON.model_dump(exclude={"id"}))
    boundary = {"id": "b9", "text": "One thing before we start, I have a limit.", **fields}
    data["situation"]["boundaries"] = [boundary]
    return Scenario.model_validate(data)


# -- beginning -------------------------------------------------------------------------------------------------


def test_a_dialogue_begins_with_an_opening_and_the_first_free_fact() -> None:
    user = User(Scripted(), TableRule(), AuthoredSpeaker())
    for scenario in EVERY[::7]:
        dialogue = begin(user, scenario, seed=3)
        first = next(fact for fact in scenario.situation.facts if fact.layer == 1)
        assert [m["role"] for m in dialogue.messages] == ["user"]
        assert any(dialogue.last_line.startswith(f"{opening} {first.text}") for opening in scenario.openings)
        assert dialogue.state.disclosed == (first.id,) and dialogue.turn == 0 and not dialogue.ended
        untold = [fact.text for fact in scenario.situation.facts if fact.id != first.id]
        assert not [text for text in untold if text in dialogue.last_line]
    assert user.perceiver.batches == []  # type: ignore[attr-defined]


def test_a_limit_without_a_fact_is_stated_with_the_opening_and_one_with_a_fact_is_not(user) -> None:
    limit = with_boundary(kind="act", act="advice")
    assert begin(user, limit).last_line.endswith("One thing before we start, I have a limit.")
    first = limit.situation.facts[0].id
    assert "I have a limit" in begin(user, with_boundary(kind="act", act="advice", voiced_by=first)).last_line
    later = with_boundary(kind="act", act="advice", voiced_by=limit.situation.facts[-1].id)
    assert "I have a limit" not in begin(user, later).last_line


def test_the_opening_follows_from_the_seed_and_every_opening_comes_up(user) -> None:
    lines = [begin(user, seed=seed).last_line for seed in range(60)]
    assert lines == [begin(user, seed=seed).last_line for seed in range(60)]
    assert len(set(lines)) == len(PERSON.openings)


def test_a_dialogue_takes_its_settings_from_the_request(user) -> None:
    dialogue = begin(user, seed=5, difficulty="hard", max_turns=3, initial_emotion=30)
    assert (dialogue.seed, dialogue.difficulty, dialogue.max_turns, dialogue.emotion) == (5, "hard", 3, 30)
    assert dialogue.source.knobs.difficulty == "hard" and dialogue.scenario == PERSON.id
    assert begin(user).emotion == 40 and dialogue.scored_by == "rule" and dialogue.determinism == "exact"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_turns": 0}, "max_turns is 0"),
        ({"difficulty": "esay"}, "Did you mean 'easy'"),
        ({"initial_emotion": 101}, "initial_emotion is 101"),
        ({"initial_emotion": -1}, "initial_emotion is -1"),
        ({"initial_emotion": True}, "initial_emotion is True"),
        ({"initial_emotion": 50.0}, "initial_emotion is 50.0"),
    ],
)
def test_a_wrong_setting_is_refused(user, options, says) -> None:
    with pytest.raises(ConfigError, match=says):
        begin(user, **options)


# -- a reply ---------------------------------------------------------------------------------------------------


def test_a_reply_is_recorded_with_its_reading_its_terms_and_the_next_line(user) -> None:
    before = begin(user)
    after = take(user, before, GOOD)
    assert after.turn == 1 and len(after.states) == 2 and len(after.messages) == 3
    assert after.messages[1] == {"role": "assistant", "content": GOOD}
    assert after.messages[2]["role"] == "user" and after.last_line
    assert after.appraisals[0].feeling == 2
    assert sum(after.terms[0].values()) == after.emotion - before.emotion > 0
    assert before.turn == 0 and len(before.messages) == 1


def test_the_same_replies_give_the_same_dialogue_and_another_seed_other_words_only(user) -> None:
    replies = [GOOD, PLAIN, "exploration=2 grounding=2", "advice=2"]
    one, same, other = (take(user, begin(user, seed=s), *replies) for s in (1, 1, 2))
    assert one == same
    assert one.states == other.states and one.terms == other.terms
    # Not the opening alone follows the seed: every line of the user does.
    pairs = zip(one.messages[2::2], other.messages[2::2], strict=True)
    assert sum(a != b for a, b in pairs) >= 2


def test_the_perceiver_is_called_once_a_batch_and_not_at_all_for_none(user) -> None:
    dialogues = user.begin([BeginRequest(scenario) for scenario in EVERY[:5]])
    user.respond(dialogues, [GOOD] * 5)
    assert user.respond([], []) == [] and user.perceiver.batches == [5]


def test_neither_the_batch_nor_its_order_changes_anybody(user) -> None:
    starts = user.begin([BeginRequest(s, seed=i, difficulty="easy") for i, s in enumerate(EVERY[:8])])
    replies = [
        GOOD,
        PLAIN,
        HOOK,
        "policy",
        "simulator",
        "stance=-2 touched=c1",
        "advice=2",
        "guard=crisis_check",
    ]
    together = user.respond(starts, replies)
    alone = [user.respond([d], [r])[0] for d, r in zip(starts, replies, strict=True)]
    backwards = user.respond(starts[::-1], replies[::-1])[::-1]
    assert together == alone == backwards


def test_the_embedded_user_does_not_depend_on_the_batch_either() -> None:
    user = User(EmbeddedPerceiver(), TableRule(), AuthoredSpeaker())
    starts = user.begin([BeginRequest(s, seed=i) for i, s in enumerate(EVERY[:6])])
    replies = [
        "That sounds hard.",
        "",
        "What happened then?",
        "You should just talk to them.",
        "ok",
        "You did nothing wrong.",
    ]
    assert user.respond(starts, replies) == [
        user.respond([d], [r])[0] for d, r in zip(starts, replies, strict=True)
    ]


def test_a_dialogue_branches_and_its_branches_know_nothing_of_each_other(user) -> None:
    trunk = take(user, begin(user), GOOD)
    kept = copy.deepcopy(trunk)
    kind, rude = user.respond([trunk, trunk], [GOOD, "invalidation=2"])
    assert trunk == kept and kind.messages[:3] == rude.messages[:3] == trunk.messages
    assert kind.emotion > rude.emotion and take(user, trunk, GOOD) == kind


def test_a_dialogue_is_pickled_in_the_middle_and_goes_on_as_if_nothing_had_been(user) -> None:
    middle = take(user, begin(user, seed=9, difficulty="hard"), GOOD, "exploration=2")
    thawed = pickle.loads(pickle.dumps(middle))
    assert thawed == middle and thawed.source == middle.source
    assert take(user, thawed, GOOD, PLAIN) == take(user, middle, GOOD, PLAIN)


def test_the_perceiver_is_told_only_what_the_user_has_told(user) -> None:
    seen: list[PerceptionRequest] = []

    class Spy(Scripted):
        def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal | Fault]:
            seen.extend(items)
            return super().perceive(items)

    spying = User(Spy(), TableRule(), AuthoredSpeaker())
    for scenario in EVERY[::25]:
        dialogue = begin(spying, scenario)
        for reply in (GOOD, "exploration=2 grounding=2 touched=f2", GOOD):
            told = set(dialogue.state.disclosed)
            dialogue = take(spying, dialogue, reply)
            request = seen[-1]
            assert {fact.id for fact in request.facts} == told
            assert all(claim.voiced_by in {None, *told} for claim in request.claims)
            assert all(told & set(f.because) for f in request.feelings if f.because)
            assert {f.name for f in dataclasses.fields(request)}.isdisjoint(
                {"need", "emotion", "trust", "scenario"}
            )


# -- endings ---------------------------------------------------------------------------------------------------


@pytest.fixture
def content(user) -> Dialogue:
    """Return a user who has announced to go, because they need nothing more."""
    return take(user, begin(user, difficulty="easy", initial_emotion=100), PLAIN)


def test_success_grants_one_farewell_reply_in_which_letting_go_succeeds(user, content) -> None:
    assert content.emotion == 100 and content.outcome is None and content.state.leaving == "success"
    assert any(line in content.last_line for line in content.source.speech.reactions["leave_success"])
    done = take(user, content, "warmth=1")
    assert done.outcome == "success" and done.emotion == 100 and done.turn == 2
    assert done.last_line != content.last_line


@pytest.mark.parametrize("reply", [HOOK, "invalidation=2", "control=2"])
def test_holding_on_to_somebody_who_says_goodbye_is_a_failure(user, content, reply) -> None:
    done = take(user, content, reply)
    assert done.outcome == "failure" and done.emotion < 100


def test_success_at_the_cap_counts_at_once(user) -> None:
    done = take(user, begin(user, difficulty="easy", initial_emotion=100, max_turns=1), PLAIN)
    assert done.outcome == "success" and done.state.leaving is None


def test_a_farewell_at_the_cap_is_still_scored(user) -> None:
    start = take(user, begin(user, difficulty="easy", initial_emotion=100, max_turns=2), PLAIN)
    assert [take(user, start, reply).outcome for reply in (PLAIN, HOOK)] == ["success", "failure"]


def test_below_the_failure_line_the_user_goes_at_once(user) -> None:
    done = take(user, begin(user, initial_emotion=12), "invalidation=2")
    assert done.outcome == "failure" and done.emotion == 0 and done.turn == 1
    assert any(line in done.last_line for line in done.source.speech.reactions["leave_failure"])
    assert band(done.emotion) == "F"


def test_the_cap_ends_in_a_timeout_and_a_last_line(user) -> None:
    done = take(user, begin(user, max_turns=2, difficulty="easy"), PLAIN, PLAIN)
    assert done.outcome == "timeout" and done.turn == 2
    lasts = [line for mood in ("low", "mid", "high") for line in done.source.speech.reactions[f"last_{mood}"]]
    assert any(line in done.last_line for line in lasts)


@pytest.mark.parametrize(
    ("emotion", "outcome"), [(60, "closed"), (69, "closed"), (70, "success"), (90, "success")]
)
def test_a_user_who_has_to_go_announces_it_and_grants_one_reply(user, emotion, outcome) -> None:
    scenario = with_boundary(kind="time", after=2)
    talk = take(user, begin(user, scenario, difficulty="easy", initial_emotion=emotion), PLAIN)
    assert talk.state.leaving is None
    talk = take(user, talk, PLAIN)
    assert talk.state.leaving == "time" and talk.outcome is None
    assert any(line in talk.last_line for line in scenario.speech.reactions["leave_time"])
    assert take(user, talk, PLAIN).outcome == outcome
    assert take(user, talk, HOOK).outcome == "failure"


def test_harm_ends_the_talk_with_a_flag_and_nothing_left(user) -> None:
    done = take(user, begin(user), GOOD, "feeling=2 guard=policy_harm")
    assert (done.outcome, done.safety, done.emotion) == ("failure", "policy_harm", 0)
    assert done.terms[-1] == {"harm": -done.states[-2].emotion}


def test_harm_ends_the_talk_whatever_another_rule_makes_of_it() -> None:
    user = User(Scripted(), Flat(), AuthoredSpeaker())
    done = take(user, begin(user), "guard=policy_harm")
    assert (done.outcome, done.safety) == ("failure", "policy_harm")


def test_nothing_is_said_to_somebody_who_has_gone(user) -> None:
    done = take(user, begin(user, initial_emotion=12), "invalidation=2")
    with pytest.raises(ConfigError, match=r"has ended \(failure\)"):
        take(user, done, GOOD)


@pytest.mark.parametrize("outcome", ["success", "failure", "timeout", None])
def test_an_ending_follows_from_the_two_states_and_the_cap(outcome) -> None:
    before, emotion, last = (
        UserState(emotion=50),
        {"success": 100, "failure": 9}.get(outcome, 60),
        outcome is not None,
    )
    assert ending(before, UserState(emotion=emotion), last) == outcome


# -- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "emotion", "truncated"), [("simulator", 48, True), ("policy", 0, False)])
def test_a_reply_that_cannot_be_read_ends_the_talk_and_is_not_heard(user, kind, emotion, truncated) -> None:
    before = begin(user, initial_emotion=48)
    done = take(user, before, kind)
    assert (done.outcome, done.emotion, done.truncated) == ("fault", emotion, truncated)
    assert done.faults == (Fault(kind, "it was asked for", 1),) and done.sim_fault == "it was asked for"
    assert done.messages == before.messages and done.turn == 1 and done.appraisals == () and done.terms == ()


def test_a_fault_of_one_is_nobody_elses(user) -> None:
    starts = user.begin([BeginRequest(s) for s in EVERY[:3]])
    one, two, three = user.respond(starts, [GOOD, "policy", GOOD])
    assert one.outcome is three.outcome is None and two.outcome == "fault"
    assert [one, three] == user.respond([starts[0], starts[2]], [GOOD, GOOD])


def test_a_line_that_cannot_be_made_takes_the_whole_reply_back() -> None:
    def fails_for_one(items: Sequence[SpeakRequest]) -> list[str | Fault]:
        return [Fault("simulator", "no words") if i.appraisal.warmth else "Hm." for i in items]

    user = User(Scripted(), TableRule(), Mute(fails_for_one))
    before = begin(user)
    failed, fine = user.respond([before, before], ["warmth=1", GOOD.replace("warmth=1", "")])
    assert failed.outcome == "fault" and failed.truncated and failed.state == before.state
    assert failed.messages == before.messages and failed.terms == ()
    assert fine.outcome is None and fine.last_line == "Hm."


@pytest.mark.parametrize("role", ["perceiver", "speaker"])
def test_an_engine_that_fails_is_a_fault_of_every_dialogue_of_the_batch(role) -> None:
    def fail(items: Any) -> Any:
        raise EngineError("the server is gone")

    perceiver: Any = Scripted()
    speaker: Any = AuthoredSpeaker()
    (perceiver if role == "perceiver" else speaker).__dict__.update({"perceive": fail, "speak": fail})
    user = User(perceiver, TableRule(), speaker)
    for done in user.respond(user.begin([BeginRequest(s) for s in EVERY[:3]]), [GOOD] * 3):
        assert done.truncated and done.sim_fault == f"{role}: the server is gone" and done.emotion == 40


@pytest.mark.parametrize("error", [TapeMiss("no such request"), ValueError("a bug")])
def test_any_other_error_is_not_hidden(error) -> None:
    def fail(items: Any) -> Any:
        raise error

    user = User(Scripted(), TableRule(), Mute(fail))
    with pytest.raises(type(error)):
        take(user, begin(user), GOOD)


def test_a_part_that_returns_too_few_or_too_many_is_a_mistake_of_its_author() -> None:
    for says in (lambda items: [], lambda items: ["Hm."] * (len(items) + 1)):
        user = User(Scripted(), TableRule(), Mute(says))
        with pytest.raises(ConfigError, match=r"The speaker got 1 requests and returned \d results"):
            take(user, begin(user), GOOD)


def test_a_part_that_returns_something_else_is_a_mistake_of_its_author() -> None:
    class Dicts(Scripted):
        def perceive(self, items: Sequence[PerceptionRequest]) -> Any:
            return [{"feeling": 2} for _ in items]

    user = User(Dicts(), TableRule(), AuthoredSpeaker())
    with pytest.raises(
        ConfigError, match="The perceiver returned a dict; it must return an Appraisal or a Fault"
    ):
        take(user, begin(user), GOOD)
    user = User(Scripted(), TableRule(), Mute(lambda items: [None for _ in items]))
    with pytest.raises(ConfigError, match="The speaker returned a NoneType; it must return a str or a Fault"):
        take(user, begin(user), GOOD)


def test_a_reply_for_each_dialogue_is_asked_for(user) -> None:
    with pytest.raises(ConfigError, match="Got 1 dialogues and 2 replies"):
        user.respond([begin(user)], [GOOD, GOOD])


def test_a_malformed_action_ends_at_nothing_and_is_not_heard(user) -> None:
    before = take(user, begin(user), GOOD)
    done = with_format_failure(before)
    assert (done.outcome, done.emotion, done.turn, done.truncated) == ("format", 0, 2, False)
    assert done.messages == before.messages


# -- parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((object(), TableRule(), AuthoredSpeaker()), "no method 'perceive'"),
        ((Scripted(), object(), AuthoredSpeaker()), "no method 'apply'"),
        ((Scripted(), TableRule(), object()), "no method 'speak'"),
    ],
)
def test_a_part_without_its_method_is_refused(parts, says) -> None:
    with pytest.raises(ConfigError, match=says):
        User(*parts)


def test_another_rule_is_scored_by_itself() -> None:
    user = User(Scripted(), Flat(), AuthoredSpeaker())
    assert user.scored_by == "custom" and take(user, begin(user), GOOD).scored_by == "custom"
    assert user.fingerprint.count(";") == 3 and "rule=" in user.fingerprint and "Flat@" in user.fingerprint


class Steps:
    """A rule that moves by a number, and says what it likes of the state."""

    def __init__(self, change: Any, emotion: Any = None) -> None:
        self.change, self.emotion = change, emotion

    def apply(self, scenario: Scenario, state: UserState, appraisal: Appraisal, last: bool) -> EmotionChange:
        emotion = state.emotion + self.change if self.emotion is None else self.emotion
        after = dataclasses.replace(state, turn=state.turn + 1, emotion=emotion)
        return EmotionChange(self.change, {"mine": self.change}, after)


@pytest.mark.parametrize(
    ("change", "emotion", "terms"), [(130, 100, {"mine": 130, "clamp": -70}), (-50, 0, None)]
)
def test_an_emotion_stays_in_its_bounds_whatever_the_rule(change, emotion, terms) -> None:
    user = User(Scripted(), Steps(change), AuthoredSpeaker())
    before = begin(user, initial_emotion=40)
    after = take(user, before, GOOD)
    assert after.emotion == emotion and after.terms[-1] == (terms or {"mine": -50, "clamp": 10})
    assert sum(after.terms[-1].values()) == emotion - before.emotion


def test_a_rule_that_says_only_the_change_moves_the_emotion() -> None:
    user = User(Scripted(), Steps(7, emotion=40), AuthoredSpeaker())
    assert take(user, begin(user, initial_emotion=40), GOOD).emotion == 47


def test_who_is_well_says_so_and_is_let_go_whatever_the_rule() -> None:
    user = User(Scripted(), Steps(30), AuthoredSpeaker())
    well = take(user, begin(user, initial_emotion=80), GOOD)
    assert (well.state.leaving, well.state.beats, well.outcome) == ("success", ("leave:success",), None)
    assert take(user, well, GOOD).outcome == "success"
    assert take(user, begin(user, initial_emotion=80, max_turns=1), GOOD).outcome == "success"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Steps(0.5), "The rule Steps returned the change 0.5, a float; it must be an integer"),
        (Steps(True), "a bool; it must be an integer"),
        (Steps(1, emotion=40.0), "the emotion 40.0, a float"),
        (Steps(5, emotion=12), "the state's emotion must be 45"),
    ],
)
def test_a_rule_that_contradicts_itself_is_named(rule, says) -> None:
    user = User(Scripted(), rule, AuthoredSpeaker())
    with pytest.raises(ConfigError, match=says):
        take(user, begin(user, initial_emotion=40), GOOD)


def test_the_fingerprint_names_the_three_parts_the_library_and_their_contents() -> None:
    table = copy.deepcopy(dict(TableRule().table))
    table["debt"] += 1
    rules = (TableRule(), TableRule(), TableRule(table))
    one, same, other = (User(EmbeddedPerceiver(), rule, AuthoredSpeaker()) for rule in rules)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    parts = dict(part.split("=") for part in one.fingerprint.split(";"))
    assert list(parts) == ["perceiver", "rule", "speaker", "library"]
    assert library_hash().startswith(parts["library"]) and len(parts["library"]) == 12
