"""Policies over strategies: constants, random ones, sequences; without Stable-Baselines3."""

from __future__ import annotations

import pytest

from empathy_gym.agents import Conversation, load_policy
from empathy_gym.agents.policies.strategic import make_strategy_policy
from empathy_gym.benchmarks.episodes import Player, Task
from empathy_gym.benchmarks.strategy_play import Stage, StrategyPlayer
from empathy_gym.benchmarks.summary import Score
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.envs.strategies import STRATEGIES, realise
from empathy_gym.simulators.errors import ConfigError

OPENING = ({"role": "user", "content": "My sister took the desk I was promised."},)


def conversation(turn=0, key="a", seed=0, messages=OPENING):
    return Conversation(key=key, messages=messages, turn=turn, seed=seed)


def test_a_constant_says_its_strategy_in_the_realisers_words():
    policy = load_policy("strategy:question")
    assert policy.choose([conversation()]) == [0]
    assert policy.act([conversation(seed=5)]) == [realise("question", OPENING, 5)]


def test_a_sequence_is_followed_and_its_last_strategy_repeated(tmp_path):
    names = ["question", "reflection", "close"]
    file = tmp_path / "best.txt"
    file.write_text(", ".join(names) + "\n", "utf-8")
    for spec in (f"strategy:open-loop:{','.join(names)}", f"strategy:open-loop:{file}"):
        policy = load_policy(spec)
        chosen = [policy.choose([conversation(turn)])[0] for turn in range(5)]
        assert chosen == [0, 2, 10, 10, 10]


def test_a_random_policy_draws_by_seed_and_turn_and_never_closes_early():
    policy = load_policy("strategy:random")
    first = [policy.choose([conversation(turn, seed=seed)])[0] for seed in range(300) for turn in (0, 1)]
    later = [policy.choose([conversation(2, seed=seed)])[0] for seed in range(300)]
    assert set(first) == set(range(10)) and set(later) == set(range(11))
    again = load_policy("strategy:random")
    assert first == [
        again.choose([conversation(turn, seed=seed)])[0] for seed in range(300) for turn in (0, 1)
    ]


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("strategy:reflexion", "Did you mean 'reflection'"),
        ("strategy:open-loop:question,sugestion", "Did you mean 'suggestion'"),
        ("strategy:open-loop:", "names no strategy"),
        ("strategy:", "Unknown strategy policy ''"),
        ("strategy:random:3", "Unknown strategy policy"),
    ],
)
def test_a_wrong_name_is_one_clear_line(spec, what):
    with pytest.raises(ConfigError, match=what) as error:
        load_policy(spec)
    assert "\n" not in str(error.value)


def test_a_masked_close_is_remembered_as_other():
    policy = make_strategy_policy("close")
    policy.begin(["a"])
    policy.choose([conversation()])
    assert policy.taken(conversation(turn=1)) == ("other",)
    policy.end(["a"])
    assert policy._taken == {}


def test_strategies_of_a_conversation_that_another_led_are_recognised_by_their_words():
    reply = realise("reflection", OPENING, 3)
    messages = (*OPENING, {"role": "assistant", "content": reply}, {"role": "user", "content": "Yes."})
    policy = make_strategy_policy("question")
    assert policy.taken(conversation(1, seed=3, messages=messages)) == ("reflection",)


def scores(player, scenarios):
    records = player.play([Task("p", scenario, 0, 0) for scenario in scenarios])
    return sorted((Score.of(record) for record in records), key=lambda score: score.scenario)


def test_strategy_policies_play_the_chat_environment_too():
    setting = ChatSetting.make({"scenarios": "validation", "max_turns": 4})
    player = Player(setting, "EmpathyChat-v0", load_policy("strategy:reflection"), "p")
    found = scores(player, setting.scenarios[:4])
    assert {score.turns for score in found} <= {1, 2, 3, 4} and len({score.emotion for score in found}) > 1


def test_results_do_not_depend_on_how_many_conversations_run_at_a_time():
    setting = ChatSetting.make({"scenarios": "validation"})
    runs = [
        scores(
            StrategyPlayer(
                setting, "EmpathyStrategy-v0", load_policy("strategy:random"), "p", batch_size=size
            ),
            setting.scenarios[:6],
        )
        for size in (1, 4)
    ]
    assert runs[0] == runs[1]


def test_a_policy_of_words_is_refused_on_the_strategy_environment():
    setting = ChatSetting.make({"scenarios": "validation"})
    with pytest.raises(ConfigError, match="says words, and the actions of EmpathyStrategy-v0 are strategies"):
        StrategyPlayer(setting, "EmpathyStrategy-v0", load_policy("scripted:listener"), "scripted:listener")


def test_fixed_sequences_played_together_end_as_they_do_alone():
    stage = Stage({"scenarios": "validation"}, limit=2)
    sequences = [(0, 2, 4, 2, 0, 1, 2, 3), (0, 2, 4, 5, 6, 1, 2, 3), (7, 7, 10), (0, 2, 4, 2, 0, 1, 2, 9)]
    together = stage.play_sequences([(s, person) for person in stage.scenarios for s in sequences])
    for i, sequence in enumerate(sequences):
        names = ",".join(STRATEGIES[number] for number in sequence)
        alone = stage.play(f"strategy:open-loop:{names}")
        by_person = {score.scenario: (score.emotion, score.outcome == "success") for score in alone}
        assert together[i :: len(sequences)] == [by_person[person.id] for person in stage.scenarios]
