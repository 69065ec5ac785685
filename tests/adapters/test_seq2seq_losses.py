"""The arithmetic of the seq2seq trainer, against cases worked out by hand."""

from __future__ import annotations

import math

import pytest

pytestmark = pytest.mark.adapters


def tensor(rows):
    import torch

    return torch.tensor(rows, dtype=torch.float64)


def test_advantages_are_those_of_a_case_worked_out_by_hand() -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import advantages

    # Three tokens, the score 1 at the last one. gamma 0.5, lambda 0.5:
    # delta_2 = 1 - 0.4 = 0.6; delta_1 = 0.5 * 0.4 - 0.2 = 0; delta_0 = 0.1 + 0.5 * 0.2 - 0.6 = -0.4
    # A_2 = 0.6; A_1 = 0 + 0.25 * 0.6 = 0.15; A_0 = -0.4 + 0.25 * 0.15 = -0.3625
    rewards, values = tensor([[0.1, 0.0, 1.0]]), tensor([[0.6, 0.2, 0.4]])
    found, returns = advantages(rewards, values, tensor([[1, 1, 1]]), 0.5, 0.5)
    assert found[0].tolist() == pytest.approx([-0.3625, 0.15, 0.6])
    assert returns[0].tolist() == pytest.approx([0.2375, 0.35, 1.0])


def test_what_comes_after_the_end_token_changes_nothing() -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import advantages, policy_loss, value_loss, whitened

    mask = tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    clean = tensor([[0.2, 1.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
    dirty = clean + (1 - mask) * 7.0
    for a, b in zip(
        advantages(clean, clean, mask, 1, 0.9), advantages(dirty, dirty, mask, 1, 0.9), strict=True
    ):
        assert a.equal(b)
    assert whitened(clean, mask).equal(whitened(dirty, mask))
    assert policy_loss(clean, clean * 2, clean, mask, 0.2, 6.0)[0] == pytest.approx(
        float(policy_loss(dirty, clean * 2, clean, mask, 0.2, 6.0)[0])
    )
    assert value_loss(clean, clean * 2, clean + 1, mask, 0.2, 6.0) == pytest.approx(
        float(value_loss(dirty, clean * 2, clean + 1, mask, 0.2, 6.0))
    )


def test_lambda_one_and_no_discount_give_the_return_less_the_value() -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import advantages

    rewards, values = tensor([[0.1, -0.2, 1.0, 5.0]]), tensor([[0.3, 0.1, 0.2, 9.0]])
    found, returns = advantages(rewards, values, tensor([[1, 1, 1, 0]]), 1.0, 1.0)
    assert returns[0].tolist() == pytest.approx([0.9, 0.8, 1.0, 0.0])
    assert found[0].tolist() == pytest.approx([0.6, 0.7, 0.8, 0.0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "flows"),
    [(1.0, 1.0, True), (1.3, 1.0, False), (0.7, 1.0, True), (0.7, -1.0, False), (1.3, -1.0, True)],
)
def test_the_gradient_stops_where_the_ratio_is_clipped(ratio: float, advantage: float, flows: bool) -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import policy_loss

    logprobs = tensor([[math.log(ratio)]]).requires_grad_()
    loss, clipped = policy_loss(logprobs, tensor([[0.0]]), tensor([[advantage]]), tensor([[1]]), 0.2, 1.0)
    loss.backward()
    # d/dx of -A exp(x) is -A ratio where it flows.
    assert float(logprobs.grad) == pytest.approx(-advantage * ratio if flows else 0.0)
    assert bool(clipped) != flows


def test_a_value_that_moved_too_far_gets_no_gradient_for_coming_nearer() -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import value_loss

    for value, flows in ((0.1, True), (0.5, False)):
        values = tensor([[value]]).requires_grad_()
        value_loss(values, tensor([[0.0]]), tensor([[1.0]]), tensor([[1]]), 0.2, 1.0).backward()
        assert (float(values.grad) != 0.0) == flows


def test_the_kl_coefficient_follows_the_kl() -> None:
    from empathy_gym.agents.trainers.seq2seq.losses import KLController

    high, low, on = (KLController(0.2, 6.0, 10_000) for _ in range(3))
    high.update(600.0, 32)
    low.update(0.0, 32)
    on.update(6.0, 32)
    # The error is cut at 0.2: 0.2 * (1 ± 0.2 * 32 / 10000).
    assert high.coefficient == pytest.approx(0.2 * 1.00064)
    assert low.coefficient == pytest.approx(0.2 * 0.99936)
    assert on.coefficient == 0.2


def test_running_scores_are_those_of_all_rewards_at_once() -> None:
    import numpy as np

    from empathy_gym.agents.trainers.seq2seq.losses import RunningScore

    rewards = np.random.default_rng(0).normal(3.0, 2.0, 90).tolist()
    running = RunningScore()
    for start in range(0, 90, 30):
        running.update(rewards[start : start + 30])
    assert running.mean == pytest.approx(np.mean(rewards))
    assert running.deviation == pytest.approx(np.std(rewards))
    assert running.scores([5.0], "scale", 10.0) == pytest.approx([5.0 / np.std(rewards)])
    assert running.scores([5.0], "normalise", 0.5) == [0.5]
    assert running.scores([5.0], "raw", 0.5) == [5.0]
    assert RunningScore(1, 0.5, 0.0).deviation == 1.0


def test_the_mask_ends_with_the_first_end_token() -> None:
    import torch

    from empathy_gym.agents.trainers.seq2seq.rollout import valid

    response = torch.tensor([[5, 1, 0, 0], [5, 6, 7, 8], [1, 1, 5, 1]])
    assert valid(response, 1).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
