"""What a policy over strategies sees: numbers of what was heard, and of the strategies taken.

`observe` works from messages alone, so that a trained policy sees in any conversation what it saw in the environment.
Nothing privileged enters it; `privileged_view` is what `privileged=True` adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from empathy_gym.envs.strategies import INTENSITIES, STRATEGIES, realise
from empathy_gym.simulators.dialogue import Dialogue, Message
from empathy_gym.simulators.listening.heard import LIMITS, MOODS, REQUESTS, TONES, Heard, Line, heard
from empathy_gym.simulators.listening.hints import FINE, MODES
from empathy_gym.simulators.scenario import NEEDS

Observation = dict[str, Any]

KINDS: Final = (
    "facts", "feelings", "topics", "affirming", "reading", "weighing", "sizing", "suggesting", "fair",
)  # fmt: skip
"""Kinds of lines that the phrase book may offer."""
NONE: Final = len(STRATEGIES)
"""The last strategy where none was taken."""
ANSWERS: Final = {
    "moved": 1.0, "held": 1.0, "boundary_kept": 0.75, "eased": 0.75, "goodbye": 0.75, "none": 0.5, "flat": 0.5,
    "declines": 0.5, "missed": 0.25, "early_advice": 0.25, "evaded": 0.25, "harmed": 0.125,
}  # fmt: skip
"""How an answer was, by its tone; 0 is for a strategy that was not tried."""
SPEAKS: Final = 8 * FINE
"""Evidence that counts in full: eight doublings of the odds."""
LONG: Final = 64
"""Words of a line that counts as long in full."""
MANY: Final = {"facts": 8, "line": 2, "uses": 4, "left": 8}
"""Counts from which there are many."""
LINE: Final = (
    "length", "question", "at_issue", "told", "goodbye", *(f"request_{kind}" for kind in REQUESTS),
    *(f"limit_{kind}" for kind in LIMITS), "limited",
)  # fmt: skip
"""Features of the user's last line; ``limited``: whether any limit was ever stated."""
SIZES: Final = {
    "answers": len(STRATEGIES),
    "facts": 1,
    "hints": len(MODES),
    "hinted": len(MODES),
    "known": 1,
    "left": len(KINDS),
    "line": len(LINE),
    "turn": 1,
    "used": len(STRATEGIES),
}
"""Boxes of the observation, with their sizes."""
PRIVILEGED: Final = {"emotion": 1, "need": len(NEEDS), "progress": 1, "trust": 1}
"""Boxes that `privileged=True` adds, with their sizes."""


def observation_space(privileged: bool = False) -> spaces.Dict:
    """Return the space of `observe`, or of that and `privileged_view` together."""
    boxes = {**SIZES, **(PRIVILEGED if privileged else {})}
    return spaces.Dict(
        {
            **{name: spaces.Box(0.0, 1.0, (size,), np.float32) for name, size in boxes.items()},
            "last": spaces.Discrete(len(STRATEGIES) + 1),
            "mood": spaces.Discrete(len(MOODS)),
            "tone": spaces.Discrete(len(TONES)),
        }
    )


def observe(
    messages: Sequence[Message], turn: int, max_turns: int, strategies: Sequence[str] = ()
) -> Observation:
    """Return what a policy sees of a conversation.

    Args:
        messages: The conversation, ending with the user's line to answer.
        turn: Replies so far.
        max_turns: Cap on replies.
        strategies: The strategy of each reply so far (see `recognise`).

    Returns:
        float32 arrays in [0, 1] by the names and sizes of `SIZES`, and three numbers:

        * `answers`: how the latest use of each strategy was answered (`ANSWERS`); 0 if it was not tried.
        * `facts`: how much was told. `known`: 1 if the phrase book knows the user.
        * `hints`, `hinted`: how much everything said, and the last line, speaks for each way of helping.
        * `left`: how much the phrase book still has to say of each of `KINDS`.
        * `line`: features of the last line (`LINE`). `turn`: turns gone by, as a share of the cap.
        * `used`: how often each strategy was used, from 0 to 4.
        * `last`: number of the last strategy, or 11. `mood`: index into `MOODS`. `tone`: index into `TONES`.
    """
    listened = heard(messages)
    numbers = [STRATEGIES.index(name) for name in strategies]
    return {
        "answers": _answers(listened, numbers),
        "facts": _box([sum([len(line.told) for line in listened.lines]) / MANY["facts"]]),
        "hints": _box([points / SPEAKS for points in listened.evidence]),
        "hinted": _box([points / SPEAKS for points in listened.last.evidence]),
        "known": _box([float(listened.entry is not None)]),
        "left": _box(_left(listened)),
        "line": _box(_line(listened.last, any([line.limits for line in listened.lines]))),
        "turn": _box([turn / max_turns]),
        "used": _box([numbers.count(number) / MANY["uses"] for number in range(len(STRATEGIES))]),
        "last": numbers[-1] if numbers else NONE,
        "mood": listened.mood,
        "tone": TONES.index(listened.last.tone),
    }


def privileged_view(dialogue: Dialogue) -> Observation:
    """Return what only an upper reference sees: emotion, trust and progress as shares, and the need."""
    state = dialogue.state
    return {
        "emotion": _box([state.emotion / 100]),
        "need": _box([float(need == dialogue.source.need) for need in NEEDS]),
        "progress": _box([state.progress / 4]),
        "trust": _box([state.trust / 100]),
    }


def recognise(messages: Sequence[Message], seed: int = 0) -> tuple[str, ...]:
    """Return the strategy of each reply of a conversation: the one whose words it is, or else ``"other"``.

    Args:
        messages: The conversation.
        seed: The seed with which the replies were realised.
    """
    return tuple(
        _recognised(messages[:at], message["content"], seed)
        for at, message in enumerate(messages)
        if message["role"] == "assistant"
    )


def _recognised(before: Sequence[Message], reply: str, seed: int) -> str:
    for intensity in (None, *range(INTENSITIES)):
        for name in STRATEGIES:
            if realise(name, before, seed, intensity) == reply:
                return name
    return "other"


def _box(values: Sequence[float]) -> NDArray[np.float32]:
    return np.array([1.0 if value > 1.0 else value for value in values], dtype=np.float32)


def _answers(listened: Heard, numbers: Sequence[int]) -> NDArray[np.float32]:
    answers = [0.0] * len(STRATEGIES)
    for number, line in zip(numbers, listened.lines[1:], strict=False):
        answers[number] = ANSWERS[line.tone]
    return np.array(answers, dtype=np.float32)


def _line(line: Line, limited: bool) -> list[float]:
    return [
        line.words / LONG,
        float("?" in line.text),
        float(line.at_issue),
        len(line.told) / MANY["line"],
        float(line.goodbye),
        *[float(line.request == kind) for kind in REQUESTS],
        *[float(kind in line.limits) for kind in LIMITS],
        float(limited),
    ]


def _left(listened: Heard) -> list[float]:
    if listened.entry is None:
        return [0.0] * len(KINDS)
    spoken = "\n".join(listened.spoken)
    if not spoken:
        return [len(getattr(listened.entry, kind)) / MANY["left"] for kind in KINDS]
    return [
        sum([line not in spoken for line in getattr(listened.entry, kind)]) / MANY["left"] for kind in KINDS
    ]
