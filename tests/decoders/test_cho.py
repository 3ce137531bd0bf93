"""Cho et al.'s decoder, one word at a time, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import Cho

SIZES = {
    "feature_size": 13,
    "vocab_size": 11,
    "embedding_size": 17,
    "hidden_size": 19,
    "maxout_size": 23,
    "rank_size": 29,
}


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, bias):
    def literal(w, h_n, tokens):
        def b(name):
            return w.get(f"{name}.bias", torch.zeros_like(w[f"{name}.weight"][:, 0]))

        w_z, w_r, w_h = w["from_word.weight"].split(19)
        b_z, b_r, b_h = b("from_word").split(19)
        u_z, u_r, u_h = w["recurrence.weight"].split(19)
        c_z, c_r, c_h = w["from_code.weight"].split(19)
        c = torch.tanh(w["code.weight"] @ h_n + b("code"))
        h, logits = torch.tanh(w["init.weight"] @ c + b("init")), []
        for token in tokens:
            e = w["embedding.weight"][token]
            z = torch.sigmoid(w_z @ e + u_z @ h + c_z @ c + b_z)
            r = torch.sigmoid(w_r @ e + u_r @ h + c_r @ c + b_r)
            h = z * h + (1 - z) * torch.tanh(w_h @ e + r * (u_h @ h + c_h @ c) + b_h)
            both = w["output_hidden.weight"] @ h + w["output_word.weight"] @ e + w["output_code.weight"] @ c
            both = both + b("output_hidden")
            s = torch.stack([torch.maximum(both[2 * i], both[2 * i + 1]) for i in range(23)])
            g = w["head.weight"] @ w["reduce.weight"]  # G = G_l G_r
            logits.append(g @ s + b("head"))
        return logits

    assert_is_the_equations(Cho(**SIZES, bias=bias), literal)


def test_every_step_reads_the_code(features):
    # Without the state, the code still distinguishes the sources.
    torch.manual_seed(0)
    model, tokens = Cho(**SIZES), torch.tensor([4, 4, 4])
    _, state = model.step(tokens, model.start(features))
    logits, _ = model.step(tokens, replace(state, hidden=torch.zeros_like(state.hidden)))
    assert not logits[0].equal(logits[1])


def test_only_the_pooled_vector_of_the_source_is_read(features, batch):
    torch.manual_seed(0)
    model = Cho(**SIZES)
    bare = replace(features, grid=None, mask=None, objects=None)
    logits = (model(seen, batch.inputs(), batch.image_index) for seen in (features, bare))
    assert_close(*logits, rtol=0, atol=0)


def test_parameter_count_of_the_paper():
    # Appendix A, with V = 15,000, E = 500, D = 1000 and 1000 max-out units: V E + (D D + D D) + 3 D (E + D + D)
    # + 2000 (D + E + D) + 500 x 1000 + V 500.
    with torch.device("meta"):
        model = Cho(feature_size=1000, vocab_size=15_000)
    expected = 7_500_000 + 2_000_000 + 7_500_000 + 5_000_000 + 500_000 + 7_500_000
    assert sum(p.numel() for p in model.parameters()) == expected == 30_000_000


def test_weights_are_initialised_as_in_the_paper():
    torch.manual_seed(0)
    model = Cho(**{**SIZES, "vocab_size": 4000}, bias=True)
    for u in model.recurrence.weight.chunk(3):
        assert_close(u @ u.T, torch.eye(19), rtol=0, atol=1e-5)
    assert 0.0095 < model.embedding.weight.std() < 0.0105
    assert 0.009 < model.reduce.weight.std() < 0.011
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_dropout_acts_only_in_training(acts_only_in_training):
    assert acts_only_in_training(Cho(**SIZES, dropout=0.5))
    assert not acts_only_in_training(Cho(**SIZES))


def test_dropout_is_on_words_and_on_the_maxout_units(dropped):
    model = Cho(**SIZES)
    assert dropped(model, model.dropout) == [(17, 17), (17, 23)]
