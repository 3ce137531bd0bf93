"""Dynamic evaluation equals a loop in float64 over captions, tokens and weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning import Captioner
from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.readers import ParallelText
from captioning.decoders import LanguageModel, Merge
from captioning.encoders import Blind
from captioning.errors import InputError
from captioning.evaluation.dynamic import check_dynamic, dynamic_losses, evaluate_dynamically
from captioning.evaluation.predictions import reference_losses
from captioning.recurrent import GRU, LSTM, Elman
from captioning.text import train_characters

CAPTIONS = [[1, 4, 5, 6, 2], [1, 6, 2], [1, 4, 4, 7, 2], [1, 4, 5, 6, 2]]
LINES = ["a dog runs", "a dog runs", "two cats", "a dog runs in snow", "two cats", "a dog runs"]


def model(**settings: Any) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        feature_size=1, vocab_size=11, recurrent=Elman, embedding_size=5, hidden_size=7, dropout=0.5, **settings
    ).double()


def literal(decoder: LanguageModel, learning_rate: float) -> list[float]:
    """Predict token by token with Elman's equations, then take one clipped step of gradient descent."""
    w = {name: weight.detach().clone().requires_grad_() for name, weight in decoder.named_parameters()}
    found = []
    for ids in CAPTIONS:
        h, loss = torch.zeros(7, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for token, target in pairwise(ids):
            x = w["embedding.weight"][token]
            h = torch.tanh(
                w["recurrent.fused.weight_ih_l0"] @ x + w["recurrent.fused.bias_ih_l0"]
                + w["recurrent.fused.weight_hh_l0"] @ h + w["recurrent.fused.bias_hh_l0"]
            )  # fmt: skip
            logits = w["head.weight"] @ h + w["head.bias"]
            loss = loss - (logits[target] - logits.exp().sum().log())
        found.append(loss.item())
        gradients = torch.autograd.grad(loss / (len(ids) - 1), list(w.values()))
        norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
        scale = min(1.0, 1.0 / norm)
        w = {
            name: (weight - learning_rate * scale * g).detach().requires_grad_()
            for (name, weight), g in zip(w.items(), gradients, strict=True)
        }
    return found


@pytest.mark.parametrize("learning_rate", [0.03, 2.0])
def test_equals_a_loop_and_leaves_the_model_as_it_is(learning_rate: float) -> None:
    decoder = model()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    found = list(dynamic_losses(decoder, CAPTIONS, feature_size=1, pad=0, learning_rate=learning_rate))
    assert found == pytest.approx(literal(decoder, learning_rate), rel=0, abs=1e-10)
    assert decoder.training
    assert all(torch.equal(before[name], value) for name, value in decoder.state_dict().items())


def test_a_caption_is_predicted_before_it_is_learned_from() -> None:
    """The first caption has the loss that it has without dynamic evaluation, and a repeated one a lower loss."""
    first, *_, again = dynamic_losses(model(), CAPTIONS, feature_size=1, pad=0, learning_rate=0.1)
    still, *_, same = dynamic_losses(model(), CAPTIONS, feature_size=1, pad=0, learning_rate=1e-12)
    assert first == still
    assert again < same - 0.1


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / f"{split}.en").write_text("".join(f"{line}\n" for line in LINES))
    return tmp_path


def captioner_of(recurrent: Callable[..., Any]) -> Captioner:
    tokenizer = train_characters(LINES)
    torch.manual_seed(1)
    decoder = LanguageModel(feature_size=1, vocab_size=len(tokenizer), recurrent=recurrent, hidden_size=16)
    return Captioner(Blind(), decoder, tokenizer).eval()


@pytest.mark.parametrize("recurrent", [LSTM, GRU])
def test_without_a_step_the_scores_are_those_of_the_static_model(lines: Path, recurrent: Callable[..., Any]) -> None:
    captioner = captioner_of(recurrent)
    data = CaptionDataModule(
        Splits(ParallelText(str(lines), target="en")),
        Loading(split="val"),
        encoder=captioner.encoder,
        transform=captioner.transform,
        tokenizer=captioner.tokenizer,
    )
    nats, num_tokens = 0.0, 0.0
    for batch in data.evaluation_dataloader("val"):
        with torch.no_grad():
            loss, count, _ = reference_losses(captioner.decoder, captioner.features(batch), batch, unk=3)
        nats, num_tokens = nats + loss.sum().item(), num_tokens + count.sum().item()
    static = evaluate_dynamically(captioner, data, learning_rate=1e-12)
    assert static["loss"] == pytest.approx(nats / num_tokens, rel=1e-6)
    assert static["perplexity"] == pytest.approx(math.exp(nats / num_tokens), rel=1e-6)
    characters = sum(len(line) + 1 for line in LINES)
    assert static["bits_per_character"] == pytest.approx(nats / math.log(2) / characters, rel=1e-6)
    assert evaluate_dynamically(captioner, data, learning_rate=0.5)["loss"] < static["loss"]


def test_what_cannot_be_evaluated_dynamically_is_refused() -> None:
    merge = Captioner(Blind(), Merge(feature_size=1, vocab_size=11, recurrent=LSTM), train_characters(LINES))
    with pytest.raises(InputError, match="only language models"):
        check_dynamic(merge, 0.1)
    for learning_rate in (0.0, -1.0, math.nan, math.inf, True, "abc", [0.1]):
        with pytest.raises(InputError, match="expected a learning rate above 0"):
            check_dynamic(captioner_of(LSTM), learning_rate)
