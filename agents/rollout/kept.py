"""What a network has computed of conversations, kept from one turn to the next.

A turn's prompt begins with the prompt and the reply of the turn before, and all prompts begin with the instruction.
Read afresh at every turn, they cost ten times as much as the replies; kept, each token is read once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Layers = list[tuple[Any, Any]]
"""Keys and values of each layer, tensors of shape (heads, tokens, width)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one conversation.

    Attributes:
        ids: Its tokens.
        layers: What was computed of them.
    """

    ids: tuple[int, ...]
    layers: Layers

    def shared(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt need not be read again; its last one always has to be."""
        limit = min(len(self.ids), len(prompt) - 1)
        for at in range(limit):
            if self.ids[at] != prompt[at]:
                return at
        return limit


class KeptStates:
    """States by conversation; those not used for longest go first.

    Args:
        torch: The module.
        capacity: Conversations at most.
    """

    def __init__(self, torch: Any, capacity: int) -> None:
        self._torch, self._capacity = torch, capacity
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._common: Kept | None = None

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._kept.clear()
        self._common = None

    def known(self, key: str, prompt: Sequence[int]) -> tuple[int, Layers]:
        """Return how many tokens of a prompt are known, and what was computed of them."""
        found = [kept for kept in (self._kept.get(key), self._common) if kept is not None]
        best = max(found, key=lambda kept: kept.shared(prompt), default=None)
        return (0, []) if best is None else (best.shared(prompt), best.layers)

    def keep_common(self, ids: Sequence[int], cache: Any) -> None:
        """Keep what all conversations begin with.

        Args:
            ids: Its tokens.
            cache: A cache of one row that holds them.
        """
        self._common = Kept(tuple(ids), [(k[0].clone(), v[0].clone()) for k, v in tensors(cache)])

    def keep(self, key: str, ids: Sequence[int], places: Any, row: int, cache: Any) -> None:
        """Keep a conversation.

        Args:
            key: Of the conversation.
            ids: Its tokens.
            places: Where in the cache they stand, shape (tokens,).
            row: Its row.
            cache: The cache of the batch.
        """
        layers = [(k[row].index_select(1, places), v[row].index_select(1, places)) for k, v in tensors(cache)]
        self._kept[key] = Kept(tuple(ids), layers)
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    def batched(self, rows: Sequence[tuple[int, Layers]]) -> list[tuple[Any, Any]] | None:
        """Return what is known of several prompts side by side, padded on the left; None where nothing is.

        Args:
            rows: Of each prompt how many tokens are known, and what was computed of them.
        """
        width = max(length for length, _ in rows)
        if width == 0:
            return None
        shape = next(layers for length, layers in rows if length)
        return [
            tuple(self._side(rows, layer, side, width, shape[layer][side]) for side in (0, 1))
            for layer in range(len(shape))
        ]

    def _side(self, rows: Sequence[tuple[int, Layers]], layer: int, side: int, width: int, like: Any) -> Any:
        out = like.new_zeros((len(rows), like.shape[0], width, like.shape[2]))
        for row, (length, layers) in enumerate(rows):
            if length:
                out[row, :, width - length :] = layers[layer][side][:, :length]
        return out


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, the last of the shortest one not among them."""
    limit = min(map(len, prompts)) - 1
    for at in range(limit):
        if any(prompt[at] != prompts[0][at] for prompt in prompts):
            return at
    return max(limit, 0)


def tensors(cache: Any) -> list[tuple[Any, Any]]:
    """Return keys and values of every layer of a cache, shape (rows, heads, tokens, width) each."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def keeps_everything(config: Any) -> bool:
    """Whether every layer of a model keeps all it has read: not so with sliding windows or recurrent states."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or []
    return all(kind == "full_attention" for kind in kinds)
