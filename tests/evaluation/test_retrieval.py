"""Every sentence is weighed for every image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioning import Captioner
from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.batch import collate
from captioning.data.readers import Coco
from captioning.decoders import MRNN, ShowAndTell
from captioning.decoders.decoder import Decoder
from captioning.encoders import SmallCNN
from captioning.encoders.features import ImageFeatures
from captioning.evaluation.retrieval import retrieve, sentence_log_probs
from captioning.objectives import token_losses
from captioning.recurrent import GRU
from captioning.text import train_words

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


def test_a_captioner_s_scores_are_those_of_every_image_and_its_first_captions(scenes: Path) -> None:
    torch.manual_seed(0)
    splits = Splits(Coco(str(scenes)))
    tokenizer = train_words(splits.captions("train"), min_count=1)
    encoder = SmallCNN((16, 16), channels=(8, 8)).eval()
    decoder = MRNN(feature_size=encoder.feature_size, vocab_size=len(tokenizer)).eval()
    captioner = Captioner(encoder, decoder, tokenizer).eval()
    loading = Loading(split="test", eval_batch_size=3)
    data = CaptionDataModule(splits, loading, encoder=encoder, transform=captioner.transform, tokenizer=tokenizer)
    images = splits.images("test")
    image_files = captioner.pixels([image.path for image in images])
    captions = [text for image in images for text in image.captions[:2]]
    with torch.no_grad():
        log_probs = sentence_log_probs(decoder, encoder(image_files), tokenizer.encode(captions)).numpy()
    found = retrieve(captioner, data, captions_per_image=2)
    own = [n // 2 for n in range(len(captions))]  # the image of each sentence
    ranks = [
        1 + sum(p >= column[i] for n, p in enumerate(column) if n != i)
        for column, i in zip(log_probs.T, own, strict=True)
    ]
    assert found["text_to_image"]["median_rank"] == np.median(ranks)
    assert found["text_to_image"]["R@1"] == np.mean(np.array(ranks) == 1)
    gain = log_probs - np.log(np.exp(log_probs).mean(0))  # (7) with P(I) constant
    best = [max(row[2 * i : 2 * i + 2]) for i, row in enumerate(gain)]
    others = [[p for n, p in enumerate(row) if own[n] != i] for i, row in enumerate(gain)]
    expected = [1 + sum(p >= b for p in rest) for b, rest in zip(best, others, strict=True)]
    assert found["image_to_text"]["median_rank"] == np.median(expected)
