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
    state, turn = dialogue.state, dialogue.turn
    read = 0 < turn == len(dialogue.appraisals)
    return {
        "scenario": dialogue.scenario,
        "turn": turn,
        "messages": [m.copy() for m in dialogue.messages],
        "emotion": state.emotion,
        "band": band(state.emotion),
        "trust": state.trust,
        "need_progress": state.need_progress,
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
        recursively (but for ``final_obs``). Integers, floats and bools are arrays of int64, float64 and bool,
        arrays are stacked (zeros where there is none), everything else is an object array.
    """
    mask = np.array([info is not None for info in infos], dtype=np.bool_)
    return _batched([info for info in infos if info is not None], mask)


def _batched(infos: Sequence[Mapping[str, Any]], mask: NDArray[np.bool_]) -> dict[str, Any]:
    batch: dict[str, Any] = {}
    for key in infos[0] if infos else ():
        values = [info[key] for info in infos]
        # As Gymnasium: last observations are kept one by one, also where they are dicts.
        apart = key == "final_obs" or not isinstance(values[0], dict)
        batch[key] = _column(values, mask) if apart else _batched(values, mask)
        batch[f"_{key}"] = mask.copy()
    return batch


def _column(values: Sequence[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    kind = type(values[0])
    if kind is np.ndarray:
        rows = np.zeros((len(mask), *values[0].shape), dtype=values[0].dtype)
        rows[mask] = values
        return rows
    if len(values) == len(mask):
        return np.fromiter(values, dtype=kind if kind in _NUMBERS else object, count=len(values))
    if kind in _NUMBERS:
        numbers = np.zeros(len(mask), dtype=kind)
        numbers[mask] = values
        return numbers
    column = np.full(len(mask), None, dtype=object)
    # One by one: an assignment of them all would take lists for rows.
    column[mask] = np.fromiter(values, dtype=object, count=len(values))
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


def unbatch_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return the info of every sub-environment as `unbatch_info` does, in a fraction of the time."""
    told: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, value in infos.items():
        if key in FINAL_KEYS or _is_mask(key, infos):
            continue
        mask = infos.get(f"_{key}")
        items = unbatch_infos(value, num_envs) if isinstance(value, dict) else value.tolist()
        for i, item in enumerate(items):
            if mask is None or mask[i]:
                told[i][key] = item
    return told


def _is_mask(key: str, infos: Mapping[str, Any]) -> bool:
    return key.startswith("_") and key[1:] in infos
