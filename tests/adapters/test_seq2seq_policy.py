"""A T5 as a policy, and the commands that make and train one: the real environments, a model of a few weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.adapters

_spec = importlib.util.spec_from_file_location("seq2seq_parts", Path(__file__).with_name("seq2seq_parts.py"))
assert _spec is not None and _spec.loader is not None
if _spec.name not in sys.modules:
    sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_spec.name])

INSTRUCTION = "You are a good listener."


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: run make test-adapters")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that was warmed up on four exchanges, in a folder."""
    from seq2seq_parts import PAIRS, actor, recipe

    from empathy_gym.agents.trainers.seq2seq.checkpoint import save_model
    from empathy_gym.agents.trainers.seq2seq.warm_start import Supervised

    made = actor(recipe(source_tokens=40, target_tokens=12))
    work = Supervised(made, PAIRS, epochs=10, lr=8e-3, batch=2, seed=0)
    for epoch in range(10):
        work.epoch(epoch)
    folder = tmp_path_factory.mktemp("models") / "t5"
    save_model(made, folder, {"from_scratch": True})
    return folder


def conversation(text: str, seed: int = 1):
    from empathy_gym.agents import Conversation

    messages = [{"role": "user", "content": text}]
    return Conversation(key=str(seed), messages=messages, instruction=INSTRUCTION, seed=seed)


def test_it_reads_and_samples_as_in_training(t5: Path) -> None:
    from seq2seq_parts import TOLD

    from empathy_gym.agents import load_policy
    from empathy_gym.agents.policies.seq2seq import Seq2SeqPolicy
    from empathy_gym.agents.trainers.seq2seq.model import load_actor
    from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL

    policy = load_policy(f"hf:{t5}")
    assert isinstance(policy, Seq2SeqPolicy)
    assert (policy.temperature, policy.max_tokens, policy.engine.top_k) == (0.9, 12, 20)
    trained = load_actor(str(t5), EMPRL.changed({"source_tokens": 40, "device": "cpu"}))
    for text in (TOLD[0], TOLD[1] * 30):
        request = policy._request(conversation(text))
        acting = policy.engine.prompt.ids(request.messages)
        training = trained.sources([[{"role": "user", "content": text}]])[0][0].tolist()
        assert acting == training and len(acting) <= 40
        assert INSTRUCTION not in str(request.messages)
    assert "top_k=20, source=40" in policy.fingerprint


def test_only_the_likeliest_tokens_are_drawn(t5: Path) -> None:
    from empathy_gym.simulators.engines.base import ChatRequest
    from empathy_gym.simulators.engines.transformers import TransformersEngine
    from empathy_gym.simulators.errors import ConfigError

    said = ({"role": "user", "content": "We lost."},)
    greedy = TransformersEngine(t5).complete([ChatRequest(said, max_tokens=8)])[0].tokens
    narrow = TransformersEngine(t5, top_k=1)
    drawn = narrow.complete([ChatRequest(said, max_tokens=8, temperature=2.0, seed=s) for s in range(3)])
    assert all(reply.tokens == greedy for reply in drawn)
    with pytest.raises(ConfigError, match="top_k is -1"):
        TransformersEngine(t5, top_k=-1)


def test_the_score_of_texts_is_the_trainers_perplexity(t5: Path) -> None:
    import math

    from seq2seq_parts import ANSWERS, PAIRS, TOLD

    from empathy_gym.agents import load_policy
    from empathy_gym.agents.trainers.seq2seq.model import load_actor
    from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL
    from empathy_gym.agents.trainers.seq2seq.warm_start import perplexity

    found = load_policy(f"hf:{t5}").score([conversation(text) for text in TOLD], ANSWERS)
    total = sum(logprob for logprob, _ in found), sum(tokens for _, tokens in found)
    trained = load_actor(str(t5), EMPRL.changed({"device": "cpu"}))
    assert math.exp(-total[0] / total[1]) == pytest.approx(perplexity(trained, PAIRS), rel=1e-4)


def test_it_plays_both_environments_in_the_bench(t5: Path, tmp_path: Path) -> None:
    from empathy_gym.benchmarks.response_bench import ResponseBench, ResponseBenchConfig
    from empathy_gym.benchmarks.runner import Bench, BenchConfig

    spec = f"hf:{t5}"
    chat = Bench(BenchConfig(policies=(spec,), limit=2, max_turns=3)).run(tmp_path / "chat")
    assert [row.policy for row in chat] == [spec]
    lines = (tmp_path / "chat" / "episodes.jsonl").read_text().splitlines()
    said = [turn["action"] for line in lines for turn in json.loads(line)["turns"]]
    assert len(lines) == 2 and any(text.strip() for text in said)
    ready = ResponseBench(ResponseBenchConfig(policies=(spec,), limit=6))
    row = next(row for row in ready.run(tmp_path / "response") if row.policy == spec)
    assert row.failed == 0 and row.responses == 6 and row.words > 0
    assert row.perplexity is not None and 1.0 < row.perplexity < 1e6


# -- commands --------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    from empathy_gym.cli import main

    return main(arguments)


QUICK = ["--set", "ppo_steps=2", "--set", "warm_epochs=1", "--set", "batch=4", "--set", "minibatch=4"]


def test_train_emprl_trains_resumes_and_its_best_model_is_a_policy(t5: Path, tmp_path: Path, capsys) -> None:
    from empathy_gym.agents import load_policy
    from empathy_gym.benchmarks.seq2seq_text import exchange_pairs
    from empathy_gym.simulators.exchanges import load_exchanges

    # A few exchanges in a file: a warm start on all of the sample would take longer than the test is worth.
    few = tmp_path / "few.jsonl"
    some = load_exchanges("train")[:8]
    few.write_text("\n".join(json.dumps({"context": list(e.context), "response": e.response}) for e in some))
    out = tmp_path / "run"
    command = ["train", "emprl", "--model", str(t5), "--out", str(out), "--exchanges", str(few), *QUICK]
    command += ["--validation", str(few), "--quiet", "--reward", "length_weight=0.2"]
    assert run(*command) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["phase"] == "ppo"] == [0, 1, 2]
    assert {"validation_reward", "validation_distinct_2", "validation_words"} <= rows[-1].keys()
    assert list((out / "tensorboard").iterdir())
    answer = load_policy(f"hf:{out / 'best'}").act([conversation("We lost.")])[0]
    assert answer.error is None
    assert len(exchange_pairs(some)) == 8
    capsys.readouterr()
    assert run(*command) == 2
    assert "holds a run already; give --resume" in capsys.readouterr().err
    assert run(*command, "--resume", "--set", "ppo_steps=3") == 0
    assert run(*command, "--resume", "--set", "gamma=0.5") == 2
    assert "recipe.gamma = 1.0, this one has 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "ppo_lrr=1"], "Unknown field of the recipe 'ppo_lrr'. Did you mean 'ppo_lr'?"),
        (["--reward", "length_wieght=1"], "Did you mean 'length_weight'?"),
        (["--exchanges", "trian"], "There are no exchanges 'trian'. Did you mean 'train'?"),
        (["--identifier", "/nowhere"], "in '/nowhere': neither identifiers.npz"),
        (["--model", "/nowhere/at/all"], "There is no model at '/nowhere/at/all'"),
        (["--resume"], "holds no run"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    t5: Path, tmp_path: Path, capsys, arguments: list[str], words: str
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "something").touch()
    status = run("train", "emprl", "--model", str(t5), "--out", str(out), "--quiet", *arguments)
    shown = capsys.readouterr().err.strip()
    assert status == 2 and words in shown and "\n" not in shown


def test_a_causal_model_is_refused_by_the_command(tmp_path: Path, capsys) -> None:
    import transformers

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    folder = tmp_path / "llama"
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, **tiny)).save_pretrained(folder)
    capsys.readouterr()
    assert run("train", "emprl", "--model", str(folder), "--out", str(tmp_path / "run"), "--quiet") == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert "(LlamaForCausalLM) is a causal model; train emprl takes an encoder-decoder" in shown


def test_a_small_t5_is_built_once_and_not_over_something_else(tmp_path: Path) -> None:
    from seq2seq_parts import ANSWERS, PAIRS, SIZE, TOLD

    from empathy_gym.agents.trainers.seq2seq.build import build_t5
    from empathy_gym.agents.trainers.seq2seq.recipe import EMPRL, SMALL
    from empathy_gym.benchmarks.emprl import default_recipe
    from empathy_gym.simulators.errors import ConfigError

    texts = [*TOLD, *ANSWERS]
    losses = [
        build_t5(tmp_path / str(epochs), texts, PAIRS, size=SIZE, epochs=epochs, lr=8e-3, batch=2)["loss"]
        for epochs in (1, 12)
    ]
    assert losses[1] < 0.8 * losses[0]
    again = build_t5(tmp_path / "again", texts, PAIRS, size=SIZE, epochs=12, lr=8e-3, batch=2)
    assert again["loss"] == losses[1]
    weights = [tmp_path / name / "model.safetensors" for name in ("12", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(ConfigError, match="is not empty"):
        build_t5(tmp_path / "again", texts, PAIRS, size=SIZE, epochs=0)
    assert default_recipe(str(tmp_path / "again")) == SMALL and default_recipe("google-t5/t5-small") == EMPRL
    tokenizer = json.loads((tmp_path / "again" / "tokenizer.json").read_text())
    assert tokenizer["model"]["type"] == "BPE"
