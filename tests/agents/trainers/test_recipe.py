"""Recipes: every field can be changed, and a wrong one is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_gym import ConfigError
from empathy_gym.agents.trainers import recipe as recipes
from empathy_gym.agents.trainers.recipe import Recipe, load_recipe

BUNDLED = sorted((Path(recipes.__file__).parent / "recipes").glob("*.yaml"))
SMALL = {"model": "models/tiny"}


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.stem)
def test_a_bundled_recipe_is_valid_and_found_by_name(file) -> None:
    by_name = load_recipe(file.stem)
    assert by_name == load_recipe(f"recipes/{file.name}") == load_recipe(file)
    assert by_name.rollout.group_size >= 8 or by_name.algorithm == "ppo"


def test_any_field_can_be_set_and_the_last_word_counts() -> None:
    made = load_recipe(
        SMALL,
        [
            "optimiser.learning_rate=1e-5",
            "lora.rank=4",
            "rollout.groups=3",
            "rollout.groups=2",
            "task.think=true",
        ],
    )
    assert made.optimiser.learning_rate == 1e-5 and made.lora is not None and made.lora.rank == 4
    assert made.rollout.groups == 2 and made.task.think is True
    assert load_recipe(SMALL, ["task={max_turns: 3}"]).task.max_turns == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimiser.learnin_rate=1", "unknown field 'optimiser.learnin_rate'. Did you mean 'learning_rate'?"),
        ("optimizer.learning_rate=1", "unknown field 'optimizer'. Did you mean 'optimiser'?"),
        ("lora.rnak=4", "unknown field 'lora.rnak'. Did you mean 'rank'?"),
        ("rollout.group_size=0", "rollout.group_size is 0: input should be greater than or equal to 1"),
        ("rollout.group_size=1", "compares siblings; set it to 8"),
        ("loss.advantage=turns", "loss.advantage is 'turns': input should be 'trajectory' or 'turn'"),
        ("steps=many", "steps is 'many'"),
        ("loss.clip_high=0.1", "loss.clip_high (0.1) is below loss.clip_low (0.2)"),
        ("rollout.history_mode=drop_thinking", "task.think is false; nothing is thought"),
        ("optimiser.minibatches=1000", "exceeds the episodes of a step (64)"),
        ("ppo={gamma: 0.9}", "there is a section 'ppo', but algorithm is 'grpo'"),
        ("rollout", "write FIELD=VALUE"),
        ("rollout.groups=[", "the value is not YAML"),
    ],
)
def test_a_wrong_field_is_one_clear_line(change, said) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(SMALL, [change])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_turn_advantage_needs_rewards_by_turn() -> None:
    with pytest.raises(ConfigError, match="'final' pays on the last turn only"):
        load_recipe(SMALL, ["loss.advantage=turn", "task.reward=final"])


def test_the_model_has_no_default() -> None:
    with pytest.raises(ConfigError, match="the field 'model' is missing"):
        load_recipe({})


@pytest.mark.parametrize(
    ("text", "said"),
    [("- a", "a recipe is a mapping"), ("a: [", "recipe.yaml"), ("", "a recipe is a mapping")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, text, said) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'smollm2-cpu'"):
        load_recipe("smollm-cpu")


def test_the_identity_is_of_what_decides_the_results() -> None:
    plain = load_recipe(SMALL)
    assert load_recipe(SMALL, ["steps=7", "save.every=1"]).identity == plain.identity
    assert load_recipe(SMALL, ["seed=1"]).identity != plain.identity
    assert Recipe.model_validate(plain.model_dump()).identity == plain.identity
