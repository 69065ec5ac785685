"""What in-process engines share: prompts from messages, model folders, failures kept to their request.

Nothing here imports torch, transformers or vllm at import time.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from empathy_gym.simulators.engines.base import ChatReply, ChatRequest, ErrorKind
from empathy_gym.simulators.errors import ConfigError, MissingExtraError

T = TypeVar("T")
ROLES: Final = ("system", "user", "assistant")
SPLITTER: Final = "\u200b"
"""Put inside a control token that somebody spelt out, so that the tokenizer reads it as plain characters."""
PLAIN_STOPS: Final = ("\nUser:",)
"""Where a model without a chat template starts to write the other side's line."""
WEIGHTS: Final = (".safetensors", ".bin", ".gguf", ".pt")
TEXTS: Final = (".json", ".jinja", ".model", ".txt")
BLOCK: Final = 4096
"""Bytes of each sample of a weight file that goes into its revision."""
SAMPLES: Final = 16
NOTE: Final = "empathy-gym-model.json"
"""File in a fetched folder that says what it is; written last, so a folder that has it is complete."""


def require(module: str, extra: str) -> Any:
    """Import an optional dependency.

    Args:
        module: Name of the module.
        extra: The extra of empathy-gym that installs it.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{module.partition('.')[0]!r} is not installed. Install it with: pip install 'empathy-gym[{extra}]'"
        ) from None


def installed(module: str) -> bool:
    """Whether a module can be had, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        # What `sys.modules` holds None for.
        return False


def text_of(value: str) -> str:
    """Return text a tokenizer takes: a lone surrogate becomes U+FFFD."""
    return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if _surrogate(value) else value


def _surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


class PromptFormat:
    """Turns chat messages into token ids, the model's template applied once.

    Control tokens spelt out in a message (``<|im_end|>``, ``</s>``) are split by a zero-width space first:
    what somebody says can end neither the turn nor the prompt. A model without a chat template gets a plain
    script of ``User:`` and ``Assistant:`` lines. Where a template takes no system message, it leads the first
    user's.

    Args:
        tokenizer: A Hugging Face tokenizer.
        template_kwargs: Passed to the template, e.g. ``{"enable_thinking": False}``.
    """

    def __init__(self, tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs or {})
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self._control = _control_tokens(tokenizer)

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a completion besides the request's own."""
        return () if self.has_template else PLAIN_STOPS

    def ids(self, messages: Sequence[Mapping[str, str] | Any]) -> list[int]:
        """Return the token ids of a prompt that ends where the assistant's turn begins.

        Raises:
            ConfigError: If there is no message, a role is not one of `ROLES`, or the template refuses them.
        """
        clean = [self.clean(message) for message in messages]
        if not clean:
            raise ConfigError("The request has no messages; give at least one.")
        if not self.has_template:
            return list(self.tokenizer(script(clean)).input_ids)
        merged = _without_system(clean)
        for attempt in (clean, *([merged] if merged else [])):
            try:
                return self._templated(attempt)
            except Exception as error:
                # Templates raise what they like at what they do not take, a system message most often.
                refusal = one_line(error)
        raise ConfigError(f"The model's chat template refuses the messages: {refusal}")

    def _templated(self, messages: list[dict[str, str]]) -> list[int]:
        found = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False, **self.template_kwargs
        )
        return [int(token) for token in found]

    def clean(self, message: Mapping[str, str] | Any) -> dict[str, str]:
        """Return a message whose text a template takes: no lone surrogates, no control token spelt out.

        Raises:
            ConfigError: If its role is not one of `ROLES`.
        """
        if message["role"] not in ROLES:
            raise ConfigError(f"Unknown role {message['role']!r} of a message. Valid: {', '.join(ROLES)}.")
        content = text_of(str(message["content"]))
        if self._control is not None:
            content = self._control.sub(lambda m: m.group()[0] + SPLITTER + m.group()[1:], content)
        return {"role": message["role"], "content": content}


def _control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    """Return a pattern of every control token; ``<think>`` and the like, which models write, are none."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    names = {str(token.content) for token in added.values() if token.special}
    names.update(map(str, getattr(tokenizer, "all_special_tokens", ())))
    # A one-character control token could not be told from a letter somebody wrote.
    ordered = sorted((name for name in names if len(name) > 1), key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _without_system(messages: list[dict[str, str]]) -> list[dict[str, str]] | None:
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return None
    merged = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{"role": "user", "content": merged}, *messages[2:]]


def script(messages: Sequence[Mapping[str, str]]) -> str:
    """Return a conversation as a script. Line breaks within a turn become spaces: no turn can be faked."""
    names = {"user": "User", "assistant": "Assistant"}
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    turns = [f"{names[m['role']]}: {' '.join(m['content'].split())}" for m in messages if m["role"] in names]
    return "\n".join([*([system, ""] if system else []), *turns, "Assistant:"])


def constraint_error(request: ChatRequest) -> str | None:
    """Return why a request is refused before any model sees it, or None."""
    given = [n for n, v in (("schema", request.schema), ("regex", request.regex)) if v is not None]
    given += ["choices"] if request.choices else []
    if len(given) > 1:
        return f"A request takes one of schema, regex and choices; this one has {' and '.join(given)}."
    if request.max_tokens < 1:
        return f"max_tokens is {request.max_tokens}; it must be at least 1."
    if not request.temperature >= 0.0 or request.temperature == float("inf"):
        return f"temperature is {request.temperature}; it must be a number of at least 0."
    if request.seed is not None and not 0 <= request.seed < 2**63:
        return f"seed is {request.seed}; it must be an integer of at least 0 and below 2**63."
    if not 0.0 < request.top_p <= 1.0:
        return f"top_p is {request.top_p}; it must be in (0, 1]."
    return None


def overflow(prompt: int, limit: int) -> ChatReply | None:
    """Return the reply to a prompt that leaves the model no room for an answer, or None.

    As vLLM's server does it: a prompt that fits is answered, with fewer tokens than asked for if need be.

    Args:
        prompt: Tokens of the prompt.
        limit: Tokens the model takes, prompt and completion together.
    """
    if prompt < limit:
        return None
    message = f"The prompt has {prompt} tokens, which leaves no room in the model's context of {limit}."
    return failure(message, "context", prompt)


def failure(message: str, kind: ErrorKind, prompt_tokens: int = 0) -> ChatReply:
    """Return a reply that is a failure."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 0} if prompt_tokens else {}
    return ChatReply(error=message, error_kind=kind, usage=usage)


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an exception's message in one line of at most `limit` characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:limit]


def settle(
    items: Sequence[T],
    run: Callable[[Sequence[T]], list[ChatReply]],
    failed: Callable[[T, Exception], ChatReply],
) -> list[ChatReply]:
    """Run a batch; if it fails as a whole, halve it until only the items at fault are left out.

    Args:
        items: What to run, in order.
        run: Runs some of them in one batch.
        failed: What becomes of an item that fails by itself.
    """
    if not items:
        return []
    try:
        return run(items)
    except Exception as error:
        # The one boundary: whatever a model's runtime raises is the failure of a request, never of its batch.
        if len(items) == 1:
            return [failed(items[0], error)]
    middle = len(items) // 2
    return settle(items[:middle], run, failed) + settle(items[middle:], run, failed)


def cut_at(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the first stop string, or None if there is none in it."""
    found = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else None


def model_name(path: str) -> str:
    """Return the name a model goes by on every machine: a folder's own name, or the hub id."""
    return Path(path).resolve().name if Path(path).is_dir() else path


def check_path(path: str) -> None:
    """Check that a model's path is a folder that holds a model, or may be a hub id.

    Raises:
        ConfigError: If it is neither.
    """
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"The folder {path!r} holds no model: there is no config.json in it.")
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path, re.ASCII) is None or path.startswith("."):
        raise ConfigError(
            f"There is no model at {path!r}. Valid: a folder with config.json, tokenizer and weights, or a "
            "hub id such as 'Qwen/Qwen2.5-7B-Instruct'. A small model: empathy-gym models fetch smollm2."
        )


def folder_revision(path: str | os.PathLike[str]) -> str:
    """Return a content hash of a model folder: 16 hexadecimal digits.

    All of configuration and tokenizer files, and of each weight file its name, its size and 16 samples of 4
    KiB spread over it: two checkpoints of one training run differ, and no time is spent on reading gigabytes.
    """
    digest = hashlib.sha256()
    for file in sorted(Path(path).iterdir(), key=lambda f: f.name):
        weights = file.suffix in WEIGHTS
        # What fetching writes beside the model says how it came here, not what it is.
        if file.name == NOTE or not file.is_file() or not (weights or file.suffix in TEXTS):
            continue
        digest.update(json.dumps([file.name, file.stat().st_size]).encode())
        for block in _samples(file) if weights else iter([file.read_bytes()]):
            digest.update(block)
    return digest.hexdigest()[:16]


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        for index in range(SAMPLES):
            stream.seek(max(size - BLOCK, 0) * index // (SAMPLES - 1))
            yield stream.read(BLOCK)


@contextmanager
def without_progress(transformers: Any) -> Iterator[None]:
    """Keep Transformers from drawing progress bars: a library does not write on the terminal."""
    log = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()
