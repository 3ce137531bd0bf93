"""The image's vector is its feature and the probabilities of its words."""

from __future__ import annotations

import torch

from captioning.decoders import ShowAndTell
from captioning.encoders import ImageAndWords, SmallCNN
from captioning.encoders.detectors import WholeImage
from captioning.recurrent import LSTM


def test_any_decoder_of_a_vector_reads_the_words():
    torch.manual_seed(0)
    encoder = SmallCNN((8, 8), channels=(8, 8))
    detector = WholeImage(feature_size=encoder.feature_size, vocab_size=3)
    model = ImageAndWords(encoder=encoder, word_detector=detector, words=["<pad>", "a", "dog"]).eval()
    decoder = ShowAndTell(
        feature_size=model.feature_size, vocab_size=7, recurrent=LSTM, embedding_size=5, hidden_size=5
    ).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = decoder.start(model(images)).recurrent[0]
        detector.head.bias[2] = 5.0  # another word is found, in the same images
        after = decoder.start(model(images)).recurrent[0]
    assert model(images).words is None and model(images).grid is None
    assert not torch.allclose(before, after)
