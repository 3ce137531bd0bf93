"""The words that a detector finds are apart from the image's vector."""

from __future__ import annotations

import pytest
import torch

from captioning.encoders import DetectedWords, SmallCNN
from captioning.encoders.detectors import MaxOverRegions


@pytest.mark.parametrize("grid", [False, True])
def test_the_grid_is_there_if_it_is_asked_for(grid):
    encoder = SmallCNN((8, 8), channels=(8, 8), grid=True)
    detector = MaxOverRegions(feature_size=encoder.feature_size, vocab_size=3)
    model = DetectedWords(encoder=encoder, word_detector=detector, words=["<pad>", "a", "dog"], grid=grid).eval()
    with torch.no_grad():
        features = model(torch.randn(2, 3, 8, 8))
    assert (features.grid is not None) == grid
    assert features.words.shape == (2, 3)
    assert model.feature_size == encoder.feature_size
