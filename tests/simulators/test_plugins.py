"""Scenarios of installed packages: found by name, loaded when asked for, and blamed by name when they are broken."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import pytest

import empathy_gym
from empathy_gym.cli import main
from empathy_gym.simulators.errors import ConfigError, ScenarioError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.library.plugins import plugin_names

Install = Callable[..., str]


def json_lines(count: int, split: str = "own") -> str:
    rows = [s.model_dump(mode="json", exclude={"id"}) for s in load_scenarios("test")[:count]]
    return "".join(json.dumps({**row, "split": split}) + "\n" for row in rows)


FUNCTION = """\
from empathy_gym.simulators.library.compiler import load_scenarios

def users():
    return (s for s in load_scenarios("validation")[:6])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Write a package with its dist-info onto the path, as an installer does; return its name, new for every test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(code: str, target: str, *, offers: str = "", files: dict[str, str] | None = None) -> str:
        digest = hashlib.sha256(f"{tmp_path}{offers}{code}".encode()).hexdigest()[:10]
        package = f"users_{digest}"
        name = offers or f"mine-{digest}"
        folder = tmp_path / package
        folder.mkdir()
        for file, text in {"__init__.py": code, **(files or {})}.items():
            (folder / file).write_text(text, "utf-8")
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", "utf-8")
        (info / "entry_points.txt").write_text(
            f"[empathy_gym.scenarios]\n{name} = {package}{target}\n", "utf-8"
        )
        return name

    return install


def complaint(source: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(source)
    return str(caught.value)


# -- what may be named -------------------------------------------------------------------------------------------


def test_a_path_is_read_from_where_the_package_lies(install: Install) -> None:
    name = install('USERS = "users.jsonl"\n', ":USERS", files={"users.jsonl": json_lines(3)})
    assert [s.split for s in load_scenarios(name)] == ["own"] * 3
    assert load_scenarios(name) is load_scenarios(name)


def test_a_folder_of_yaml_files_can_be_named_by_importlib_resources(install: Install) -> None:
    source = Path(empathy_gym.__file__).parent / "simulators" / "library" / "situations"
    text = sorted(source.glob("*.yaml"))[0].read_text("utf-8")
    code = "from importlib.resources import files\nUSERS = files(__name__)\n"
    name = install(code, ":USERS", files={"one.yaml": text})
    assert load_scenarios(name) and {s.split for s in load_scenarios(name)} <= {"train", "validation", "test"}


def test_a_callable_that_yields_scenarios_is_called_once(install: Install) -> None:
    name = install(FUNCTION, ":users")
    assert {s.id for s in load_scenarios(name)} == {s.id for s in load_scenarios("validation")[:6]}
    assert load_scenarios(name) is load_scenarios(name)


def test_a_callable_may_return_a_path(install: Install) -> None:
    code = 'def users():\n    return "users.jsonl"\n'
    assert len(load_scenarios(install(code, ":users", files={"users.jsonl": json_lines(2)}))) == 2


def test_a_split_of_a_plugin_is_named_after_a_colon(install: Install) -> None:
    lines = json_lines(2, "easy-ones") + json_lines(5, "hard-ones")
    name = install('USERS = "users.jsonl"\n', ":USERS", files={"users.jsonl": lines})
    assert len(load_scenarios(f"{name}:easy-ones")) == 2 and len(load_scenarios(f"{name}:hard-ones")) == 5
    assert len(load_scenarios(name)) == 7
    with pytest.raises(ConfigError) as caught:
        load_scenarios(f"{name}:esy-ones")
    assert "Did you mean 'easy-ones'? Valid: easy-ones, hard-ones." in str(caught.value)
    with pytest.raises(ConfigError, match="has no split ''"):
        load_scenarios(f"{name}:")


def test_the_environment_and_the_commands_take_a_plugin(install: Install, capsys) -> None:
    name = install('USERS = "users.jsonl"\n', ":USERS", files={"users.jsonl": json_lines(2)})
    env = gym.make("EmpathyChat-v0", scenarios=f"{name}:own")
    assert env.reset(seed=1)[1]["scenario"] in {s.id for s in load_scenarios(name)}
    assert main(["scenarios", "validate", name, f"{name}:own", "train"]) == 0
    assert f"{name}: 2 scenarios, valid\n{name}:own: 2 scenarios, valid\n" in capsys.readouterr().out
    assert main(["scenarios", "list", "--split", name, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


# -- names -------------------------------------------------------------------------------------------------------


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    name = install("raise RuntimeError('imported')\n", ":users")
    assert load_scenarios("train") and name in plugin_names()
    with pytest.raises(ConfigError):
        load_scenarios("nobody-has-this")
    assert "RuntimeError: imported" in complaint(name)


def test_a_misspelt_name_gets_the_nearest_plugin(install: Install) -> None:
    install(FUNCTION, ":users", offers="ward-round")
    for wrong in ("ward-ruond", "ward-roun:test"):
        with pytest.raises(ConfigError) as caught:
            load_scenarios(wrong)
        assert "Did you mean 'ward-round'?" in str(caught.value)
        assert "Valid splits are: train," in str(caught.value) and "ward-round; or the path" in str(
            caught.value
        )


def test_a_bundled_split_and_a_path_object_are_never_a_plugin(install: Install, tmp_path: Path) -> None:
    install("raise RuntimeError\n", ":users", offers="train")
    assert len(load_scenarios("train")) > 100
    name = install("raise RuntimeError\n# another\n", ":users")
    with pytest.raises(ConfigError):
        load_scenarios(Path(name))


def test_a_name_that_two_packages_offer_is_refused_with_both(install: Install) -> None:
    install(FUNCTION, ":users", offers="twice-offered")
    install(FUNCTION + "\n", ":users", offers="twice-offered")
    with pytest.raises(ConfigError) as caught:
        load_scenarios("twice-offered")
    assert str(caught.value).count(" 1.2 (entry point empathy_gym.scenarios: twice-offered = users_") == 2


# -- broken ones ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "target", "says"),
    [
        ("import nowhere_at_all\n", ":users", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("users = [", ":users", "SyntaxError"),
        ("", ":users", "AttributeError"),
        ("raise SystemExit(3)\n", ":users", "SystemExit: 3"),
        ("def users():\n    raise OSError('no disk\\nat all')\n", ":users", "(OSError: no disk at all)."),
        ("def users():\n    yield 1 / 0\n", ":users", "ZeroDivisionError"),
        ("def users(split):\n    return []\n", ":users", "TypeError"),
        ("users = 7\n", ":users", "it names a int. Valid: a path, an iterable"),
        ("users = {'a': 1}\n", ":users", "it names a dict."),
        ("", "", "it names a module."),
        ("users = [1, 'x']\n", ":users", "[0]: a int, not a Scenario."),
        ("users = ()\n", ":users", "it yields no scenarios."),
        ("users = 'gone.yaml'\n", ":users", "Unknown scenarios"),
    ],
)
def test_a_broken_plugin_is_one_error_with_distribution_and_entry_point(
    install: Install, capsys, code: str, target: str, says: str
) -> None:
    name = install(code, target)
    message = complaint(name)
    package = f"users_{name.removeprefix('mine-')}"
    head = f"The plug-in {name!r} of {package} 1.2 (entry point empathy_gym.scenarios: {name} = {package}{target})"
    assert message.startswith(head) and says in message
    assert main(["scenarios", "list", "--split", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"Error: {head}") and err.count("\n") == 1


def test_all_problems_of_a_plugins_file_are_told_with_file_and_field(install: Install) -> None:
    row = json.loads(json_lines(1))
    lines = "".join(json.dumps({**row, **change}) + "\n" for change in ({"need": "prais"}, {"topik": 1}, {}))
    message = complaint(install('USERS = "users.jsonl"\n', ":USERS", files={"users.jsonl": lines}))
    assert message.startswith("The plug-in ") and "users.jsonl:1: need: " in message
    assert "users.jsonl:2: topik: unknown field." in message and len(message.splitlines()) == 2


def test_scenarios_that_are_yielded_are_looked_at_like_those_of_a_file(install: Install) -> None:
    code = FUNCTION.replace("(s for s in", "[s.model_copy(update={'hints': ()}) for s in").replace(
        "[:6])", "[:6]]"
    )
    message = complaint(install(code, ":users"))
    assert "[0]: hints: no hints" in message and "[5]: hints: no hints" in message
    twice = FUNCTION.replace('load_scenarios("validation")[:6]', 'load_scenarios("validation")[:2] * 2')
    assert message.count("[") == 6 and "[3]: the scenario" in complaint(install(twice, ":users"))


# -- a package that pip installs -----------------------------------------------------------------------------------


def wheel(folder: Path) -> Path:
    """Return a wheel made by hand: a zip file with a package and what says of it what it offers."""
    path = folder / "ward_users-0.3-py3-none-any.whl"
    info = "ward_users-0.3.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("ward_users/__init__.py", 'USERS = "data/users.jsonl"\n')
        file.writestr("ward_users/data/users.jsonl", json_lines(2, "night"))
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ward-users\nVersion: 0.3\n")
        file.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{info}/entry_points.txt", "[empathy_gym.scenarios]\nward = ward_users:USERS\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_a_package_that_pip_has_installed_is_used_by_name(tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*pip, "--target", target, wheel(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, (version("pip"), done.stderr)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    list_night = [sys.executable, "-m", "empathy_gym", "scenarios", "list", "--split", "ward:night", "--json"]
    done = subprocess.run(list_night, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert [row["split"] for row in json.loads(done.stdout)] == ["night", "night"]
