"""Up-Down's equations, one word at a time, by torch's own LSTM cell, in float64."""

from __future__ import annotations

import torch

from captioning.decoders import UpDown


def lstm(x, state, input_weights, recurrence, bias):
    """torch's cell over concatenated inputs x, with gates in the order i, f, g, o."""

    def turned(weight):
        i, f, o, g = weight.chunk(4)
        return torch.cat([i, f, g, o])

    weights = turned(torch.cat(input_weights, 1)), turned(recurrence), turned(bias), torch.zeros_like(bias)
    h, c = torch.lstm_cell(torch.cat(x)[None], [s[None] for s in state], *weights)
    return h[0], c[0]


def test_equals_the_papers_equations_with_gradients(assert_is_the_equations):
    def literal(w, v, tokens):
        of_first = [w["from_language.weight"], w["from_mean.weight"], w["from_word.weight"]]
        of_second = [w["from_context.weight"], w["from_attention.weight"]]
        h_1 = c_1 = h_2 = c_2 = torch.zeros(19).double()
        logits = []
        for token in tokens:
            x_1 = h_2, v.mean(0), w["embedding.weight"][token]
            h_1, c_1 = lstm(x_1, (h_1, c_1), of_first, w["recurrence_1.weight"], w["from_word.bias"])
            scores = [
                w["attention.score.weight"][0]
                @ torch.tanh(w["attention.key.weight"] @ v_i + w["attention.from_query.weight"] @ h_1)
                for v_i in v
            ]
            alpha = torch.softmax(torch.stack(scores), 0)
            seen = sum(weight * v_i for weight, v_i in zip(alpha, v, strict=True))
            h_2, c_2 = lstm((seen, h_1), (h_2, c_2), of_second, w["recurrence_2.weight"], w["from_context.bias"])
            logits.append(w["head.weight"] @ h_2 + w["head.bias"])
        return logits

    model = UpDown(feature_size=13, vocab_size=11, embedding_size=17, hidden_size=19, attention_size=23)
    assert_is_the_equations(model, literal, lambda one: one.grid[0][one.mask[0]])


def test_parameter_count_of_the_paper():
    # V E + 4((H + D + E + H) H + H) + (D A + H A + A) + 4((D + H + H) H + H) + H V + V
    assert sum(p.numel() for p in UpDown(feature_size=2048, vocab_size=10_010).parameters()) == 57_983_098


def test_weights_are_initialised_as_in_the_official_code():
    model = UpDown(feature_size=13, vocab_size=4000, hidden_size=19)
    for bias in (model.from_word.bias, model.from_context.bias):
        assert bias.tolist() == [0.0] * 19 + [1.0] * 19 + [0.0] * 38
    assert 0.009 < model.embedding.weight.std() < 0.011
