"""Downloading a file once: resumed where it stopped, checked, and put into place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from empathy_gym.simulators.errors import ConfigError, EngineError
from empathy_gym.simulators.hashing import file_hash

TIMEOUT_S: Final = 30.0


def download(url: str, target: Path, sha256: str, hint: str = "") -> None:
    """Download a file.

    What has come so far is kept beside the target as ``NAME.part``; the next call goes on with it where the server
    can, and begins again where it cannot.

    Args:
        url: Where it is.
        target: Where it goes; folders above it are made.
        sha256: What it has to be, in hexadecimal.
        hint: What else the user may do, for errors.

    Raises:
        ConfigError: If it is not what it has to be; what was downloaded is removed.
        EngineError: If the server does not answer, refuses, or stops half-way.
    """
    import httpx

    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
            _receive(client, url, part)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineError(
            f"{url} could not be downloaded ({_reason(error)}); {_size(part)} of it are kept, and the next try goes "
            f"on from there. {hint}".rstrip()
        ) from None
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from None
    found = file_hash(part)
    if found != sha256:
        part.unlink()
        raise ConfigError(
            f"{url} is not the file expected: its SHA-256 is {found}, not {sha256}. It was removed. {hint}".rstrip()
        )
    os.replace(part, target)


def _receive(client: Any, url: str, part: Path) -> None:
    """Append to a part what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    headers = (
        {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
        if have
        else {"Accept-Encoding": "identity"}
    )
    with client.stream("GET", url, headers=headers) as response:
        if have and response.status_code == 416:  # nothing is left to send: it is whole, or not ours
            return
        response.raise_for_status()
        # 200 in answer to a range: the server sends it all, so what is there is written over.
        with part.open("ab" if response.status_code == 206 else "wb") as file:
            # As it comes: what is gathered into blocks is lost when the connection is.
            for block in response.iter_raw():
                file.write(block)


def _size(part: Path) -> str:
    return f"{part.stat().st_size if part.exists() else 0:,} bytes"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
