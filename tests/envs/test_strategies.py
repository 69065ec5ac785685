"""The realiser: natural, varied, honest words from what was heard, and from nothing else."""

from __future__ import annotations

import re

import pytest

from empathy_gym import ConfigError
from empathy_gym.envs.strategies import CLOSE, INTENSITIES, STRATEGIES, realise, strategy_phrases
from empathy_gym.envs.strategy import speech_seed
from empathy_gym.simulators.config import build_user
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.library.compiler import bundled_situations, load_scenarios
from empathy_gym.simulators.listening.hearing import phrases

SAID = [
    "My sister Ruth sold our piano on Monday. I found out from the neighbour, and I stood in the empty room for an hour.",
    "I don't know. She says I never played it. I practised every week since March, and I told her so.",
    "Maybe. Nobody asked me. I'd rather not go into the money.",
]
STRANGER = [
    {"role": "user", "content": SAID[0]},
    {"role": "assistant", "content": "I see."},
    {"role": "user", "content": SAID[1]},
]
MIXED = ["question", "reflection", "affirmation", "information", "restatement", "fair_reading", "suggestion"]


@pytest.fixture(scope="module")
def played():
    """Dialogues with users of each split, led by mixed strategies; every stage of them."""
    user = build_user("embedded")
    stages = []
    for split in ("train", "test"):
        for at, scenario in enumerate(load_scenarios(split)[::97]):
            dialogue = user.begin([BeginRequest(scenario, seed=at)])[0]
            for turn in range(8):
                stages.append(dialogue)
                name = MIXED[(at + 3 * turn) % len(MIXED)]
                reply = realise(name, dialogue.messages, speech_seed(dialogue))
                dialogue = user.respond([dialogue], [reply])[0]
                if dialogue.ended:
                    break
    return stages


def test_the_strategies_of_esconv_come_first():
    assert STRATEGIES[:8] == (
        "question", "restatement", "reflection", "self_disclosure", "affirmation", "suggestion", "information", "other",
    )  # fmt: skip
    assert STRATEGIES[8:] == ("fair_reading", "boundary", "close") and CLOSE == 10


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("intensity", [None, 0, 1, 2])
def test_a_reply_follows_from_messages_and_seed_alone(played, strategy, intensity):
    for dialogue in played[::5]:
        plain = [{"role": m["role"], "content": m["content"]} for m in dialogue.messages]
        said = realise(strategy, dialogue.messages, 7, intensity)
        assert said == realise(STRATEGIES.index(strategy), plain, 7, intensity)
        assert said and said == said.strip() and "{" not in said and "  " not in said


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_user_line_is_too_odd_to_answer(strategy):
    for text in ("", "...", "?!", "你好", "\ud800", "a" * 5000, "I I I I", "{q} {0} {", "%s"):
        for intensity in (None, *range(INTENSITIES)):
            assert realise(strategy, [{"role": "user", "content": text}], 3, intensity)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_strategy_again_is_said_in_other_words(played, strategy):
    user = build_user("embedded")
    openings = [d for d in played if d.turn == 0][::3]
    for dialogue in openings:
        said = []
        for _ in range(6):
            reply = realise(strategy, dialogue.messages, speech_seed(dialogue))
            assert reply not in said
            said.append(reply)
            dialogue = user.respond([dialogue], [reply])[0]
            if dialogue.ended:
                break
    messages = STRANGER[:1]
    for line in [*SAID[1:], *SAID]:
        reply = realise(strategy, messages, 1)
        assert reply not in [m["content"] for m in messages]
        messages = [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": line}]


def test_a_seed_varies_the_words():
    for strategy in ("other", "close", "self_disclosure", "boundary"):
        assert len({realise(strategy, STRANGER, seed) for seed in range(12)}) > 2


def test_a_question_ends_with_its_one_question(played):
    for dialogue in played:
        for intensity in (0, 1, 2):
            said = realise("question", dialogue.messages, 0, intensity)
            assert said.endswith("?")
            book = [line for s in bundled_situations() for t in s.situation.topics for line in t.say]
            asked = [line for line in book if line in said]
            assert said.count("?") == (max(line.count("?") for line in asked) if asked else 1)


def test_only_a_question_asks(played):
    for strategy in ("reflection", "self_disclosure", "boundary", "close", "other"):
        assert not any(realise(strategy, d.messages).endswith("?") for d in played)


def test_more_intensity_puts_more_before_the_same_words(played):
    for dialogue in played[::3]:
        for strategy in ("question", "self_disclosure", "affirmation", "suggestion"):
            brief, fuller, fullest = (realise(strategy, dialogue.messages, 5, i) for i in range(3))
            if brief not in [m["content"] for m in dialogue.messages] and not dialogue.ended:
                assert len(brief) <= len(fuller) <= len(fullest)


def test_what_is_said_rests_on_what_was_told(played):
    """No fact, and no line that rests on facts, is spoken before a fact it rests on was told."""
    for dialogue in played:
        situation, told = dialogue.source.situation, set(dialogue.state.disclosed)
        untold = [line for fact in situation.facts if fact.id not in told for line in fact.say]
        untold += [
            line for s in situation.strengths if s.evidence and told.isdisjoint(s.evidence) for line in s.say
        ]
        untold += [
            line for p in situation.perspectives if p.because and told.isdisjoint(p.because) for line in p.say
        ]
        untold += [
            line
            for c in situation.claims
            if c.evidence and not told.issuperset(c.evidence)
            for line in c.fair_readings
        ]
        for strategy in STRATEGIES:
            said = realise(strategy, dialogue.messages, 0, 2)
            assert not [line for line in untold if line in said], strategy


def test_no_reply_claims_to_be_human_or_an_invented_past():
    lines = " ".join(
        str(text)
        for name in ("self_disclosure", "comfort", "other", "close")
        for text in strategy_phrases()[name]
    ).lower()
    past = r"happened to me|my own (family|mother|sister|friend|past)|when i was|i remember when|years ago"
    assert not re.search(rf"\b(human|person|{past})\b", lines)


def test_what_should_be_declined_is_declined_by_boundary():
    for kind, line in (
        ("human", "Are you a real person?"),
        ("availability", "Promise me you'll always be there."),
    ):
        said = realise("boundary", [{"role": "user", "content": f"My week was long. {line}"}])
        assert any(said.startswith(no) for no in phrases()["declines"][kind])


def test_a_stated_limit_is_named_by_boundary():
    scenario = next(
        s
        for s in load_scenarios("train")
        if any(b.kind == "topic" and not b.voiced_by for b in s.situation.boundaries)
    )
    dialogue = build_user("embedded").begin([BeginRequest(scenario, seed=1)])[0]
    said = realise("boundary", dialogue.messages)
    stems = [option.partition("{a}")[0] for option in strategy_phrases()["boundary"]["topic"]]
    assert any(stem in said for stem in stems)


def test_small_talk_at_a_goodbye_lets_go():
    messages = [
        *STRANGER,
        {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "I have to go now, bye."},
    ]
    assert realise("other", messages) in strategy_phrases()["letting_go"]


@pytest.mark.parametrize("strategy", ["questoin", 11, -1, "Question"])
def test_an_unknown_strategy_is_refused(strategy):
    with pytest.raises(ConfigError, match="strategy"):
        realise(strategy, STRANGER)


def test_a_reply_to_a_stranger_says_nothing_twice():
    for strategy in STRATEGIES:
        for intensity in (None, *range(INTENSITIES)):
            for seed in range(10):
                said = realise(strategy, STRANGER, seed, intensity)
                for clause in (
                    "the neighbour",
                    "in the empty room",
                    "practised every week",
                    "told her so",
                    "she says",
                ):
                    assert said.lower().count(clause) <= 1, said
