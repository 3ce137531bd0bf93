"""Att2in's equations, one word at a time, in float64."""

from __future__ import annotations

import pytest
import torch

from captioning.decoders import Att2in


@pytest.mark.parametrize("head_bias", [False, True])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, head_bias):
    def literal(w, regions, tokens):
        w_i, w_f, w_o, w_z, w_z2 = w["from_word.weight"].split(19)
        u_i, u_f, u_o, u_z, u_z2 = w["recurrence.weight"].split(19)
        b_i, b_f, b_o, b_z, b_z2 = w["from_word.bias"].split(19)
        v_z, v_z2 = w["from_context.weight"].split(19)
        h = c = torch.zeros(19).double()
        logits = []
        for token in tokens:
            x = w["embedding.weight"][token]
            a = [
                w["attention.score.weight"][0]
                @ torch.tanh(
                    w["attention.key.weight"] @ region + w["attention.from_query.weight"] @ h + w["attention.key.bias"]
                )
                for region in regions
            ]
            alpha = torch.softmax(torch.stack(a), 0)
            seen = sum(weight * region for weight, region in zip(alpha, regions, strict=True))
            i = torch.sigmoid(w_i @ x + u_i @ h + b_i)
            f = torch.sigmoid(w_f @ x + u_f @ h + b_f)
            o = torch.sigmoid(w_o @ x + u_o @ h + b_o)
            pieces = w_z @ x + v_z @ seen + u_z @ h + b_z, w_z2 @ x + v_z2 @ seen + u_z2 @ h + b_z2
            c = i * torch.maximum(*pieces) + f * c
            h = o * torch.tanh(c)
            logits.append(w["head.weight"] @ h + w.get("head.bias", 0.0))
        return logits

    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19, "attention_size": 23}
    assert_is_the_equations(Att2in(**sizes, head_bias=head_bias), literal, lambda one: one.grid[0][one.mask[0]])


def test_parameter_count_of_the_paper():
    # V E + 5((E + H) H + H) + 2 D H + (A D + A H + 2 A + 1) + H V at V = 10,096 and D = 2048, all else 512; the last
    # 1 is b_α, which cancels in the softmax.
    model = Att2in(feature_size=2048, vocab_size=10_096)
    assert sum(p.numel() for p in model.parameters()) == 16_371_201 - 1
