"""How a run is doing, beyond its reward: what a policy says, and whether it has begun to game its user."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from empathy_gym.agents.rollout.collect import Trajectory
from empathy_gym.agents.trainers.recipe import HealthRecipe
from empathy_gym.agents.trainers.templates import phrases

SIGNATURES: Final = ("template", "flattery", "agreement", "repetition", "copy", "guards", "reply_words")
"""What grows where a reward is gamed."""
FLOORS: Final = {"reply_words": 8.0}
FLOOR: Final = 0.05
"""A signature below its floor is not warned of: a share of one reply in twenty, where `FLOORS` gives none."""
PATIENCE: Final = 3


Reading = tuple[Mapping[str, int], str | None]
"""The levels of a reply, and the guard that spoke."""


def signatures(replies: Sequence[str], readings: Sequence[Reading]) -> dict[str, float]:
    """Return what replies look like.

    Args:
        replies: What was heard.
        readings: How it was read; one for each reply that could be.

    Returns:
        ``template``: share of replies with the most common phrase of five words; ``flattery``: inflated praise, or
        a falsehood affirmed; ``agreement``: blanket agreement; ``repetition``: repeats the policy's own words;
        ``copy``: mostly the user's words; ``guards``: any guard; ``reply_words``: mean words of a reply.
    """
    if not replies or not readings:
        return {}
    words = [re.findall(r"\w+", reply.lower()) for reply in replies]
    common = Counter(phrase for reply in replies for phrase in phrases(reply))
    count = len(readings)
    return {
        "template": max(common.values(), default=0) / len(replies),
        "flattery": sum(a["affirmation"] < 0 or a["stance"] <= -2 for a, _ in readings) / count,
        "agreement": sum(a["stance"] == -1 for a, _ in readings) / count,
        "repetition": sum(a["repetition"] > 0 for a, _ in readings) / count,
        "copy": sum(guard == "copy" for _, guard in readings) / count,
        "guards": sum(guard is not None for _, guard in readings) / count,
        "reply_words": sum(map(len, words)) / len(replies),
    }


def has_grown(name: str, value: float, before: float, factor: float) -> bool:
    """Whether a signature is more than `factor` times what it was, and not below its floor."""
    return value > max(factor * before, FLOORS.get(name, FLOOR))


def outcomes(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Return how episodes ended: means over them."""
    if not trajectories:
        return {}
    count = len(trajectories)
    dialogues = [t.dialogue for t in trajectories]
    turns = sum(len(t.turns) for t in trajectories)
    return {
        "emotion": sum(d.emotion for d in dialogues) / count,
        "return": sum(t.total for t in trajectories) / count,
        "success": sum(d.outcome == "success" for d in dialogues) / count,
        "failure": sum(d.outcome in ("failure", "format") for d in dialogues) / count,
        "turns": turns / count,
        "reply_tokens": sum(t.sampled for t in trajectories) / turns,
        **signatures(
            [m["content"] for d in dialogues for m in d.messages if m["role"] == "assistant"],
            [(a.levels(), a.guard) for d in dialogues for a in d.appraisals],
        ),
    }


class HealthMonitor:
    """Compares what is measured with the start of the run.

    Args:
        settings: Thresholds.
    """

    def __init__(self, settings: HealthRecipe) -> None:
        self.settings = settings
        self.baseline: dict[str, float] = {}
        self.streaks: dict[str, int] = {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"baseline": dict(self.baseline), "streaks": dict(self.streaks)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.baseline, self.streaks = dict(state["baseline"]), dict(state["streaks"])

    def check_step(self, metrics: Mapping[str, float]) -> list[str]:
        """Return warnings about one step of training."""
        settings = self.settings
        return self._noted(
            {
                "faults": (
                    metrics.get("fault_rate", 0.0) > settings.max_fault_rate,
                    f"{metrics.get('fault_rate', 0.0):.1%} of the groups faulted and were dropped",
                ),
                "gap": (
                    metrics.get("gap", 0.0) > settings.max_gap,
                    f"sampler and trainer differ by {metrics.get('gap', 0.0):.3f} in log-probability",
                ),
                "entropy": (
                    metrics.get("entropy", 1.0) < settings.min_entropy,
                    f"the entropy has fallen to {metrics.get('entropy', 1.0):.3f}",
                ),
            }
        )

    def check_evaluation(self, metrics: Mapping[str, float]) -> list[str]:
        """Return warnings about an evaluation; the first one is what later ones are compared with."""
        found = {name: float(metrics[name]) for name in SIGNATURES if name in metrics}
        if not self.baseline:
            self.baseline = found
            return []
        return self._noted(
            {
                name: (
                    has_grown(name, value, self.baseline.get(name, 0.0), self.settings.growth),
                    f"{name} has grown from {self.baseline.get(name, 0.0):.3f} to {value:.3f}",
                )
                for name, value in found.items()
            }
        )

    def _noted(self, checks: Mapping[str, tuple[bool, str]]) -> list[str]:
        for name, (bad, _) in checks.items():
            self.streaks[name] = self.streaks.get(name, 0) + 1 if bad else 0
        return [text for bad, text in checks.values() if bad]

    @property
    def stop(self) -> str | None:
        """Why the run should stop, or None: the same warning three times in a row, if the recipe says so."""
        worst = [name for name, streak in sorted(self.streaks.items()) if streak >= PATIENCE]
        return f"{', '.join(worst)}: {PATIENCE} warnings in a row" if worst and self.settings.stop else None
