"""What happens beside learning: checkpoints, evaluations, progress, and an end where numbers stop being numbers.

Everything is done where a rollout begins: the rollout before it has been learnt from, so that a checkpoint is a
clean place to go on from. Needs the extra ``[sb3]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import EmpathyGymError

_BaseCallback: Any = require("stable_baselines3.common.callbacks", "sb3").BaseCallback


class Schedule:
    """Calls functions at steps that are multiples of a number, the first time a rollout begins there or later.

    Args:
        every: Steps between two calls.
        call: Told the step.
        due: The first step.
    """

    def __init__(self, every: int, call: Callable[[int], None], due: int = 0) -> None:
        self.every, self.call, self.due = every, call, due

    def at(self, step: int) -> None:
        """Call if it is time."""
        if step >= self.due:
            self.due = step - step % self.every + self.every
            self.call(step)


class TrainingCallback(_BaseCallback):  # type: ignore[misc]
    """Keeps the run's schedules.

    Args:
        schedules: What is done now and then, in this order.
        progress: Told the step and the mean return of the latest episodes, or None, once a rollout.
    """

    def __init__(
        self,
        schedules: list[Schedule],
        progress: Callable[[int, float | None], None] = lambda step, mean: None,
    ) -> None:
        super().__init__()
        self.schedules, self.progress = schedules, progress

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.look(self.num_timesteps)

    def look(self, step: int) -> None:
        """Do what is due.

        Raises:
            EmpathyGymError: If a weight is not a finite number; nothing of the kind is ever saved.
        """
        check_finite(self.model, step)
        self.progress(step, mean_return(self.model))
        for schedule in self.schedules:
            schedule.at(step)


def mean_return(model: Any) -> float | None:
    """Return the mean return of a model's latest training episodes; None before the first."""
    returns = [episode["r"] for episode in model.ep_info_buffer or ()]
    return sum(returns) / len(returns) if returns else None


def is_finite(model: Any) -> bool:
    """Whether every weight of a model is a finite number."""
    torch = require("torch", "sb3")
    return all(bool(torch.isfinite(weight).all()) for weight in model.policy.parameters())


def check_finite(model: Any, step: int) -> None:
    """Refuse to go on with weights that are not numbers.

    Raises:
        EmpathyGymError: If there is one.
    """
    if not is_finite(model):
        raise EmpathyGymError(f"The run diverged at step {step:,}: a weight is not a finite number.")
