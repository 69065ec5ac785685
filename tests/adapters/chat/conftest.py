"""A small causal model with random weights, a tokenizer and a chat template, made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LINES = (
    "Somebody writes to you about something that happened in their life, and you answer.",
    "They moved the meeting again and nobody told me. It was about my own project.",
    "That sounds exhausting. What did your manager say?",
    "user assistant system think",
)


def make_tokenizer(template: str | None = CHATML):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = template
    return tokenizer


def make_network(vocabulary: int, seed: int = 3):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, bos_token_id=0, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return network.eval()


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def with_template():
    return make_tokenizer


@pytest.fixture(scope="session")
def network(tokenizer):
    return make_network(len(tokenizer))


@pytest.fixture(scope="session")
def folder(tokenizer, network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny"
    network.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def setting():
    from empathy_gym.envs.setting import ChatSetting

    return ChatSetting.make({"scenarios": "train", "max_turns": 2})


@pytest.fixture
def collector(setting, tokenizer, network):
    """Build a collector over the small model."""
    from empathy_gym.agents.rollout import ChatFormat, Collector
    from empathy_gym.agents.rollout.sampler import TransformersSampler

    def build(sampler=None, *, slots=8, max_tokens=6, task=setting, **chat):
        text = ChatFormat(tokenizer, **chat)
        made = sampler or TransformersSampler(
            network, ends=sorted(text.ends), padding=tokenizer.pad_token_id, max_model_len=4096
        )
        return Collector(task, made, text, max_tokens=max_tokens, slots=slots)

    return build


@pytest.fixture
def starts(setting):
    """Make starts: groups of siblings."""
    from empathy_gym.agents.rollout import Start

    def make(groups=2, size=3, task=setting):
        return [
            Start(f"{g}-{m}", task.scenarios[7 * g], seed=100 + g, draws=1000 * g + m, group=g)
            for g in range(groups)
            for m in range(size)
        ]

    return make
