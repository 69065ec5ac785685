"""The package itself: its version, and the data files that come with it, each read and parsed once a process."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import metadata, resources
from typing import Any

import yaml


def package_version() -> str:
    """Return the version of the installed package."""
    try:
        return metadata.version("empathy-gym")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def packaged_text(package: str, name: str) -> str:
    """Return the text of a file that comes with the package.

    Args:
        package: The import package it lies in, such as ``"empathy_gym.simulators.llm"``.
        name: Its path in there, parts joined by ``/``.
    """
    return resources.files(package).joinpath(*name.split("/")).read_text("utf-8")


@functools.cache
def read_yaml(package: str, name: str) -> Any:
    """Return what a packaged YAML file says, by the safe loader: the same object every time, not to be changed.

    Args:
        package: The import package it lies in.
        name: Its path in there, parts joined by ``/``.
    """
    # PyYAML has a far faster loader in C, though not in every build; what it returns is the same.
    return yaml.load(packaged_text(package, name), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_mapping(package: str, name: str) -> Mapping[str, Any]:
    """Return a packaged YAML file whose top level is a mapping, as `read_yaml` does."""
    read: Mapping[str, Any] = read_yaml(package, name)
    return read
