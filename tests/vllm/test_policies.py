"""Language models as policies: on any engine, and whole episodes on a real model."""

from __future__ import annotations

import time

import gymnasium as gym
import pytest

import empathy_gym  # noqa: F401
from empathy_gym.agents import Conversation, Reply
from empathy_gym.agents.policies.models import EnginePolicy, engine_policy
from empathy_gym.simulators.engines.base import ChatReply, ChatRequest
from empathy_gym.simulators.errors import ConfigError


class Recorder:
    """A chat engine that keeps what it is asked."""

    model, revision = "recorder", "r1"

    def __init__(self, reply: ChatReply | None = None) -> None:
        self.reply = reply or ChatReply(
            text="<think>hm</think> Tell me.", usage={"completion_tokens": 4}, tokens=(1, 2)
        )
        self.seen: list[ChatRequest] = []

    def complete(self, requests):
        self.seen += requests
        return [self.reply] * len(requests)

    def close(self) -> None: ...


def talk(text: str = "I failed.", turn: int = 0, seed: int = 5, instruction: str = "Answer.") -> Conversation:
    said = [{"role": "user", "content": text}]
    return Conversation(key=f"k{seed}", messages=said, instruction=instruction, turn=turn, seed=seed)


def test_the_prompt_is_the_instruction_and_what_was_said_and_nothing_else() -> None:
    engine = Recorder()
    EnginePolicy(engine).act([talk(), talk(instruction="")])
    first, second = engine.seen
    assert first.messages == (
        {"role": "system", "content": "Answer."},
        {"role": "user", "content": "I failed."},
    )
    assert [m["role"] for m in second.messages] == ["user"]


def test_thoughts_are_passed_on_as_written() -> None:
    (reply,) = EnginePolicy(Recorder()).act([talk()])
    assert reply == Reply("<think>hm</think> Tell me.", usage={"completion_tokens": 4}, tokens=(1, 2))


def test_each_turn_of_each_conversation_samples_by_its_own_seed() -> None:
    engine = Recorder()
    EnginePolicy(engine).act([talk(), talk(turn=1), talk(seed=6), talk()])
    EnginePolicy(engine, seed=1).act([talk()])
    seeds = [r.seed for r in engine.seen]
    assert seeds[0] == seeds[3] and len(set(seeds)) == 4 and all(0 <= s < 2**31 for s in seeds)


def test_a_greedy_policy_sends_no_seed() -> None:
    engine = Recorder()
    EnginePolicy(engine, temperature=0.0).act([talk()])
    assert engine.seen[0].seed is None and engine.seen[0].temperature == 0.0


def test_a_failure_is_a_reply_with_its_reason() -> None:
    (reply,) = EnginePolicy(Recorder(ChatReply(error="too long", error_kind="context"))).act([talk()])
    assert reply.text == "" and reply.error == "context: too long"


def test_the_fingerprint_names_model_revision_and_sampling() -> None:
    one, other = EnginePolicy(Recorder()), EnginePolicy(Recorder(), temperature=0.5)
    assert "recorder@r1" in one.fingerprint and one.fingerprint != other.fingerprint


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"max_tokens": 0}, {"top_p": 0}, {"top_p": 1.1}])
def test_wrong_sampling_is_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        EnginePolicy(Recorder(), **wrong)


@pytest.mark.parametrize(
    ("spec", "words"),
    [("hff:x", "Did you mean 'hf'"), ("vllm:", "names no model"), ("openai:gpt", "URL")],
)
def test_a_wrong_name_is_answered_with_a_cure(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        engine_policy(spec)


def play(policy: EnginePolicy, episodes: int) -> list[dict]:
    """Play whole episodes in a batch, each environment asked once a turn."""
    environments = [gym.make("EmpathyChat-v0", max_turns=3) for _ in range(episodes)]
    infos = [e.reset(seed=i)[1] for i, e in enumerate(environments)]
    running, rewards = set(range(episodes)), [0.0] * episodes
    while running:
        order = sorted(running)
        asked = [
            Conversation(
                key=str(i),
                messages=infos[i]["messages"],
                instruction=environments[i].unwrapped.instruction,
                turn=infos[i]["turn"],
                max_turns=3,
                seed=i,
            )
            for i in order
        ]
        for i, reply in zip(order, policy.act(asked), strict=True):
            assert reply.error is None and reply.text
            _, reward, terminated, truncated, infos[i] = environments[i].step(reply.text)
            rewards[i] += reward
            if terminated or truncated:
                running.discard(i)
    return [{"return": r, "info": info} for r, info in zip(rewards, infos, strict=True)]


@pytest.mark.vllm
@pytest.mark.parametrize("kind", ["vllm", "hf"])
def test_a_model_plays_whole_episodes_with_the_embedded_user(
    kind: str, policy_path: str, model_path: str, options, engine, hf, exact, figures
) -> None:
    if policy_path != model_path and kind == "vllm":
        # The user's model has its share of the device; the policy's comes on top.
        options = {**options, "max_model_len": 4096}
    own = options if kind == "vllm" else {"max_model_len": 1024, "logprobs": True}
    policy = engine_policy(f"{kind}:{policy_path}", own, sampling={"max_tokens": 40})
    started = time.perf_counter()
    first = play(policy, 3)
    figures[f"policy_{kind}_turns_per_s"] = round(9 / (time.perf_counter() - started), 2)
    for episode in first:
        assert episode["info"]["outcome"] is not None and episode["info"]["outcome"] != "fault"
        assert -1.0 <= episode["return"] <= 1.0
        assert [m["role"] for m in episode["info"]["messages"][:2]] == ["user", "assistant"]
    if exact:
        assert first == play(policy, 3)


@pytest.mark.vllm
@pytest.mark.gpu
def test_a_gpu_policy_keeps_sixty_four_conversations_going(policy_path: str, options, figures) -> None:
    policy = engine_policy(f"vllm:{policy_path}", options, sampling={"max_tokens": 128})
    started = time.perf_counter()
    play(policy, 64)
    figures["gpu_policy_episodes_per_s"] = round(64 / (time.perf_counter() - started), 2)
