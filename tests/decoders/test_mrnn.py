"""m-RNN's equations, one word at a time, in float64."""

from __future__ import annotations

import math

import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import MRNN
from captioning.decoders.mrnn import scaled_tanh

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19, "multimodal_size": 23}


def test_equals_the_papers_equations_with_gradients(features, batch):
    torch.manual_seed(0)
    model = MRNN(**SIZES).double()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    features = type(features)(features.pooled.double())
    names = (
        "embedding.0 embedding.1 recurrence from_word from_recurrent from_image head".replace(" ", ".weight ")
        + ".weight"
    ).split()
    ours = dict(model.named_parameters())
    assert set(ours) == set(names)
    literal = [ours[name].detach().clone().requires_grad_() for name in names]
    embedding_1, embedding_2, u_r, v_w, v_r, v_i, softmax = literal

    expected = []
    for row, length in enumerate(batch.lengths.tolist()):
        image = features.pooled[batch.image_index[row]]
        r = torch.zeros(19).double()
        for token in batch.tokens[row, :length].tolist():
            w = embedding_2 @ embedding_1[token]
            r = torch.clamp(u_r @ r + w, min=0)  # (2)
            x = v_w @ w + v_r @ r + v_i @ image
            m = 1.7159 * torch.tanh(2 * x / 3)  # (3), (4)
            expected.append(softmax @ m)
    packed = batch.inputs()
    logits = model(features, packed, batch.image_index)
    got = torch.cat(unpack_sequence(packed._replace(data=logits)))
    assert_close(got, torch.stack(expected))

    towards = torch.randn_like(got)
    (got * towards).sum().backward()
    (torch.stack(expected) * towards).sum().backward()
    for name, weight in zip(names, literal, strict=True):
        assert_close(ours[name].grad, weight.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_scaled_tanh_maps_one_to_nearly_one():
    # LeCun's constants: 1.7159 tanh(2/3) = 1.0000 to four digits.
    assert_close(scaled_tanh(torch.tensor([0.0, 1.0, -1.0])), torch.tensor([0.0, 1.0, -1.0]), rtol=0, atol=5e-5)
    assert math.isclose(scaled_tanh(torch.tensor(100.0)).item(), 1.7159, rel_tol=1e-6)


def test_parameter_count_of_the_paper():
    # V 128 + 128 256 + 256^2 + (256 + 256 + F) 512 + 512 V, at F = 4096 and V = 2539; no biases.
    model = MRNN(feature_size=4096, vocab_size=2539)
    assert sum(p.numel() for p in model.parameters()) == 4_082_560
    biased = MRNN(feature_size=4096, vocab_size=2539, bias=True)
    assert sum(p.numel() for p in biased.parameters()) == 4_082_560 + 256 + 512 + 2539


def test_dropout_acts_only_in_training(features, batch):
    torch.manual_seed(0)
    for dropout in ({"dropout": 0.5}, {"image_dropout": 0.5}):
        model = MRNN(**SIZES, **dropout)
        for training in (True, False):
            model.train(training)
            once, again = (model(features, batch.inputs(), batch.image_index) for _ in range(2))
            assert once.equal(again) != training
