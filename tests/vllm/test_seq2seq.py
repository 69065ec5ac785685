"""An encoder-decoder: a tiny T5 with random weights, made on the spot."""

from __future__ import annotations

import pytest

from empathy_gym.simulators.engines.base import ChatRequest

pytestmark = pytest.mark.vllm

LINES = ["I failed my test.", "My cat is ill and I am afraid.", "Hi."]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    from empathy_gym.simulators.engines.transformers import TransformersEngine

    built = Tokenizer(models.BPE(unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    built.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    built.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, model_max_length=128, **names)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.5,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = T5ForConditionalGeneration(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("t5")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return TransformersEngine(folder, logprobs=True)


def ask(text: str, **sampling) -> ChatRequest:
    return ChatRequest(({"role": "user", "content": text},), **({"max_tokens": 12} | sampling))


def test_greedy_completions_do_not_depend_on_the_batch_and_dropout_is_off(t5) -> None:
    assert t5.is_encoder_decoder and t5.max_model_len == 128
    together = t5.complete([ask(line) for line in LINES])
    alone = [t5.complete([ask(line)])[0] for line in LINES]
    assert [r.error for r in together] == [None] * 3
    assert [r.tokens for r in together] == [r.tokens for r in alone]
    assert len({r.tokens for r in together}) > 1


def test_sampling_is_seeded(t5) -> None:
    drawn = t5.complete([ask(LINES[0], temperature=1.0, seed=s) for s in (1, 2, 1)])
    assert drawn[0].tokens == drawn[2].tokens != drawn[1].tokens


def test_the_log_probabilities_are_those_of_the_network(t5) -> None:
    import torch

    (reply,) = t5.complete([ask(LINES[1], temperature=1.0, seed=4)])
    prompt = torch.tensor([t5._format.ids(ask(LINES[1]).messages)])
    with torch.inference_mode():
        fed = torch.tensor([[0, *reply.tokens[:-1]]])
        logits = t5._network(input_ids=prompt, decoder_input_ids=fed).logits[0]
    expected = torch.log_softmax(logits, -1)[range(len(reply.tokens)), list(reply.tokens)]
    assert list(reply.logprobs) == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_likeliest_choice_is_taken(t5) -> None:
    choices = ("kind", "blunt", "a rather longer answer than the others")
    (reply,) = t5.complete([ask(LINES[0], choices=choices)])
    import torch

    prompt = torch.tensor([t5._format.ids(ask(LINES[0]).messages)])

    def likelihood(text: str) -> float:
        answer = [*t5._tokenizer(text, add_special_tokens=False).input_ids, 1]
        with torch.inference_mode():
            fed = torch.tensor([[0, *answer[:-1]]])
            logits = t5._network(input_ids=prompt, decoder_input_ids=fed).logits[0]
        return float(torch.log_softmax(logits, -1)[range(len(answer)), answer].sum())

    assert reply.text == max(choices, key=likelihood)


def test_the_encoder_has_the_context_to_itself(t5) -> None:
    fits, long, much = t5.complete(
        [ask(LINES[1], max_tokens=120), ask("very ill " * 100), ask(LINES[0], max_tokens=500)]
    )
    assert fits.error is None and long.error_kind == "context"
    assert much.error is None and len(much.tokens) <= 128


def test_a_regex_is_obeyed_by_the_decoder(t5) -> None:
    (reply,) = t5.complete([ask(LINES[0], regex="[0-2]{3}")])
    assert reply.error is None and len(reply.text) == 3 and set(reply.text) <= set("012")
