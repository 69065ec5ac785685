"""Training runs with the small model: they repeat, resume exactly, and fail in one line."""

from __future__ import annotations

import json
import shutil

import pytest

from empathy_gym import ConfigError, EmpathyGymError, EngineError
from empathy_gym.agents.trainers.recipe import load_recipe

pytestmark = pytest.mark.adapters


@pytest.fixture
def recipe(folder):
    def make(**changes):
        data = {
            "model": str(folder),
            "steps": 3,
            "task": {"max_turns": 2},
            "rollout": {"groups": 2, "group_size": 3, "max_tokens": 6, "slots": 4, "max_model_len": 2048},
            "optimiser": {"learning_rate": 1e-3, "micro_batch": 2},
            "save": {"every": 1},
            "evaluation": {"every": 0},
        }
        for section, values in changes.items():
            data[section] = {**data[section], **values} if isinstance(data.get(section), dict) else values
        return load_recipe(data)

    return make


@pytest.fixture
def train():
    from empathy_gym.agents.trainers.chat_training import ChatTraining, Hooks

    def run(recipe, out, **options):
        hooks = Hooks(**{k: options.pop(k) for k in ("evaluate", "notice", "log") if k in options})
        return ChatTraining(recipe, out, hooks, **options).run()

    return run


def untimed(metrics):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in metrics]


def test_a_run_killed_after_any_step_goes_on_to_the_same_metrics(recipe, train, tmp_path) -> None:
    whole = train(recipe(), tmp_path / "whole")
    assert [line["step"] for line in whole] == [1, 2, 3] and whole[0]["tokens"] > 0
    for killed in (1, 2):

        def die(metrics, killed=killed):
            if metrics["step"] == killed + 1:
                raise KeyboardInterrupt

        out = tmp_path / f"killed-{killed}"
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), out, log=die)
        assert untimed(train(recipe(), out)) == untimed(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "ppo", "ppo": {"critic_learning_rate": 1e-2}},
        {"lora": {"rank": 2, "alpha": 4}, "loss": {"kl_coefficient": 0.1}},
        {"warm_start": {"episodes": 2}, "algorithm": "rft", "evaluation": {"every": 2}},
    ],
    ids=["ppo", "lora", "rft-warm"],
)
def test_so_does_one_with_a_critic_adapters_or_a_warm_start(recipe, train, tmp_path, changes) -> None:
    made = recipe(steps=2, save={"every": 1}, **changes)

    def die(metrics):
        if metrics["step"] == 2:
            raise KeyboardInterrupt

    whole = train(made, tmp_path / "whole", evaluate=evaluate)
    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "killed", evaluate=evaluate, log=die)
    assert untimed(train(made, tmp_path / "killed", evaluate=evaluate)) == untimed(whole)


def test_a_warm_start_killed_midway_goes_on_to_the_same_weights(recipe, tmp_path, monkeypatch) -> None:
    from empathy_gym.agents.trainers import warm_start
    from empathy_gym.agents.trainers.run_folder import RunFolder
    from empathy_gym.envs.setting import ChatSetting

    monkeypatch.setattr(warm_start, "KEPT", 2)
    made = recipe(warm_start={"episodes": 5, "batch": 1, "learning_rate": 1e-3})
    setting, said = ChatSetting.make(made.task.kwargs()), []

    def warm(place, stop=None):
        done = []

        def progress(what, step, total):
            done.append(step)
            if step == stop:
                raise KeyboardInterrupt

        try:
            warm_start.warmed(made, RunFolder(place), setting, said.append, progress)
        except KeyboardInterrupt:
            assert stop is not None and (place / "warming" / "state.pt").is_file()
            assert not (place / "warm").exists()
        return done

    assert warm(tmp_path / "whole") == [1, 2, 3, 4, 5]
    # What was learnt after the last keeping is learnt again.
    assert warm(tmp_path / "killed", stop=4) == [1, 2, 3, 4] and warm(tmp_path / "killed") == [3, 4, 5]
    assert said[0] == said[1] and not (tmp_path / "killed" / "warming").exists()
    files = [tmp_path / name / "warm" / "model.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    "changes", [{"algorithm": "ppo"}, {"lora": {"rank": 2, "alpha": 4}}], ids=["ppo", "lora"]
)
def test_global_randomness_is_neither_read_nor_set(recipe, train, tmp_path, changes) -> None:
    import random

    import numpy
    import torch

    def states():
        return torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()

    found = []
    for number, seed in enumerate((1, 2)):
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        before = states()
        found.append(untimed(train(recipe(steps=1, **changes), tmp_path / str(number))))
        assert states() == before
    assert found[0] == found[1]


def evaluate(policy):
    """A measure that depends on the weights: what the model says greedily."""
    from empathy_gym.agents import Conversation

    reply = policy.act([Conversation("k", [{"role": "user", "content": "They moved it."}], "Answer.")])[0]
    return {"emotion": float(sum(reply.tokens)), "template": 0.0}


def test_a_run_killed_before_its_first_checkpoint_begins_again(recipe, train, tmp_path) -> None:
    made = recipe(steps=2, save={"every": 2}, evaluation={"every": 1})

    def die(metrics):
        if metrics["step"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "run", evaluate=evaluate, log=die)
    assert [line["step"] for line in train(made, tmp_path / "run", evaluate=evaluate)] == [0, 1, 2]


def test_learning_moves_the_weights_and_the_sampler_follows(recipe, train, tmp_path, network) -> None:
    from empathy_gym.agents.trainers.chat_model import load_tensors

    lines = train(recipe(), tmp_path / "run")
    before = dict(network.named_parameters())["model.layers.0.self_attn.q_proj.weight"]
    after = load_tensors(tmp_path / "run" / "model" / "model.safetensors")
    assert not (after["model.layers.0.self_attn.q_proj.weight"] == before).all()
    # Sampler and trainer are one network: what was drawn from is what is scored.
    assert all(line["gap_max"] < 1e-4 for line in lines if "gap_max" in line)


def test_a_folder_of_another_recipe_is_refused(recipe, train, tmp_path) -> None:
    train(recipe(steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"optimiser.learning_rate is 0.001 there and 0.1 here"):
        train(recipe(steps=1, optimiser={"learning_rate": 0.1}), tmp_path / "run")
    assert len(train(recipe(steps=2), tmp_path / "run")) == 2


def test_a_checkpoint_of_another_model_is_refused(recipe, train, tmp_path) -> None:
    train(recipe(steps=1), tmp_path / "run")
    note = tmp_path / "run" / "checkpoints" / "step-000001" / "checkpoint.json"
    data = json.loads(note.read_text())
    note.write_text(json.dumps({**data, "model": {"name": "other", "revision": "1"}}))
    with pytest.raises(ConfigError, match="is of the model other@1"):
        train(recipe(steps=2), tmp_path / "run")


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(recipe, train, tmp_path, monkeypatch) -> None:
    from empathy_gym.agents.trainers import chat_model

    train(recipe(steps=1), tmp_path / "run")

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chat_model, "save_tensors", full)
    with pytest.raises(EmpathyGymError, match=r"No space left.*last good checkpoint is kept") as caught:
        train(recipe(steps=2), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    monkeypatch.undo()
    assert len(train(recipe(steps=2), tmp_path / "run")) == 2


def test_a_damaged_checkpoint_is_named(recipe, train, tmp_path) -> None:
    train(recipe(steps=1), tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-000001" / "state.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"step-000001.*cannot be read"):
        train(recipe(steps=2), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000001")
    assert len(train(recipe(steps=1), tmp_path / "run")) == 1


def test_an_engine_that_dies_mid_step_leaves_the_last_checkpoint(
    recipe, train, tmp_path, monkeypatch
) -> None:
    from empathy_gym.agents.rollout.sampler import TransformersSampler

    whole = train(recipe(), tmp_path / "whole")
    healthy, calls = TransformersSampler.step, []

    def dying(self):
        calls.append(1)
        if self.version == 1 and len(self._waiting) and len(calls) > 4:
            raise EngineError("vLLM failed and cannot go on: it is gone.")
        return healthy(self)

    monkeypatch.setattr(TransformersSampler, "step", dying)
    with pytest.raises(EngineError, match="it is gone"):
        train(recipe(), tmp_path / "run")
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    assert untimed(train(recipe(), tmp_path / "run")) == untimed(whole)


def test_out_of_memory_comes_with_advice(recipe, train, tmp_path, monkeypatch) -> None:
    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner

    def full(self, items, tally, before):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(GRPOLearner, "_update", full)
    with pytest.raises(EmpathyGymError, match=r"step \d failed.*lower optimiser.micro_batch.*kept"):
        train(recipe(), tmp_path / "run")


def test_the_best_model_by_evaluation_is_kept(recipe, train, tmp_path) -> None:
    scores = iter([40.0, 50.0, 45.0, 44.0])
    seen = []

    def evaluate(policy):
        seen.append(policy)
        return {"emotion": next(scores), "template": 0.1}

    lines = train(recipe(evaluation={"every": 1}), tmp_path / "run", evaluate=evaluate)
    assert [line["eval_emotion"] for line in lines] == [40.0, 50.0, 45.0, 44.0] and len(seen) == 4
    assert (tmp_path / "run" / "best" / "config.json").is_file()


def test_a_model_that_games_its_user_is_not_the_best(recipe, train, tmp_path) -> None:
    scores = iter([(40.0, 0.1), (45.0, 0.1), (50.0, 0.3), (44.0, 0.1)])
    said, kept = [], []

    def evaluate(policy):
        best = tmp_path / "run" / "best" / "model.safetensors"
        kept.append(best.read_bytes() if best.is_file() else None)
        return dict(zip(("emotion", "template"), next(scores), strict=True))

    # With a critic every step moves the weights.
    made = recipe(algorithm="ppo", ppo={"critic_learning_rate": 1e-2}, evaluation={"every": 1})
    train(made, tmp_path / "run", evaluate=evaluate, notice=said.append)
    assert "step 2: template has grown from 0.100 to 0.300" in said
    # The model of step 1 stays the best through step 2, which was paid more, and step 3, which was paid less.
    assert kept[0] is None and kept[1] != kept[2]
    assert kept[2] == kept[3]
    assert (tmp_path / "run" / "best" / "model.safetensors").read_bytes() == kept[3]


def test_a_trained_model_is_a_policy(recipe, train, tmp_path) -> None:
    from empathy_gym.agents import Conversation, load_policy

    train(recipe(steps=1), tmp_path / "run")
    policy = load_policy(f"hf:{tmp_path / 'run' / 'model'}")
    policy.max_tokens = 4
    reply = policy.act([Conversation("k", [{"role": "user", "content": "They moved it."}], "Answer.")])[0]
    assert reply.error is None
