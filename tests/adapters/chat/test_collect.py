"""Rollouts: masks, spans, rewards, groups, and what a policy may see."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from empathy_gym import ConfigError, EngineError
from empathy_gym.agents.rollout import ChatFormat, Collector, Sample
from empathy_gym.envs.setting import ChatSetting

pytestmark = pytest.mark.adapters


class Speaking:
    """A sampler that says given lines; the real one is in most tests."""

    def __init__(self, tokenizer, say, *, error=lambda request: None, end=None, batch=3) -> None:
        self.version, self.max_model_len = 4, 4096
        self._tokenizer, self._say, self._error, self._end, self._batch = tokenizer, say, error, end, batch
        self._waiting = []
        self.prompts = []

    def submit(self, requests) -> None:
        self._waiting += requests
        self.prompts += [(r.key, list(r.prompt)) for r in requests]

    def step(self):
        # Last in, first out: nobody may count on an order.
        out = [self._waiting.pop() for _ in range(min(self._batch, len(self._waiting)))]
        return [self._sample(r) for r in out]

    def _sample(self, request):
        error = self._error(request)
        ids = [*self._tokenizer(self._say(request), add_special_tokens=False).input_ids, self._end]
        return (
            Sample(request.key, error=error) if error else Sample(request.key, tuple(ids), (-0.1,) * len(ids))
        )


@pytest.fixture
def speaking(tokenizer):
    def make(say=lambda request: "What did they say?", **options):
        return Speaking(tokenizer, say, end=ChatFormat(tokenizer).end, **options)

    return make


def test_the_mask_is_on_exactly_what_was_sampled_and_spans_say_where(collector, starts, tokenizer) -> None:
    rollout = collector().collect(starts())
    assert len(rollout.groups) == 2 and [len(g) for g in rollout.groups] == [3, 3] and rollout.dropped == {}
    for trajectory in rollout.trajectories:
        (segment,) = trajectory.segments
        spanned = {i for turn in trajectory.turns for i in range(turn.start, turn.end)}
        assert {i for i, on in enumerate(segment.mask) if on} == spanned
        assert all((v == 0) == bool(m) for v, m in zip(segment.versions, segment.mask, strict=True))
        assert all((p < 0.0) == bool(m) for p, m in zip(segment.logprobs, segment.mask, strict=True))
        assert trajectory.sampled == sum(segment.mask) and len(trajectory.turns) == trajectory.dialogue.turn
    assert rollout.tokens == sum(t.sampled for t in rollout.trajectories)


def test_a_golden_mask(collector, starts, speaking, tokenizer) -> None:
    rollout = collector(speaking()).collect(starts(1, 1))
    ((trajectory,),) = rollout.groups
    (segment,) = trajectory.segments
    shown = "".join(
        f"[{tokenizer.decode([i])}]" if on else tokenizer.decode([i])
        for i, on in zip(segment.ids, segment.mask, strict=True)
    )
    sampled = shown[shown.index("[") :]
    said = trajectory.dialogue.messages
    reply = (
        "".join(f"[{tokenizer.decode([i])}]" for i in tokenizer("What did they say?").input_ids)
        + "[<|im_end|>]"
    )
    between = f"\n<|im_start|>user\n{said[2]['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert sampled == reply + between + reply
    assert shown.startswith("<|im_start|>system\n") and f"user\n{said[0]['content']}<|im_end|>\n" in shown


def test_rewards_are_those_of_the_dialogue_whatever_the_order_of_answers(
    collector, starts, speaking, setting
) -> None:
    lines = {"0-0": "That hurts.", "0-1": "You are the best!", "0-2": "What did they say?"}
    rollout = collector(speaking(lambda r: lines[r.key], batch=2), slots=2).collect(starts(1, 3))
    for trajectory in rollout.trajectories:
        states = [state.emotion for state in trajectory.dialogue.states]
        assert [turn.text for turn in trajectory.turns] == [lines[trajectory.start.key]] * len(
            trajectory.turns
        )
        assert [turn.reward for turn in trajectory.turns] == pytest.approx(
            [(b - a) / 100 for a, b in itertools.pairwise(states)]
        )


def test_nothing_depends_on_the_number_of_slots(collector, starts, speaking) -> None:
    few, many = (collector(speaking(batch=n), slots=n).collect(starts()) for n in (1, 6))
    assert few == many


def test_real_samples_repeat_with_the_same_seeds_and_differ_between_siblings(collector, starts) -> None:
    first, second = (collector().collect(starts()) for _ in range(2))
    assert first == second
    assert len({t.segments[0].ids for t in first.groups[0]}) == 3
    opening = {t.dialogue.messages[0]["content"] for t in first.groups[0]}
    assert len(opening) == 1


@pytest.mark.parametrize("think", [False, True])
def test_no_token_tells_scenario_seed_need_or_emotion(setting, starts, speaking, tokenizer, think) -> None:
    task = ChatSetting.make({"scenarios": "train", "max_turns": 2, "think": think, "initial_emotion": 37})
    sampler = speaking(lambda r: "<think>hm</think>What did they say?")
    chat = ChatFormat(tokenizer, think=think)
    other = [dataclasses.replace(s, key=f"x{s.key}", seed=7_123_456 + s.group) for s in starts(2, 2)]
    Collector(task, sampler, chat, max_tokens=64).collect(other)
    assert len(sampler.prompts) > 4
    for key, prompt in sampler.prompts:
        start = next(s for s in other if s.key == key)
        text = tokenizer.decode(prompt)
        for secret in (start.scenario.id, str(start.seed), start.scenario.need, start.key, "37"):
            assert secret not in text


def test_prompts_do_not_change_with_what_is_hidden(setting, speaking, tokenizer) -> None:
    """The same words said to the policy make the same tokens, whatever need and emotion stand behind them."""
    from empathy_gym.agents.rollout import Start

    prompts = []
    for emotion in (30, 60):
        task = ChatSetting.make({"scenarios": "train", "max_turns": 1, "initial_emotion": emotion})
        sampler = speaking()
        Collector(task, sampler, ChatFormat(tokenizer), max_tokens=8).collect(
            [Start("k", task.scenarios[0], 5, emotion)]
        )
        prompts.append(sampler.prompts)
    assert prompts[0] == prompts[1]


def test_one_fault_drops_the_whole_group_and_is_counted(collector, starts, speaking) -> None:
    sampler = speaking(error=lambda r: "no answer" if r.key == "0-1" else None)
    rollout = collector(sampler, slots=2).collect(starts(2, 3))
    assert rollout.dropped == {"engine": 1}
    assert [t.start.group for t in rollout.trajectories] == [1, 1, 1]


def test_a_dead_engine_ends_the_rollout(collector, starts, speaking) -> None:
    def dead(request):
        raise EngineError("vLLM failed and cannot go on.")

    with pytest.raises(EngineError, match="cannot go on"):
        collector(speaking(error=dead)).collect(starts())


def test_a_context_too_short_is_said_before_the_first_episode(collector, speaking) -> None:
    sampler = speaking()
    sampler.max_model_len = 300
    with pytest.raises(ConfigError, match=r"context of 300 tokens is too short.*Lower max_turns"):
        collector(sampler)


def test_thoughts_are_dropped_from_the_history_a_segment_a_turn(starts, speaking, tokenizer, setting) -> None:
    task = ChatSetting.make({"scenarios": "train", "max_turns": 2, "think": True})
    say = speaking(lambda r: "<think>They sound tired.</think>What did they say?")
    for mode, segments in (("drop_thinking", 2), ("exact", 1)):
        chat = ChatFormat(tokenizer, think=True, history_mode=mode)
        rollout = Collector(task, say, chat, max_tokens=64).collect(starts(1, 1))
        ((trajectory,),) = rollout.groups
        assert len(trajectory.segments) == segments
        assert [turn.segment for turn in trajectory.turns] == ([0, 1] if segments == 2 else [0, 0])
        last = tokenizer.decode(trajectory.segments[-1].ids)
        assert last.count("<think>They sound") == (1 if segments == 2 else 2)
        assert last.count("assistant\nWhat did they say?") == (1 if segments == 2 else 0)
    assert trajectory.dialogue.messages[1]["content"] == "What did they say?"


def test_what_is_kept_of_a_conversation_changes_nothing_but_the_time(collector, starts, network) -> None:
    task = ChatSetting.make({"scenarios": "train", "max_turns": 4})
    read = []

    def count(module, args, kwargs):
        read.append(kwargs["input_ids"].numel())

    hook = network.register_forward_pre_hook(count, with_kwargs=True)
    found, cost = [], []
    try:
        for keeps in (True, False):
            made = collector(task=task, slots=4, max_tokens=5)
            made.sampler._keeps = keeps
            read.clear()
            found.append(made.collect(starts(2, 3)))
            cost.append(sum(read))
    finally:
        hook.remove()
    kept, afresh = found
    assert cost[0] < 0.4 * cost[1]
    for a, b in zip(kept.trajectories, afresh.trajectories, strict=True):
        assert a.segments[0].ids == b.segments[0].ids
        assert a.segments[0].logprobs == pytest.approx(b.segments[0].logprobs, abs=1e-4)


def test_what_was_kept_is_forgotten_when_the_weights_change(collector, starts, network) -> None:
    import torch

    made = collector()
    made.collect(starts(1, 2))
    weight = network.model.layers[0].mlp.down_proj.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.add_(0.3)
        made.sampler.version = 1
        again = made.collect(starts(1, 2))
        fresh = collector()
        fresh.sampler.version = 1
        assert again == fresh.collect(starts(1, 2))
    finally:
        with torch.no_grad():
            weight.copy_(before)
