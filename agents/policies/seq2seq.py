"""An encoder-decoder such as T5 as a policy: it reads what it read in training, and samples as in training.

A folder that `empathy-gym train emprl` wrote says itself how long a source and a response are and how responses are
sampled. An encoder-decoder from elsewhere reads as much as it takes, and samples like any other model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from empathy_gym.agents.policies.models import EnginePolicy
from empathy_gym.agents.policy import Conversation
from empathy_gym.agents.seq2seq_text import fitted
from empathy_gym.agents.trainers.seq2seq.checkpoint import read_note
from empathy_gym.simulators.engines.base import ChatRequest


class Seq2SeqPolicy(EnginePolicy):
    """A policy that asks an encoder-decoder: the end of the conversation that fits, and no system prompt.

    Args:
        engine: A `TransformersEngine` of an encoder-decoder.
        source_tokens: Most tokens of what it reads; all it takes if None.
        sampling: Arguments of `EnginePolicy`.
    """

    def __init__(self, engine: Any, *, source_tokens: int | None = None, **sampling: Any) -> None:
        super().__init__(engine, **sampling)
        self.source_tokens = min(source_tokens or engine.max_model_len, engine.max_model_len)

    @property
    def fingerprint(self) -> str:
        """Model, revision, sampling and what is read."""
        return f"{super().fingerprint}; top_k={self.engine.top_k}, source={self.source_tokens}"  # type: ignore[attr-defined]

    def score(self, conversations: Sequence[Conversation], texts: Sequence[str]) -> list[tuple[float, int]]:
        """Return how likely the model finds texts as its replies: log-probability (natural) and tokens of each.

        Args:
            conversations: What is answered.
            texts: One for each.
        """
        requests = [self._request(conversation) for conversation in conversations]
        return self.engine.score(requests, texts)  # type: ignore[attr-defined, no-any-return]

    def _messages(self, conversation: Conversation) -> list[dict[str, str]]:
        prompt = self.engine.prompt  # type: ignore[attr-defined]
        return fitted(prompt, conversation.messages, self.source_tokens)

    def _request(self, conversation: Conversation) -> ChatRequest:
        said = tuple(self._messages(conversation))
        return dataclasses.replace(super()._request(conversation), messages=said)


def seq2seq_policy(
    path: str, options: Mapping[str, Any], sampling: Mapping[str, Any]
) -> Seq2SeqPolicy | None:
    """Return the policy of an encoder-decoder, or None if the model is none.

    Args:
        path: A folder, or a hub id.
        options: Arguments of the engine; they win over the folder's note.
        sampling: Arguments of `EnginePolicy`; likewise.

    Raises:
        ConfigError: If the folder's note is damaged.
        EngineError: If the model cannot be loaded.
    """
    from empathy_gym.simulators.engines.registry import engine_from

    note = read_note(path) if Path(path).is_dir() else {}
    engine: Any = engine_from(f"hf:{path}", {**({"top_k": note["top_k"]} if note else {}), **options})
    if not engine.is_encoder_decoder:
        return None
    own = {"temperature": note["temperature"], "max_tokens": note["target_tokens"]} if note else {}
    return Seq2SeqPolicy(engine, source_tokens=note.get("source_tokens"), **{**own, **sampling})
