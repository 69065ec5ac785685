"""Exchanges: what somebody told, and what a listener answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from empathy_gym.simulators.dialogue import Message
from empathy_gym.simulators.hashing import content_hash

SPLITS: Final = ("train", "validation", "test")
EMOTIONS: Final = (
    "afraid", "angry", "annoyed", "anticipating", "anxious", "apprehensive", "ashamed", "caring", "confident",
    "content", "devastated", "disappointed", "disgusted", "embarrassed", "excited", "faithful", "furious",
    "grateful", "guilty", "hopeful", "impressed", "jealous", "joyful", "lonely", "nostalgic", "prepared", "proud",
    "sad", "sentimental", "surprised", "terrified", "trusting",
)  # fmt: skip
"""The 32 emotions of EmpatheticDialogues (Rashkin, Smith, Li and Boureau, ACL 2019, table 1)."""
LINE: Final = "\n"
"""Between the utterances of a context where it is one text."""


class Exchange(BaseModel):
    """A context and the response a person gave to it.

    White space in utterances is made single spaces, so that a context joined by `LINE` can be taken apart again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Opaque: the beginning of the content's hash, unless the file names one."""
    emotion: str = ""
    """What the speaker feels, one of `EMOTIONS` in the bundled sample; empty where nobody says. Not for policies."""
    context: tuple[str, ...] = Field(min_length=1)
    """Utterances, of speaker and listener in turn; the first and the last are the speaker's."""
    response: str
    """The listener's next utterance: the reference."""
    split: str = "train"

    @field_validator("context", mode="after")
    @classmethod
    def _alternating(cls, context: tuple[str, ...]) -> tuple[str, ...]:
        if len(context) % 2 == 0:
            raise ValueError(
                f"it has {len(context)} utterances; it needs an odd number, as speaker and listener take turns "
                "and the last is the speaker's"
            )
        return tuple(_text(utterance) for utterance in context)

    @field_validator("response", mode="after")
    @classmethod
    def _spoken(cls, response: str) -> str:
        return _text(response)

    @field_validator("split", mode="after")
    @classmethod
    def _known(cls, split: str) -> str:
        if split not in SPLITS:
            raise ValueError(f"it is {split!r}; valid: {', '.join(SPLITS)}")
        return split

    @property
    def text(self) -> str:
        """The context as one text: an utterance a line, the last one the speaker's."""
        return LINE.join(self.context)

    @property
    def messages(self) -> list[Message]:
        """The context as chat messages: the speaker is the user. Fresh at every call."""
        return messages_of(self.context)


def messages_of(context: Sequence[str]) -> list[Message]:
    """Return utterances, of which the last is the speaker's, as chat messages: the speaker is the user."""
    return [
        {"role": "user" if (len(context) - i) % 2 else "assistant", "content": utterance}
        for i, utterance in enumerate(context)
    ]


def exchange_id(context: tuple[str, ...] | list[str], response: str) -> str:
    """Return the id of an exchange that names none: 16 hexadecimal digits of its content's hash."""
    return content_hash([[single_spaced(text) for text in context], single_spaced(response)])[:16]


def single_spaced(text: str) -> str:
    """Return a text with every run of white space made one space, and none at its ends."""
    return " ".join(text.split())


def _text(utterance: str) -> str:
    text = single_spaced(utterance)
    if not text:
        raise ValueError("an utterance is empty")
    return text
