"""Whether scenarios can be used: what `empathy-gym scenarios validate` says of a source."""

from __future__ import annotations

from pathlib import Path

from empathy_gym.simulators.errors import ScenarioError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.library.files import YAML, read_files


def validity(source: str) -> str:
    """Return one line on a split, a plug-in, a file or a folder that is valid.

    Raises:
        ConfigError: If there is nothing of this name.
        ScenarioError: Naming every problem.
    """
    alone = _temperaments(Path(source))
    if alone:
        return f"{source}: {alone} temperament{'s' * (alone > 1)}, valid; a situation beside them makes scenarios"
    return f"{source}: {len(load_scenarios(source))} scenarios, valid"


def _temperaments(path: Path) -> int:
    """Return how many temperaments a YAML file or folder holds, if it holds nothing else."""
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path] if path.suffix in YAML else []
    found = read_files([file for file in files if file.is_file()])
    if not found.temperaments or found.situations:
        return 0
    if found.problems:
        raise ScenarioError("\n".join(found.problems))
    return len(found.temperaments)
