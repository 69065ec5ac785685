"""Engines by name, built once per process.

An environment's spec holds a name and plain options, never an engine: it can be copied, saved and sent to
another process, and two environments with the same name and options share one engine.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from empathy_gym.simulators.engines.base import ChatEngine, close
from empathy_gym.simulators.errors import ConfigError, MissingExtraError, unknown_name

_OPENAI: Final = re.compile(r"(?P<model>.+?)@(?P<urls>https?://.+)", re.DOTALL)
_FORMS: Final = {
    "openai": "openai:MODEL@URL[,URL2]",
    "vllm": "vllm:PATH",
    "hf": "hf:PATH",
    "scripted": "scripted:NAME",
}
_CLASSES: Final = {
    "openai": ("empathy_gym.simulators.engines.openai", "OpenAIEngine", ""),
    "vllm": ("empathy_gym.simulators.engines.vllm", "VLLMEngine", "vllm"),
    "hf": ("empathy_gym.simulators.engines.transformers", "TransformersEngine", "llm"),
    "scripted": ("empathy_gym.simulators.engines.scripted", "ScriptedEngine", ""),
}
"""Module, class, and the extra that installs what the module needs."""
_EXTRA_MODULES: Final = frozenset({"vllm", "torch", "transformers", "accelerate"})


@dataclass(slots=True)
class _Slot:
    """A place for one engine, with its own lock: a model that takes minutes to load holds up nobody else."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: ChatEngine | None = None


_slots: dict[str, _Slot] = {}
_lock = threading.Lock()


def engine_from(spec: str, options: Mapping[str, Any] | None = None) -> ChatEngine:
    """Return the engine of a name and its options, built at the first call and shared from then on.

    Args:
        spec: ``"openai:MODEL@URL[,URL2]"``, ``"vllm:PATH"``, ``"hf:PATH"`` or ``"scripted:NAME"``.
        options: Keyword arguments of the engine's class; plain JSON values only.

    Raises:
        ConfigError: If the name or an option is not valid.
        MissingExtraError: If the engine needs a package that is not installed.
        EngineError: If the engine cannot be started.
    """
    scheme, target = parse_spec(spec)
    given = dict(options or {})
    key = _key(spec, given)
    with _lock:
        slot = _slots.setdefault(key, _Slot())
    with slot.lock:
        if slot.engine is None:
            valid = engine_options(scheme)
            for name in given:
                if name not in valid:
                    raise unknown_name(f"option of the engine {scheme!r}", name, valid)
            slot.engine = _build(scheme, target, given)
        return slot.engine


def parse_spec(spec: object) -> tuple[str, str]:
    """Split ``"SCHEME:TARGET"``.

    Raises:
        ConfigError: If it is not of that form, or the scheme is unknown. A URL is not repeated in the
        message: it
            may carry what should not have been in it.
    """
    forms = ", ".join(_FORMS.values())
    if not isinstance(spec, str):
        raise ConfigError(f"The engine is a {type(spec).__name__}; it must be a name: {forms}.")
    scheme, colon, target = spec.partition(":")
    if scheme not in _FORMS:
        raise unknown_name("engine", scheme, _FORMS)
    if not colon or not target.strip():
        raise ConfigError(f"The engine {scheme!r} lacks its target; write {_FORMS[scheme]}.")
    if scheme == "openai" and _OPENAI.fullmatch(target) is None:
        raise ConfigError(
            "The engine 'openai' needs a model and a URL, as in 'openai:MODEL@http://127.0.0.1:8000/v1'."
        )
    return scheme, target


def engine_options(scheme: str) -> frozenset[str]:
    """Return the names of the options that an engine's class takes.

    Args:
        scheme: ``"openai"``, ``"vllm"``, ``"hf"`` or ``"scripted"``, alone or as the start of a whole name.

    Raises:
        ConfigError: If the scheme is unknown.
        MissingExtraError: If its module needs a package that is not installed.
    """
    scheme = scheme.partition(":")[0]
    if scheme not in _CLASSES:
        raise unknown_name("engine", scheme, _CLASSES)
    parameters = inspect.signature(_class(scheme)).parameters.values()
    names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty}
    return frozenset(names - {"model", "revision"} if scheme == "scripted" else names)


def close_all() -> None:
    """Close every engine and forget it. Runs at exit; the next `engine_from` builds anew."""
    with _lock:
        engines = [slot.engine for slot in _slots.values() if slot.engine is not None]
        _slots.clear()
    for engine in engines:
        close(engine)


def _key(spec: str, options: Mapping[str, Any]) -> str:
    try:
        return json.dumps([spec, options], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The options of the engine have to be plain JSON values: {error}.") from error


def _build(scheme: str, target: str, options: Mapping[str, Any]) -> ChatEngine:
    build: Callable[..., ChatEngine] = _class(scheme)
    if scheme == "scripted":
        from empathy_gym.simulators.engines.scripted import scripted

        return scripted(target, **options)
    match = _OPENAI.fullmatch(target)
    if scheme == "openai" and match is not None:
        return build(match["model"], [u.strip() for u in match["urls"].split(",")], **options)
    try:
        return build(target, **options)
    except ModuleNotFoundError as error:
        raise _missing(scheme, error) from error


def _class(scheme: str) -> Any:
    module, name, _ = _CLASSES[scheme]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise _missing(scheme, error) from error


def _missing(scheme: str, error: ModuleNotFoundError) -> Exception:
    """Return the error that names the extra, or the original one if it is about something else."""
    root = (error.name or "").partition(".")[0]
    if root not in _EXTRA_MODULES:
        return error
    extra = _CLASSES[scheme][2]
    return MissingExtraError(
        f"The engine {scheme!r} needs {root!r}, which is not installed. Install it with "
        f"pip install 'empathy-gym[{extra}]', or use a server: 'openai:MODEL@URL'."
    )


def _forked() -> None:
    """Make the locks usable in a child process; engines see to themselves."""
    global _lock
    _lock = threading.Lock()
    for slot in _slots.values():
        slot.lock = threading.Lock()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
