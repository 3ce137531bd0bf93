"""captioning generate: sentences that a language model makes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from captioning import Captioner
from captioning.encoders.features import ImageFeatures
from captioning.search import Sampling
from captioning.text import Tokenizer

Command = Callable[..., Any]


@pytest.fixture
def language_model(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A bundle of a language model with random weights, whose sentences are up to six words long."""
    config: dict[str, Any] = {
        "encoder": {"_target_": "captioning.encoders.SmallCNN", "size": [16, 16], "channels": [8, 8]},
        "decoder": {
            "_target_": "captioning.decoders.LanguageModel",
            "feature_size": 8 + 8 + 5,
            "vocab_size": len(tokenizer),
            "recurrent": {"_target_": "captioning.recurrent.LSTM", "_partial_": True},
            "embedding_size": 10,
            "hidden_size": 12,
        },
        "search": {"_target_": "captioning.search.BeamSearch", "max_length": 6},
    }
    torch.manual_seed(0)
    parts = {key: instantiate(part) for key, part in config.items()}
    captioner = Captioner(parts["encoder"], parts["decoder"], tokenizer, search=parts["search"], config=config)
    torch.nn.init.normal_(captioner.decoder.head.bias)  # words that are unlike
    return captioner.save(tmp_path / "language_model")


def test_the_sentences_are_python_s(command: Command, language_model: Path) -> None:
    captioner = Captioner.from_pretrained(language_model)
    search = Sampling(num_samples=7, temperature=0.7, seed=3, max_length=6)
    found = search(captioner.decoder, ImageFeatures(torch.zeros(1, 21)), captioner.tokenizer.special)
    ran = command("generate", "--model", language_model, "--num-samples", "7", "--temperature", "0.7", "--seed", "3")
    assert ran.status == 0
    assert ran.out.split("\n")[:-1] == [captioner.tokenizer.decode(tokens) for tokens in found.tokens[0].tolist()]


def test_json_holds_each_sentence_with_its_words_as_that_of_captions_does(
    command: Command, language_model: Path
) -> None:
    arguments = ("generate", "--model", language_model, "--num-samples", "40", "--seed", "3", "--max-length", "2")
    plain, ran = command(*arguments), command(*arguments, "--json")
    assert (ran.status, ran.err) == (0, plain.err)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["text"] for line in lines] == plain.out.split("\n")[:-1]
    assert len({line["text"] for line in lines}) < len(lines)  # a sentence that is drawn twice is printed twice
    captioner, search = Captioner.from_pretrained(language_model), Sampling(num_samples=40, seed=3, max_length=2)
    found = search(captioner.decoder, ImageFeatures(torch.zeros(1, 21)), captioner.tokenizer.special)
    assert [line["score"] for line in lines] == found.scores[0].tolist()
    assert [line["finished"] for line in lines] == found.finished[0].tolist()
    for line in lines:
        assert list(line) == ["text", "score", "finished", "words"]
        assert sum(word["log_prob"] for word in line["words"]) == pytest.approx(line["score"], abs=1e-5)


def test_runners_up_are_the_other_words_of_each_position(command: Command, language_model: Path) -> None:
    arguments = ("generate", "--model", language_model, "--num-samples", "3", "--seed", "3", "--runners-up", "2")
    lines = [json.loads(line) for line in command(*arguments, "--json").out.splitlines()]
    words = [word for line in lines for word in line["words"]]
    for word in words:
        first, second = word["runners_up"]
        assert word["text"] not in (first["text"], second["text"])
        assert first["log_prob"] >= second["log_prob"]
    printed = command(*arguments).out.splitlines()
    first_word = words[0]
    others = ", ".join(f"{other['text']} {other['log_prob']:.2f}" for other in first_word["runners_up"])
    assert printed[0] == lines[0]["text"]
    assert printed[1] == f"  {first_word['text']} {first_word['log_prob']:.2f}  ({others})"
    assert len(printed) == len(lines) + len(words)


def test_ten_sentences_depend_on_the_seed_and_truncated_ones_are_counted(
    command: Command, language_model: Path
) -> None:
    first, again, other = (
        command("generate", "--model", language_model, *seed) for seed in ((), ("--seed", "1"), ("--seed", 2))
    )
    assert len(first.out.splitlines()) == 10
    assert first == again != other
    cut = sum(len(line.split()) == 6 for line in first.out.splitlines())
    assert 0 < cut < 10
    assert first.err == f"captioning generate: {cut} of 10 were truncated at 6 tokens\n"


@pytest.mark.parametrize("length", [2, 50])  # the bundle's own is 6
def test_max_length_is_respected(command: Command, language_model: Path, length: int) -> None:
    captioner = Captioner.from_pretrained(language_model)
    search = Sampling(num_samples=40, max_length=length)
    found = search(captioner.decoder, ImageFeatures(torch.zeros(1, 21)), captioner.tokenizer.special)
    ran = command("generate", "--model", language_model, "--num-samples", "40", "--max-length", str(length))
    assert ran.out.split("\n")[:-1] == [captioner.tokenizer.decode(tokens) for tokens in found.tokens[0].tolist()]
    longest = max(len(line.split()) for line in ran.out.splitlines())
    assert longest == 2 if length == 2 else longest > 6
    assert "--max-length" in command("generate", "--model", language_model, "--max-length", "0").err


def test_a_model_of_images_is_refused(command: Command, bundle: Path) -> None:
    message = command("generate", "--model", bundle).message
    assert "is a ShowAndTell, which needs an image; expected a LanguageModel" in message
    assert "captioning caption" in message


def test_temperature_zero_is_refused(command: Command, language_model: Path) -> None:
    message = command("generate", "--model", language_model, "--temperature", "0").message
    assert "temperature=0 leaves nothing to chance; use greedy search" in message
