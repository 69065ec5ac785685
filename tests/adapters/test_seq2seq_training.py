"""The seq2seq trainer on a tiny T5: what is sampled, learned, kept and resumed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.adapters

_spec = importlib.util.spec_from_file_location("seq2seq_parts", Path(__file__).with_name("seq2seq_parts.py"))
assert _spec is not None and _spec.loader is not None
if _spec.name not in sys.modules:
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: run make test-adapters")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def conversations():
    from seq2seq_parts import PAIRS

    return [pair.messages for pair in PAIRS] * 2


# -- sampling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, 1, 7])
def test_log_probabilities_while_sampling_equal_teacher_forced_ones(top_k: int) -> None:
    from seq2seq_parts import actor, recipe

    from empathy_gym.agents.trainers.seq2seq.rollout import assess, sample

    made = actor(recipe(top_k=top_k))
    samples = sample(made, conversations(), 3)
    rollout, kl = assess(made, made.frozen(), samples)
    gap = (samples.sampled * samples.mask - rollout.logprobs).abs().max()
    assert float(gap) < 1e-4
    assert (rollout.logprobs == 0).all() == (top_k == 1)
    # A policy is where its frozen copy is.
    assert kl == pytest.approx(0.0, abs=1e-5) and rollout.logprobs.equal(rollout.reference)


def test_with_dropout_they_would_not_be_equal() -> None:
    from seq2seq_parts import actor, recipe

    from empathy_gym.agents.trainers.seq2seq.rollout import sample, supported

    made = actor(recipe(top_k=7))
    samples = sample(made, conversations(), 3)
    assert not made.network.training
    made.network.train()
    logits, _ = made.forward(samples.source, samples.source_mask, samples.response)
    dropped = supported(logits, samples, made.recipe.temperature)
    assert float((samples.sampled * samples.mask - dropped).detach().abs().max()) > 1e-2


def test_sampling_follows_from_its_seed_and_leaves_the_global_generator_alone() -> None:
    import torch
    from seq2seq_parts import actor, recipe

    from empathy_gym.agents.trainers.seq2seq.rollout import sample

    made = actor(recipe())
    before = torch.random.get_rng_state()
    one, other = sample(made, conversations(), 1), sample(made, conversations(), 2)
    torch.manual_seed(99)
    again = sample(made, conversations(), 1)
    torch.random.set_rng_state(before)
    assert one.response.equal(again.response) and not one.response.equal(other.response)
    assert torch.random.get_rng_state().equal(before)
    # The same context twice in a batch is drawn for twice.
    assert not one.response[:4].equal(one.response[4:])


def test_top_k_keeps_to_the_likeliest_tokens() -> None:
    import torch
    from seq2seq_parts import actor, recipe

    from empathy_gym.agents.trainers.seq2seq.rollout import sample

    made = actor(recipe(top_k=3))
    samples = sample(made, conversations(), 5)
    logits, _ = made.forward(samples.source, samples.source_mask, samples.response)
    ranks = (logits > logits.gather(-1, samples.response.unsqueeze(-1))).sum(-1)
    assert int((ranks * samples.mask).max()) <= 2
    assert samples.support.shape[-1] == 3 and torch.equal(
        samples.support.gather(-1, samples.choice.unsqueeze(-1)).squeeze(-1) * samples.mask.long(),
        samples.response * samples.mask.long(),
    )


# -- learning --------------------------------------------------------------------------------------------


def test_the_reward_of_a_tiny_t5_rises_under_ppo(tmp_path: Path) -> None:
    from seq2seq_parts import recipe, rows, trainer

    trainer(tmp_path / "run", recipe(ppo_steps=24, evaluate_every=24, checkpoint_every=24)).run()
    found = [row for row in rows(tmp_path / "run") if row["phase"] == "ppo"]
    first, last = found[0]["validation_reward"], found[-1]["validation_reward"]
    assert last > first + 0.2 and last > 0.3
    assert max(row["sampler_gap"] for row in found[1:]) < 1e-3


def test_a_strong_kl_term_keeps_the_policy_near_its_reference(tmp_path: Path) -> None:
    from seq2seq_parts import recipe, rows, trainer

    kl = {}
    for coefficient in (0.0, 3.0):
        folder = tmp_path / str(coefficient)
        trainer(folder, recipe(ppo_steps=10, kl_coef=coefficient, warm_epochs=0)).run()
        kl[coefficient] = rows(folder)[-1]["kl_full"]
    assert kl[3.0] < 0.3 * kl[0.0]


def test_the_warm_start_lowers_perplexity_and_draws_nothing_global(tmp_path: Path) -> None:
    import torch
    from seq2seq_parts import PAIRS, actor, recipe

    from empathy_gym.agents.trainers.seq2seq.warm_start import Supervised, perplexity

    made = actor(recipe())
    before, state = perplexity(made, PAIRS), torch.random.get_rng_state()
    work = Supervised(made, PAIRS, epochs=20, lr=5e-3, batch=2, seed=0)
    for epoch in range(20):
        work.epoch(epoch)
    assert perplexity(made, PAIRS) < 0.5 * before
    assert torch.random.get_rng_state().equal(state)


def test_accumulation_changes_no_gradient(tmp_path: Path) -> None:
    import torch
    from seq2seq_parts import recipe, trainer

    weights = []
    for parts in (1, 4):
        made = trainer(
            tmp_path / str(parts), recipe(accumulation=parts, ppo_epochs=1, warm_epochs=0, ppo_lr=1e-4)
        )
        made.reference = made.actor.frozen()
        made.round()
        # Adam's first step is the sign of the gradient, so its state says more than the weights.
        weights.append([s["exp_avg"] for s in made.optimizer.state.values()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*weights, strict=True))
    assert any(float(a.abs().max()) > 1e-4 for a in weights[0])


def test_bfloat16_trains_and_leaves_the_weights_in_float32(tmp_path: Path) -> None:
    import torch
    from seq2seq_parts import recipe, rows, trainer

    run = trainer(tmp_path / "run", recipe(ppo_steps=3, warm_epochs=1, dtype="bfloat16"))
    before = [weight.detach().clone() for weight in run.actor.parameters]
    run.run()
    assert {weight.dtype for weight in run.actor.parameters} == {torch.float32}
    assert any(not a.equal(b) for a, b in zip(before, run.actor.parameters, strict=True))
    # Rounding: log-probabilities while sampling are those of another order of operations, so not quite the same.
    gaps = [row["sampler_gap"] for row in rows(tmp_path / "run") if "sampler_gap" in row]
    assert len(gaps) == 3 and 0.0 < max(gaps) < 0.2


def test_every_exchange_is_seen_before_one_is_seen_again(tmp_path: Path) -> None:
    from seq2seq_parts import LetterCount, recipe, trainer

    env = LetterCount(3)
    settings = recipe(batch=3, minibatch=3, ppo_steps=4, warm_epochs=0, evaluate_every=9)
    trainer(tmp_path / "run", settings, env=env).run()
    seen = [id_ for batch in env.seen for id_ in batch]
    passes = [seen[i : i + 4] for i in range(0, 12, 4)]
    assert all(sorted(part) == ["0", "1", "2", "3"] for part in passes)
    assert len({tuple(part) for part in passes}) > 1


# -- going on --------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("at", ["warm start", "PPO"])
def test_a_run_killed_and_resumed_has_the_numbers_of_one_that_was_not(tmp_path: Path, at: str) -> None:
    from seq2seq_parts import recipe, rows, trainer

    settings = recipe(ppo_steps=5)
    trainer(tmp_path / "whole", settings).run()

    def die(phase: str, done: int, total: int, numbers: object) -> None:
        if phase == at and done == 3:
            raise Killed

    broken = trainer(tmp_path / "broken", settings)
    broken.progress = die
    with pytest.raises(Killed):
        broken.run()
    unfinished = len(rows(tmp_path / "broken"))
    trainer(tmp_path / "broken", settings, resume=True).run()
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole") and unfinished < len(
        rows(tmp_path / "whole")
    )
    same = [tmp_path / name / "best" / "model.safetensors" for name in ("whole", "broken")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_a_finished_run_can_go_on_for_longer(tmp_path: Path) -> None:
    from seq2seq_parts import recipe, rows, trainer

    trainer(tmp_path / "long", recipe(ppo_steps=4)).run()
    trainer(tmp_path / "grown", recipe(ppo_steps=2)).run()
    trainer(tmp_path / "grown", recipe(ppo_steps=4), resume=True).run()
    found = [[row["kl"] for row in rows(tmp_path / name) if "kl" in row] for name in ("long", "grown")]
    assert found[0] == found[1] and len(found[0]) == 4


def test_a_kl_that_blows_up_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    from seq2seq_parts import recipe, trainer

    from empathy_gym.agents.trainers.seq2seq.checkpoint import RunFolder
    from empathy_gym.simulators.errors import TrainingError

    run = trainer(tmp_path / "run", recipe(ppo_steps=50, ppo_lr=0.05, kl_limit=2.0, checkpoint_every=1))
    with pytest.raises(TrainingError, match=r"diverged in round \d+: the KL is .* above kl_limit 2\."):
        run.run()
    loaded = RunFolder(tmp_path / "run").load("ppo")
    assert loaded is not None and loaded[2]["step"] == run.step
    assert all(bool(tensor.isfinite().all()) for tensor in loaded[0].values())


def test_a_reward_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    from seq2seq_parts import LetterCount, recipe, trainer

    from empathy_gym.simulators.errors import TrainingError

    class Broken(LetterCount):
        def reward(self, text: str) -> float:
            return float("nan") if len(self.seen) > 2 else 0.5

    run = trainer(tmp_path / "run", recipe(ppo_steps=9, evaluate_every=9, warm_epochs=0), env=Broken(16))
    with pytest.raises(TrainingError, match="diverged in round 2: the reward is nan"):
        run.run()
    assert (tmp_path / "run" / "checkpoints" / "ppo-000002").is_dir()


# -- bad input -------------------------------------------------------------------------------------------


def test_a_folder_of_another_run_or_version_is_refused_in_one_line(tmp_path: Path) -> None:
    from seq2seq_parts import recipe, trainer

    from empathy_gym.simulators.errors import ConfigError

    folder = tmp_path / "run"
    trainer(folder, recipe(ppo_steps=1, warm_epochs=0)).run()
    with pytest.raises(ConfigError, match="holds a run already; give --resume"):
        trainer(folder, recipe(ppo_steps=1, warm_epochs=0))
    with pytest.raises(ConfigError, match=r"recipe.gamma = 1.0, this one has 0.9; it cannot be resumed"):
        trainer(folder, recipe(ppo_steps=1, warm_epochs=0, gamma=0.9), resume=True)
    state = folder / "checkpoints" / "ppo-000001" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": 99}))
    with pytest.raises(ConfigError, match="has format 99; this version reads 1"):
        trainer(folder, recipe(ppo_steps=2, warm_epochs=0), resume=True).run()
    state.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        trainer(folder, recipe(ppo_steps=2, warm_epochs=0), resume=True).run()


def test_a_model_that_is_no_encoder_decoder_is_refused_in_one_line(tmp_path: Path) -> None:
    import transformers

    from empathy_gym.agents.trainers.seq2seq.model import load_actor
    from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL
    from empathy_gym.simulators.errors import ConfigError

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    for kind, words in (
        (transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **tiny)), "is a causal model"),
        (
            transformers.BertModel(transformers.BertConfig(vocab_size=32, **tiny)),
            "neither causal nor encoder",
        ),
    ):
        folder = tmp_path / type(kind).__name__
        kind.save_pretrained(folder)
        with pytest.raises(ConfigError, match=words) as caught:
            load_actor(str(folder), EMPRL)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="There is no model at"):
        load_actor(str(tmp_path / "nowhere" / "at" / "all"), EMPRL)


def test_an_environment_of_another_size_is_refused(tmp_path: Path) -> None:
    from seq2seq_parts import LetterCount, recipe, trainer

    from empathy_gym.simulators.errors import ConfigError

    with pytest.raises(ConfigError, match="5 sub-environments; the recipe's batch is 16"):
        trainer(tmp_path / "run", recipe(), env=LetterCount(5))
