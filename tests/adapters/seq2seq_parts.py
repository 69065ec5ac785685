"""What tests of the seq2seq trainer share: a tiny T5 made on the spot, and a task whose reward counts a letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from empathy_gym.agents.trainers.ppo_seq2seq import Seq2SeqTrainer
from empathy_gym.agents.trainers.seq2seq.build import Size, untrained
from empathy_gym.agents.trainers.seq2seq.checkpoint import RunFolder
from empathy_gym.agents.trainers.seq2seq.model import Actor
from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL, Recipe
from empathy_gym.agents.trainers.seq2seq.warm_start import Pair
from empathy_gym.simulators.files import read_json_lines

TOLD = (
    "My cat is ill and I worry.",
    "We lost the match on Sunday.",
    "I passed the exam.",
    "The roof leaks again.",
)
ANSWERS = ("Oh no, poor cat.", "What a pity.", "Well done, you!", "That is a bother.")
PAIRS = [
    Pair(({"role": "user", "content": told},), answer) for told, answer in zip(TOLD, ANSWERS, strict=True)
]
SIZE = Size(vocabulary=300, width=32, inner=64, layers=1, heads=2, dropout=0.1)
QUICK = {
    "batch": 16,
    "minibatch": 16,
    "target_tokens": 8,
    "warm_epochs": 2,
    "warm_batch": 2,
    "warm_lr": 1e-3,
    "ppo_lr": 3e-3,
    "kl_coef": 0.01,
    "kl_target": 20.0,
    "evaluate_every": 3,
    "checkpoint_every": 2,
    "device": "cpu",
}


class LetterCount:
    """A vector environment of one-step episodes, whose reward is the share of the letter o in a response."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.seen: list[list[str]] = []

    def reset(self, *, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        self.seen.append(options["exchange"])
        messages = [[dict(m) for m in PAIRS[int(id_)].messages] for id_ in options["exchange"]]
        return None, {"messages": messages}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return None, np.array([self.reward(text) for text in actions]), None, None, {}

    def reward(self, text: str) -> float:
        return text.count("o") / max(1, len(text))


def recipe(**changes: Any) -> Recipe:
    return EMPRL.changed({**QUICK, **changes})


def actor(settings: Recipe, size: Size = SIZE) -> Actor:
    made = untrained([*TOLD, *ANSWERS], size)
    made.recipe = settings
    return made


def trainer(
    folder: Path, settings: Recipe, *, resume: bool = False, env: Any = None, model: Actor | None = None
) -> Seq2SeqTrainer:
    run = RunFolder(folder)
    run.open({"model": "tiny", "recipe": settings.model_dump()}, resume=resume)
    env = env or LetterCount(settings.batch)

    def evaluate(respond: Any) -> dict[str, float]:
        texts = respond([pair.messages for pair in PAIRS])
        return {"reward": float(np.mean([env.reward(text) for text in texts]))}

    ids = [str(i) for i in range(len(PAIRS))]
    return Seq2SeqTrainer(model or actor(settings), env, ids, PAIRS, run, evaluate=evaluate)


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_json_lines(folder / "metrics.jsonl")
