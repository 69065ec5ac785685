"""What is made of the items of a situation again and again, remembered by which items they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CACHED: Final = 2048


class Remembered(Generic[T]):
    """Values made of objects that are told apart by identity: to hash or compare items takes longer than this saves.

    That is safe as long as what is remembered keeps the objects alive.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[tuple[object, ...], T]] = {}

    def get(self, parts: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return the value of some objects.

        Args:
            parts: What it is made of; nothing of it ever changes.
            make: Makes the value where it is not remembered.
        """
        key = tuple(map(id, parts))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= CACHED:
                self._known.clear()
            found = self._known[key] = (parts, make())
        return found[1]
