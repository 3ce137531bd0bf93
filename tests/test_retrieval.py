"""Every sentence is weighed for every picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from captioning.data.batch import collate
from captioning.decoders import MRNN, ShowAndTell
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.objectives import token_losses
from captioning.recurrent import GRU
from captioning.retrieval import sentence_log_probs

SENTENCES = [[1, 5, 2], [1, 4, 6, 7, 2], [1, 2], [1, 4, 4, 2], [1, 8, 5, 2]]


@pytest.mark.parametrize("pairs", [1, 4, 7, 1024])
@pytest.mark.parametrize("kind", [MRNN, partial(ShowAndTell, recurrent=GRU)])
def test_each_pair_has_the_log_probability_that_it_has_alone(kind: Callable[..., Decoder[Any]], pairs: int) -> None:
    torch.manual_seed(0)
    decoder = kind(feature_size=3, vocab_size=9).eval()
    features = ImageFeatures(torch.randn(3, 3))
    found = sentence_log_probs(decoder, features, SENTENCES, pairs=pairs)
    alone = [
        [
            -token_losses(decoder, features.rows(torch.tensor([i])), collate([0], [[ids]], pad=0)).sum().item()
            for ids in SENTENCES
        ]
        for i in range(3)
    ]
    torch.testing.assert_close(found, torch.tensor(alone, dtype=torch.float64), atol=1e-5, rtol=0)
