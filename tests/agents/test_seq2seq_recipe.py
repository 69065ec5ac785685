"""The recipe of EmpRL's training: its defaults, files and settings. None of this needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_gym.agents.seq2seq_text import fitted, heard
from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL, SMALL, Recipe, read_recipe, settings_of
from empathy_gym.simulators.engines.prompting import PromptFormat
from empathy_gym.simulators.errors import ConfigError


def test_the_defaults_are_those_of_emprl() -> None:
    assert (EMPRL.warm_lr, EMPRL.warm_epochs) == (1e-4, 3)
    assert (EMPRL.ppo_lr, EMPRL.batch) == (1e-5, 32)
    assert (EMPRL.top_k, EMPRL.temperature) == (20, 0.9)
    assert (EMPRL.source_tokens, EMPRL.target_tokens) == (200, 50)


def test_settings_win_over_the_file_and_the_file_over_the_base(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("ppo_lr: 3e-5\nbatch: 8\n", "utf-8")
    found = read_recipe(file, ["batch=4", "score=raw", "kl_coef=1e-1"], base=SMALL)
    assert (found.ppo_lr, found.batch, found.score, found.kl_coef) == (3e-5, 4, "raw", 0.1)
    assert found.warm_lr == SMALL.warm_lr
    assert read_recipe() == EMPRL == Recipe()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["ppo_lrr=1e-5"], "Unknown field of the recipe 'ppo_lrr'. Did you mean 'ppo_lr'?"),
        (["ppo_lr=fast"], "The recipe's ppo_lr is 'fast': Input should be a valid number"),
        (["ppo_lr=2"], "The recipe's ppo_lr is 2: Input should be less than 1"),
        (["batch=0"], "The recipe's batch is 0"),
        (["batch"], "--set takes KEY=VALUE; got 'batch'"),
        (["=3"], "--set takes KEY=VALUE; got '=3'"),
        (["temperature=nan"], "The recipe's temperature is"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [("- a\n", "is not a mapping"), ("a: [\n", "is not YAML"), (None, "cannot be read")]
)
def test_a_file_that_is_no_recipe_is_one_clear_line(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "recipe.yaml"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        read_recipe(file)
    assert "\n" not in str(caught.value)


def test_terms_are_read_as_yaml() -> None:
    assert settings_of(["guard=true", "length_weight=0.3"], "--reward") == {
        "guard": True,
        "length_weight": 0.3,
    }
    with pytest.raises(ConfigError, match="--reward takes KEY=VALUE"):
        settings_of(["guard"], "--reward")


# -- what an encoder-decoder reads -----------------------------------------------------------------------


class Words:
    """A tokenizer of words, with an end token."""

    chat_template = None
    all_special_tokens = ("</s>",)

    def __call__(self, text: str) -> object:
        return type("Encoded", (), {"input_ids": [*text.split(), "</s>"]})()


def said(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def test_a_system_prompt_is_not_read() -> None:
    assert heard([{"role": "system", "content": "Be kind."}, *said("Hi.")]) == said("Hi.")


def test_older_turns_are_left_out_first_then_the_beginning_of_the_last() -> None:
    prompt, talk = PromptFormat(Words()), said("one two three", "four", "five six seven")
    # "User: five six seven Assistant: </s>" has 6 tokens.
    assert fitted(prompt, talk, 12) == talk
    assert fitted(prompt, talk, 11) == talk[1:]
    assert fitted(prompt, talk, 6) == talk[2:]
    assert fitted(prompt, talk, 5) == said("six seven")
    assert fitted(prompt, talk, 3) == said("")
    with pytest.raises(ConfigError, match="source of 2 tokens"):
        fitted(prompt, talk, 2)
    with pytest.raises(ConfigError, match="nothing to answer"):
        fitted(prompt, [], 9)
