"""What learners do to the weights: gradients by hand, adapters, what is shared, warm starts, PPO, rejection sampling."""

from __future__ import annotations

import dataclasses

import pytest

from empathy_gym import ConfigError
from empathy_gym.agents.rollout.tokens import Segment
from empathy_gym.agents.trainers.recipe import load_recipe

pytestmark = pytest.mark.adapters


@pytest.fixture
def recipe(folder):
    def make(*changes):
        data = {
            "model": str(folder),
            "task": {"max_turns": 2},
            "rollout": {"groups": 2, "group_size": 3, "max_tokens": 6, "max_model_len": 2048},
            "optimiser": {"learning_rate": 1e-2, "micro_batch": 4},
        }
        return load_recipe(data, changes)

    return make


@pytest.fixture
def model(folder):
    from empathy_gym.agents.trainers.chat_model import ChatModel

    return ChatModel(str(folder))


@pytest.fixture
def rollout(collector, starts):
    """Rewards are handed out by hand: a small model with random weights earns nothing."""
    played = collector().collect(starts(2, 3))
    groups = []
    for number, group in enumerate(played.groups):
        paid = [
            dataclasses.replace(
                t,
                turns=tuple(
                    dataclasses.replace(turn, reward=0.1 * (member - 1) * (at + 1) * (1 - number))
                    for at, turn in enumerate(t.turns)
                ),
            )
            for member, t in enumerate(group)
        ]
        groups.append(tuple(paid))
    return dataclasses.replace(played, groups=tuple(groups))


def gradients(model):
    return {n: p.grad.clone() for n, p in model.network.named_parameters() if p.grad is not None}


def plain_logprobs(model, segment):
    """The log-probabilities of sampled tokens by the book: one sequence, all logits."""
    import torch

    ids = torch.tensor([segment.ids])
    known = torch.log_softmax(model.network(input_ids=ids).logits[0], dim=-1)
    return torch.stack([known[at - 1, segment.ids[at]] for at, on in enumerate(segment.mask) if on])


def test_scores_are_those_of_a_plain_forward_pass_and_so_are_gradients(model, rollout) -> None:
    import torch

    segments = [t.segments[0] for t in rollout.trajectories]
    made = model.score([s.ids for s in segments], [s.mask for s in segments])
    by_hand = torch.cat([plain_logprobs(model, s) for s in segments])
    assert torch.allclose(made.logprobs, by_hand, atol=1e-4)
    assert len(made.entropy) == len(made.hidden) == len(by_hand) and (made.entropy > 0).all()
    made.logprobs.square().sum().backward()
    shared = gradients(model)
    model.network.zero_grad()
    by_hand.square().sum().backward()
    plain = gradients(model)
    for name, gradient in plain.items():
        assert torch.allclose(shared[name], gradient, atol=1e-3 * float(gradient.abs().max()) + 1e-6), name


def test_arithmetic_in_bfloat16_is_near_and_can_be_left(folder, rollout) -> None:
    from empathy_gym.agents.trainers.chat_model import ChatModel

    coarse = ChatModel(
        str(folder), optimiser=load_recipe({"model": "m"}, ["optimiser.precision=bfloat16"]).optimiser
    )
    segment = rollout.trajectories[0].segments[0]
    by_hand = plain_logprobs(coarse, segment)
    rough = coarse.score([segment.ids], [segment.mask]).logprobs
    with coarse.precise():
        exact = coarse.score([segment.ids], [segment.mask]).logprobs
    assert 1e-4 < float((rough - by_hand).abs().max()) < 0.5
    assert float((exact - by_hand).abs().max()) < 1e-4


def test_the_shared_beginning_ends_before_the_first_sampled_token() -> None:
    from empathy_gym.agents.trainers.chat_model import shared_prefix

    assert shared_prefix([[1, 2, 3, 4], [1, 2, 3, 4]], [[0, 0, 1, 1], [0, 0, 0, 1]]) == 1
    assert shared_prefix([[1, 2, 3, 4], [1, 9, 3, 4]], [[0, 0, 0, 1], [0, 0, 0, 1]]) == 1
    assert shared_prefix([[1, 2, 3], [1, 2, 3]], [[0, 1, 1], [0, 1, 1]]) == 0


@pytest.mark.parametrize("advantage", ["trajectory", "turn"])
def test_the_update_is_the_policy_gradient_written_out(recipe, model, rollout, advantage) -> None:
    import torch

    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner, group_advantages, minibatch_items
    from empathy_gym.agents.trainers.policy_update import Tally

    made = recipe(f"loss.advantage={advantage}", "loss.length=constant")
    learner = GRPOLearner(model, made)
    advantages = [row for group in rollout.groups for row in group_advantages(group, made.loss)]
    items = minibatch_items(rollout.trajectories, advantages, made.loss, 12)
    tally = Tally()
    for at in range(0, len(items), 2):
        learner._loss(items[at : at + 2], tally, None).backward()
    found = gradients(model)
    model.network.zero_grad()
    count = len(rollout.trajectories)
    loss = torch.tensor(0.0)
    for trajectory, row in zip(rollout.trajectories, advantages, strict=True):
        logprobs = plain_logprobs(model, trajectory.segments[0])
        at = 0
        for turn, value in zip(trajectory.turns, row, strict=True):
            loss = loss - value * logprobs[at : at + turn.end - turn.start].sum() / (count * 12)
            at += turn.end - turn.start
    loss.backward()
    # The second group was paid nothing at all, and the first's middle sibling just the mean: they cost nothing.
    assert len(items) == 2 and tally.means()["gap"] < 1e-4
    for name, gradient in gradients(model).items():
        assert torch.allclose(found[name], gradient, atol=1e-3 * float(gradient.abs().max()) + 1e-7), name


def test_only_the_most_telling_siblings_are_learnt_from(recipe, rollout) -> None:
    from empathy_gym.agents.trainers.grpo_chat import group_advantages, minibatch_items

    group = rollout.groups[0]
    every = group_advantages(group, recipe("loss.advantage=turn").loss)
    few = group_advantages(group, recipe("loss.advantage=turn", "loss.learn_from=2").loss)
    # What a sibling is compared with stays the whole group.
    assert [any(row) for row in few] == [True, False, True] and (few[0], few[2]) == (every[0], every[2])
    items = minibatch_items(group, few, recipe("loss.length=sequence").loss, 12)
    assert [item.weight * len(item.sampled) for item in items] == pytest.approx([1 / 3, 1 / 3])


def test_learning_makes_what_was_better_likelier(recipe, model, rollout) -> None:
    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner

    def likelihood():
        return [
            float(model.score([t.segments[0].ids], [t.segments[0].mask], False).logprobs.sum())
            for t in rollout.groups[0]
        ]

    before = likelihood()
    found = GRPOLearner(model, recipe("optimiser.learning_rate=1e-3", "loss.length=sequence")).learn(
        rollout, 1
    )
    after = likelihood()
    gained = [b - a for a, b in zip(before, after, strict=True)]
    assert gained[2] > gained[1] > gained[0] and gained[2] > 0 > gained[0]
    assert found["zero_variance"] == 0.5 and found["gradient_norm"] > 0 and found["entropy"] > 0


@pytest.mark.parametrize("algorithm", ["grpo", "ppo", "rft"])
def test_a_step_whose_groups_all_faulted_teaches_nothing(recipe, model, rollout, algorithm) -> None:
    from empathy_gym.agents.trainers.chat_training import make_learner

    before = {name: p.clone() for name, p in model.network.named_parameters()}
    empty = dataclasses.replace(rollout, groups=(), dropped={"engine": 2})
    found = make_learner(model, recipe(f"algorithm={algorithm}", "optimiser.minibatches=2")).learn(empty, 1)
    assert "gradient_norm" not in found
    assert all((p == before[name]).all() for name, p in model.network.named_parameters())


def test_several_updates_are_clipped_against_the_probabilities_before_the_first(
    recipe, model, rollout
) -> None:
    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner

    made = recipe("optimiser.epochs=3", "optimiser.minibatches=2", "loss.kl_coefficient=0.1")
    found = GRPOLearner(model, made).learn(rollout, 1)
    assert found["clipped"] > 0.0 and found["kl"] > 0.0
    # The gap is between sampler and trainer before the step, however far the step goes.
    assert found["gap_max"] < 1e-4


def test_truncated_importance_bounds_what_a_token_counts() -> None:
    import torch

    from empathy_gym.agents.trainers.policy_update import Tally, kl_estimate, policy_loss

    loss = load_recipe({"model": "m"}).loss
    new = torch.tensor([-1.0, -1.0], requires_grad=True)
    tally = Tally()
    one = torch.ones(2)
    value = policy_loss(torch, new, new.detach(), torch.tensor([-1.0, -9.0]), one, one, loss, tally)
    value.backward()
    assert new.grad.tolist() == pytest.approx([-1.0, -loss.importance_cap])
    assert tally.means()["importance_capped"] == 0.5 and tally.peak == pytest.approx(8.0)
    assert kl_estimate(torch, torch.tensor([-1.0]), torch.tensor([-2.0])).item() > 0.0


def test_clip_higher_lets_a_good_token_rise_further() -> None:
    import torch

    from empathy_gym.agents.trainers.policy_update import Tally, policy_loss

    old = torch.zeros(1)
    for high, moves in ((0.2, False), (0.4, True)):
        loss = load_recipe({"model": "m"}, [f"loss.clip_high={high}"]).loss
        new = torch.tensor([0.25], requires_grad=True)  # a ratio of 1.28
        policy_loss(torch, new, old, old, torch.ones(1), torch.ones(1), loss, Tally()).backward()
        assert bool(new.grad.abs() > 0) is moves


def test_adapters_alone_are_trained_and_saved_as_a_plain_model(recipe, folder, rollout, tmp_path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from empathy_gym.agents.trainers.chat_model import ChatModel
    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner

    made = recipe("lora.rank=4", "loss.kl_coefficient=0.01")
    model = ChatModel(str(folder), lora=made.lora, seed=1)
    assert all("lora_" in name for name in model.trained_state())
    GRPOLearner(model, made).learn(rollout, 1)
    model.save(tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.tensor([rollout.trajectories[0].segments[0].ids])
    with torch.no_grad():
        adapted, merged = model.network(input_ids=ids).logits, plain(input_ids=ids).logits
        with model.reference():
            before = model.network(input_ids=ids).logits
    assert torch.allclose(adapted, merged, atol=1e-4) and not torch.allclose(adapted, before, atol=1e-3)


def test_wrong_targets_of_adapters_are_one_line(recipe, folder) -> None:
    from empathy_gym.agents.trainers.chat_model import ChatModel

    with pytest.raises(ConfigError, match=r"lora.targets is"):
        ChatModel(str(folder), lora=recipe("lora.targets=[nothing_here]").lora)


def test_weights_of_another_model_are_refused(model) -> None:
    import torch

    with pytest.raises(ConfigError, match="of another model"):
        model.load_trained({"a": torch.zeros(1)})


def test_the_nudge_of_the_start_up_check_is_undone_to_the_bit(model) -> None:
    from empathy_gym.agents.trainers.weights import nudged

    before = {name: p.clone() for name, p in model.network.named_parameters()}
    with nudged(model):
        assert any((p != before[name]).any() for name, p in model.network.named_parameters())
    assert all((p == before[name]).all() for name, p in model.network.named_parameters())


def test_ppo_pays_each_turn_at_its_last_token(rollout) -> None:
    from empathy_gym.agents.trainers.ppo_chat import token_rewards

    trajectory = rollout.groups[0][2]
    paid = token_rewards(trajectory)
    ends = [sum(t.end - t.start for t in trajectory.turns[: i + 1]) - 1 for i in range(len(trajectory.turns))]
    assert len(paid) == trajectory.sampled
    assert {i: r for i, r in enumerate(paid) if r} == pytest.approx(
        {at: turn.reward for at, turn in zip(ends, trajectory.turns, strict=True)}
    )


def test_ppo_learns_values_and_policy(recipe, model, rollout) -> None:
    from empathy_gym.agents.trainers.ppo_chat import PPOLearner

    made = recipe(
        "algorithm=ppo", "optimiser.learning_rate=1e-4", "ppo.critic_learning_rate=1e-2", "ppo.value_clip=10"
    )
    learner = PPOLearner(model, made)
    found = [learner.learn(rollout, step) for step in range(1, 12)]
    assert found[-1]["value_error"] < 0.8 * found[0]["value_error"]
    assert found[-1]["explained_variance"] > found[0]["explained_variance"]
    assert found[0]["gap_max"] < 1e-4 and learner.state()["head"]["weight"].abs().sum() > 0


def test_a_critic_that_warms_up_leaves_the_policy_alone(recipe, model, rollout) -> None:
    from empathy_gym.agents.trainers.ppo_chat import PPOLearner

    before = {name: p.clone() for name, p in model.network.named_parameters()}
    learner = PPOLearner(model, recipe("algorithm=ppo", "ppo.critic_warmup_steps=1"))
    learner.learn(rollout, 1)
    assert all((p == before[name]).all() for name, p in model.network.named_parameters())
    assert learner.head.weight.abs().sum() > 0
    learner.learn(rollout, 2)
    assert any((p != before[name]).any() for name, p in model.network.named_parameters())


def test_rejection_sampling_learns_the_best_of_each_group_by_heart(recipe, model, rollout) -> None:
    from empathy_gym.agents.trainers.rejection import RejectionLearner, best_of

    assert best_of(rollout.groups[0]) is rollout.groups[0][2] and best_of(rollout.groups[1]) is None
    learner = RejectionLearner(model, recipe("algorithm=rft", "optimiser.learning_rate=1e-3"))
    found = [learner.learn(rollout, step)["likelihood"] for step in (1, 2, 3)]
    assert found == sorted(found) and found[2] > found[0]


def test_a_warm_start_learns_what_a_policy_said_and_only_that(recipe, model, setting) -> None:
    from empathy_gym.agents.trainers.chat_model import chat_format
    from empathy_gym.agents.trainers.warm_start import fine_tune, warm_segments

    made = recipe("warm_start={episodes: 3}", "rollout.max_tokens=24")
    chat = chat_format(model, made)
    segments = warm_segments(made, chat, setting)
    assert len(segments) == 3
    for segment in segments:
        runs = "".join(map(str, segment.mask)).split("0")
        lengths = [len(run) for run in runs if run]
        assert len(lengths) == 2 and all(2 <= length <= 24 for length in lengths)
        ends = [i for i, on in enumerate(segment.mask) if on and segment.ids[i] == chat.end]
        assert len(ends) == 2
    made = recipe("warm_start={learning_rate: 1.0e-2, epochs: 4, batch: 3}", "optimiser.micro_batch=2")
    losses = fine_tune(model, segments, made.warm_start, made.optimiser, seed=0)
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_a_warm_start_takes_no_policy_that_sees_what_is_hidden(recipe, model, setting) -> None:
    from empathy_gym.agents.trainers.chat_model import chat_format
    from empathy_gym.agents.trainers.warm_start import warm_segments

    made = recipe("warm_start.policies=[scripted:oracle]")
    with pytest.raises(ConfigError, match="'scripted:oracle', which sees need and emotion"):
        warm_segments(made, chat_format(model, made), setting)


def test_talks_written_by_hand_are_learnt_beside_those_that_are_played(
    recipe, model, setting, tmp_path
) -> None:
    from empathy_gym.agents.trainers.chat_model import chat_format
    from empathy_gym.agents.trainers.warm_start import warm_segments

    file = tmp_path / "talks.yaml"
    file.write_text(
        '[["They moved it.", "Again? Who did?", "Ian.", "Ian again. Did he say why?", "No.", "Hm."]]'
    )
    made = recipe(f"warm_start={{episodes: 1, talks: {file}}}", "rollout.max_tokens=24")
    chat = chat_format(model, made)
    segment = warm_segments(made, chat, setting)[1]
    learnt = chat.text([i for i, on in zip(segment.ids, segment.mask, strict=True) if on])
    # As many turns as the task has.
    assert setting.max_turns == 2
    assert learnt.split(chat.tokenizer.decode([chat.end])) == [
        "Again? Who did?",
        "Ian again. Did he say why?",
    ]
    whole = chat.text(segment.ids)
    assert (
        whole.index("They moved it.") < whole.index("Who did?") < whole.index("Ian.") and "Hm." not in whole
    )


def test_a_reply_is_cut_to_whole_sentences(tokenizer) -> None:
    from empathy_gym.agents.rollout import ChatFormat
    from empathy_gym.agents.trainers.warm_start import shortened

    chat = ChatFormat(tokenizer)
    text = "That sounds hard. What did your manager say? And then?"
    fits = len(chat.encode("That sounds hard. What did your manager say?")) + 1
    assert shortened(chat, text, fits) == "That sounds hard. What did your manager say?"
    assert shortened(chat, text, fits - 1) == "That sounds hard."
    assert text.startswith(shortened(chat, text, 4)) and shortened(chat, text, 4)


def test_items_of_a_segment_have_one_number_for_each_sampled_token(rollout) -> None:
    from empathy_gym.agents.trainers.policy_update import token_advantages, token_weights

    trajectory = rollout.groups[0][0]
    (values,) = token_advantages(trajectory, [0.5, -0.25])
    first = trajectory.turns[0].end - trajectory.turns[0].start
    assert (
        len(values) == trajectory.sampled and set(values[:first]) == {0.5} and set(values[first:]) == {-0.25}
    )
    losses = [
        load_recipe({"model": "m"}, [f"loss.length={n}"]).loss for n in ("token", "sequence", "constant")
    ]
    counts = [t.sampled for t in rollout.trajectories]
    token, sequence, constant = (token_weights(rollout.trajectories, loss, 12) for loss in losses)
    assert (
        sum(w * n for w, n in zip(token, counts, strict=True)) == pytest.approx(1.0) and len(set(token)) == 1
    )
    assert [w * n for w, n in zip(sequence, counts, strict=True)] == pytest.approx([1 / 6] * 6)
    assert set(constant) == {1 / 72}
    assert isinstance(trajectory.segments[0], Segment)
