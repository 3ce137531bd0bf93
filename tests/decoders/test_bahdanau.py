"""Bahdanau et al.'s decoder, one word at a time, in float64; and its attention."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import Bahdanau
from captioning.encoders import TextEncoder
from captioning.encoders.text_transform import NO_TOKEN
from captioning.errors import InputError
from captioning.recurrent import GRU, Bidirectional, Stacked

SIZES = {
    "feature_size": 13,
    "vocab_size": 11,
    "embedding_size": 17,
    "hidden_size": 19,
    "attention_size": 23,
    "maxout_size": 29,
}


@pytest.mark.parametrize(("bidirectional", "first"), [(True, 6), (False, 0)])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, bidirectional, first):
    def literal(w, source, tokens):
        pooled, annotations = source

        def affine(name, x):
            return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

        w_z, w_r, w_s = w["from_word.weight"].split(19)
        b_z, b_r, b_s = w["from_word.bias"].split(19)
        u_z, u_r = w["recurrence.weight"].split(19)
        c_z, c_r, c_s = w["from_context.weight"].split(19)
        s, logits = torch.tanh(affine("init", pooled[first:])), []
        for token in tokens:
            y = w["embedding.weight"][token]
            e = [
                w["attention.score.weight"][0]
                @ torch.tanh(w["attention.from_query.weight"] @ s + affine("attention.key", h_j))
                for h_j in annotations
            ]
            alpha = torch.softmax(torch.stack(e), 0)
            c = sum(a * h_j for a, h_j in zip(alpha, annotations, strict=True))
            z = torch.sigmoid(w_z @ y + u_z @ s + c_z @ c + b_z)
            r = torch.sigmoid(w_r @ y + u_r @ s + c_r @ c + b_r)
            new = torch.tanh(w_s @ y + w["reset_recurrence.weight"] @ (r * s) + c_s @ c + b_s)
            both = (
                affine("output_hidden", s) + w["output_word.weight"] @ y + w["output_context.weight"] @ c
            )  # of s_{i-1}
            t = torch.stack([torch.maximum(both[2 * k], both[2 * k + 1]) for k in range(29)])
            logits.append(affine("head", t))
            s = (1 - z) * s + z * new
        return logits

    def see(one):
        return one.pooled[0], one.grid[0][one.mask[0]]

    assert_is_the_equations(Bahdanau(**SIZES, bidirectional=bidirectional), literal, see)


def test_starts_from_the_second_half_of_pooled_of_a_bidirectional_encoder(features):
    even = replace(
        features, pooled=features.pooled[:, :12].clone(), grid=features.grid[..., :12], final=(torch.zeros(3, 2, 6),)
    )
    forwards = replace(even, pooled=even.pooled.clone())
    forwards.pooled[:, :6] += 1.0
    for bidirectional in (True, False):
        model = Bahdanau(**{**SIZES, "feature_size": 12}, bidirectional=bidirectional)
        same = model.start(even).hidden.equal(model.start(forwards).hidden)
        assert same == bidirectional


def test_padding_of_the_source_changes_nothing_and_has_no_weight(features, batch):
    torch.manual_seed(0)
    model = Bahdanau(**SIZES)
    torch.nn.init.uniform_(model.attention.score.weight, -0.7, 0.7)
    wider = replace(
        features,
        grid=torch.cat([features.grid, torch.full((3, 3, 13), 1e6)], 1),
        mask=torch.cat([features.mask, torch.zeros(3, 3, dtype=torch.bool)], 1),
    )
    before, after = (model.attend(seen, batch.inputs(), batch.image_index) for seen in (features, wider))
    assert_close(after.hidden, before.hidden)
    assert_close(after.attention[:, :2], before.attention)
    assert not after.attention[:, 2:].any()


def test_attention_weights_sum_to_one_over_real_regions(features, batch):
    torch.manual_seed(0)
    attended = Bahdanau(**SIZES).attend(features, batch.inputs(), batch.image_index)
    weights = unpack_sequence(batch.inputs()._replace(data=attended.attention))
    assert [len(w) for w in weights] == batch.lengths.tolist()
    for row, own in enumerate(weights):
        assert_close(own.sum(1), torch.ones(len(own)))
        assert (own[:, 1] == 0).all() == (batch.image_index[row] == 2)  # the image with one real region
    assert attended.log_choice is None


def test_features_without_regions_are_refused(features):
    with pytest.raises(InputError, match=r"the features have none; use encoder\.grid=true"):
        Bahdanau(**SIZES).start(replace(features, grid=None, mask=None))


@pytest.mark.parametrize("final", [None, (torch.zeros(3, 1, 13),)], ids=["images", "one direction"])
def test_features_of_other_encoders_need_bidirectional_false(features, final):
    other = replace(features, final=final)
    with pytest.raises(
        InputError, match=r"bidirectional=true needs .* recurrent@enc.* or set decoder\.bidirectional=false"
    ):
        Bahdanau(**SIZES).start(other)
    assert Bahdanau(**SIZES, bidirectional=False).start(other).hidden.shape == (3, 19)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bidirectional_encoder_must_concatenate_its_directions(layers):
    def encoded(combine):
        def layer(inputs, width):
            return Stacked(inputs, width, layer=partial(Bidirectional, layer=GRU, combine=combine), num_layers=layers)

        encoder = TextEncoder(vocab_size=7, recurrent=layer, embedding_size=5, hidden_size=12)
        return encoder(torch.tensor([[4, 5, 2], [4, 2, NO_TOKEN]]))

    model = Bahdanau(**{**SIZES, "feature_size": 12})
    assert model.start(encoded("concatenate")).hidden.shape == (2, 19)
    with pytest.raises(InputError, match="bidirectional=true needs"):
        model.start(encoded("sum"))


def test_parameter_count_of_the_paper():
    # Appendix A.2 at n = 1000, m = 620, l = 500, n' = 1000 and 30,001 words. Weights: E, W_s, the alignment,
    # W U C of z, r and s̃, the max-out layer's, W_o; then biases of W_s, U_a, W, U_o and W_o.
    with torch.device("meta"):
        model = Bahdanau(feature_size=2000, vocab_size=30_001)
    weights = (
        30_001 * 620
        + 1000 * 1000
        + 1000 * 1000 + 1000 * 2000 + 1000
        + 3 * (1000 * 620 + 1000 * 1000 + 1000 * 2000)
        + 2 * 500 * (1000 + 620 + 2000)
        + 30_001 * 500
    )  # fmt: skip
    biases = 1000 + 1000 + 3 * 1000 + 2 * 500 + 30_001
    assert sum(p.numel() for p in model.parameters()) == weights + biases == 52_118_121


def test_weights_are_initialised_as_in_the_paper():
    torch.manual_seed(0)
    model = Bahdanau(**{**SIZES, "vocab_size": 4000, "attention_size": 400})
    for u in (*model.recurrence.weight.chunk(2), model.reset_recurrence.weight):
        assert_close(u @ u.T, torch.eye(19), rtol=0, atol=1e-5)
    assert 0.0095 < model.embedding.weight.std() < 0.0105
    for weight in (model.attention.key.weight, model.attention.from_query.weight):
        assert 0.00095 < weight.std() < 0.00105
    assert not model.attention.score.weight.any()
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_dropout_acts_only_in_training(acts_only_in_training):
    assert acts_only_in_training(Bahdanau(**SIZES, dropout=0.5))
    assert not acts_only_in_training(Bahdanau(**SIZES))


def test_dropout_is_on_words_and_on_the_maxout_units(dropped):
    model = Bahdanau(**SIZES)
    assert dropped(model, model.dropout) == [(17, 17), (17, 29)]
