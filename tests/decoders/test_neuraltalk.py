"""NeuralTalk's equations, one word at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import NeuralTalk

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


@pytest.mark.parametrize("every_step", [False, True])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, every_step):
    def literal(w, image, tokens):
        b_v = w["from_image.weight"] @ image  # (13)
        h, logits = torch.zeros(19).double(), []
        for t, token in enumerate(tokens, 1):
            x = w["embedding.weight"][token]
            inner = w["from_word.weight"] @ x + w["recurrence.weight"] @ h + w["recurrence.bias"]
            h = torch.clamp(inner + (b_v if t == 1 or every_step else 0), min=0)  # (14)
            logits.append(w["head.weight"] @ h + w["head.bias"])  # (15)
        return logits

    assert_is_the_equations(NeuralTalk(**SIZES, image_every_step=every_step), literal)


def test_equals_the_official_code_s_options_with_gradients(assert_is_the_equations):
    def literal(w, image, tokens):
        b_v = torch.clamp(w["from_image.weight"] @ image + w["from_image.bias"], min=0)
        h, logits = torch.zeros(19).double(), []
        for t, token in enumerate(tokens, 1):
            word = w["from_word.weight"] @ w["embedding.weight"][token] + w["from_word.bias"]
            inner = torch.clamp(word, min=0) + w["recurrence.weight"] @ h + w["recurrence.bias"]
            h = torch.clamp(inner + (b_v if t == 1 else 0), min=0)
            logits.append(w["head.weight"] @ h + w["head.bias"])
        return logits

    assert_is_the_equations(NeuralTalk(**SIZES, encoder_biases=True, relu_encoders=True), literal)


@pytest.mark.parametrize("every_step", [False, True])
def test_only_the_first_step_reads_the_image(features, every_step):
    # Without W_hh there is no memory: a later step depends on the image only if it reads it again.
    model = NeuralTalk(**SIZES, image_every_step=every_step, init_range=0.7).eval()
    torch.nn.init.zeros_(model.recurrence.weight)
    state, seen = model.start(features), []
    for token in (1, 4, 5):
        logits, state = model.step(torch.full((3,), token), state)
        seen.append(not logits[0].allclose(logits[1]))
    assert seen == [True, every_step, every_step]


def test_parameter_count_of_the_official_code():
    # F H + H + (K+1) E + (E H + H) + (H^2 + H) + (H + 1)(K + 1), K = 2538 words and the one symbol START or END.
    sizes = {"feature_size": 4096, "vocab_size": 2538 + 1, "embedding_size": 256, "hidden_size": 256}
    model = NeuralTalk(**sizes, encoder_biases=True)
    assert sum(p.numel() for p in model.parameters()) == 2_482_923
    printed = NeuralTalk(**sizes)  # (13) and W_hx x_t have no biases
    assert sum(p.numel() for p in printed.parameters()) == 2_482_923 - 2 * 256


def test_weights_are_initialised_in_the_given_range_and_the_head_s_in_a_tenth():
    torch.manual_seed(0)
    model = NeuralTalk(**SIZES, encoder_biases=True, init_range=0.2)
    for name, weight in model.named_parameters():
        r = 0.0 if name.endswith("bias") else 0.02 if name == "head.weight" else 0.2
        assert 0.8 * r <= weight.abs().max() <= r, name
    assert_close(model.head.bias, torch.zeros(11))


@pytest.mark.parametrize("dropout", ["encoder_dropout", "dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(NeuralTalk(**SIZES, **{dropout: 0.5}))
    assert not acts_only_in_training(NeuralTalk(**SIZES))


def test_dropout_is_on_image_and_words_and_on_the_state(dropped):
    model = NeuralTalk(**SIZES)
    assert dropped(model, model.encoder_dropout) == [(3, 19), (17, 17)]
    assert dropped(model, model.dropout) == [(17, 19)]
