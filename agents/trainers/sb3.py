"""Training with Stable-Baselines3 on EmpathyStrategy-v0: `train`.

A run is a folder: ``manifest.json`` (what the run is), ``last.zip`` (where it is; `--resume` goes on from it),
``best.zip`` (the best evaluation so far), ``step-*.zip``, ``evaluations.jsonl`` and ``tb/`` for TensorBoard. Every
zip file is a policy: ``sb3:FOLDER/best.zip``.

Stable-Baselines3 draws from the global generators of Python, NumPy and PyTorch, and seeds them. They are put back
when training ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium as gym

from empathy_gym.agents.adapters.sb3 import SB3VecEnv
from empathy_gym.agents.policies.sb3 import SB3Policy
from empathy_gym.agents.trainers import sb3_state
from empathy_gym.agents.trainers.sb3_callback import Schedule, TrainingCallback, check_finite, is_finite
from empathy_gym.agents.trainers.sb3_files import (
    NOTE,
    SCHEMA,
    STATE,
    add_members,
    check_note,
    library_versions,
    read_note,
    read_state,
)
from empathy_gym.agents.trainers.sb3_settings import ALGORITHMS, Annealed, TrainConfig, own_randomness
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError
from empathy_gym.simulators.files import write_json
from empathy_gym.simulators.hashing import plain
from empathy_gym.simulators.library.compiler import library_hash
from empathy_gym.simulators.packaged import package_version

LAST, BEST, MANIFEST, EVALUATIONS = "last.zip", "best.zip", "manifest.json", "evaluations.jsonl"
MAY_DIFFER: Final = ("steps", "checkpoint_every", "evaluate_every")
"""Fields of the configuration that may change when a run goes on."""

Evaluate = Callable[[SB3Policy], Mapping[str, float]]
"""Plays a policy and returns numbers; ``"score"`` decides which checkpoint is the best."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to.

    Attributes:
        steps: Environment steps taken, those before a resume included.
        best: The best evaluation, with its step; empty if nothing was evaluated.
        last: The checkpoint at the end.
        best_path: That of the best evaluation; `last` if nothing was evaluated.
    """

    steps: int
    best: dict[str, float]
    last: Path
    best_path: Path


def make_envs(config: TrainConfig) -> SB3VecEnv:
    """Return the environments of a run, for Stable-Baselines3.

    Raises:
        ConfigError: If an argument is not valid, or the environment is one of text.
    """
    envs = gym.make_vec(config.env, config.num_envs, **config.env_kwargs())
    return SB3VecEnv(envs, config.hidden)


def make_model(config: TrainConfig, envs: SB3VecEnv, tensorboard: str | None = None) -> Any:
    """Return an untrained model.

    Raises:
        ConfigError: If a setting has a wrong value.
        MissingExtraError: If the algorithm is not installed.
    """
    algorithm = ALGORITHMS[config.algo]
    settings = config.all_settings()
    network = {name: settings.pop(name) for name in ("net_arch", "lstm_hidden_size") if name in settings}
    if settings.pop("anneal", False):
        settings["learning_rate"] = Annealed(settings.get("learning_rate", 3e-4))
    try:
        return algorithm.load_class()(
            algorithm.policy,
            envs,
            seed=config.seed,
            device="cpu",
            tensorboard_log=tensorboard,
            policy_kwargs=network,
            **settings,
        )
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{config.algo} does not take these settings ({settings}): {first}") from None


def note_of(config: TrainConfig, envs: SB3VecEnv, step: int) -> dict[str, Any]:
    """Return what is written into a checkpoint; see `sb3_files`."""
    return {
        "schema_version": SCHEMA,
        "env": config.env,
        "package_version": package_version(),
        "algo": config.algo,
        "hidden": list(config.hidden),
        "observation": {name: str(space) for name, space in envs.observation_space.spaces.items()},
        "action": str(envs.action_space),
        "config": plain(config),
        "fingerprint": envs.envs.user.fingerprint,
        "library_hash": library_hash(),
        "versions": library_versions(),
        "step": step,
    }


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    tensorboard: bool = True,
    progress: Callable[[int, float | None], None] = lambda step, mean: None,
    notice: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train, or go on with training.

    A resumed run takes the steps that the whole one would have taken: weights, optimiser, conversations, replay
    buffer and generators go on from `last.zip`. That is exact with the same versions of the libraries, the same
    number of threads, and the same `steps` where the learning rate or the exploration depends on them.

    Args:
        config: What to train.
        out: Folder of the run.
        evaluate: Plays the policy now and then, on people it does not learn from.
        resume: Whether to go on with the run in the folder.
        tensorboard: Whether to write logs for TensorBoard.
        progress: Told the step and the mean return of the latest episodes, once a rollout.
        notice: Told in words what a resumed run differs in.

    Raises:
        ConfigError: If a name or a number is not valid, or the folder holds another run.
        MissingExtraError: If Stable-Baselines3, or what logs, is not installed.
        EmpathyGymError: If the run diverges. The last good checkpoint is kept.
        KeyboardInterrupt: As it came; the last checkpoint is kept.
    """
    with own_randomness():
        return _Run(config.checked(), Path(out), evaluate, progress, notice).train(resume, tensorboard)


class _Run:
    """A run that is going on."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        evaluate: Evaluate | None,
        progress: Callable[[int, float | None], None],
        notice: Callable[[str], None],
    ) -> None:
        self.config, self.folder = config, folder
        self.evaluate, self.progress, self.notice = evaluate, progress, notice
        self.resumed = False
        self.best: dict[str, float] = {}
        self.evaluations: list[dict[str, float]] = []
        self.schedules = [Schedule(config.checkpoint_every, self._keep)]
        if evaluate is not None:
            self.schedules.insert(0, Schedule(config.evaluate_every, self._evaluate))

    def train(self, resume: bool, tensorboard: bool) -> Trained:
        if tensorboard:
            require("tensorboard", "sb3")
        self.envs = make_envs(self.config)
        self.model = make_model(self.config, self.envs, str(self.folder / "tb") if tensorboard else None)
        if resume:
            self._resume()
        else:
            self._begin()
        if not tensorboard:  # otherwise Stable-Baselines3 makes a folder of its own under /tmp
            self.model.set_logger(require("stable_baselines3.common.logger", "sb3").Logger(None, []))
        missing = self.config.steps - self.model.num_timesteps
        callback = TrainingCallback(self.schedules, self.progress)
        if missing > 0:
            self._learn(missing, callback)
            self._finish(self.model.num_timesteps)
        self.envs.close()
        last = self.folder / LAST
        best = self.folder / BEST
        return Trained(self.model.num_timesteps, self.best, last, best if best.exists() else last)

    def _learn(self, missing: int, callback: TrainingCallback) -> None:
        try:
            self.model.learn(
                missing, callback=callback, reset_num_timesteps=not self.resumed, tb_log_name="run"
            )
            check_finite(self.model, self.model.num_timesteps)
        except (ValueError, EmpathyGymError):
            # A network that has diverged is noticed by PyTorch's distributions in the middle of a rollout.
            if is_finite(self.model):
                raise
            kept = (read_note(self.folder / LAST) or {}).get("step", 0)
            raise EmpathyGymError(
                f"The run diverged at step {self.model.num_timesteps:,}: a weight is not a finite number. "
                f"{self.folder / LAST} holds step {kept:,}; try a lower learning_rate."
            ) from None

    # -- the folder --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if (self.folder / MANIFEST).exists():
            raise ConfigError(
                f"{self.folder} holds a run; go on with it by --resume, or choose another --out."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / MANIFEST, note_of(self.config, self.envs, 0), allow_nan=True)
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be used as --out: {error.strerror or error}.") from None

    def _resume(self) -> None:
        path = self.folder / LAST
        note, here = read_note(path), note_of(self.config, self.envs, 0)
        if note is None:
            raise ConfigError(f"{path} cannot be resumed: it was not written by empathy-gym.")
        strict = {key: here[key] for key in ("env", "package_version", "algo", "observation", "action")}
        strict["config"] = {k: v for k, v in here["config"].items() if k not in MAY_DIFFER}
        check_note(path, note, {**strict, **{key: here[key] for key in ("fingerprint", "library_hash")}})
        if note.get("versions") != here["versions"]:
            self.notice(f"{path} was written with {note.get('versions')}: the run goes on, not exactly.")
        algorithm = ALGORITHMS[self.config.algo]
        self.model, self.envs, extra = sb3_state.load(
            algorithm.load_class(), path, read_state(path), self.model.tensorboard_log
        )
        self.best, self.evaluations = extra["best"], extra["evaluations"]
        self.resumed = True
        for schedule, due in zip(self.schedules, extra["due"], strict=False):
            schedule.due = due
        self._write_evaluations()

    def _keep(self, step: int) -> None:
        """Write `step-*.zip`, and `last.zip` with all that is needed to go on."""
        if step:
            self._save(self.folder / f"step-{step:09d}.zip", step)
        self._save_last(step)

    def _finish(self, step: int) -> None:
        for schedule in self.schedules:
            schedule.due = 0
            schedule.at(step)

    def _save_last(self, step: int) -> None:
        due = [schedule.due for schedule in self.schedules]
        extra = {"best": self.best, "evaluations": self.evaluations, "due": due}
        self._save(self.folder / LAST, step, {STATE: sb3_state.dump(self.model, self.envs, extra)})

    def _save(self, path: Path, step: int, members: Mapping[str, bytes] | None = None) -> None:
        draft = path.with_name(f"draft-{path.name}")
        self.model.save(draft)
        note = json.dumps(note_of(self.config, self.envs, step), indent=1).encode("ascii")
        add_members(draft, {NOTE: note, **(members or {})})
        os.replace(draft, path)

    # -- evaluation --------------------------------------------------------------------------------------

    def _evaluate(self, step: int) -> None:
        if self.evaluate is None:
            return
        policy = SB3Policy(self.model, self.config.algo, hidden=self.config.hidden)
        with own_randomness():
            found = {"step": float(step), **self.evaluate(policy)}
        for name, value in found.items():
            self.model.logger.record(f"eval/{name}", value)
        self.model.logger.dump(step)
        self.evaluations.append(found)
        self._write_evaluations()
        if not self.best or found["score"] > self.best["score"]:
            self.best = found
            self._save(self.folder / BEST, step)

    def _write_evaluations(self) -> None:
        lines = "".join(f"{json.dumps(found)}\n" for found in self.evaluations)
        (self.folder / EVALUATIONS).write_text(lines, "ascii")
