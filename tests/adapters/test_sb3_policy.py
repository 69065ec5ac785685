"""A saved model as a policy: what it does outside the environment is what it does inside."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from empathy_gym.agents import load_policy
from empathy_gym.agents.trainers.sb3_settings import TrainConfig
from empathy_gym.benchmarks.episodes import Player, Task
from empathy_gym.benchmarks.strategy_play import StrategyPlayer
from empathy_gym.benchmarks.summary import Score
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.errors import ConfigError

pytestmark = pytest.mark.adapters

ID = "EmpathyStrategy-v0"
PEOPLE = 4
SMALL = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "net_arch": [16]}


@pytest.fixture(scope="module")
def setting():
    return ChatSetting.make({"scenarios": "validation"})


@pytest.fixture(scope="module", params=["ppo", "maskable-ppo", "recurrent-ppo", "dqn"])
def trained(request, tmp_path_factory):
    from empathy_gym.agents.trainers.sb3 import train

    settings = {**SMALL} if request.param != "dqn" else {"learning_starts": 40, "net_arch": [16]}
    config = TrainConfig(algo=request.param, steps=128, num_envs=4, settings=settings)
    return train(config, tmp_path_factory.mktemp(request.param), tensorboard=False).last


def scores(player, setting):
    records = player.play([Task("p", scenario, 0, 0) for scenario in setting.scenarios[:PEOPLE]])
    return sorted((Score.of(record) for record in records), key=lambda score: score.scenario)


def test_the_bench_takes_the_steps_that_the_model_takes_in_the_environment(trained, setting):
    policy = load_policy(f"sb3:{trained}")
    benched = scores(StrategyPlayer(setting, ID, policy, "p"), setting)
    env = gym.make(ID, scenarios="validation")
    for score, scenario in zip(benched, sorted(setting.scenarios[:PEOPLE], key=lambda s: s.id), strict=True):
        start = setting.begin([_request(setting, scenario)])[0]
        obs, _ = env.reset(options={"dialogue": start})
        state, done, first = None, False, True
        while not done:
            options = {"action_masks": env.unwrapped.action_masks()} if policy.algorithm.masks else {}
            if policy.algorithm.recurrent:
                options = {"state": state, "episode_start": np.array([first])}
            action, state = policy.model.predict(obs, deterministic=True, **options)
            obs, _, done, _, info = env.step(action)
            first = False
        assert (score.scenario, score.emotion, score.turns) == (scenario.id, info["emotion"], info["turn"])


def _request(setting, scenario):
    from empathy_gym.simulators.dialogue import BeginRequest

    seed = Task("p", scenario, 0, 0).seed
    return BeginRequest(scenario, seed, setting.difficulty, setting.max_turns, setting.initial_emotion)


@pytest.mark.parametrize("deterministic", [True, False])
def test_results_do_not_depend_on_the_batch(trained, setting, deterministic):
    from empathy_gym.agents.policies.sb3 import SB3Policy

    if trained.parent.name.startswith("dqn") and not deterministic:
        with pytest.raises(ConfigError, match="no probabilities"):
            SB3Policy.load(trained, deterministic=False)
        return
    runs = [
        scores(Player(setting, "EmpathyChat-v0", policy, "p", batch_size=size), setting)
        for size in (1, PEOPLE)
        for policy in [SB3Policy.load(trained, deterministic=deterministic)]
    ]
    assert runs[0] == runs[1]


def test_drawing_leaves_the_global_generator_alone(trained, setting):
    import torch

    from empathy_gym.agents.policies.sb3 import SB3Policy

    likeliest = trained.parent.name.startswith("dqn")
    torch.manual_seed(3)
    expected = torch.rand(1).item()
    torch.manual_seed(3)
    scores(Player(setting, "EmpathyChat-v0", SB3Policy.load(trained, deterministic=likeliest), "p"), setting)
    assert torch.rand(1).item() == expected


def test_state_is_forgotten_with_the_conversation(trained, setting):
    policy = load_policy(f"sb3:{trained}")
    scores(StrategyPlayer(setting, ID, policy, "p"), setting)
    assert policy._taken == {} and policy._states == {}


@pytest.mark.parametrize("name", ["PPO", "MaskablePPO", "RecurrentPPO", "DQN"])
def test_a_model_that_stable_baselines3_saved_by_itself_will_do(name, tmp_path, setting):
    import sb3_contrib
    import stable_baselines3

    class_ = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    policy = "MultiInputLstmPolicy" if name == "RecurrentPPO" else "MultiInputPolicy"
    class_(policy, gym.make(ID), device="cpu", seed=0).save(tmp_path / "own.zip")
    player = StrategyPlayer(setting, ID, load_policy(f"sb3:{tmp_path / 'own.zip'}"), "p")
    assert len(scores(player, setting)) == PEOPLE


def test_a_model_of_another_task_is_refused(tmp_path):
    from stable_baselines3 import PPO

    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "cart.zip")
    PPO("MultiInputPolicy", gym.make(ID, privileged=True), device="cpu").save(tmp_path / "privileged.zip")
    for name, what in (("cart", "another environment"), ("privileged", "its observation differs in emotion")):
        with pytest.raises(ConfigError, match=what) as error:
            load_policy(f"sb3:{tmp_path / name}.zip")
        assert "\n" not in str(error.value)
