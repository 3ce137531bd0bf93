"""Att2in's equations, one word at a time, in float64."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.decoders import Att2in


def test_equals_the_papers_equations(features, batch):
    torch.manual_seed(0)
    model = Att2in(feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19, attention_size=23).double()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    p = {name: weight.detach() for name, weight in model.named_parameters()}
    features = type(features)(features.pooled.double(), features.grid.double(), features.mask)
    packed = batch.inputs()
    logits = unpack_sequence(packed._replace(data=model(features, packed, batch.image_index)))
    for row, length in enumerate(batch.lengths.tolist()):
        image = batch.image_index[row]
        places = features.grid[image][features.mask[image]]
        h = c = torch.zeros(19).double()
        for t, token in enumerate(batch.tokens[row, :length].tolist()):
            x = p["embedding.weight"][token]
            a = torch.stack(
                [
                    p["attention.score.weight"][0]
                    @ torch.tanh(
                        p["attention.key.weight"] @ i + p["attention.key.bias"] + p["attention.from_query.weight"] @ h
                    )
                    for i in places
                ]
            )
            seen = torch.softmax(a, 0) @ places
            pre = p["from_word.weight"] @ x + p["recurrence.weight"] @ h + p["from_word.bias"]
            i, f, o = torch.sigmoid(pre[:57]).split(19)
            pieces = pre[57:] + p["from_context.weight"] @ seen
            c = i * torch.maximum(pieces[:19], pieces[19:]) + f * c
            h = o * torch.tanh(c)
            assert_close(logits[row][t], p["head.weight"] @ h)


def test_parameter_count_of_the_paper():
    # V E + 5((E + H) H + H) + 2 D H + (A D + A H + 2 A + 1) + H V at V = 10,096 and D = 2048, all else 512; the last
    # 1 is b_α, which cancels in the softmax.
    model = Att2in(feature_size=2048, vocab_size=10_096)
    assert sum(p.numel() for p in model.parameters()) == 16_371_201 - 1
