"""Language models as policies: any chat engine, given the environment's instruction and what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from empathy_gym.agents.policy import Conversation, Reply
from empathy_gym.simulators.dialogue import derive_seed
from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, close, identity_of
from empathy_gym.simulators.errors import ConfigError, unknown_name

KINDS: Final = ("openai", "vllm", "hf")
SEED_BITS: Final = 31
"""Some servers keep a seed in 32 bits with a sign."""


class EnginePolicy:
    """A policy that asks a chat engine: the instruction as system prompt, then the conversation.

    The completion is passed on as it is, thoughts included: what of it the user hears is the environment's
    decision (its argument `think`). A failed request is a `Reply` with an error, which ends the episode as
    the policy's fault. The policy never trains and never resets its engine, so it may share one.

    Args:
        engine: Any chat engine.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Most tokens of a reply, thoughts included; at least 1.
        top_p: Nucleus mass, in (0, 1].
        seed: Mixed into each conversation's own seed; another one draws other replies.
        stop: Strings that end a reply.

    Raises:
        ConfigError: If a sampling argument is out of range.
    """

    def __init__(
        self,
        engine: ChatEngine,
        *,
        temperature: float = 1.0,
        max_tokens: int = 256,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> None:
        if not 0.0 <= temperature < float("inf"):
            raise ConfigError(f"temperature is {temperature!r}; it must be a number of at least 0.")
        if not 0.0 < top_p <= 1.0:
            raise ConfigError(f"top_p is {top_p!r}; it must be in (0, 1].")
        if max_tokens < 1:
            raise ConfigError(f"max_tokens is {max_tokens!r}; it must be at least 1.")
        self.engine = engine
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.top_p = top_p
        self.seed = seed
        self.stop = tuple(stop)

    @property
    def fingerprint(self) -> str:
        """The model, its revision and how it is sampled; no address and no key."""
        model, revision = identity_of(self.engine)
        name = f"{model}@{revision}" if revision else model
        sampling = f"temperature={self.temperature:g}, top_p={self.top_p:g}, max_tokens={self.max_tokens}"
        stop = f", stop={list(self.stop)}" if self.stop else ""
        return f"{type(self.engine).__name__}:{name} ({sampling}, seed={self.seed}{stop})"

    def act(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Return one reply for each conversation, in order, from one call of the engine."""
        return [_reply(answer) for answer in self.engine.complete([self._request(c) for c in conversations])]

    def close(self) -> None:
        """Close the engine."""
        close(self.engine)

    def _request(self, conversation: Conversation) -> ChatRequest:
        system = [{"role": "system", "content": conversation.instruction}] if conversation.instruction else []
        said = [{"role": m["role"], "content": m["content"]} for m in conversation.messages]
        drawn = derive_seed(conversation.seed, "policy", self.seed, conversation.turn) % 2**SEED_BITS
        return ChatRequest(
            messages=(*system, *said),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=drawn if self.temperature > 0.0 else None,
            stop=self.stop,
        )


def _reply(answer: ChatReply) -> Reply:
    usage = dict(answer.usage) or None
    if answer.error is not None:
        return Reply(text="", error=f"{answer.error_kind or 'engine'}: {answer.error}", usage=usage)
    return Reply(text=answer.text, usage=usage, tokens=answer.tokens)


def engine_policy(
    spec: str, options: Mapping[str, Any] | None = None, *, sampling: Mapping[str, Any] | None = None
) -> EnginePolicy:
    """Return the policy of a model's name.

    Args:
        spec: ``"openai:MODEL@URL"``, ``"vllm:PATH"`` or ``"hf:PATH"``.
        options: Arguments of the engine.
        sampling: Arguments of `EnginePolicy`.

    Raises:
        ConfigError: If the name is not of this form, or an argument is wrong.
        MissingExtraError: If what runs the model is not installed.
        EngineError: If the model cannot be loaded.
    """
    from empathy_gym.simulators.engines.registry import engine_from

    kind, _, rest = spec.partition(":")
    if kind not in KINDS:
        raise unknown_name("kind of model policy", kind, KINDS)
    if not rest:
        raise ConfigError(f"The policy {spec!r} names no model. Valid: openai:MODEL@URL, vllm:PATH, hf:PATH.")
    if kind == "hf":
        from empathy_gym.agents.policies.seq2seq import seq2seq_policy

        policy = seq2seq_policy(rest, options or {}, sampling or {})
        if policy is not None:
            return policy
    return EnginePolicy(engine_from(spec, dict(options or {})), **dict(sampling or {}))
