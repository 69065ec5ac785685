"""Rollouts and weights with vLLM and the real small model."""

from __future__ import annotations

import math

import pytest

pytestmark = pytest.mark.vllm

RECIPE = {
    "steps": 1,
    "task": {"max_turns": 2, "difficulty": "easy"},
    "rollout": {
        "engine": "vllm",
        "groups": 2,
        "group_size": 4,
        "max_tokens": 12,
        "slots": 8,
        "max_model_len": 640,
    },
    "optimiser": {"learning_rate": 1e-5, "micro_batch": 4},
    "evaluation": {"every": 0},
}


@pytest.fixture(scope="module")
def close(exact):
    """How far log-probabilities may be apart on average: float32 on a CPU, bfloat16 on a GPU."""
    return 1e-4 if exact else 0.1


@pytest.fixture(scope="module")
def training(policy_path, tmp_path_factory):
    from empathy_gym.agents.trainers.chat_training import ChatTraining, Hooks
    from empathy_gym.agents.trainers.recipe import load_recipe

    said = []
    recipe = load_recipe(RECIPE | {"model": policy_path})
    made = ChatTraining(recipe, tmp_path_factory.mktemp("run"), Hooks(notice=said.append))
    made.said = said
    yield made
    made.sampling.close()


def test_the_start_up_check_sees_a_change_arrive(training, close) -> None:
    (line,) = training.said
    assert line.startswith("vLLM follows the weights")
    gap, shift = training.sampling.checked()
    assert gap < close and shift > max(0.5, 4 * gap)


def test_a_change_of_the_embeddings_reaches_the_output_layer_that_is_tied_to_them(training, close) -> None:
    import torch

    prompts = [training.chat.opening("Answer.", "They moved it again.")]
    embeddings = training.model.network.get_input_embeddings().weight
    before = embeddings.detach().clone()
    with torch.no_grad():
        embeddings.mul_(1.2)
    training.sampling.hand_over(0)
    from empathy_gym.agents.rollout.vllm_sampler import check_agreement

    assert check_agreement(training.sampling.vllm, prompts, training.sampling._score) < close
    with torch.no_grad():
        embeddings.copy_(before)
    training.sampling.hand_over(0)
    assert check_agreement(training.sampling.vllm, prompts, training.sampling._score) < close


def test_weights_that_are_not_handed_over_are_found_out(training) -> None:
    from empathy_gym import EngineError
    from empathy_gym.agents.rollout.vllm_sampler import check_agreement
    from empathy_gym.agents.trainers.weights import nudged

    prompts = [training.chat.opening("Answer.", "They moved it again.")]
    with nudged(training.model), pytest.raises(EngineError, match="do not hold the same weights"):
        check_agreement(training.sampling.vllm, prompts, training.sampling._score)


def test_the_mask_is_on_what_vllm_sampled_and_logprobs_are_the_trainers(training, close, figures) -> None:
    rollout = training.collector.collect(training.starts(1))
    assert rollout.dropped == {} and len(rollout.trajectories) == 8
    ends = training.chat.ends
    gaps = []
    for trajectory in rollout.trajectories:
        (segment,) = trajectory.segments
        scores = training.model.score([segment.ids], [segment.mask], grad=False)
        drawn = [p for p, on in zip(segment.logprobs, segment.mask, strict=True) if on]
        gaps += [abs(a - b) for a, b in zip(scores.logprobs.tolist(), drawn, strict=True)]
        for turn in trajectory.turns:
            ids = segment.ids[turn.start : turn.end]
            assert all(segment.mask[turn.start : turn.end]) and not segment.mask[turn.start - 1]
            assert not ends.intersection(ids[:-1]) and (ids[-1] in ends or len(ids) == 12)
            assert training.chat.text(ids) == turn.text
    figures["rollout_logprob_gap"] = sum(gaps) / len(gaps)
    assert math.isfinite(max(gaps)) and sum(gaps) / len(gaps) < close


def test_a_step_changes_what_vllm_says_as_it_changes_the_trainer(training, close) -> None:
    prompts = [training.chat.opening("Answer.", "They moved it again.")]
    replies = [s.tokens for s in training.sampling.vllm.greedy(prompts)]
    before = training.sampling._score(prompts, replies)
    training.step = 1
    line = training._stepped()
    assert line["gap"] < close and line["tokens"] > 0
    from empathy_gym.agents.rollout.vllm_sampler import check_agreement

    assert check_agreement(training.sampling.vllm, prompts, training.sampling._score) < close
    assert training.sampling._score(prompts, replies) != before
    assert training.sampling.sampler.version == training.step


def test_the_same_requests_give_the_same_tokens(training) -> None:
    first, second = (training.collector.collect(training.starts(2)) for _ in range(2))
    assert [t.segments[0].ids for t in first.trajectories] == [t.segments[0].ids for t in second.trajectories]
