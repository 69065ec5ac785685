"""What an encoder-decoder reads: one function, for training and for acting.

A small encoder-decoder has no use for a system prompt, which would take half of its source. It reads the conversation
alone, as its tokenizer's chat template writes it, or as a script of ``User:`` and ``Assistant:`` lines where it has
none (`PromptFormat`), cut from the front to the tokens it was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from empathy_gym.simulators.engines.prompting import PromptFormat
from empathy_gym.simulators.errors import ConfigError

SOURCE_TOKENS: Final = 200
"""Most tokens of a source where nothing else is said, as in EmpRL (arXiv 2408.02976)."""


def heard(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what was said, without system prompts, as plain messages."""
    return [{"role": m["role"], "content": m["content"]} for m in messages if m["role"] != "system"]


def exchange_messages(context: Sequence[str]) -> list[dict[str, str]]:
    """Return the utterances of an exchange as messages: the last one, and every second before it, is the user's."""
    last = len(context) - 1
    return [
        {"role": "user" if (last - i) % 2 == 0 else "assistant", "content": text}
        for i, text in enumerate(context)
    ]


def fitted(
    prompt: PromptFormat, messages: Sequence[Mapping[str, Any]], limit: int = SOURCE_TOKENS
) -> list[dict[str, str]]:
    """Return the end of a conversation that fits into a source.

    Older messages are left out first; a last one that is too long by itself loses words from its beginning.

    Args:
        prompt: Turns messages into tokens.
        messages: The conversation; system prompts are left out.
        limit: Most tokens of the source, special ones included.

    Raises:
        ConfigError: If there is nothing to answer, or not even the frame of a message fits.
    """
    kept = heard(messages)
    if not kept:
        raise ConfigError("A conversation without a message has nothing to answer.")
    while len(kept) > 1 and len(prompt.ids(kept)) > limit:
        kept = kept[1:]
    if len(prompt.ids(kept)) <= limit:
        return kept
    words = kept[0]["content"].split()
    # The most words from the end that fit: more words never take fewer tokens, so halving finds it.
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(prompt.ids([_last_words(kept[0], words, middle)])) <= limit
        low, high = (middle, high) if fits else (low, middle)
    shortest = _last_words(kept[0], words, low)
    if len(prompt.ids([shortest])) > limit:
        raise ConfigError(f"Not even an empty message fits into a source of {limit} tokens.")
    return [shortest]


def _last_words(message: Mapping[str, str], words: Sequence[str], count: int) -> dict[str, str]:
    return {"role": message["role"], "content": " ".join(words[len(words) - count :])}


def source_ids(
    prompt: PromptFormat, messages: Sequence[Mapping[str, Any]], limit: int = SOURCE_TOKENS
) -> list[int]:
    """Return the token ids an encoder-decoder reads of a conversation."""
    return prompt.ids(fitted(prompt, messages, limit))
