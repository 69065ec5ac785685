"""What a policy is: conversations in, replies out.

A policy sees a `Conversation` and nothing else: never the scenario's id, the need, the emotion or the
trust. A policy with ``privileged = True`` is also given the dialogues themselves; only the benchmark
runner grants that, and marks its rows.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, Protocol, runtime_checkable

from empathy_gym.simulators.dialogue import Dialogue, Message
from empathy_gym.simulators.errors import ConfigError, did_you_mean
from empathy_gym.simulators.hashing import file_hash

ENTRY_POINT_GROUP: Final = "empathy_gym.policies"
VALID: Final = (
    "Valid: scripted:NAME, openai:MODEL@URL, vllm:PATH, hf:PATH, strategy:NAME, sb3:FILE.zip, module:attr, or a "
    "registered name."
)


@dataclass(frozen=True)
class Conversation:
    """What a policy sees of an episode.

    Attributes:
        key: Unique per episode; per-conversation state is held by it, never by position.
        messages: The conversation so far, ending with the user's line to answer.
        instruction: The system prompt.
        language: ISO 639-1 code of the user's language.
        turn: Replies given so far, from 0.
        max_turns: Cap on scored replies.
        think: Think mode of the environment: False, True or ``"strip"``.
        seed: For sampling; the same episode gets the same seed in every run.
    """

    key: str
    messages: Sequence[Message]
    instruction: str = ""
    language: str = "en"
    turn: int = 0
    max_turns: int = 8
    think: bool | str = False
    seed: int = 0


def conversation_of(
    dialogue: Dialogue, *, key: str, seed: int, instruction: str = "", think: bool | str = False
) -> Conversation:
    """Return what a policy may see of a dialogue: fresh messages, and nothing that names the user.

    Args:
        dialogue: The dialogue.
        key: Unique per episode.
        seed: For sampling.
        instruction: The system prompt.
        think: Think mode of the environment.
    """
    return Conversation(
        key=key,
        messages=[{"role": m["role"], "content": m["content"]} for m in dialogue.messages],
        instruction=instruction,
        language=dialogue.source.language,
        turn=dialogue.turn,
        max_turns=dialogue.max_turns,
        think=think,
        seed=seed,
    )


@dataclass(frozen=True)
class Reply:
    """A reply with what is known about how it was made.

    Attributes:
        text: The action, as the environment takes it.
        reasoning: Thoughts that are not part of the action.
        error: Why there is no reply; the episode ends as the policy's fault.
        usage: Token counts.
        tokens: Token ids of the action.
    """

    text: str
    reasoning: str | None = None
    error: str | None = None
    usage: dict[str, int] | None = None
    tokens: Sequence[int] | None = None


@runtime_checkable
class Policy(Protocol):
    """Answers a batch of conversations.

    A policy may also have ``begin(keys)`` and ``end(keys)``, called when episodes begin and end; a string
    ``fingerprint``; and ``score(conversations, texts)``, which returns for each text, as the reply to a conversation,
    the natural logarithm of its probability and its number of tokens (perplexity is worked out from these).
    """

    def act(self, conversations: Sequence[Conversation]) -> Sequence[str | Reply]:
        """Return one reply for each conversation, in order."""
        ...


@runtime_checkable
class PrivilegedPolicy(Protocol):
    """A policy that is given the whole dialogues: an upper reference, never ranked."""

    privileged: bool

    def act(
        self, conversations: Sequence[Conversation], dialogues: Sequence[Dialogue]
    ) -> Sequence[str | Reply]:
        """Return one reply for each conversation, in order."""
        ...


class FunctionPolicy:
    """A plain function ``messages -> str`` as a policy.

    Args:
        function: Given a list of ``{"role", "content"}`` dicts; returns the reply.
    """

    def __init__(self, function: Callable[[list[dict[str, str]]], str]) -> None:
        self.function = function
        name = f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', '?')}"
        self.fingerprint = f"function:{name}@{_source_hash(function)}"

    def act(self, conversations: Sequence[Conversation]) -> list[str]:
        """Call the function on each conversation."""
        return [
            self.function([{"role": m["role"], "content": m["content"]} for m in c.messages])
            for c in conversations
        ]


def fingerprint_of(policy: Any) -> str | None:
    """Return what tells a policy from another one of its name: its own fingerprint, or its kind and source.

    None for the packaged ones that have none: they are told by the version of the package.
    """
    kind = type(policy)
    own = getattr(policy, "fingerprint", None)
    if own is not None or kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return own
    return f"{kind.__module__}:{kind.__qualname__}@{_source_hash(kind)}"


def _source_hash(thing: Any) -> str:
    """Return a hash of the file something is written in; the empty string where there is none."""
    try:
        file = inspect.getsourcefile(thing)
        return "" if file is None else file_hash(file)[:12]
    except (TypeError, OSError):
        return ""


def as_policy(candidate: Any, name: str = "policy") -> Policy | PrivilegedPolicy:
    """Return a policy from an instance, a class, a zero-argument factory or a plain function.

    Raises:
        ConfigError: If it is none of these.
    """
    if callable(getattr(candidate, "act", None)) and not inspect.isclass(candidate):
        return candidate  # type: ignore[no-any-return]
    needed = _required_parameters(candidate)
    if needed is not None:
        if not needed:
            made = candidate()
            if callable(getattr(made, "act", None)):
                return made  # type: ignore[no-any-return]
            raise ConfigError(
                f"{name}: the factory returned {type(made).__name__}, which has no method 'act'."
            )
        if len(needed) == 1 and not inspect.isclass(candidate):
            return FunctionPolicy(candidate)
    raise ConfigError(
        f"{name}: {type(candidate).__name__} is not a policy. Valid: an object with `act(conversations)`, a "
        "zero-argument factory of one, or a function messages -> str."
    )


def _required_parameters(candidate: Any) -> list[str] | None:
    """Return the parameters a call must give; None if it cannot be called, or one cannot tell how."""
    try:
        parameters = inspect.signature(candidate).parameters.values()
    except (TypeError, ValueError):
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def load_policy(spec: str) -> Policy | PrivilegedPolicy:
    """Return a policy from its name.

    Args:
        spec: ``"scripted:listener"``; a language model, ``"openai:MODEL@URL"``, ``"vllm:PATH"`` or
            ``"hf:PATH"``; ``"module:attr"``; or a name registered under the entry-point group
            ``empathy_gym.policies``. Over support strategies: ``"strategy:NAME"``, and ``"sb3:FILE.zip"``, a
            model trained with Stable-Baselines3; loading that file unpickles it, so load only what you trust.

    Raises:
        ConfigError: If the name is unknown or what it names is not a policy.
        MissingExtraError: If what runs the model is not installed.
        EngineError: If the model cannot be loaded.
    """
    from empathy_gym.agents.policies import SCRIPTED, make_scripted

    if not isinstance(spec, str):
        raise ConfigError(f"The policy is a {type(spec).__name__}; it must be a name. {VALID}")
    kind, _, rest = spec.partition(":")
    if kind == "scripted":
        return make_scripted(rest)
    if kind in ("openai", "vllm", "hf"):
        from empathy_gym.agents.policies.models import engine_policy

        return engine_policy(spec)
    if kind == "strategy":
        from empathy_gym.agents.policies.strategic import make_strategy_policy

        return make_strategy_policy(rest)
    if kind == "sb3":
        from empathy_gym.agents.policies.sb3 import SB3Policy

        return SB3Policy.load(rest)
    registered = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if spec in registered:
        return as_policy(registered[spec].load(), spec)
    known = [f"scripted:{name}" for name in SCRIPTED] + list(registered)
    if not rest or not kind.replace(".", "").replace("_", "").isalnum():
        raise ConfigError(
            f"Unknown policy {spec!r}.{did_you_mean(spec, known) or did_you_mean('scripted:' + spec, known)} "
            f"{VALID}"
        )
    try:
        target: Any = importlib.import_module(kind)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Unknown policy {spec!r}: no module {error.name!r}.{did_you_mean(spec, known)} {VALID}"
        ) from None
    for part in rest.split("."):
        if not hasattr(target, part):
            raise ConfigError(
                f"Policy {spec!r}: {kind!r} has no attribute {part!r}.{did_you_mean(part, dir(target))}"
            )
        target = getattr(target, part)
    return as_policy(target, spec)
