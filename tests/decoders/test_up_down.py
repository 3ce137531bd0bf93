"""Up-Down's equations by torch's own LSTM cells, in float64."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import UpDown


def cell(*parts: torch.Tensor, recurrence: torch.Tensor, bias: torch.Tensor) -> nn.LSTMCell:
    """torch's cell over concatenated inputs; its gates stand in the order i, f, g, o."""
    weight = torch.cat(parts, 1)
    made = nn.LSTMCell(weight.shape[1], recurrence.shape[1]).double()
    order = [0, 1, 3, 2]

    def turned(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.chunk(4)[i] for i in order])

    with torch.no_grad():
        made.weight_ih.copy_(turned(weight))
        made.weight_hh.copy_(turned(recurrence))
        made.bias_ih.copy_(turned(bias))
        made.bias_hh.zero_()
    return made


def test_equals_the_papers_equations(features, batch):
    torch.manual_seed(0)
    model = UpDown(feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19, attention_size=23).double()
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    p = {name: weight.detach() for name, weight in model.named_parameters()}
    lstm_1 = cell(
        p["from_language.weight"],
        p["from_mean.weight"],
        p["from_word.weight"],
        recurrence=p["recurrence_1.weight"],
        bias=p["from_word.bias"],
    )
    lstm_2 = cell(
        p["from_context.weight"],
        p["from_attention.weight"],
        recurrence=p["recurrence_2.weight"],
        bias=p["from_context.bias"],
    )
    features = type(features)(features.pooled.double(), features.grid.double(), features.mask)
    packed = batch.inputs()
    logits = unpack_sequence(packed._replace(data=model(features, packed, batch.image_index)))
    for row, length in enumerate(batch.lengths.tolist()):
        image = batch.image_index[row]
        v = features.grid[image][features.mask[image]]
        h_1 = c_1 = h_2 = c_2 = torch.zeros(19).double()
        for t, token in enumerate(batch.tokens[row, :length].tolist()):
            x_1 = torch.cat([h_2, v.mean(0), p["embedding.weight"][token]])
            h_1, c_1 = lstm_1(x_1, (h_1, c_1))
            scores = [
                p["attention.score.weight"][0]
                @ torch.tanh(p["attention.key.weight"] @ v_i + p["attention.from_query.weight"] @ h_1)
                for v_i in v
            ]
            seen = torch.softmax(torch.stack(scores), 0) @ v
            h_2, c_2 = lstm_2(torch.cat([seen, h_1]), (h_2, c_2))
            assert_close(logits[row][t], p["head.weight"] @ h_2 + p["head.bias"])


def test_parameter_count_of_the_paper():
    # V E + 4((H + D + E + H) H + H) + (D A + H A + A) + 4((D + H + H) H + H) + H V + V
    assert sum(p.numel() for p in UpDown(feature_size=2048, vocab_size=10_010).parameters()) == 57_983_098


def test_starts_as_the_release_does():
    model = UpDown(feature_size=13, vocab_size=4000, hidden_size=19)
    for bias in (model.from_word.bias, model.from_context.bias):
        assert bias.tolist() == [0.0] * 19 + [1.0] * 19 + [0.0] * 38
    assert 0.009 < model.embedding.weight.std() < 0.011
