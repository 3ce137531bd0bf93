"""Show, Attend and Tell's equations, one word at a time, in float64; and the samples of hard attention."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import Hard, ShowAttendAndTell, Soft

SIZES = {
    "feature_size": 13,
    "vocab_size": 11,
    "embedding_size": 17,
    "hidden_size": 19,
    "attention_size": 23,
}


def literal(w, a, tokens, *, zero_start=False, word_output=True, tanh_output=True):
    """Compute one caption's logits from its image's real regions a, (R, F)."""

    def affine(name, x):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0.0)

    x = a.mean(0)
    for layer in range(0, 9, 3):  # between them ReLU and dropout
        if f"init.{layer}.weight" in w:
            x = torch.relu(affine(f"init.{layer}", x))
    c, h = torch.tanh(affine("init_cell", x)), torch.tanh(affine("init_hidden", x))
    logits = []
    for t, token in enumerate(tokens):
        y = w["embedding.weight"][token]
        if t == 0 and zero_start:
            y = torch.zeros(17).double()
        e = []
        for a_i in a:
            key = affine("attention.key.0", a_i)
            if "attention.key.2.weight" in w:
                key = affine("attention.key.2", torch.tanh(key))
            e.append(affine("attention.score", torch.tanh(key + affine("attention.from_query", h)))[0])
        alpha = torch.softmax(torch.stack(e), 0)  # (1)
        z = sum(alpha_i * a_i for alpha_i, a_i in zip(alpha, a, strict=True))  # (8)
        if "gate.weight" in w:
            z = torch.sigmoid(affine("gate", h)) * z
        gates = affine("from_word", y) + affine("recurrence", h) + affine("from_context", z)
        i, f, o = torch.sigmoid(gates[: 3 * 19]).split(19)
        c = f * c + i * torch.tanh(gates[3 * 19 :])
        h = o * torch.tanh(c)
        out = affine("output_hidden", h)  # (2)
        if word_output:
            out = out + y
        if "output_context.weight" in w:
            out = out + affine("output_context", z)
        logits.append(affine("head", torch.tanh(out) if tanh_output else out))
    return logits


FLAGS = [{}, {"zero_start": True}, {"word_output": False}, {"tanh_output": False}]  # flags that no weight reveals
OTHERS = [
    {"beta": False},
    {"context_output": False},
    {"attention_layers": 2},
    {"init_layers": 1},
    {"init_layers": 3},
    {"beta": False, "context_output": False, "attention_layers": 2, "init_layers": 1},
]


@pytest.mark.parametrize(("flags", "others"), [*product(FLAGS, [{}]), *product([{}], OTHERS)], ids=str)
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, flags, others):
    model = ShowAttendAndTell(**SIZES, phi=Soft(), **flags, **others)
    assert_is_the_equations(model, partial(literal, **flags), lambda one: one.grid[0][one.mask[0]])


@pytest.mark.parametrize("dropout", ["dropout", "init_dropout", "output_dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(ShowAttendAndTell(**SIZES, phi=Soft(), **{dropout: 0.5}))
    assert not acts_only_in_training(ShowAttendAndTell(**SIZES, phi=Soft()))


def test_the_three_dropouts_share_one_rate_by_default(dropped):
    model = ShowAttendAndTell(**SIZES, phi=Soft(), init_layers=3, dropout=0.5, output_dropout=0.0)
    assert dropped(model, model.init_dropout) == [(3, 13), (3, 13)]
    assert dropped(model, model.dropout) == [(17, 19)]
    assert dropped(model, model.output_dropout) == [(17, 17)]
    assert (model.init_dropout.p, model.dropout.p, model.output_dropout.p) == (0.5, 0.5, 0.0)


def test_parameter_count_of_the_official_code():
    # Its COCO model: V = 10,000, m = D = A = 512, n = 1800, two layers to the key. The official code has one more,
    # a scalar bias of f_att, which cancels in the softmax.
    model = ShowAttendAndTell(feature_size=512, vocab_size=10_000, phi=Soft(), hidden_size=1800, attention_layers=2)
    assert sum(p.numel() for p in model.parameters()) == 35_333_450 - 1


def test_attention_weights_sum_to_one_over_real_regions(features, batch):
    torch.manual_seed(0)
    model = ShowAttendAndTell(**SIZES, phi=Soft())
    attended = model.attend(features, batch.inputs(), batch.image_index)
    weights = unpack_sequence(batch.inputs()._replace(data=attended.attention))
    assert [len(w) for w in weights] == batch.lengths.tolist()
    for row, own in enumerate(weights):
        assert_close(own.sum(1), torch.ones(len(own)))
        assert (own[:, 1] == 0).all() == (batch.image_index[row] == 2)  # the image with one real region
    assert not attended.log_choice.any()


def test_hard_attention_samples_one_region_by_its_weight():
    torch.manual_seed(0)
    memory = ShowAttendAndTell(**SIZES, phi=Soft()).attention.memory(torch.randn(1, 5, 13), None)
    alpha = torch.tensor([[0.1, 0.0, 0.6, 0.3, 0.0]]).expand(3000, -1)
    memory = memory.rows(torch.zeros(3000, dtype=torch.int64))
    z, log_choice = Hard(expected_share=0.0)(memory, alpha, torch.rand(3000), training=True)
    region = (z[:, None] - memory.values).abs().sum(2).argmin(1)
    assert_close(z, memory.values[0, region])  # single regions, no mixtures
    assert_close(log_choice, alpha[0, region].log())
    shares = torch.bincount(region, minlength=5) / 3000
    assert_close(shares, alpha[0], rtol=0, atol=0.04)  # four deviations of a share of 0.6


def test_hard_attention_uses_the_expected_region_for_its_share_and_in_evaluation():
    torch.manual_seed(0)
    memory = ShowAttendAndTell(**SIZES, phi=Soft()).attention.memory(torch.randn(4, 5, 13), None)
    alpha, luck = torch.rand(4, 5).softmax(1), torch.tensor([0.1, 0.6, 0.2, 0.9])
    z, log_choice = Hard(expected_share=0.5)(memory, alpha, luck, training=True)
    expected = memory.mix(alpha)
    assert [bool(z[i].allclose(expected[i])) for i in range(4)] == [True, False, True, False]
    assert (log_choice != 0).tolist() == [False, True, False, True]
    z, log_choice = Hard(expected_share=0.5)(memory, alpha, luck, training=False)
    assert_close(z, expected)
    assert not log_choice.any()


def test_weights_are_initialised_as_in_the_official_code():
    model = ShowAttendAndTell(feature_size=130, vocab_size=110, phi=Soft(), embedding_size=70, hidden_size=64)
    for u in model.recurrence.weight.chunk(4):
        assert_close(u @ u.T, torch.eye(64), rtol=0, atol=1e-5)
    for name, weight in model.named_parameters():
        if name != "recurrence.weight":
            assert (weight == 0).all() if weight.ndim == 1 else 0.005 < weight.std() < 0.015, name


def test_forget_bias_changes_the_forget_gate_alone():
    i, f, o, g = ShowAttendAndTell(**SIZES, phi=Soft(), forget_bias=1.0).from_word.bias.chunk(4)
    assert (f == 1).all()
    assert not torch.cat([i, o, g]).any()


def test_the_cell_is_float32_under_autocast_to_bfloat16(features, batch):
    model = ShowAttendAndTell(**SIZES, phi=Soft())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        start = model.start(features)
        _, after = model.step(torch.ones(3, dtype=torch.int64), start)
    assert start.cell.dtype == after.cell.dtype == torch.float32
