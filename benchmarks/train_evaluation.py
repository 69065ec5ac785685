"""How a model in training does with users it is not trained on, played by the benchmark's own runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empathy_gym.agents.trainers.chat_training import Evaluate
from empathy_gym.agents.trainers.health import signatures
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.benchmarks.episodes import Player, Task
from empathy_gym.benchmarks.summary import Score, summarise
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.records import EpisodeRecord

NAME = "training"
"""What the policy is called in records that nobody keeps."""


def make_evaluate(recipe: Recipe) -> Evaluate:
    """Return the evaluation of a recipe: the same users, seeds and task at every call.

    Raises:
        ConfigError: If the split does not exist.
    """
    given = recipe.evaluation
    setting = ChatSetting.make({**recipe.task.kwargs(), "scenarios": given.scenarios})
    # In an order of their own: the first ones by id are not a sample.
    people = sorted(setting.scenarios, key=lambda s: derive_seed(recipe.seed, "evaluation", s.id))
    tasks = [
        Task(NAME, people[i % len(people)], i // len(people), recipe.seed) for i in range(given.episodes)
    ]

    def evaluate(policy: Any) -> Mapping[str, float]:
        player = Player(setting, "EmpathyChat-v0", policy, NAME, batch_size=recipe.rollout.slots)
        return measured(list(player.play(tasks)))

    return evaluate


def measured(records: list[EpisodeRecord]) -> dict[str, float]:
    """Return the mean final emotion with the ends of its interval, successes, and what replies look like."""
    row = summarise(NAME, [Score.of(record) for record in records])
    low, high = row.ci95 or (0.0, 0.0)
    turns = [turn for record in records for turn in record.turns]
    return {
        "emotion": row.mean_final_emotion or 0.0,
        "emotion_low": low,
        "emotion_high": high,
        "success": row.success_rate or 0.0,
        "turns": row.mean_turns or 0.0,
        "faults": row.faults / len(records),
        **signatures(
            [turn.heard for turn in turns if turn.heard is not None],
            [(t.appraisal.levels, t.appraisal.guard) for t in turns if t.appraisal is not None],
        ),
    }
