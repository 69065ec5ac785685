"""`empathy-gym train grpo|ppo|rft` with the small model."""

from __future__ import annotations

import json

import pytest

from empathy_gym.cli import main

pytestmark = pytest.mark.adapters

SMALL = (
    "task={max_turns: 2}", "rollout={groups: 2, group_size: 2, max_tokens: 5, slots: 4, max_model_len: 2048}",
    "optimiser={learning_rate: 1.0e-3}", "evaluation={every: 2, episodes: 2}", "steps=2", "warm_start={episodes: 2}",
)  # fmt: skip


@pytest.fixture
def train(folder, capsys):
    def run(algorithm, *changes, config="smollm2-cpu", options=()):
        given = [f"model={folder}", *SMALL, *changes]
        sets = [part for change in given for part in ("--set", change)]
        status = main(["train", algorithm, "--config", config, *sets, *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.mark.parametrize("algorithm", ["grpo", "rft", "ppo"])
def test_a_recipe_runs_from_the_command_line(train, tmp_path, algorithm) -> None:
    out = tmp_path / "run"
    swap = ("algorithm=ppo",) if algorithm == "ppo" else ()
    status, printed, told = train(algorithm, *swap, options=["--out", str(out), "--json"])
    lines = json.loads(printed)
    assert status == 0 and [line["step"] for line in lines] == [0, 1, 2]
    assert {"eval_emotion", "eval_template"} <= lines[0].keys() and "Warm start on 2 talks" in told
    assert (out / "model" / "config.json").is_file() and (out / "warm" / "config.json").is_file()
    assert lines[2]["seconds"].keys() == {"rollout", "engine", "update", "sync"}
    assert list((out / "tensorboard").glob("events*"))
    # A second call finds nothing left to do, and says the same.
    assert json.loads(train(algorithm, *swap, options=["--out", str(out), "--json"])[1]) == lines


def test_a_dry_run_counts_memory_and_time_and_trains_nothing(train, tmp_path) -> None:
    status, printed, _ = train("grpo", options=["--dry-run", "--json", "--out", str(tmp_path / "run")])
    found = json.loads(printed)
    assert status == 0 and not (tmp_path / "run").exists()
    assert found["parameters"] == found["trained_parameters"] > 10_000
    assert found["fits"] is True and found["gib_together"] < 1.0 and found["hours"] >= 0.0
    adapters = json.loads(train("grpo", "lora.rank=2", options=["--dry-run", "--json"])[1])
    assert adapters["trained_parameters"] < found["parameters"]


def test_a_dry_run_counts_what_is_learnt_from_and_what_is_done_beside(folder, monkeypatch) -> None:
    from empathy_gym.agents.trainers import estimate as module
    from empathy_gym.agents.trainers.recipe import load_recipe

    # The same machine at every call: what is timed differs from one to the next.
    monkeypatch.setattr(module, "_machine", lambda torch, device, dtype: (1e9, 1e9))

    def counted(*changes):
        recipe = load_recipe(
            {"model": str(folder), "warm_start": {"episodes": 10}}, ["evaluation.every=0", *changes]
        )
        return module.estimate(recipe)

    whole, half, best = counted(), counted("loss.learn_from=4"), counted("algorithm=rft")
    update = [found["seconds_of_a_step"]["update"] for found in (whole, half, best)]
    assert update[0] > update[1] > update[2] > 0
    assert whole["seconds_beside"].keys() == {"warm_start"} and whole["seconds_beside"]["warm_start"] > 0
    assert counted("evaluation.every=10")["seconds_beside"].keys() == {"warm_start", "evaluation"}


def test_adapters_are_counted_as_they_are_made(folder) -> None:
    from empathy_gym.agents.trainers.chat_model import ChatModel
    from empathy_gym.agents.trainers.estimate import estimate
    from empathy_gym.agents.trainers.recipe import load_recipe

    recipe = load_recipe({"model": str(folder)}, ["lora.rank=4"])
    made = sum(p.numel() for p in ChatModel(str(folder), lora=recipe.lora).parameters)
    assert estimate(recipe)["trained_parameters"] == pytest.approx(made, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("model=nowhere/at/all",), "There is no model at"),
        (("rollout.max_model_len=300",), "context of 300 tokens is too short"),
        (("task.scenarios=tarin",), "tarin"),
        (("warm_start.policies=[scripted:oracle]",), "sees need and emotion"),
        (("optimiser.learnin_rate=1",), "Did you mean 'learning_rate'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(train, tmp_path, changes, said) -> None:
    status, _, told = train("grpo", *changes, options=["--out", str(tmp_path / "run"), "--quiet"])
    assert status == 2 and said in told and told.count("\n") == 1


def test_a_recipe_for_another_algorithm_names_the_command(train) -> None:
    status, _, told = train("ppo")
    assert status == 2 and "run: empathy-gym train grpo" in told


def test_a_folder_that_is_no_run_is_left_alone(train, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    status, _, told = train("grpo", options=["--out", str(tmp_path), "--overwrite"])
    assert status == 2 and "holds no training run" in told and (tmp_path / "notes.txt").is_file()


def test_speed_is_measured_against_the_same_requests(folder, capsys) -> None:
    sets = [
        part for change in (f"model={folder}", *SMALL[:3], "warm_start=null") for part in ("--set", change)
    ]
    assert main(["train", "speed", "--config", "smollm2-cpu", *sets, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == 4 and found["requests"] >= 4 and found["tokens"] >= found["requests"]
    assert (
        found["idle_share"] < 1.0
        and 0.0 < found["outside_engine_share"] < 1.0
        and found["ratio_to_one_by_one"] > 0
        and found["peak_gib"] > 0
    )


def test_a_replay_asks_for_the_same_tokens_in_the_same_order(collector, starts) -> None:
    from empathy_gym.benchmarks.rollout_speed import RecordingSampler, replay

    made = collector()
    recording = RecordingSampler(made.sampler)
    made.sampler = recording
    rollout = made.collect(starts())
    assert replay(recording._sampler, recording.requests, slots=8) == rollout.tokens


def test_the_learning_table_plays_models_and_runs(train, folder, tmp_path, capsys) -> None:
    from empathy_gym.benchmarks.chat_learning import main as learning

    run, out = tmp_path / "run", tmp_path / "results" / "table"
    assert train("grpo", options=["--out", str(run)])[0] == 0
    sets = [part for change in (f"model={folder}", *SMALL) for part in ("--set", change)]
    rows = ["--row", f"before={folder}", "--row", f"after={run}", "--row", f"its end={run / 'model'}"]
    rows += ["--policy", "scripted:template"]
    command = ["--config", "smollm2-cpu", *sets, *rows, "--out", str(out), "--work", str(tmp_path / "work")]
    assert learning([*command, "--limit", "3", "--repeats", "1", "--difficulty", "easy"]) == 0
    found = json.loads(out.with_suffix(".json").read_text())
    easy = found["difficulties"]["easy"]
    assert [row["policy"] for row in easy["rows"]] == ["before", "after", "its end", "scripted:template"]
    assert easy["less_base"].keys() == {"after", "its end", "scripted:template"}
    assert found["runs"]["after"]["steps"] == 2 and found["runs"].keys() == {"after", "its end"}
    assert "xychart-beta" in out.with_suffix(".md").read_text()
    assert out.with_name("table-talks.md").read_text().count("**User:**") > 6
    capsys.readouterr()
    assert learning([*command, "--limit", "2", "--repeats", "1", "--difficulty", "easy"]) == 2
    assert "holds episodes with limit 3, not 2" in capsys.readouterr().err
