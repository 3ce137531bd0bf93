"""Sutskever et al.'s decoder, one word at a time, in float64; and the refusal of other layers' states."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import Sutskever
from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM, PeepholeLSTM, Stacked

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
TWO = partial(LSTM, num_layers=2)


@pytest.fixture
def ended(features):
    """Features whose final state is that of an LSTM with two layers of 19 cells."""
    random = torch.Generator().manual_seed(3)
    return replace(features, final=tuple(torch.randn(3, 2, 19, generator=random) for _ in range(2)))


def test_equals_the_equations_with_gradients(assert_is_the_equations, ended):
    def lstm(w, layer, x, h, c):
        of_x, of_h, b, b2 = (
            w[f"recurrent.fused.{name}_l{layer}"].split(19) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        i, f, g, o = (of_x[k] @ x + b[k] + of_h[k] @ h + b2[k] for k in range(4))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def literal(w, v, tokens):
        (h, c), logits = ([*s] for s in v), []
        for token in tokens:
            x = w["embedding.weight"][token]
            for layer in range(2):
                h[layer], c[layer] = lstm(w, layer, x, h[layer], c[layer])
                x = h[layer]
            logits.append(w["head.weight"] @ x + w["head.bias"])
        return logits

    def see(one):
        return [s[0] for s in one.final]

    assert_is_the_equations(Sutskever(**SIZES, recurrent=TWO), literal, see, ended)


def test_continues_from_the_final_state_of_an_encoder_of_any_cell(features):
    # The same layer reads the source and then the words: as if they were one sentence.
    torch.manual_seed(0)
    model = Sutskever(**SIZES, recurrent=partial(Stacked, layer=PeepholeLSTM, num_layers=2))
    source, words = torch.tensor([3, 5, 4]), torch.tensor([1, 8, 6])
    layer, h = model.recurrent, model.recurrent.initial(1, like=model.embedding.weight)
    for token in source:
        _, h = layer.step(model.embedding(token[None]), h)
    state = model.start(replace(features.rows(torch.tensor([0])), final=tuple(s.transpose(0, 1) for s in h)))
    for token in words:
        output, h = layer.step(model.embedding(token[None]), h)
        logits, state = model.step(token[None], state)
        assert_close(logits, model.head(output))


def test_a_sentence_s_logits_follow_its_own_final_state_alone(ended):
    model = Sutskever(**SIZES, recurrent=TWO)
    before = model.step(torch.tensor([4, 4, 4]), model.start(ended))[0]
    for part in (0, 1):  # h, c
        final = [s.clone() for s in ended.final]
        final[part][1] += 1.0
        other = replace(ended, final=tuple(final), pooled=-ended.pooled, grid=None, mask=None)
        after = model.step(torch.tensor([4, 4, 4]), model.start(other))[0]
        assert [bool(a.equal(b)) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_features_without_a_final_state_are_refused(features):
    with pytest.raises(InputError, match=r"the features have none; use encoder=text"):
        Sutskever(**SIZES, recurrent=LSTM).start(replace(features, final=None))


@pytest.mark.parametrize(
    ("recurrent", "hidden_size", "expected"),
    [
        (LSTM, 19, r"\(3, 1, 19\) and \(3, 1, 19\)"),  # other layers
        (TWO, 23, r"\(3, 2, 23\) and \(3, 2, 23\)"),  # another width
        (partial(GRU, num_layers=2), 19, r"\(3, 2, 19\)"),  # another cell
    ],
)
def test_another_layer_s_final_state_is_refused(ended, recurrent, hidden_size, expected):
    model = Sutskever(**{**SIZES, "hidden_size": hidden_size}, recurrent=recurrent)
    found = r"\(3, 2, 19\) and \(3, 2, 19\); give encoder and decoder the same cell, num_layers"
    with pytest.raises(InputError, match=rf"of {expected}, found {found}"):
        model.start(ended)


def test_parameter_count_of_the_paper():
    # Section 3.4 counts 384 million weights, 32 million of them recurrent in either LSTM: 160,000 words of 1000 for the
    # source leave 192 million. torch's LSTM has two sets of 4 D biases in each of the 4 layers, the head has V.
    with torch.device("meta"):
        model = Sutskever(feature_size=1, vocab_size=80_000, recurrent=partial(LSTM, num_layers=4))
    biases = 4 * 2 * 4 * 1000 + 80_000
    assert sum(p.numel() for p in model.parameters()) == 384_000_000 - 160_000_000 - 32_000_000 + biases


def test_weights_are_initialised_in_the_given_range():
    torch.manual_seed(0)
    model = Sutskever(**SIZES, recurrent=LSTM, init_range=0.02)
    for weight in (model.embedding.weight, model.head.weight):
        assert 0.015 < weight.abs().max() <= 0.02
    assert not model.head.bias.any()


def test_dropout_is_on_words_and_on_the_state(ended, batch):
    model, read = Sutskever(**SIZES, recurrent=TWO, dropout=0.5), []
    with model.dropout.register_forward_hook(lambda _, inputs, __: read.append(tuple(inputs[0].shape))):
        once, again = (model(ended, batch.inputs(), batch.image_index) for _ in range(2))
    assert read == 2 * [(17, 17), (17, 19)]
    assert not once.equal(again)
    model.eval()
    assert model(ended, batch.inputs(), batch.image_index).equal(model(ended, batch.inputs(), batch.image_index))
