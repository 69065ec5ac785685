"""Data files that come with the package: read once, and the same with either of PyYAML's loaders."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml

from empathy_gym.simulators.packaged import packaged_text, read_mapping, read_yaml

FILES = (
    ("empathy_gym.agents.policies", "lines.yaml"),
    ("empathy_gym.benchmarks", "crisis.yaml"),
    ("empathy_gym.benchmarks", "data/known_misses.yaml"),
    ("empathy_gym.benchmarks", "data/pairs.yaml"),
    ("empathy_gym.benchmarks", "data/quarrels.yaml"),
    ("empathy_gym.benchmarks.attacks", "bank.yaml"),
    ("empathy_gym.benchmarks.attacks", "found.yaml"),
    ("empathy_gym.benchmarks.attacks", "lines.yaml"),
    ("empathy_gym.envs", "strategies.yaml"),
    ("empathy_gym.simulators.embedded", "data/acts.yaml"),
    ("empathy_gym.simulators.embedded", "data/words.yaml"),
    ("empathy_gym.simulators.listening", "phrases.yaml"),
    ("empathy_gym.simulators.llm", "data/lines.yaml"),
)


@pytest.mark.parametrize(("package", "name"), FILES)
def test_a_file_is_read_once_and_says_the_same_without_the_loader_in_c(package, name):
    read = read_yaml(package, name)
    assert read_yaml(package, name) is read
    assert repr(read) == repr(yaml.safe_load(packaged_text(package, name)))


def test_every_rule_table_hashes_as_it_does_without_the_loader_in_c():
    tables = [f.name for f in (resources.files("empathy_gym.simulators") / "tables").iterdir()]
    assert tables
    for name in tables:
        text = packaged_text("empathy_gym.simulators", f"tables/{name}")
        assert repr(read_mapping("empathy_gym.simulators", f"tables/{name}")) == repr(yaml.safe_load(text))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        packaged_text("empathy_gym.simulators", "tables/nothing.yaml")
