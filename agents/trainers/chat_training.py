"""The loop: play, learn, hand the weights on, report, keep.

Everything that is drawn follows from the recipe's seed and the number of the step; dropout is off, and no global
generator is read. So a checkpoint needs no generator's state, and a run that was killed goes on exactly as it would
have gone on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from empathy_gym.agents.policy import Conversation, Reply
from empathy_gym.agents.rollout.collect import Collector, Rollout, Start, check_context
from empathy_gym.agents.rollout.sampler import Sampler, SampleRequest
from empathy_gym.agents.rollout.tokens import ChatFormat
from empathy_gym.agents.trainers.chat_model import ChatModel, chat_format, load_state, save_state
from empathy_gym.agents.trainers.health import HealthMonitor, outcomes
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.agents.trainers.run_folder import BEST, MODEL, RunFolder
from empathy_gym.agents.trainers.templates import priced
from empathy_gym.agents.trainers.weights import context, make_sampling
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import one_line
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, EngineError

Metrics = dict[str, Any]


class Learner(Protocol):
    """What moves the weights."""

    def learn(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Learn from a rollout, and return what there is to report."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the weights: tensors and plain values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        ...


class SamplingPolicy:
    """The model in training as a policy, for an evaluation by the benchmark's own runner.

    Args:
        sampler: What samples.
        chat: The model's template.
        max_tokens: Most tokens of a reply.
        temperature: Sampling temperature; 0 is greedy.
    """

    def __init__(self, sampler: Sampler, chat: ChatFormat, max_tokens: int, temperature: float) -> None:
        self.sampler, self.chat = sampler, chat
        self.max_tokens, self.temperature = max_tokens, temperature

    def act(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Return one reply for each conversation, in order."""
        for c in conversations:
            messages = (
                [{"role": "system", "content": c.instruction}, *c.messages] if c.instruction else c.messages
            )
            prompt, seed = self.chat.render(list(messages)), derive_seed(c.seed, "evaluate", c.turn)
            self.sampler.submit([SampleRequest(c.key, prompt, self.max_tokens, seed, self.temperature)])
        found: dict[str, Reply] = {}
        while len(found) < len(conversations):
            for sample in self.sampler.step():
                found[sample.key] = Reply(
                    self.chat.text(sample.tokens), error=sample.error, tokens=sample.tokens
                )
        return [found[c.key] for c in conversations]


Evaluate = Callable[[SamplingPolicy], Mapping[str, float]]
"""Plays a policy on users that are not trained on; ``emotion`` has to be among what it returns."""


@dataclass(frozen=True)
class Hooks:
    """What a run tells, and asks.

    Attributes:
        evaluate: Plays an evaluation; None for none.
        notice: Told in one line what is worth knowing.
        progress: Told what is going on, how much of it is done, and of how much.
        log: Given the metrics of every step, for curves.
    """

    evaluate: Evaluate | None = None
    notice: Callable[[str], None] = lambda text: None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    log: Callable[[Metrics], None] = lambda metrics: None


class ChatTraining:
    """A run.

    Args:
        recipe: What to do.
        folder: Where.
        hooks: What to tell.
        overwrite: Whether to throw away a run that the folder holds.

    Raises:
        ConfigError: If the recipe, the model or the folder cannot be used.
        MissingExtraError: If what runs the model is not installed.
        EngineError: If the model cannot be loaded.
    """

    def __init__(
        self, recipe: Recipe, folder: str | Path, hooks: Hooks | None = None, *, overwrite: bool = False
    ) -> None:
        self.recipe, self.hooks = recipe, hooks or Hooks()
        self.folder = RunFolder(folder)
        self.setting = ChatSetting.make(recipe.task.kwargs())
        checkpoint = self.folder.open(recipe, overwrite=overwrite)
        start = recipe.model if recipe.warm_start is None else self._warmed()
        self.model = ChatModel(start, optimiser=recipe.optimiser, lora=recipe.lora, seed=recipe.seed)
        self.chat = chat_format(self.model, recipe)
        self.learner = make_learner(self.model, recipe)
        self.monitor = HealthMonitor(recipe.health)
        self.step = self.tokens = 0
        self.best: float | None = None
        if checkpoint is not None:
            self._restore(checkpoint)
        # Before an engine is started for nothing.
        check_context(self.setting, self.chat, recipe.rollout.max_tokens, context(self.model, recipe))
        self.sampling = make_sampling(self.model, self.chat, recipe, self.folder.path, self.hooks.notice)
        self.sampling.sampler.version = self.step
        self.collector = Collector(
            self.setting,
            self.sampling.sampler,
            self.chat,
            max_tokens=recipe.rollout.max_tokens,
            slots=recipe.rollout.slots,
        )

    def _warmed(self) -> str:
        """Return the model after the warm start, which is done once for a run."""
        from empathy_gym.agents.trainers.warm_start import warmed

        place = warmed(self.recipe, self.folder, self.setting, self.hooks.notice, self.hooks.progress)
        return str(place)

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> list[Metrics]:
        """Train to the last step, and return the metrics of all.

        Raises:
            EngineError: If an engine died or memory ran out; the last good checkpoint is kept.
            EmpathyGymError: If the disk is full, or the recipe says to stop and health is bad.
        """
        try:
            return self._trained()
        finally:
            self.sampling.close()

    def _trained(self) -> list[Metrics]:
        recipe = self.recipe
        if self.step == 0 and recipe.evaluation.every:
            self._record({"step": 0, **self._evaluated()})
        while self.step < recipe.steps:
            self.step += 1
            metrics = self._stepped()
            due = recipe.evaluation.every and self.step % recipe.evaluation.every == 0
            if due or (recipe.evaluation.every and self.step == recipe.steps):
                metrics |= self._evaluated()
            self._record(metrics)
            if self.step % recipe.save.every == 0 or self.step == recipe.steps:
                self._save()
            if self.monitor.stop is not None:
                raise EmpathyGymError(
                    f"Stopped at step {self.step}: {self.monitor.stop}. {self.folder.path / BEST} is the best so far."
                )
        self.folder.export(MODEL, self.model.save)
        return self.folder.metrics()

    def _stepped(self) -> Metrics:
        """Take one step."""
        began, engine = time.perf_counter(), self.collector.engine_s
        rollout = self.collector.collect(self.starts(self.step), self._progress("playing"))
        played = time.perf_counter()
        self.tokens += rollout.tokens
        with self.sampling.resting():
            learnt = self._learnt(rollout)
        updated = time.perf_counter()
        self.sampling.hand_over(self.step)
        handed = time.perf_counter()
        groups = len(rollout.groups) + sum(rollout.dropped.values())
        metrics: Metrics = {
            "step": self.step,
            **outcomes(rollout.trajectories),
            **learnt,
            "fault_rate": sum(rollout.dropped.values()) / groups,
            "dropped": rollout.dropped,
            "tokens": self.tokens,
        }
        for warning in self.monitor.check_step(metrics):
            self.hooks.notice(f"step {self.step}: {warning}")
        seconds = {
            "rollout": played - began,
            "engine": self.collector.engine_s - engine,
            "update": updated - played,
            "sync": handed - updated,
        }
        return metrics | {"seconds": {name: round(value, 3) for name, value in seconds.items()}}

    def _learnt(self, rollout: Rollout) -> dict[str, float]:
        self.hooks.progress("learning", 0, 1)
        try:
            return self.learner.learn(priced(rollout, self.recipe.loss.template_price), self.step)
        except RuntimeError as error:
            # The one boundary to PyTorch's runtime, which reports memory and device errors so.
            text = one_line(error)
            advice = ""
            if "memory" in text or "alloc" in text:
                advice = (
                    " Out of memory: lower optimiser.micro_batch, set optimiser.gradient_checkpointing: true, add a "
                    "lora section, or lower rollout.max_tokens or rollout.gpu_memory_utilization."
                )
            raise EngineError(
                f"The update of step {self.step} failed: {text}.{advice} The last good checkpoint is kept."
            ) from error

    def starts(self, step: int) -> list[Start]:
        """Return the episodes of a step: every user of the split once before any of them twice."""
        recipe, seed = self.recipe, self.recipe.seed
        found = []
        for group in range(recipe.rollout.groups):
            number = (step - 1) * recipe.rollout.groups + group
            scenario = self._order(number // len(self.setting.scenarios))[
                number % len(self.setting.scenarios)
            ]
            for member in range(recipe.rollout.group_size):
                found.append(
                    Start(
                        key=f"{derive_seed(seed, 'key', number, member):016x}",
                        scenario=self.setting.scenarios[scenario],
                        seed=derive_seed(seed, "dialogue", number),
                        draws=derive_seed(seed, "draws", number, member),
                        group=group,
                    )
                )
        return found

    def _order(self, epoch: int) -> list[int]:
        return sorted(
            range(len(self.setting.scenarios)), key=lambda i: derive_seed(self.recipe.seed, "order", epoch, i)
        )

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.hooks.progress(f"step {self.step}: {what}", done, total)

    # -- evaluation, metrics, checkpoints ------------------------------------------------------------------------

    def _evaluated(self) -> Metrics:
        """Evaluate, warn, and keep the model if it is the best so far of those that nothing is warned of."""
        if self.hooks.evaluate is None:
            return {}
        recipe = self.recipe
        policy = SamplingPolicy(
            self.sampling.sampler, self.chat, recipe.rollout.max_tokens, recipe.evaluation.temperature
        )
        found = dict(self.hooks.evaluate(policy))
        warnings = self.monitor.check_evaluation(found)
        for warning in warnings:
            self.hooks.notice(f"step {self.step}: {warning}")
        # What games its user is not the best, however well it is paid.
        if self.best is None or (found["emotion"] > self.best and not warnings):
            self.best = found["emotion"]
            self.folder.export(BEST, self.model.save)
        return {f"eval_{name}": value for name, value in found.items()}

    def _record(self, metrics: Metrics) -> None:
        self.folder.append(metrics)
        self.hooks.log(metrics)

    def _save(self) -> None:
        note = {
            "tokens": self.tokens,
            "best": self.best,
            "health": self.monitor.state(),
            "model": {"name": self.model.name, "revision": self.model.revision},
        }

        def write(folder: Path) -> None:
            save_state(self.model, self.learner.state(), folder)

        self.folder.save(self.step, note, write, self.recipe.save.keep)

    def _restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ConfigError: If it is damaged, or of another model.
        """
        note = self.folder.note(checkpoint)
        own = {"name": self.model.name, "revision": self.model.revision}
        if note.get("model") != own:
            held = note.get("model") or {}
            raise ConfigError(
                f"The checkpoint {str(checkpoint)!r} is of the model {held.get('name')}@{held.get('revision')}, not of "
                f"{own['name']}@{own['revision']}. Name another folder with --out, or give --overwrite."
            )
        self.learner.load_state(load_state(self.model, checkpoint))
        self.step, self.tokens, self.best = note["step"], note["tokens"], note["best"]
        self.monitor.load_state(note["health"])
        self.hooks.notice(f"Going on from step {self.step} of {self.recipe.steps}.")


# -- parts -------------------------------------------------------------------------------------------------------


def make_learner(model: ChatModel, recipe: Recipe) -> Learner:
    """Return what moves the weights."""
    if recipe.algorithm == "ppo":
        from empathy_gym.agents.trainers.ppo_chat import PPOLearner

        return PPOLearner(model, recipe)
    if recipe.algorithm == "rft":
        from empathy_gym.agents.trainers.rejection import RejectionLearner

        return RejectionLearner(model, recipe)
    from empathy_gym.agents.trainers.grpo_chat import GRPOLearner

    return GRPOLearner(model, recipe)
