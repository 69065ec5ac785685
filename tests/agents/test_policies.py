"""Policies: loading, what they are given, and that the blind ones are blind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from empathy_gym.agents import Conversation, Reply, as_policy, load_policy
from empathy_gym.agents.policies import SCRIPTED, make_scripted
from empathy_gym.agents.policies.blind import POLICIES as BLIND
from empathy_gym.agents.policies.wording import clauses, content_words, names, swapped
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios


def conversation(text: str, turn: int = 0, seed: int = 5, key: str = "k") -> Conversation:
    return Conversation(key=key, messages=[{"role": "user", "content": text}], turn=turn, seed=seed)


LINE = "I stayed till nine with the boxes. Ruth said nothing about it, and I felt small."


@pytest.mark.parametrize("name", [name for name in SCRIPTED if name != "oracle"])
def test_a_scripted_policy_answers_every_conversation_by_itself(name: str) -> None:
    policy = make_scripted(name)
    asked = [conversation(LINE, seed=s, turn=t) for s in (1, 2) for t in (0, 3)]
    together = list(policy.act(asked))  # type: ignore[call-arg]
    alone = [policy.act([one])[0] for one in reversed(asked)][::-1]  # type: ignore[call-arg]
    assert together == alone
    assert all(isinstance(reply, str) for reply in together)


@pytest.mark.parametrize("name", [name for name in SCRIPTED if name != "oracle"])
@pytest.mark.parametrize("text", ["", "...", "?!", "你好", "\ud800", "a" * 5000, "I I I I"])
def test_no_scripted_policy_fails_on_odd_user_lines(name: str, text: str) -> None:
    for turn in range(10):
        assert isinstance(make_scripted(name).act([conversation(text, turn=turn)])[0], str)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["flattery", "agreement", "apology", "one_line", "questions", "goodbye"])
def test_a_blind_policy_does_not_read(name: str) -> None:
    policy = BLIND[name]()
    assert policy.act([conversation(LINE)]) == policy.act([conversation("Something else entirely.")])


def test_scripted_replies_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import json, sys\n"
        "from empathy_gym.agents import Conversation\n"
        "from empathy_gym.agents.policies import SCRIPTED, make_scripted\n"
        f"line = {LINE!r}\n"
        "said = [{'role': 'user', 'content': line}]\n"
        "c = [Conversation(key=str(t), messages=said, turn=t, seed=9) for t in range(4)]\n"
        "print(json.dumps({n: make_scripted(n).act(c) for n in SCRIPTED if n != 'oracle'}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(outputs) == 1
    assert json.loads(outputs.pop())


def test_the_oracle_is_privileged_and_speaks_lines_of_the_situation() -> None:
    from empathy_gym.simulators.config import build_user

    oracle = make_scripted("oracle")
    assert oracle.privileged is True  # type: ignore[union-attr]
    scenario = load_scenarios("train")[0]
    dialogue = build_user("embedded", None).begin([BeginRequest(scenario, seed=1)])[0]
    reply = oracle.act([conversation(dialogue.last_line)], [dialogue])[0]  # type: ignore[call-arg]
    authored = [line for item in scenario.situation.items() for line in item.say]
    assert any(line in str(reply) for line in authored)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("scripted:listner", "Did you mean 'listener'"),
        ("listener", "Did you mean 'scripted:listener'"),
        ("no_such_module:attr", "no module"),
        ("json:nothing", "has no attribute"),
        ("sb3:x.zip", "not in this version"),
        ("openai:gpt", "needs a model and a URL"),
        ("", "Unknown policy"),
    ],
)
def test_a_wrong_policy_is_named_with_a_cure(spec: str, words: str) -> None:
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
