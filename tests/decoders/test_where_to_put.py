"""The image's vector, and the initial weights of the four decoders."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import Merge
from captioning.decoders.where_to_put import ImageVector
from captioning.recurrent import LSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19, "image_size": 23}


@pytest.mark.parametrize("normalise", [True, False])
def test_only_the_direction_of_a_normalised_feature_matters(features, normalise):
    image = ImageVector(13, 23, normalise=normalise, dropout=0.0)
    assert image(7 * features.pooled).allclose(image(features.pooled), atol=1e-6) == normalise


@pytest.mark.parametrize(("std", "clip", "clipped"), [(1.0, 0.1, 0.9), (None, 0.01, 0.8), (0.1, 10.0, 0.0)])
def test_initial_weights_are_normal_and_clipped(std, clip, clipped):
    # P(|x| > 0.1) = 0.92 for a standard normal x; Xavier's deviation is 0.17 to 0.25 at these sizes.
    torch.manual_seed(0)
    layer = partial(LSTM, forget_bias=5.0)
    model = Merge(**SIZES, recurrent=layer, init_std=std, init_clip=clip)
    weights = torch.cat([w.flatten() for w in model.parameters() if w.dim() > 1])
    assert weights.abs().max() <= clip
    assert (weights.abs() == torch.tensor(clip)).float().mean() >= clipped
    assert not model.head.bias.any()
    assert not model.image.linear.bias.any()
    assert model.recurrent.fused.bias_ih_l0[19 : 2 * 19].min() > 4  # the layer's own


def test_initial_weights_may_be_xavier_s():
    torch.manual_seed(0)
    model = Merge(**{**SIZES, "vocab_size": 2000}, recurrent=LSTM, init_std=None, init_clip=None)
    expected = torch.tensor((2 / (2000 + 17)) ** 0.5)
    assert_close(model.embedding.weight.std(), expected, rtol=0.02, atol=0)
