"""What a run will take: memory and time, reckoned before anything is loaded.

Memory is counted; time is reckoned from two quick measurements of the machine (multiplications and memory traffic)
and is right within a factor of two or so.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

from empathy_gym.agents.rollout.collect import USER_TOKENS
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.envs.instructions import instruction_for
from empathy_gym.simulators.engines.prompting import check_path, one_line, require, without_progress
from empathy_gym.simulators.engines.vllm_process import CPU_ENVIRONMENT
from empathy_gym.simulators.errors import EngineError

GIB: Final = 2**30
BYTES: Final = {"float32": 4, "bfloat16": 2}
ACTIVATIONS: Final = 34
"""Values kept for the backward pass of a token, a layer and a unit of width (Korthikanti 2022, arXiv 2205.05198)."""
CHECKPOINTED: Final = 2
VLLM_CACHE: Final = float(CPU_ENVIRONMENT["VLLM_CPU_KVCACHE_SPACE"]) * GIB
EFFICIENCY: Final = 0.45
"""Share of the speed of a plain product that a whole network reaches; measured on a CPU in either precision."""
Machine = tuple[float, float]
"""Multiply-adds and bytes a second."""
CHARACTERS: Final = 4
"""Characters of a token, roughly."""


def estimate(recipe: Recipe) -> dict[str, Any]:
    """Return what a run will take.

    Returns:
        Parameters, trained parameters, memory in GiB by what it is for, seconds of a step and of what is done beside
        the steps (warm start, evaluations), hours of the run, the memory there is, and whether it fits.

    Raises:
        MissingExtraError: If torch or transformers is not installed.
        ConfigError: If there is no model.
        EngineError: If its configuration cannot be read.
    """
    torch = require("torch", "llm")
    config, total = _shape(recipe.model, torch)
    device = recipe.optimiser.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = total if recipe.lora is None else _adapters(recipe, config)
    memory = _memory(recipe, config, total, trained, device)
    seconds = _seconds(recipe, total, *_machines(torch, device, recipe))
    once = _once(recipe, seconds)
    there = _there(torch, device)
    return {
        "model": recipe.model,
        "parameters": total,
        "trained_parameters": trained,
        "device": device,
        "gib": {name: round(value / GIB, 2) for name, value in memory.items()},
        "gib_together": round(sum(memory.values()) / GIB, 2),
        "gib_there": round(there / GIB, 2),
        "fits": sum(memory.values()) <= there,
        "seconds_of_a_step": {name: round(value, 1) for name, value in seconds.items()},
        "seconds_beside": {name: round(value, 1) for name, value in once.items()},
        "hours": round((recipe.steps * sum(seconds.values()) + sum(once.values())) / 3600, 2),
        "episodes_of_a_step": recipe.rollout.groups * recipe.rollout.group_size,
        "sampled_tokens_at_most": recipe.steps
        * _episodes(recipe)
        * recipe.task.max_turns
        * recipe.rollout.max_tokens,
    }


def _shape(path: str, torch: Any) -> tuple[Any, int]:
    check_path(path)
    transformers = require("transformers", "llm")
    try:
        with without_progress(transformers):
            config = transformers.AutoConfig.from_pretrained(path)
            with torch.device("meta"):
                network = transformers.AutoModelForCausalLM.from_config(config)
    except Exception as error:
        # Transformers raises many kinds of errors here; for the caller they are one thing.
        raise EngineError(f"The configuration of {path!r} cannot be used: {one_line(error)}") from error
    return config.get_text_config(), sum(p.numel() for p in network.parameters())


def _episodes(recipe: Recipe) -> int:
    return recipe.rollout.groups * recipe.rollout.group_size


def _learnt(recipe: Recipe) -> int:
    """Return the siblings of a group that are learnt from."""
    size = recipe.rollout.group_size
    if recipe.algorithm == "grpo":
        return min(recipe.loss.learn_from or size, size)
    return 1 if recipe.algorithm == "rft" else size


def _opening(recipe: Recipe) -> int:
    return len(instruction_for("en", recipe.task.think)) // CHARACTERS + USER_TOKENS


def _length(recipe: Recipe) -> int:
    """Return the tokens of the longest episode: instruction, users' lines, replies."""
    return _opening(recipe) + recipe.task.max_turns * (recipe.rollout.max_tokens + USER_TOKENS)


def _adapters(recipe: Recipe, config: Any) -> int:
    """Return the adapters' parameters: two thin matrices for each of seven linear layers."""
    assert recipe.lora is not None
    width, inner = config.hidden_size, config.intermediate_size
    return int(recipe.lora.rank * config.num_hidden_layers * (4 * 2 * width + 3 * (width + inner)))


def _memory(recipe: Recipe, config: Any, total: int, trained: int, device: str) -> dict[str, float]:
    settings = recipe.optimiser
    wanted = settings.dtype
    if wanted == "auto":
        wanted = "bfloat16" if recipe.lora is not None and device != "cpu" else "float32"
    sequence = _length(recipe) * settings.micro_batch
    kept = CHECKPOINTED if settings.gradient_checkpointing else ACTIVATIONS
    scored = settings.micro_batch * recipe.task.max_turns * recipe.rollout.max_tokens
    heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * heads * head * recipe.rollout.slots * _length(recipe)
    memory = {
        "weights": total * BYTES[wanted],
        "gradients_and_optimiser": trained * 12.0,
        "activations": sequence * config.num_hidden_layers * config.hidden_size * kept * 2.0
        + scored * config.vocab_size * 12.0,
        "sampling": cache * BYTES[wanted],
    }
    if recipe.rollout.engine == "vllm":
        # On a CPU vLLM takes its cache as a block of its own, see `simulators.engines.vllm`.
        memory["sampling"] = total * BYTES[wanted] + (VLLM_CACHE if device == "cpu" else memory["sampling"])
    if recipe.loss.kl_coefficient and recipe.lora is None:
        memory["reference"] = total * BYTES[wanted]
    return memory


def _machines(torch: Any, device: str, recipe: Recipe) -> tuple[Machine, Machine]:
    """Return the machine as it samples and as it learns."""
    settings, rollout = recipe.optimiser, recipe.rollout
    plain = settings.precision == "float32" or (settings.precision == "auto" and device == "cpu")
    learning = _machine(torch, device, "float32" if plain else "bfloat16")
    sampled = rollout.dtype if rollout.engine == "vllm" else "auto"
    if sampled == "auto":
        sampled = "float32" if device == "cpu" else "bfloat16"
    return _machine(torch, device, sampled), learning


def _machine(torch: Any, device: str, dtype: str) -> Machine:
    """Return multiply-adds and bytes a second, measured."""

    def timed(work: Any) -> float:
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        return max(time.perf_counter() - began, 1e-6)

    size = 1024 if device == "cpu" else 8192
    matrix = torch.ones((size, size), dtype=getattr(torch, dtype), device=device)
    block = torch.ones(16_000_000, dtype=torch.float32, device=device)
    products = EFFICIENCY * size**3 / timed(lambda: matrix @ matrix)
    return products, 2 * block.nbytes / timed(lambda: block.clone())


def _seconds(recipe: Recipe, total: int, sampling: Machine, learning: Machine) -> dict[str, float]:
    products, traffic = sampling
    episodes, opening = _episodes(recipe), _opening(recipe)
    # Half of the bounds: users say less than is set aside for them, and replies end by themselves.
    grown = (_length(recipe) - opening) / 2
    turns, longest = recipe.task.max_turns, recipe.rollout.max_tokens
    rounds = -(-episodes // recipe.rollout.slots)
    slots = min(recipe.rollout.slots, episodes)
    step = max(total * 4 / traffic, total * slots / products)
    # What siblings begin with is computed once.
    shared = recipe.rollout.groups * opening
    tokens = shared + recipe.rollout.groups * _learnt(recipe) * grown
    return {
        "rollout": rounds * turns * longest * step + (shared + episodes * grown) * total / products,
        "update": 3 * tokens * total * recipe.optimiser.epochs / learning[0],
    }


def _once(recipe: Recipe, seconds: dict[str, float]) -> dict[str, float]:
    """Return the seconds of what is done beside the steps, by what an episode of a step takes."""
    found, given = {}, recipe.warm_start
    if given is not None:
        of_one = seconds["update"] / (recipe.rollout.groups * _learnt(recipe) * recipe.optimiser.epochs)
        found["warm_start"] = given.episodes * given.epochs * of_one
    if recipe.evaluation.every:
        looks = 1 + -(-recipe.steps // recipe.evaluation.every)
        found["evaluation"] = looks * recipe.evaluation.episodes * seconds["rollout"] / _episodes(recipe)
    return found


def _there(torch: Any, device: str) -> float:
    if device != "cpu":
        return float(torch.cuda.get_device_properties(0).total_memory)
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text("utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
