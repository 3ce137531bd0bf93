"""The matcher of one vector for each sentence, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captioning.matchers import SentenceVector
from captioning.recurrent import GRU, Bidirectional

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "joint_size": 23}
WORDS = [[4, 9, 5], [6, 4, 8, 10, 7], [5]]


@pytest.mark.parametrize("recurrent", [None, partial(Bidirectional, layer=GRU)], ids=["bag", "gru"])
def test_is_the_cosine_of_the_image_and_of_the_mean_over_words(features, recurrent):
    torch.manual_seed(0)
    model = SentenceVector(**SIZES, hidden_size=38, recurrent=recurrent).double()
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    layer = None
    if recurrent is not None:  # torch's own, of both directions
        layer = nn.GRU(17, 19, bidirectional=True).double()
        for name, direction in (("", model.recurrent.forwards), ("_reverse", model.recurrent.backwards)):
            for key, weight in direction.fused.named_parameters():
                getattr(layer, f"{key}{name}").data.copy_(weight)
    tokens = torch.tensor([[*words, *[9] * (5 - len(words))] for words in WORDS])
    features = features.cast(torch.float64)
    got = model.similarity(model.images(features), model.sentences(tokens, torch.tensor([3, 5, 1])))
    for n, words in enumerate(WORDS):
        x = model.embedding.weight[torch.tensor(words)]
        h = x if layer is None else layer(x)[0]
        s = model.head.weight @ (sum(h) / len(words)) + model.head.bias
        for k, image in enumerate(features.pooled):
            v = model.image.weight @ image + model.image.bias
            cosine = sum(v * s) / (sum(v * v).sqrt() * sum(s * s).sqrt())
            assert_close(got[k, n], cosine)


def test_parameter_count():
    # V E, F h + h and E h + h; a bag of words has no recurrent layer.
    model = SentenceVector(feature_size=1280, vocab_size=2538, recurrent=None)
    assert sum(p.numel() for p in model.parameters()) == 2538 * 300 + 1280 * 1024 + 1024 + 300 * 1024 + 1024
