"""Policies: loading, what they are given, and that the blind ones are blind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest

from empathy_gym.agents import Conversation, Reply, as_policy, load_policy
from empathy_gym.agents.policies import SCRIPTED, make_scripted
from empathy_gym.agents.policies.blind import POLICIES as BLIND
from empathy_gym.agents.policies.graded import GRADED, SLIPPING, GradedPolicy, SlippingPolicy, drawn
from empathy_gym.agents.policies.oracle import OraclePolicy
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import BeginRequest, PerceptionRequest
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.listening.wording import clauses, content_words, names, swapped


def conversation(text: str, turn: int = 0, seed: int = 5, key: str = "k") -> Conversation:
    return Conversation(key=key, messages=[{"role": "user", "content": text}], turn=turn, seed=seed)


UNPRIVILEGED = [name for name in SCRIPTED if not getattr(make_scripted(name), "privileged", False)]
LINE = "I stayed till nine with the boxes. Ruth said nothing about it, and I felt small."


@pytest.mark.parametrize("name", UNPRIVILEGED)
def test_a_scripted_policy_answers_every_conversation_by_itself(name: str) -> None:
    policy = make_scripted(name)
    asked = [conversation(LINE, seed=s, turn=t) for s in (1, 2) for t in (0, 3)]
    together = list(policy.act(asked))  # type: ignore[call-arg]
    alone = [policy.act([one])[0] for one in reversed(asked)][::-1]  # type: ignore[call-arg]
    assert together == alone
    assert all(isinstance(reply, str) for reply in together)


@pytest.mark.parametrize("name", UNPRIVILEGED)
@pytest.mark.parametrize("text", ["", "...", "?!", "你好", "\ud800", "a" * 5000, "I I I I"])
def test_no_scripted_policy_fails_on_odd_user_lines(name: str, text: str) -> None:
    for turn in range(10):
        assert isinstance(make_scripted(name).act([conversation(text, turn=turn)])[0], str)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["flattery", "agreement", "apology", "one_line", "questions", "goodbye"])
def test_a_blind_policy_does_not_read(name: str) -> None:
    policy = BLIND[name]()
    assert policy.act([conversation(LINE)]) == policy.act([conversation("Something else entirely.")])


def test_a_higher_grade_adds_replies_of_the_oracle_and_takes_none_away() -> None:
    turns = [conversation(LINE, turn=t, seed=s) for t in range(8) for s in range(40)]
    shares = [[drawn(c, percent, "graded") for c in turns] for percent in (0, 25, 50, 75, 100)]
    assert [sum(falls) / len(turns) for falls in shares] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.06)
    assert all(
        not less or more for low, high in pairwise(shares) for less, more in zip(low, high, strict=True)
    )


def test_a_graded_policy_says_what_the_oracle_or_the_listener_would() -> None:
    from empathy_gym.simulators.config import build_user

    graded, listener = GradedPolicy(50), make_scripted("listener")
    scenario = load_scenarios("train")[0]
    dialogue = build_user("embedded", None).begin([BeginRequest(scenario, seed=1)])[0]
    asked = [conversation(dialogue.last_line, seed=seed) for seed in range(12)]
    oracle = [graded.oracle.act([c], [dialogue])[0] for c in asked]
    heard = list(listener.act(asked))  # type: ignore[call-arg]
    draws = [drawn(c, 50, "graded") for c in asked]
    expected = [o if d else h for o, h, d in zip(oracle, heard, draws, strict=True)]
    assert graded.act(asked, [dialogue] * len(asked)) == expected
    assert set(draws) == {False, True}


def test_a_slipping_listener_slips_in_its_share_of_turns_and_listens_in_the_rest() -> None:
    turns = [conversation(LINE, turn=t, seed=s) for t in range(8) for s in range(40)]
    heard = make_scripted("listener").act(turns)  # type: ignore[call-arg]
    for percent in SLIPPING:
        said = SlippingPolicy(percent).act(turns)
        slips = [reply != listening for reply, listening in zip(said, heard, strict=True)]
        assert sum(slips) / len(turns) == pytest.approx(percent / 100, abs=0.06)
        assert len({reply for reply, slipped in zip(said, slips, strict=True) if slipped}) > 5


def test_scripted_replies_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import json, sys\n"
        "from empathy_gym.agents import Conversation\n"
        "from empathy_gym.agents.policies import make_scripted\n"
        f"line = {LINE!r}\n"
        "said = [{'role': 'user', 'content': line}]\n"
        "c = [Conversation(key=str(t), messages=said, turn=t, seed=9) for t in range(4)]\n"
        f"print(json.dumps({{n: make_scripted(n).act(c) for n in {UNPRIVILEGED!r}}}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(outputs) == 1
    assert json.loads(outputs.pop())


def test_only_the_oracle_and_what_is_mixed_with_it_are_privileged() -> None:
    assert set(SCRIPTED) - set(UNPRIVILEGED) == {"oracle", *(f"graded-{percent}" for percent in GRADED)}


def test_the_oracle_is_privileged_and_speaks_lines_of_the_situation() -> None:
    from empathy_gym.simulators.config import build_user

    oracle = make_scripted("oracle")
    assert oracle.privileged is True  # type: ignore[union-attr]
    scenario = load_scenarios("train")[0]
    dialogue = build_user("embedded", None).begin([BeginRequest(scenario, seed=1)])[0]
    reply = oracle.act([conversation(dialogue.last_line)], [dialogue])[0]  # type: ignore[call-arg]
    authored = [line for item in scenario.situation.items() for line in item.say]
    assert any(line in str(reply) for line in authored)


class Counting(EmbeddedPerceiver):
    """Counts what it reads."""

    read = 0

    def perceive(self, items: Sequence[PerceptionRequest]) -> list[Appraisal]:
        self.read += len(items)
        return super().perceive(items)


def test_what_the_oracle_keeps_of_looking_ahead_saves_reading_and_changes_no_reply() -> None:
    setting = ChatSetting.make({"scenarios": "test"})
    dialogues = setting.begin([BeginRequest(scenario, 3) for scenario in setting.scenarios[:2]])
    keeping, forgetful = Counting(), Counting()
    oracle = OraclePolicy(keeping)
    for turn in range(2):
        asked = [conversation(dialogue.last_line, turn) for dialogue in dialogues]
        replies = oracle.act(asked, dialogues)
        assert replies == OraclePolicy(forgetful).act(asked, dialogues)
        dialogues = setting.user.respond(dialogues, replies)
    assert keeping.read < forgetful.read


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("scripted:listner", "Did you mean 'listener'"),
        ("listener", "Did you mean 'scripted:listener'"),
        ("no_such_module:attr", "no module"),
        ("json:nothing", "has no attribute"),
        ("sb3:x.zip", "There is no file"),
        ("openai:gpt", "needs a model and a URL"),
        ("", "Unknown policy"),
        (None, "The policy is a NoneType; it must be a name"),
    ],
)
def test_a_wrong_policy_is_named_with_a_cure(spec: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_policy(spec)


def test_a_function_of_messages_is_a_policy() -> None:
    policy = as_policy(lambda messages: messages[-1]["content"].upper())
    assert policy.act([conversation("hello")]) == ["HELLO"]  # type: ignore[call-arg]


def test_an_object_or_a_factory_is_a_policy_and_anything_else_is_not() -> None:
    class Own:
        def act(self, conversations: list[Conversation]) -> list[Reply]:
            return [Reply("hm") for _ in conversations]

    for candidate in (Own(), Own, lambda: Own()):
        assert as_policy(candidate).act([conversation("x")]) == [Reply("hm")]  # type: ignore[call-arg]
    for wrong in (3, "text", lambda a, b: a, dict):
        with pytest.raises(ConfigError):
            as_policy(wrong)


def test_module_attr_names_a_policy() -> None:
    assert load_policy("empathy_gym.agents.policies.listener:ListenerPolicy").act([conversation(LINE)])  # type: ignore[call-arg]


def test_pronouns_are_swapped_word_by_word() -> None:
    assert swapped("I was told my talk isn't mine") == "you were told your talk isn't yours"


def test_names_and_content_words_are_found() -> None:
    assert names("So Ruth told Daniel's boss. Then she left.") == ["Ruth", "Daniel"]
    assert content_words("I burnt the rice again, and Ruth laughed.") == ["burnt", "rice", "Ruth", "laughed"]


def test_clauses_are_short_and_in_the_second_person() -> None:
    found = clauses("I stayed till nine with the boxes, and nobody said a word to me.")
    assert "you stayed till nine with the boxes" in [c.lower() for c in found]
    assert all(3 <= len(c.split()) <= 8 for c in found)
