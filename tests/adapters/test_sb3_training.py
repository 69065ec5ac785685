"""Training with Stable-Baselines3: it learns, it goes on where it was, and it says what is wrong in one line."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from empathy_gym.agents import Conversation, load_policy
from empathy_gym.agents.trainers.sb3_files import NOTE, STATE, read_note
from empathy_gym.agents.trainers.sb3_settings import TrainConfig, read_settings
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError

pytestmark = pytest.mark.adapters

SMALL = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "net_arch": [16]}
SETTINGS = {
    "ppo": SMALL,
    "maskable-ppo": SMALL,
    "recurrent-ppo": {**SMALL, "lstm_hidden_size": 8},
    "dqn": {"learning_starts": 40, "buffer_size": 500, "net_arch": [16]},
}
OPENING = ({"role": "user", "content": "My sister took the desk I was promised."},)


def config(algo="ppo", **changes):
    settings = changes.pop("settings", SETTINGS[algo])
    rest = {"num_envs": 4, "steps": 192, "checkpoint_every": 64, "evaluate_every": 64, **changes}
    return TrainConfig(algo=algo, settings=settings, **rest)


def run(folder, *args, **kwargs):
    from empathy_gym.agents.trainers.sb3 import train

    return train(*args, folder, tensorboard=False, **kwargs)


def weights(path):
    from empathy_gym.agents.policies.sb3 import SB3Policy

    return SB3Policy.load(path).model.policy.state_dict()


def same(one, other):
    return all(bool((one[name] == other[name]).all()) for name in one)


@pytest.mark.parametrize("algo", list(SETTINGS))
def test_an_interrupted_run_goes_on_exactly(algo, tmp_path):
    whole = run(tmp_path / "whole", config(algo))

    def interrupt(step, mean):
        if step >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", config(algo), progress=interrupt)
    kept = read_note(tmp_path / "parts" / "last.zip")
    assert 0 < kept["step"] < 192
    parts = run(tmp_path / "parts", config(algo), resume=True)
    assert parts.steps == whole.steps >= 192
    assert same(weights(whole.last), weights(parts.last))
    assert not same(weights(whole.last), weights(tmp_path / "whole" / "step-000000064.zip"))


def test_training_puts_the_global_generators_back(tmp_path):
    import torch

    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    run(tmp_path, config(steps=64))
    assert (torch.rand(1).item(), np.random.rand()) == expected


def test_the_best_evaluation_is_kept_and_all_are_written_down(tmp_path):
    scores = iter([3.0, 9.0, 5.0, 4.0])
    found = run(tmp_path, config(steps=192), evaluate=lambda policy: {"score": next(scores)})
    assert found.best == {"step": 64.0, "score": 9.0}
    assert read_note(found.best_path)["step"] == 64
    lines = (tmp_path / "evaluations.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["score"] for line in lines] == [3.0, 9.0, 5.0, 4.0]
    assert same(weights(found.best_path), weights(tmp_path / "step-000000064.zip"))


def test_a_run_that_diverges_stops_in_one_line_and_keeps_the_last_good_checkpoint(tmp_path):
    broken = {**SMALL, "learning_rate": 1e30, "max_grad_norm": 1e30, "anneal": False}
    with pytest.raises(EmpathyGymError, match=r"diverged at step \d+.*last\.zip holds step 0") as error:
        run(tmp_path, config(settings=broken))
    assert "\n" not in str(error.value)
    assert all(bool(np.isfinite(value.numpy()).all()) for value in weights(tmp_path / "last.zip").values())


def test_ppo_learns_more_than_its_untrained_self():
    """2,560 steps: the trained network has to beat the one it started from by ten points with the same people."""
    from empathy_gym.agents.policies.sb3 import SB3Policy
    from empathy_gym.agents.trainers.sb3 import make_envs, make_model
    from empathy_gym.benchmarks.strategy_play import evaluator

    settings = {"n_steps": 32, "batch_size": 128, "n_epochs": 8}
    run_ = TrainConfig(num_envs=16, seed=1, settings=settings)
    evaluate = evaluator({"scenarios": "train"}, limit=60)
    model = make_model(run_, make_envs(run_))

    def score():
        return evaluate(SB3Policy(model, "ppo", deterministic=False))["score"]

    before = score()
    model.learn(5 * 512)
    assert score() > before + 10.0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"env": "EmpathyChat-v0"}, "cannot learn on text.*Use 'EmpathyStrategy-v0'"),
        ({"env": "EmpathyStrategy"}, "Did you mean 'EmpathyStrategy-v0'"),
        ({"algo": "pp0"}, "Did you mean 'ppo'"),
        ({"steps": 0}, "steps is 0"),
        ({"num_envs": -1}, "num_envs is -1"),
        ({"settings": {"learning_rat": 1}}, "Did you mean 'learning_rate'"),
        ({"settings": {"n_steps": "many"}}, "ppo does not take these settings"),
        ({"settings": {"learning_rate": "high", "anneal": False}}, "ppo does not take these settings"),
        ({"difficulty": "hardest"}, "Unknown difficulty"),
        ({"hidden": ("mod",)}, "Did you mean 'mood'"),
        ({"scenarios": "trian"}, "trian"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(changes, what, tmp_path):
    with pytest.raises(ConfigError, match=what) as error:
        run(tmp_path, TrainConfig(**changes))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_dqn_refuses_intensities():
    with pytest.raises(ConfigError, match="leave out --intensity"):
        config("dqn", intensity=True).checked()


@pytest.mark.parametrize("algo", ["ppo", "maskable-ppo", "recurrent-ppo"])
def test_intensities_can_be_learnt_and_played(algo, tmp_path):
    done = run(tmp_path, config(algo, intensity=True, steps=64))
    policy = load_policy(f"sb3:{done.last}")
    action = policy.choose([Conversation(key="a", messages=OPENING)])[0]
    assert policy.intensity and 0 <= action[0] < 11 and 0 <= action[1] < 3
    assert policy.act([Conversation(key="b", messages=OPENING)])[0]


def test_settings_are_read_as_values():
    assert read_settings(["learning_rate=3e-4", "net_arch=[8, 8]", "anneal=false"]) == {
        "learning_rate": 3e-4,
        "net_arch": [8, 8],
        "anneal": False,
    }
    for wrong in ("learning_rate", "=3", "a=[1"):
        with pytest.raises(ConfigError):
            read_settings([wrong])


# -- checkpoints -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return run(folder, config(steps=64)).last


def with_note(path, target, **changes):
    """Copy a checkpoint with another note."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == NOTE:
                data = json.dumps({**json.loads(data), **changes}).encode()
            new.writestr(name, data)
    return target


def test_a_checkpoint_of_another_environment_is_refused_before_it_is_unpickled(
    trained, tmp_path, monkeypatch
):
    import pickle

    other = with_note(trained, tmp_path / "other.zip", env="EmpathyStrategy-v1")
    monkeypatch.setattr(pickle, "loads", None)
    with pytest.raises(
        ConfigError, match=r'checkpoint with env = "EmpathyStrategy-v1"; here it is "EmpathyStrategy-v0"'
    ):
        load_policy(f"sb3:{other}")


def test_a_run_of_another_environment_version_or_configuration_is_not_resumed(trained, tmp_path):
    folder = trained.parent
    for changes, what in (({"seed": 9}, "seed = 0; here it is 9"), ({"reward": "final"}, 'reward = "delta"')):
        with pytest.raises(ConfigError, match=what):
            run(folder, config(**{"steps": 64, **changes}), resume=True)
    for changes in ({"env": "EmpathyStrategy-v1"}, {"package_version": "0.0.9"}, {"fingerprint": "other"}):
        with_note(trained, tmp_path / "last.zip", **changes)
        with pytest.raises(ConfigError, match=f"checkpoint with {next(iter(changes))} = "):
            run(tmp_path, config(steps=64), resume=True)


def test_a_folder_with_a_run_is_not_overwritten(trained):
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        run(trained.parent, config(steps=64))


def test_files_that_are_no_models_are_refused_in_one_line(tmp_path, trained):
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a.txt", "a")
    torn = tmp_path / "torn.zip"
    with zipfile.ZipFile(trained) as old, zipfile.ZipFile(torn, "w") as new:
        for name in old.namelist():
            if name != "policy.pth":
                new.writestr(name, old.read(name))
    for path, what in (
        (text, "is no model"), (empty, "it has no 'data'"), (tmp_path / "none.zip", "There is no file"),
        (torn, "cannot be loaded"), (tmp_path, "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=what) as error:
            load_policy(f"sb3:{path}")
        assert "\n" not in str(error.value)


def test_a_numbered_checkpoint_is_a_policy_but_no_place_to_go_on_from(trained, tmp_path):
    with zipfile.ZipFile(trained) as archive:
        assert STATE in archive.namelist()
    numbered = trained.parent / "step-000000064.zip"
    assert load_policy(f"sb3:{numbered}").choose([Conversation(key="a", messages=OPENING)])
    (tmp_path / "last.zip").write_bytes(numbered.read_bytes())
    with pytest.raises(ConfigError, match=r"only the last\.zip"):
        run(tmp_path, config(steps=128), resume=True)


# -- the command -----------------------------------------------------------------------------------------


def command(*words):
    from empathy_gym.cli import app

    return CliRunner().invoke(app, ["train", "sb3", *map(str, words)])


def test_the_command_trains_and_its_policy_runs_in_the_bench_on_both_environments(tmp_path):
    from empathy_gym.cli import app

    small = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    done = command("--steps", 64, "--num-envs", 4, "--out", tmp_path, "--validation-limit", 2, *small)
    assert done.exit_code == 0, done.output
    assert "Next: empathy-gym bench" in done.output and list((tmp_path / "tb").rglob("events*"))
    for env in ("EmpathyStrategy-v0", "EmpathyChat-v0"):
        bench = [
            "bench",
            "--env",
            env,
            "--policy",
            f"sb3:{tmp_path / 'best.zip'}",
            "--policy",
            "strategy:random",
        ]
        played = CliRunner().invoke(app, [*bench, "--limit", "2", "--out", str(tmp_path / env), "--json"])
        assert played.exit_code == 0, played.output
        assert {row["policy"] for row in json.loads(played.stdout)} == {
            f"sb3:{tmp_path / 'best.zip'}",
            "strategy:random",
        }


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    for words, what in (
        (["--algo", "pp0"], "Did you mean 'ppo'"),
        (["--resume"], "There is no file"),
        (["--set", "x"], "--set takes key=value"),
    ):
        done = command("--out", tmp_path / "run", "--quiet", *words)
        assert done.exit_code == 2 and what in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_is_one_line_and_names_what_is_kept(tmp_path, monkeypatch):
    from empathy_gym.agents.trainers import sb3

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sb3, "train", interrupted)
    done = command("--out", tmp_path / "run", "--quiet")
    assert done.exit_code == 130 and "last.zip is kept" in done.stderr and "--resume" in done.stderr
