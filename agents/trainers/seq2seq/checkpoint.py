"""What a training run leaves behind, so that it can be stopped at any moment.

A run's folder holds ``run.json`` (what the run is), ``metrics.jsonl``, ``tensorboard/``, ``checkpoints/NNNNNN`` (the
last good one: weights, optimizer, counters), and as plain model folders ``warm`` (after the warm start, the reference of
the KL term) and ``best`` (best on the validation split). A folder is written under another name and then renamed: it is
there as a whole or not at all. Weights are safetensors; the optimizer is read with ``weights_only``, which runs no code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.trainers.seq2seq.model import Actor
from empathy_gym.simulators.engines.prompting import one_line, require, without_progress
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.files import put_folder, read_json_lines, write_json, write_text

FORMAT: Final = 1
RUN: Final = "run.json"
NOTE: Final = "empathy-gym-seq2seq.json"
"""File in a model folder that says how it was trained to read and to sample."""
WEIGHTS: Final = "training.safetensors"
OPTIMIZER: Final = "optimizer.pt"
STATE: Final = "state.json"
FREE: Final = ("ppo_steps", "evaluate_every", "checkpoint_every", "device")
"""Fields of the recipe that may change when a run goes on."""


class RunFolder:
    """The folder of one run.

    Args:
        path: The folder; made where it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.warm, self.best, self.base = (self.path / name for name in ("warm", "best", "base"))
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"

    # -- what the run is ---------------------------------------------------------------------------------

    def open(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Make the folder this run's.

        Args:
            identity: What the run is, as plain values.
            resume: Whether to go on with what the folder holds.

        Raises:
            ConfigError: If it holds a run and `resume` is false, or another run than this one.
        """
        identity = {"format": FORMAT, **json.loads(json.dumps(identity))}
        file = self.path / RUN
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = json.loads(file.read_text("utf-8")) if file.exists() else None
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be used as --out: {error.strerror or error}.") from None
        except ValueError as error:
            raise ConfigError(f"{file} is damaged ({error}); choose another --out.") from None
        if held is not None and not resume:
            raise ConfigError(f"{self.path} holds a run already; give --resume, or choose another --out.")
        if held is None:
            if resume and self.path.exists() and any(self.path.iterdir()):
                raise ConfigError(f"{self.path} holds no run (no {RUN}), so there is nothing to resume.")
            write_json(file, identity)
            return
        self._check(held, identity)
        write_json(file, identity)

    def _check(self, held: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        for key in dict.fromkeys((*held, *identity)):
            old, new = held.get(key), identity.get(key)
            if key == "recipe" and isinstance(old, dict) and isinstance(new, dict):
                changed = [k for k in {**old, **new} if k not in FREE and old.get(k) != new.get(k)]
                if not changed:
                    continue
                key, old, new = f"recipe.{changed[0]}", old.get(changed[0]), new.get(changed[0])
            if old != new:
                raise ConfigError(
                    f"{self.path} holds a run with {key} = {old!r:.80}, this one has {new!r:.80}; it cannot be "
                    "resumed. Choose another --out."
                )

    # -- model folders -----------------------------------------------------------------------------------

    def save_model(self, actor: Actor, folder: Path, note: Mapping[str, Any]) -> None:
        """Write a model folder that `hf:FOLDER` loads, whole or not at all."""
        put_folder(folder, lambda draft: save_model(actor, draft, note))

    # -- checkpoints -------------------------------------------------------------------------------------

    def save(
        self, phase: str, step: int, tensors: Mapping[str, Any], optimizer: Any, state: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint, then remove older ones.

        Args:
            phase: ``"warm"`` or ``"ppo"``.
            step: Epochs or rounds that are done.
            tensors: Weights, by name.
            optimizer: Its state is kept.
            state: Counters, as plain values.
        """
        torch, safetensors = require("torch", "llm"), require("safetensors.torch", "llm")
        name = f"{phase}-{step:06d}"

        def fill(draft: Path) -> None:
            # Clones: tied weights share memory, which safetensors refuses.
            safetensors.save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, draft / WEIGHTS)
            torch.save(optimizer.state_dict(), draft / OPTIMIZER)
            write_json(draft / STATE, {"format": FORMAT, "step": step, **state})

        put_folder(self.checkpoints / name, fill)
        self.clear(keep=name)

    def clear(self, keep: str = "") -> None:
        """Remove checkpoints but one."""
        for found in self.checkpoints.glob("*-*"):
            if found.name != keep:
                shutil.rmtree(found)

    def load(self, phase: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None:
        """Return tensors, optimizer state and counters of a phase's last checkpoint, or None if there is none.

        Raises:
            ConfigError: If it is damaged or of another version.
        """
        found = sorted(self.checkpoints.glob(f"{phase}-*"))
        if not found:
            return None
        folder = found[-1]
        torch, safetensors = require("torch", "llm"), require("safetensors.torch", "llm")
        try:
            state = json.loads((folder / STATE).read_text("utf-8"))
            tensors = safetensors.load_file(folder / WEIGHTS)
            optimizer = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
        except Exception as error:
            # Three libraries read here, each with errors of its own.
            raise ConfigError(f"the checkpoint {folder} cannot be read: {one_line(error)}.") from None
        if state.get("format") != FORMAT:
            raise ConfigError(
                f"the checkpoint {folder} has format {state.get('format')!r}; this version reads {FORMAT}."
            )
        return tensors, optimizer, state

    # -- metrics -----------------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a line to the metrics."""
        with self.metrics.open("a", encoding="ascii") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        """Drop lines of the metrics that a resumed run writes afresh."""
        if self.metrics.exists():
            kept = [row for row in read_json_lines(self.metrics) if keep(row)]
            write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))


def save_model(actor: Actor, folder: Path, note: Mapping[str, Any]) -> None:
    """Write network, tokenizer and a note into a new folder."""
    with without_progress(require("transformers", "llm")):
        actor.network.save_pretrained(folder)
        actor.tokenizer.save_pretrained(folder)
    recipe = actor.recipe
    sampling = {name: getattr(recipe, name) for name in ("source_tokens", "target_tokens", "top_k")}
    write_json(folder / NOTE, {"format": FORMAT, **sampling, "temperature": recipe.temperature, **note})


def read_note(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a model folder says about how it was trained; empty for a model from elsewhere.

    Raises:
        ConfigError: If the note is damaged or of another version.
    """
    file = Path(folder) / NOTE
    if not file.is_file():
        return {}
    try:
        found = dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {one_line(error)}.") from None
    if found.get("format") != FORMAT:
        raise ConfigError(f"{file} has format {found.get('format')!r}; this version reads {FORMAT}.")
    return found
