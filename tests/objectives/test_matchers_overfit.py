"""Every matcher learns a few pairs by heart, with every loss of pairs."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from captioning.data.batch import collate
from captioning.encoders.features import ImageFeatures
from captioning.matchers import Brnn, SentenceVector
from captioning.objectives import Contrastive, HardestNegatives, MaxMargin
from captioning.recurrent import GRU, Bidirectional

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 38, "joint_size": 23}
MATCHERS = {
    "Brnn": Brnn,
    "Brnn-normalised": partial(Brnn, normalise=True),
    "SentenceVector": partial(SentenceVector, recurrent=partial(Bidirectional, layer=GRU)),
    "SentenceVector-bag": partial(SentenceVector, recurrent=None),
}
LOSSES = [MaxMargin(eos=2, margin=0.2), HardestNegatives(eos=2, margin=0.2), Contrastive(eos=2, gamma=20.0)]


@pytest.mark.parametrize("objective", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("build", MATCHERS.values(), ids=MATCHERS)
def test_true_pairs_come_to_score_highest(build, objective):
    torch.manual_seed(0)
    matcher = build(**SIZES)
    features = ImageFeatures(torch.randn(5, 13), torch.randn(5, 3, 13))
    captions = [[[1, 4, 5, 2], [1, 4, 6, 7, 2]], [[1, 5, 6, 2]], [[1, 7, 2]], [[1, 8, 9, 2]], [[1, 9, 5, 10, 2]]]
    batch = collate("vwxyz", captions, pad=0, features=features)
    optimizer = torch.optim.Adam(matcher.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        objective(matcher, features, batch).backward()
        optimizer.step()
    scores = matcher.similarity(matcher.images(features), matcher.sentences(*batch.words(2)))
    assert scores.argmax(0).equal(batch.image_index)
    assert batch.image_index[scores.argmax(1)].equal(torch.arange(5))
