"""Sentences to features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captioning.encoders import TextEncoder, TextTransform
from captioning.encoders.text_transform import NO_TOKEN
from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM, Bidirectional, ChoGRU, Stacked
from captioning.text import Tokenizer, train_words

TEXTS = torch.tensor([[3, 5, NO_TOKEN, NO_TOKEN], [7, 1, 4, 5], [5, NO_TOKEN, NO_TOKEN, NO_TOKEN]])
LENGTHS = [2, 4, 1]
LAYERS = {
    "gru": GRU,
    "own": ChoGRU,
    "lstm-2": lambda e, d: LSTM(e, d, num_layers=2),
    "both": lambda e, d: Bidirectional(e, d, layer=LSTM),
    "both-2": lambda e, d: Stacked(e, d, layer=lambda e, d: Bidirectional(e, d, layer=GRU), num_layers=2),
}


def encoder(layer, **settings) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(vocab_size=11, recurrent=layer, embedding_size=3, hidden_size=6, **settings).eval()


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_sentence_s_features_do_not_depend_on_its_neighbours(layer) -> None:
    model = encoder(layer)
    together = model(TEXTS)
    for row, length in enumerate(LENGTHS):
        alone = model(TEXTS[row : row + 1, :length])
        torch.testing.assert_close(together.pooled[row], alone.pooled[0])
        torch.testing.assert_close(together.grid[row, :length], alone.grid[0])
        assert together.mask[row].tolist() == [True] * length + [False] * (4 - length)
        for s, own in zip(together.final, alone.final, strict=True):
            torch.testing.assert_close(s[row], own[0])


def test_padding_beyond_the_longest_sentence_is_masked() -> None:
    model = encoder(LSTM)
    features, wider = model(TEXTS), model(torch.cat([TEXTS, torch.full((3, 2), NO_TOKEN)], 1))
    assert wider.grid.shape == (3, 6, 6)
    assert torch.equal(wider.grid[:, :4], features.grid)
    assert torch.equal(wider.pooled, features.pooled)
    assert wider.mask.sum(1).tolist() == LENGTHS


def test_annotations_and_final_state_equal_torch() -> None:
    model = encoder(LSTM)
    x = model.embedding(torch.tensor([[7, 1, 4, 5]]))
    outputs, (h, c) = model.recurrent.fused(x.transpose(0, 1))
    found = model(TEXTS[1:2])
    torch.testing.assert_close(found.grid, outputs.transpose(0, 1))
    torch.testing.assert_close(found.pooled, outputs[-1])
    torch.testing.assert_close(found.final, (h.transpose(0, 1), c.transpose(0, 1)))


def test_pooled_of_a_bidirectional_layer_is_the_last_output_of_each_direction() -> None:
    model = encoder(LAYERS["both"])
    reference = nn.LSTM(3, 3, batch_first=True, bidirectional=True)
    ahead, back = model.recurrent.forwards.fused, model.recurrent.backwards.fused
    with torch.no_grad():
        for name, weight in ahead.named_parameters():
            getattr(reference, name).copy_(weight)
            getattr(reference, f"{name}_reverse").copy_(getattr(back, name))
    outputs, _ = reference(model.embedding(TEXTS[1:2]))
    torch.testing.assert_close(model(TEXTS[1:2]).pooled, torch.cat([outputs[:, -1, :3], outputs[:, 0, 3:]], 1))


def test_a_reversed_sentence_keeps_eos_last() -> None:
    plain, turned = encoder(GRU), encoder(GRU, reverse=True)
    by_hand = torch.tensor([[3, 5, NO_TOKEN, NO_TOKEN], [4, 1, 7, 5], [5, NO_TOKEN, NO_TOKEN, NO_TOKEN]])
    found = plain(by_hand)
    torch.testing.assert_close(turned(TEXTS).pooled, found.pooled)
    torch.testing.assert_close(turned(TEXTS).grid, found.grid)


def test_a_sentence_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="1 of 2 sentences have no token"):
        encoder(GRU)(torch.tensor([[4, 2], [NO_TOKEN, NO_TOKEN]]))


def test_the_parameters_are_those_of_its_parts() -> None:
    assert sum(p.numel() for p in encoder(GRU).parameters()) == 11 * 3 + 3 * (3 * 6 + 6 * 6 + 2 * 6)


def test_a_transform_survives_json() -> None:
    transform = TextTransform(train_words(["ein hund"], min_count=1))
    again = TextTransform.from_dict(transform.to_dict())
    assert again(["ein Hund"]).tolist() == transform(["ein Hund"]).tolist()
    assert isinstance(again.tokenizer, Tokenizer)


@pytest.mark.parametrize("values", [{}, {"tokenizer": 3}, {"tokenizer": "{}", "size": 1}, {"tokenizer": "no json"}])
def test_another_transform_is_refused(values) -> None:
    with pytest.raises(InputError, match="tokenizer"):
        TextTransform.from_dict(values)
