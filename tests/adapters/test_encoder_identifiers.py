"""Identifiers on an encoder: a tiny one, built on the spot, that really learns; saved, loaded, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from empathy_gym.cli import main
from empathy_gym.rewards.identifier_data import UNKNOWN, Labelled, compose
from empathy_gym.rewards.identifiers import load_identifier
from empathy_gym.simulators.errors import ConfigError, EngineError

pytestmark = pytest.mark.adapters

KINDS = ("bert", "t5")


def tokenizer(texts, folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=1500, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def tiny(kind, folder):
    """Write a tiny model that knows nothing."""
    import torch
    import transformers

    tokenizer(compose(400, seed=1).responses, folder)
    torch.manual_seed(0)
    if kind == "t5":
        config = transformers.T5Config(
            vocab_size=1500, d_model=48, d_kv=12, d_ff=96, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
        transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    else:
        config = transformers.BertConfig(
            vocab_size=1500,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=128,
        )
        transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    from empathy_gym.benchmarks.encoder_training import EncoderFit, train_encoder

    path = tiny(request.param, tmp_path_factory.mktemp(request.param))
    said = []
    how = EncoderFit(epochs=3, learning_rate=3e-3, max_length=64)
    return train_encoder(path, compose(600, seed=2), how, {"text": "a test"}, tell=said.append), said


def test_it_learns_what_the_levels_are_and_tells_of_every_epoch(trained):
    found, said = trained
    fresh = compose(300, seed=77)
    right = (found.levels(fresh.contexts, fresh.responses) == fresh.levels).mean(axis=0)
    commonest = [np.bincount(fresh.levels[:, m]).max() / len(fresh) for m in range(3)]
    assert (right > np.array(commonest) + 0.05).sum() >= 2 and (right > np.array(commonest) - 0.05).all()
    assert [line.split(":")[0] for line in said] == ["epoch 1", "epoch 2", "epoch 3"]
    assert found.provenance["held_out_macro_f1"] > 0.45


def test_it_reads_alike_after_saving_and_loading_and_in_any_batch(trained, tmp_path):
    found, _ = trained
    found.save(tmp_path / "w")
    again = load_identifier(tmp_path / "w")
    assert again is load_identifier(tmp_path / "w")
    texts = ["I'm so sorry.", "", "What did she say?", "word " * 500, "\ud800 lone", "I had the same."]
    one, two = found.probabilities([""] * 6, texts), again.probabilities([""] * 6, texts)
    np.testing.assert_allclose(one, two, atol=1e-6)
    alone = np.concatenate([again.probabilities([""], [text]) for text in texts])
    np.testing.assert_allclose(alone, two, atol=1e-5)
    assert one.shape == (6, 3, 3) and np.allclose(one.sum(axis=2), 1.0)
    assert again.probabilities([], []).shape == (0, 3, 3)
    assert (again.family, again.determinism, again.fingerprint) == ("encoder", "rule-only", found.fingerprint)
    assert not list((tmp_path / "w").rglob("*.bin"))


def test_it_pays_the_environment_and_a_run_that_the_packaged_one_reports_on(trained, tmp_path, capsys):
    import gymnasium as gym

    found, _ = trained
    found.save(tmp_path / "w")
    env = gym.make("EmpathyResponse-v0", exchanges="test", identifier=str(tmp_path / "w"))
    env.reset(seed=0)
    _, reward, _, _, info = env.step("I'm so sorry. What did she say?")
    assert 0.0 < reward < 1.0 and info["determinism"] == "rule-only"
    argv = [
        "bench",
        "--env",
        "EmpathyResponse-v0",
        "--policy",
        "scripted:template",
        "--limit",
        "6",
        "--quiet",
    ]
    argv += ["--identifier", str(tmp_path / "w"), "--reporting", "shipped", "--out", str(tmp_path / "run")]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "(encoder)" in printed and "(hashed n-grams)" in printed
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_training_twice_gives_the_same_and_leaves_the_callers_generator_alone(tmp_path):
    import torch

    from empathy_gym.benchmarks.encoder_training import EncoderFit, train_encoder

    path, data = tiny("bert", tmp_path / "bert"), compose(80, seed=3)
    torch.manual_seed(5)
    one = train_encoder(path, data, EncoderFit(epochs=1))
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert train_encoder(path, data, EncoderFit(epochs=1)).hash == one.hash
    assert train_encoder(path, data, EncoderFit(epochs=1, seed=1)).hash != one.hash


def test_a_pair_without_a_level_trains_the_other_heads_alone(tmp_path):
    from empathy_gym.benchmarks.encoder_training import EncoderFit, train_encoder

    made = compose(60, seed=4)
    levels = made.levels.copy()
    levels[:, 1] = UNKNOWN
    data = Labelled(made.contexts, made.responses, levels, made.groups, made.grouped_by)
    found = train_encoder(tiny("bert", tmp_path / "bert"), data, EncoderFit(epochs=1))
    assert np.isfinite(found.probabilities([""], ["hello"])).all()


def test_the_command_trains_and_what_it_wrote_is_an_identifier(tmp_path, capsys):
    path, out = tiny("t5", tmp_path / "t5"), tmp_path / "w"
    replies = tmp_path / "replies"
    replies.mkdir()
    for i in range(12):
        lines = [
            {"text": f"I'm so sorry about number {i}.", "levels": {"warmth": 2}},
            {"text": "Hm.", "levels": {}},
        ]
        (replies / f"s{i}.yaml").write_text(json.dumps({"situation": f"s{i}", "replies": lines}), "utf-8")
    argv = ["identifiers", "train", "--encoder", path, "--out", str(out), "--replies", str(replies)]
    assert main([*argv, "--epochs", "1", "--max-length", "64"]) == 0
    assert load_identifier(out).fingerprint in capsys.readouterr().out
    settings = json.loads((out / "encoder_identifiers.json").read_text("utf-8"))
    assert settings["provenance"]["fit"]["epochs"] == 1 and settings["max_length"] == 64


# -- what is refused -------------------------------------------------------------------------------------


def test_a_folder_that_was_changed_is_refused(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    found, _ = trained
    found.save(tmp_path)
    weights = load_file(tmp_path / "heads.safetensors")
    save_file({**weights, "bias": weights["bias"] + 1}, tmp_path / "heads.safetensors")
    with pytest.raises(ConfigError, match=r"are not those that encoder_identifiers\.json names"):
        load_identifier(tmp_path)
    (tmp_path / "heads.safetensors").write_bytes(b"spoiled")
    with pytest.raises(ConfigError, match=r"heads\.safetensors cannot be read"):
        load_identifier(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"format": 99}', "has format 99, this version reads 1"),
        ('{"format": 1, "mechanisms": ["warmth"]}', "reads \\['warmth'\\]"),
    ],
)
def test_settings_of_something_else_are_refused(tmp_path, text, message):
    (tmp_path / "encoder_identifiers.json").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        load_identifier(tmp_path)


def test_a_decoder_and_what_is_no_model_are_refused(tmp_path):
    import transformers

    from empathy_gym.rewards.encoder_identifiers import load_encoder

    with pytest.raises((ConfigError, EngineError)):
        load_encoder(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises((ConfigError, EngineError)):
        load_encoder(str(tmp_path / "empty"))
    config = transformers.GPT2Config(vocab_size=1500, n_embd=16, n_layer=1, n_head=2)
    tokenizer(["a b c"], tmp_path / "gpt2")
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match="identifiers need an encoder"):
        load_encoder(str(tmp_path / "gpt2"))


def test_a_diverging_run_is_one_line(tmp_path, capsys):
    path = tiny("bert", tmp_path / "bert")
    argv = ["identifiers", "train", "--encoder", path, "--out", str(tmp_path / "w"), "--epochs", "1"]
    capsys.readouterr()
    assert main([*argv, "--learning-rate", "1e30"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "try a lower --learning-rate" in err
    assert main([*argv, "--learning-rate", "0"]) == 2
    assert "--learning-rate" in capsys.readouterr().err
