"""PPO for encoder-decoder models such as T5, as EmpRL trains them (arXiv 2408.02976), on current libraries.

From top to bottom: `Seq2SeqTrainer.run` warms the model up on responses that people wrote (`warm_up`), keeps a frozen
copy of it as the reference, and then goes round (`round`): a batch of contexts from the vector environment, a response
to each sampled by Transformers' `generate`, the environment's reward, log-probabilities and values, clipped updates,
and the coefficient of the KL term. The parts are in `seq2seq`: recipe, model, rollout, losses, ppo, warm_start and
checkpoint.

Nothing random is kept between rounds: order, sampling and dropout follow from the seed and the number of the step, so a
run that is stopped and resumed on the same CPU goes on exactly as if it had not been stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from empathy_gym.agents.trainers.seq2seq.checkpoint import RunFolder
from empathy_gym.agents.trainers.seq2seq.losses import KLController, RunningScore
from empathy_gym.agents.trainers.seq2seq.model import Actor
from empathy_gym.agents.trainers.seq2seq.ppo import token_rewards, update
from empathy_gym.agents.trainers.seq2seq.rollout import assess, sample
from empathy_gym.agents.trainers.seq2seq.warm_start import Pair, Supervised
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.prompting import require
from empathy_gym.simulators.errors import ConfigError, TrainingError

KEY: Final = "reward"
"""Of what `evaluate` returns, the number by which the best model is chosen."""
Messages = Sequence[Mapping[str, Any]]


class ResponseVector(Protocol):
    """What the trainer needs of a vector environment: EmpathyResponse-v0's, with ``num_envs`` responses at a time."""

    num_envs: int

    def reset(self, *, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes with the exchanges of ``options["exchange"]``; the infos have their ``messages``."""
        ...

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a response to each, and return the rewards as the second value."""
        ...


class Evaluate(Protocol):
    """Measures a policy on the validation split."""

    def __call__(self, respond: Callable[[Sequence[Messages]], list[str]]) -> Mapping[str, float]:
        """Return numbers by name, `KEY` among them; higher is better."""
        ...


class Progress(Protocol):
    """Is told how far a run has come."""

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        """Show it."""
        ...


class Seq2SeqTrainer:
    """One run: a warm start, then rounds of PPO, with checkpoints.

    Args:
        actor: The model, with its recipe.
        env: A vector environment of ``recipe.batch`` sub-environments.
        exchanges: Ids of the exchanges that are trained on.
        pairs: The same, as conversations and responses, for the warm start.
        folder: Where the run is kept; its identity has been checked (`RunFolder.open`).
        evaluate: Measures a policy on the validation split; None to keep the last model as the best.
        note: What else the model folders are to say.
        progress: Is told how far the run has come.

    Raises:
        ConfigError: If the environment has another number of sub-environments, or there is nothing to train on.
    """

    def __init__(
        self,
        actor: Actor,
        env: ResponseVector,
        exchanges: Sequence[str],
        pairs: Sequence[Pair],
        folder: RunFolder,
        *,
        evaluate: Evaluate | None = None,
        note: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> None:
        accelerate, torch = require("accelerate", "llm"), require("torch", "llm")
        self.actor, self.recipe, self.env, self.folder = actor, actor.recipe, env, folder
        if env.num_envs != self.recipe.batch:
            raise ConfigError(
                f"the environment has {env.num_envs} sub-environments; the recipe's batch is {self.recipe.batch}."
            )
        if not exchanges:
            raise ConfigError("there are no exchanges to train on.")
        self.exchanges, self.pairs = list(exchanges), pairs
        self.evaluate, self.note, self.progress = evaluate, dict(note or {}), progress
        self.accelerator = accelerate.Accelerator(cpu=actor.device == "cpu")
        if self.accelerator.num_processes > 1:
            raise ConfigError("train emprl runs in one process; start it without 'accelerate launch'.")
        self.optimizer = torch.optim.AdamW(actor.parameters, lr=self.recipe.ppo_lr, weight_decay=0.0)
        self.controller = KLController(self.recipe.kl_coef, self.recipe.kl_target, self.recipe.kl_horizon)
        self.running = RunningScore()
        self.step = 0
        self.best = -math.inf

    def run(self) -> dict[str, float]:
        """Train from where the folder's run stands, and return the last round's numbers.

        Raises:
            TrainingError: If the run diverges; the last good checkpoint is kept.
        """
        self._warm_up()
        self.reference = self.actor.frozen()
        if not self._resume():
            self.folder.rewind(lambda row: row["phase"] == "warm")
            self._evaluated({"step": 0, "phase": "ppo"})
            self._save()
        numbers: dict[str, float] = {}
        writer = self._writer()
        try:
            while self.step < self.recipe.ppo_steps:
                numbers = self.round()
                self._after(numbers, writer)
        finally:
            writer.close()
        return numbers

    # -- warm start --------------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Train on what people wrote, or load the weights that an earlier run of this has left."""
        recipe = self.recipe
        if (self.folder.warm / "config.json").is_file():
            self._load_network(self.folder.warm)
            return
        if recipe.warm_epochs:
            work = Supervised(
                self.actor,
                self.pairs,
                epochs=recipe.warm_epochs,
                lr=recipe.warm_lr,
                batch=recipe.warm_batch,
                seed=derive_seed(recipe.seed, "warm start"),
                smoothing=recipe.label_smoothing,
            )
            done = self._warm_resumed(work)
            self.folder.rewind(lambda row: row["epoch"] <= done)
            for epoch in range(done, recipe.warm_epochs):
                loss = work.epoch(epoch, lambda at, total: self._show("warm start", at, total, {}))
                self.folder.log({"step": 0, "phase": "warm", "epoch": epoch + 1, "loss": loss})
                tensors = dict(self.actor.network.state_dict())
                self.folder.save("warm", epoch + 1, tensors, work.optimizer, {"updates": work.step})
        self.folder.save_model(self.actor, self.folder.warm, {**self.note, "phase": "warm start"})

    def _warm_resumed(self, work: Supervised) -> int:
        """Load the warm start's last checkpoint, and return how many epochs are done."""
        loaded = self.folder.load("warm")
        if loaded is None:
            return 0
        tensors, optimizer, state = loaded
        self.actor.network.load_state_dict(tensors)
        work.optimizer.load_state_dict(optimizer)
        work.step = int(state["updates"])
        return int(state["step"])

    def _load_network(self, folder: Any) -> None:
        transformers = require("transformers", "llm")
        kept = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype="float32")
        self.actor.network.load_state_dict(kept.state_dict())

    # -- a round of PPO ----------------------------------------------------------------------------------

    def round(self) -> dict[str, float]:
        """Sample a batch of responses, learn from them, and return what happened.

        Raises:
            TrainingError: If a number is not finite or the KL is above the recipe's limit.
        """
        recipe, seed = self.recipe, derive_seed(self.recipe.seed, "round", self.step)
        _, infos = self.env.reset(options={"exchange": self._next_exchanges()})
        samples = sample(self.actor, list(infos["messages"]), seed)
        texts = self.actor.texts(samples.response, samples.mask)
        rewards = [float(reward) for reward in self.env.step(tuple(texts))[1]]
        rollout, kl_full = assess(self.actor, self.reference, samples)
        kl = float((rollout.logprobs - rollout.reference).sum(1).mean())
        gap = float(((samples.sampled * samples.mask) - rollout.logprobs).abs().max())
        self._check(rewards, kl, kl_full)
        self.running.update(rewards)
        scores = self.running.scores(rewards, recipe.score, recipe.score_clip)
        coefficient = self.controller.coefficient
        learned = update(
            self.actor,
            self.optimizer,
            self.accelerator,
            rollout,
            token_rewards(rollout, scores, coefficient),
            seed,
        )
        self.controller.update(kl, len(rewards))
        self.step += 1
        lengths = samples.mask.sum(1)
        return {
            "reward": math.fsum(rewards) / len(rewards),
            "score": math.fsum(scores) / len(scores),
            "kl": kl,
            "kl_full": kl_full,
            "kl_coefficient": coefficient,
            "tokens": float(lengths.mean()),
            "ended": float((lengths < samples.mask.shape[1]).float().mean()),
            "sampler_gap": gap,
            **learned,
        }

    def _next_exchanges(self) -> list[str]:
        """Return the ids of this round: passes over all exchanges, each in an order of its own."""
        count, batch = len(self.exchanges), self.recipe.batch
        places = range(self.step * batch, (self.step + 1) * batch)
        orders = {pass_: self._order(pass_) for pass_ in {place // count for place in places}}
        return [self.exchanges[orders[place // count][place % count]] for place in places]

    def _order(self, pass_: int) -> list[int]:
        torch = require("torch", "llm")
        generator = torch.Generator().manual_seed(derive_seed(self.recipe.seed, "pass", pass_))
        return [int(i) for i in torch.randperm(len(self.exchanges), generator=generator)]

    def _check(self, rewards: Sequence[float], kl: float, kl_full: float) -> None:
        numbers = {"reward": math.fsum(rewards), "KL": kl, "KL of the whole vocabulary": kl_full}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise TrainingError(f"training diverged in round {self.step}: the {name} is {value}.")
        worst = max(kl, kl_full)
        if worst > self.recipe.kl_limit:
            raise TrainingError(
                f"training diverged in round {self.step}: the KL is {worst:.1f} nats a response, above kl_limit "
                f"{self.recipe.kl_limit:g}. Lower ppo_lr or raise kl_coef; the last good checkpoint is kept."
            )

    # -- evaluation, checkpoints -------------------------------------------------------------------------

    def respond(self, conversations: Sequence[Messages]) -> list[str]:
        """Return a response to each conversation, sampled as in training, the same at every call."""
        texts: list[str] = []
        for start in range(0, len(conversations), self.recipe.batch):
            some = conversations[start : start + self.recipe.batch]
            drawn = sample(self.actor, some, derive_seed(self.recipe.seed, "evaluation", start))
            texts += self.actor.texts(drawn.response, drawn.mask)
        return texts

    def _after(self, numbers: Mapping[str, float], writer: Any) -> None:
        """Log a round, evaluate and save where it is time."""
        for name, value in numbers.items():
            writer.add_scalar(f"ppo/{name}", value, self.step)
        row: dict[str, Any] = {"step": self.step, "phase": "ppo", **numbers}
        last = self.step == self.recipe.ppo_steps
        if last or self.step % self.recipe.evaluate_every == 0:
            row = self._evaluated(row, writer)
        else:
            self.folder.log(row)
        self._show("PPO", self.step, self.recipe.ppo_steps, numbers)
        if last or self.step % self.recipe.checkpoint_every == 0:
            self._save()

    def _evaluated(self, row: dict[str, Any], writer: Any = None) -> dict[str, Any]:
        """Evaluate, log, and keep the model if it is the best so far."""
        found = dict(self.evaluate(self.respond)) if self.evaluate is not None else {}
        row = {**row, **{f"validation_{name}": value for name, value in found.items()}}
        self.folder.log(row)
        if writer is not None:
            for name, value in found.items():
                writer.add_scalar(f"validation/{name}", value, self.step)
        value = found.get(KEY, float(self.step))
        if value > self.best:
            self.best = value
            measured = {f"validation_{k}": v for k, v in found.items()}
            note = {**self.note, "phase": "PPO", "step": self.step, **measured}
            self.folder.save_model(self.actor, self.folder.best, note)
        return row

    def _save(self) -> None:
        tensors = {f"network.{k}": v for k, v in self.actor.network.state_dict().items()}
        tensors |= {f"value_head.{k}": v for k, v in self.actor.value_head.state_dict().items()}
        state = {
            "best": self.best,
            "kl_coefficient": self.controller.coefficient,
            "score": [self.running.count, self.running.mean, self.running.squares],
        }
        self.folder.save("ppo", self.step, tensors, self.optimizer, state)

    def _resume(self) -> bool:
        """Load the last checkpoint of PPO, and return whether there is one."""
        loaded = self.folder.load("ppo")
        if loaded is None:
            return False
        tensors, optimizer, state = loaded
        for part in ("network", "value_head"):
            own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
            getattr(self.actor, part).load_state_dict(own)
        self.optimizer.load_state_dict(optimizer)
        self.step, self.best = int(state["step"]), float(state["best"])
        self.controller.coefficient = float(state["kl_coefficient"])
        count, mean, squares = state["score"]
        self.running = RunningScore(int(count), float(mean), float(squares))
        self.folder.rewind(lambda row: row["step"] <= self.step)
        return True

    def _writer(self) -> Any:
        board = require("torch.utils.tensorboard", "llm")
        return board.SummaryWriter(str(self.folder.path / "tensorboard"), purge_step=self.step + 1)

    def _show(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        if self.progress is not None:
            self.progress(phase, done, total, numbers)
