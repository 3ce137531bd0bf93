"""The objective that also detects words on the picture."""

from __future__ import annotations

import pytest
import torch

from captioning.decoders import MRNN
from captioning.objectives import CaptionAndWords, CrossEntropy


def test_it_adds_the_cross_entropy_of_each_word_s_presence(batch, features) -> None:
    torch.manual_seed(0)
    decoder = MRNN(feature_size=features.pooled.shape[1], vocab_size=11)
    objective = CaptionAndWords(feature_size=features.pooled.shape[1], vocab_size=11, weight=0.3)
    expected = 0.0
    logits = objective.words(features.pooled).detach().double()
    for row in range(len(features)):
        present = {
            int(token)
            for n, image in enumerate(batch.image_index.tolist())
            if image == row
            for token in batch.tokens[n, 1 : 1 + int(batch.lengths[n])]
        }
        for word in range(11):
            p = torch.sigmoid(logits[row, word])
            expected -= float(torch.log(p if word in present else 1 - p)) / len(features)
    captions = CrossEntropy()(decoder, features, batch)
    assert objective(decoder, features, batch).item() == pytest.approx(captions.item() + 0.3 * expected, abs=1e-5)


def test_its_gradient_reaches_the_features(batch, features) -> None:
    decoder = MRNN(feature_size=features.pooled.shape[1], vocab_size=11)
    pooled = features.pooled.clone().requires_grad_()
    objective = CaptionAndWords(feature_size=pooled.shape[1], vocab_size=11)
    objective(decoder, type(features)(pooled), batch).backward()
    assert pooled.grad is not None and pooled.grad.abs().sum() > 0
    assert objective.words.weight.grad is not None
