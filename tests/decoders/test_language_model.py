"""The language model's equations, one word at a time, in float64, and its tied softmax."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioning.decoders import LanguageModel
from captioning.errors import InputError
from captioning.recurrent import LSTM, Elman

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
EQUAL = {**SIZES, "hidden_size": 17}


@pytest.mark.parametrize("tied", [False, True])
def test_equals_the_equations_with_gradients(assert_is_the_equations, tied):
    sizes = EQUAL if tied else SIZES

    def literal(w, _image, tokens):
        layer = (w[f"recurrent.fused.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        u, v, b, b2 = layer
        h, logits = torch.zeros(sizes["hidden_size"]).double(), []
        for token in tokens:
            h = torch.tanh(u @ w["embedding.weight"][token] + b + v @ h + b2)
            logits.append(w["embedding.weight" if tied else "head.weight"] @ h + w["head.bias"])
        return logits

    assert_is_the_equations(LanguageModel(**sizes, recurrent=Elman, tied=tied), literal)


def test_a_tied_softmax_stays_one_matrix_when_saved_and_copied(tmp_path):
    model = LanguageModel(**EQUAL, recurrent=LSTM, tied=True)
    free = LanguageModel(**EQUAL, recurrent=LSTM)
    count, free_count = (sum(p.numel() for p in m.parameters()) for m in (model, free))
    assert free_count - count == 11 * 17
    save_file(model.state_dict(), tmp_path / "weights")  # refuses tensors that share memory
    again = copy.deepcopy(model)
    again.load_state_dict({k: 2 * v for k, v in load_file(tmp_path / "weights").items()})
    torch.testing.assert_close(again.head(torch.ones(17)), 2 * model.head(torch.ones(17)))


def test_a_tied_softmax_needs_equal_widths():
    with pytest.raises(InputError, match=r"embedding_size=17 and hidden_size=19 to be equal"):
        LanguageModel(**SIZES, recurrent=LSTM, tied=True)


def test_parameter_count():
    # V E + 4 ((E + H) H + 2 H) + H V + V: torch's LSTM has each bias twice.
    model = LanguageModel(feature_size=2048, vocab_size=2539, recurrent=LSTM)
    assert sum(p.numel() for p in model.parameters()) == 1_299_968 + 2_101_248 + 1_299_968 + 2_539


def test_every_image_gets_the_same_logits(features):
    model, tokens = LanguageModel(**SIZES, recurrent=LSTM), torch.tensor([1, 1, 1])
    other = replace(features, pooled=-features.pooled, grid=-features.grid)
    assert model.step(tokens, model.start(features))[0].equal(model.step(tokens, model.start(other))[0])


def test_dropout_acts_only_in_training(acts_only_in_training):
    assert acts_only_in_training(LanguageModel(**SIZES, recurrent=LSTM, dropout=0.5))
    assert not acts_only_in_training(LanguageModel(**SIZES, recurrent=LSTM))


def test_dropout_is_on_words_and_on_the_state(dropped):
    model = LanguageModel(**SIZES, recurrent=LSTM)
    assert dropped(model, model.dropout) == [(17, 17), (17, 19)]
