"""Thinking before speaking: what of an action the user hears.

RLVER (arXiv 2507.03112) has policies write ``<think>...</think>`` and then the reply. All functions are pure
and take time linear in the length of the action.
"""

from __future__ import annotations

from typing import Final, Literal

Think = bool | Literal["strip"]

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


def parse(action: str, mode: Think) -> str | None:
    """Return what the user hears of an action, or None if it is malformed.

    Args:
        action: What the policy wrote.
        mode: False: every word is heard. True: there has to be exactly one ``</think>``; an opening tag
            before it is optional; what follows is heard. ``"strip"``: thinking is taken out where there is
            some, and nothing is malformed.
    """
    if mode is False:
        return action
    if mode == "strip":
        return _stripped(action)
    thought, _, heard = action.partition(CLOSE)
    if CLOSE not in action or CLOSE in heard or OPEN in heard or thought.count(OPEN) > 1:
        return None
    return heard.strip()


def _stripped(action: str) -> str:
    """Take out closed blocks, a block whose opening tag is in the prompt, and one that is cut off."""
    if OPEN not in action and CLOSE not in action:
        return action
    kept, position = [], 0
    while (start := action.find(OPEN, position)) >= 0:
        end = action.find(CLOSE, start)
        if end < 0:
            break
        kept.append(action[position:start])
        position = end + len(CLOSE)
    rest = "".join((*kept, action[position:]))
    return rest.rpartition(CLOSE)[2].partition(OPEN)[0].strip()
