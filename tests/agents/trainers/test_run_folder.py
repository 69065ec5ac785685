"""A run's folder: whole whenever it is looked at, and nobody else's files are touched."""

from __future__ import annotations

import json

import pytest

from empathy_gym import ConfigError, EmpathyGymError
from empathy_gym.agents.trainers.recipe import load_recipe
from empathy_gym.agents.trainers.run_folder import RunFolder, flat
from empathy_gym.simulators.files import put_folder

RECIPE = load_recipe({"model": "models/tiny"})


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.open(RECIPE)
    return made


def save(folder, step, keep=2, text="weights"):
    return folder.save(step, {"tokens": step}, lambda place: (place / "w").write_text(text) and None, keep)


def test_a_new_run_has_no_checkpoint_and_a_second_call_finds_the_latest(folder) -> None:
    assert folder.latest() is None
    for step in (1, 2, 3):
        save(folder, step)
    again = RunFolder(folder.path)
    latest = again.open(RECIPE)
    assert (
        latest is not None and latest.name == "step-000003" and again.note(latest) == {"tokens": 3, "step": 3}
    )
    assert [p.name for p in sorted(latest.parent.iterdir())] == ["step-000002", "step-000003"]


def test_lines_after_the_latest_checkpoint_are_done_again(folder) -> None:
    for step in (0, 1, 2):
        folder.append({"step": step})
    save(folder, 1)
    with (folder.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "emo')
    again = RunFolder(folder.path)
    again.open(RECIPE)
    assert again.metrics() == [{"step": 0}, {"step": 1}]


def test_without_a_checkpoint_every_line_is_done_again(folder) -> None:
    folder.append({"step": 0})
    again = RunFolder(folder.path)
    assert again.open(RECIPE) is None and again.metrics() == []


def test_a_checkpoint_that_fails_half_way_leaves_the_earlier_ones(folder) -> None:
    save(folder, 1)

    def fail(place):
        (place / "w").write_text("half")
        raise OSError(28, "No space left on device")

    for step in (1, 2):
        with pytest.raises(EmpathyGymError, match=r"No space left on device.*last good checkpoint is kept"):
            folder.save(step, {}, fail, 2)
    latest = folder.latest()
    assert latest is not None and latest.name == "step-000001" and (latest / "w").read_text() == "weights"
    assert [p.name for p in latest.parent.iterdir()] == ["step-000001"]


def test_a_folder_takes_the_place_of_an_earlier_one_as_a_whole(tmp_path) -> None:
    place = tmp_path / "best"
    put_folder(place, lambda made: (made / "old").write_text("1") and None)
    put_folder(place, lambda made: (made / "new").write_text("2") and None)
    assert [p.name for p in place.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["best"]


def test_steps_and_checkpoints_may_change_and_nothing_else(folder) -> None:
    assert (
        RunFolder(folder.path).open(load_recipe({"model": "models/tiny"}, ["steps=7", "save.every=3"]))
        is None
    )
    with pytest.raises(ConfigError, match=r"rollout.groups is 8 there and 2 here.*--overwrite"):
        RunFolder(folder.path).open(load_recipe({"model": "models/tiny"}, ["rollout.groups=2"]))
    save(folder, 1)
    other = RunFolder(folder.path)
    assert other.open(load_recipe({"model": "models/tiny"}, ["rollout.groups=2"]), overwrite=True) is None


def test_what_is_no_run_is_not_written_to(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="holds no training run"):
            RunFolder(tmp_path).open(RECIPE, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_note_is_named(folder) -> None:
    place = save(folder, 1)
    (place / "checkpoint.json").write_text(json.dumps({"tokens": 1}))
    with pytest.raises(ConfigError, match="step-000001' is damaged"):
        RunFolder(folder.path).open(RECIPE)


def test_nested_values_have_dotted_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
