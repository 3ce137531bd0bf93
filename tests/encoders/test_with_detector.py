"""An encoder carries a word detector, whose weights come from the detector's bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captioning.encoders import DetectedWords, ImageAndWords, SmallCNN, Standardise, TextEncoder, WithDetector
from captioning.encoders.detectors import NoisyOr
from captioning.errors import InputError
from captioning.recurrent import GRU

WORDS = ("<pad>", "dog", "red", "a", "ball")


def small_cnn() -> SmallCNN:
    return SmallCNN((8, 8), channels=(8, 8), grid=True)


def detector(feature_size: int = 6) -> NoisyOr:
    found = NoisyOr(feature_size=feature_size, vocab_size=len(WORDS))
    torch.nn.init.normal_(found.head.weight)
    return found


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, torch.Tensor]:
    """The weights of a word detector's model, as its bundle holds them, in `tmp_path`."""
    torch.manual_seed(3)
    encoder, scale = small_cnn(), Standardise(small_cnn().feature_size)
    scale.mean.normal_(), scale.grid_mean.normal_(), scale.std.uniform_(0.5, 2), scale.grid_std.uniform_(0.5, 2)
    weights = {
        **{f"encoder.{k}": v for k, v in encoder.state_dict().items()},
        **{f"detector.{k}": v for k, v in detector(encoder.feature_size).state_dict().items()},
        **{f"standardise.{k}": v for k, v in scale.state_dict().items()},
        "calibration.precision": torch.zeros(5, 2),
    }
    weights = {name: value.contiguous() for name, value in weights.items()}
    save_file(weights, tmp_path / "model.safetensors")
    return weights


def with_detector(kind: type[WithDetector], weights: Path | None, **others: object) -> WithDetector:
    encoder = small_cnn()
    parts = {"encoder": encoder, "word_detector": detector(encoder.feature_size), "words": WORDS, "standardise": 1.0}
    return kind(**parts, weights=None if weights is None else str(weights), **others).eval()


@pytest.mark.parametrize("kind", [DetectedWords, ImageAndWords])
def test_words_are_those_of_the_detector_on_standardised_features(kind, saved, tmp_path):
    model, images = with_detector(kind, tmp_path), torch.randn(3, 3, 8, 8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[name]), name
    with torch.no_grad():
        plain = model.encoder(images)
        expected = model.detector(model.standardise(plain))
        found = model(images)
    words = found.words if kind is DetectedWords else found.pooled[:, -5:]
    pooled = found.pooled[:, : plain.pooled.shape[1]]
    assert torch.equal(words, expected)
    assert torch.equal(pooled, plain.pooled)  # the image's own vector is not standardised here
    assert model.feature_size == found.pooled.shape[1]


def test_the_transform_is_the_encoder_s():
    model = with_detector(DetectedWords, None)
    assert model.transform is model.encoder.transform


def test_another_detector_is_another_identity(saved, tmp_path):
    one, other = with_detector(DetectedWords, tmp_path), with_detector(DetectedWords, tmp_path)
    with torch.no_grad():
        other.detector.head.bias[2] += 1e-3
    assert one.identity() == with_detector(DetectedWords, tmp_path).identity()
    assert one.identity() != other.identity()


def test_weights_of_another_model_are_refused(saved, tmp_path):
    del saved["detector.head.bias"]
    save_file(saved, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"detector\.head\.bias"):
        with_detector(DetectedWords, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        with_detector(DetectedWords, tmp_path / "nothing")


def test_the_words_must_be_the_detector_s():
    with pytest.raises(InputError, match="found 2 words and a detector of 5"):
        DetectedWords(encoder=small_cnn(), word_detector=detector(), words=["a", "b"])


def test_words_are_found_in_images_alone():
    texts = TextEncoder(vocab_size=7, recurrent=GRU, embedding_size=3, hidden_size=5)
    with pytest.raises(InputError, match="TextEncoder reads texts"):
        DetectedWords(encoder=texts, word_detector=detector(), words=WORDS)
