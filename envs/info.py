"""What an environment tells beside the observation, for one conversation and for a batch of them.

`info` is privileged: nothing of it but `messages` and `turn` is for a policy to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import Dialogue, band

INFO_KEYS: Final = (
    "scenario", "turn", "messages", "emotion", "band", "trust", "need_progress", "appraisal", "reward_terms",
    "outcome", "sim_fault", "safety", "scored_by", "determinism",
)  # fmt: skip
"""Keys of every info, in order."""
FINAL_KEYS: Final = ("final_obs", "final_info")
"""Keys that a vector environment adds where an episode ended and the next one began in the same step."""

_NEUTRAL: Final = Appraisal()
_NUMBERS: Final = (int, float, bool)


def info_of(dialogue: Dialogue, reward_terms: Mapping[str, float]) -> dict[str, Any]:
    """Return the info of a dialogue: fresh plain objects, JSON-serialisable, always the same keys.

    Args:
        dialogue: The dialogue as it stands.
        reward_terms: Every term of the reward of the reply that led to it.

    Returns:
        `EmpathyChatEnv` explains the keys. `appraisal` is the reading of the latest reply; where there is
        none (at reset, or when the reply was malformed or could not be read) it is that of a plain sentence
        that does nothing.
    """
    read = 0 < dialogue.turn == len(dialogue.appraisals)
    return {
        "scenario": dialogue.scenario,
        "turn": dialogue.turn,
        "messages": [{"role": m["role"], "content": m["content"]} for m in dialogue.messages],
        "emotion": dialogue.emotion,
        "band": band(dialogue.emotion),
        "trust": dialogue.state.trust,
        "need_progress": dialogue.state.need_progress,
        "appraisal": (dialogue.appraisals[-1] if read else _NEUTRAL).levels(),
        "reward_terms": dict(reward_terms),
        "outcome": dialogue.outcome,
        "sim_fault": dialogue.sim_fault,
        "safety": dialogue.safety,
        "scored_by": dialogue.scored_by,
        "determinism": dialogue.determinism,
    }


def batch_infos(infos: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return infos batched as `gymnasium.vector.VectorEnv._add_info` would, in a fraction of the time.

    Args:
        infos: One for each sub-environment, all with the same keys; None where there is none.

    Returns:
        For every key an array of shape (num_envs,) and a bool mask under ``_key``; dicts are batched
        recursively. Integers, floats and bools are arrays of int64, float64 and bool, everything else is an
        object array.
    """
    present = [i for i, info in enumerate(infos) if info is not None]
    return _batched([info for info in infos if info is not None], present, len(infos))


def _batched(infos: Sequence[Mapping[str, Any]], where: Sequence[int], num_envs: int) -> dict[str, Any]:
    batch: dict[str, Any] = {}
    for key in infos[0] if infos else ():
        values = [info[key] for info in infos]
        if isinstance(values[0], dict):
            batch[key] = _batched(values, where, num_envs)
        else:
            batch[key] = _column(values, where, num_envs)
        mask = np.zeros(num_envs, dtype=np.bool_)
        mask[where] = True
        batch[f"_{key}"] = mask
    return batch


def _column(values: Sequence[Any], where: Sequence[int], num_envs: int) -> NDArray[Any]:
    kind = type(values[0])
    if kind in _NUMBERS:
        numbers = np.zeros(num_envs, dtype=kind)
        numbers[where] = values
        return numbers
    column = np.full(num_envs, None, dtype=object)
    for i, value in zip(where, values, strict=True):
        column[i] = value
    return column


def unbatch_info(infos: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the info of one sub-environment with Python types, equal to that of a single environment.

    Args:
        infos: What a vector environment returned, or its ``infos["final_info"]``.
        index: Number of the sub-environment.

    Returns:
        Its info, without ``final_obs`` and ``final_info``; empty if it has none in this batch.
    """
    info: dict[str, Any] = {}
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        if key in FINAL_KEYS or _is_mask(key, infos) or (mask is not None and not mask[index]):
            continue
        if isinstance(value, dict):
            info[key] = unbatch_info(value, index)
        else:
            item = value[index]
            info[key] = item.item() if isinstance(item, np.generic) else item
    return info


def _is_mask(key: str, infos: Mapping[str, Any]) -> bool:
    return key.startswith("_") and key[1:] in infos
