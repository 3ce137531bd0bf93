"""Encoders are built from their settings, and take parts or weights from other models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from captioning import Aligner, Captioner
from captioning.decoders import FC
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.matchers import Brnn
from captioning.recurrent import GRU
from captioning.text import Tokenizer
from captioning.training.encoder_parts import encoder_parts, new_encoder

ENCODER = {"_target_": "captioning.encoders.SmallCNN", "size": [8, 8], "channels": [8, 16], "grid": True}
SIZES = {"embedding_size": 5, "hidden_size": 5}


@pytest.fixture
def encoder() -> SmallCNN:
    return SmallCNN((8, 8), channels=(8, 16), grid=True)


def cells(weights: Path | None) -> object:
    where = None if weights is None else str(weights)
    return OmegaConf.create({"_target_": "captioning.encoders.GridCells", "weights": where})


def test_the_encoder_of_regions_is_the_aligner_s(encoder: SmallCNN, tokenizer: Tokenizer, tmp_path: Path):
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), "joint_size": 7, **SIZES}
    config = {
        "encoder": {**ENCODER, "weights": "somewhere"},
        "matcher": {"_target_": "captioning.matchers.Brnn"} | sizes,
    }
    folder = Aligner(encoder, Brnn(**sizes), tokenizer, config=config).save(tmp_path / "bundle")
    parts, plain = encoder_parts(cells(folder))
    assert parts.keys() == plain.keys() == {"encoder"}
    assert isinstance(parts["encoder"], SmallCNN)
    assert plain["encoder"] == {**ENCODER, "weights": None}


@pytest.fixture
def captioner(encoder: SmallCNN, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """The folder of a captioner."""
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), **SIZES}
    recurrent = {"_target_": "captioning.recurrent.GRU", "_partial_": True}
    config = {
        "encoder": ENCODER,
        "decoder": {"_target_": "captioning.decoders.FC", "recurrent": recurrent, **sizes},
        "search": {"_target_": "captioning.search.GreedySearch"},
    }
    torch.manual_seed(0)
    return Captioner(encoder, FC(recurrent=GRU, **sizes), tokenizer, config=config).save(tmp_path / "bundle")


def test_the_bundle_must_be_an_aligner_s(captioner: Path):
    with pytest.raises(InputError, match="holds a decoder, expected a matcher, which `captioning train"):
        encoder_parts(cells(captioner))
    with pytest.raises(InputError, match=r"encoder\.weights is null; expected the folder of an aligner's bundle"):
        encoder_parts(cells(None))


def test_other_encoders_are_built_from_their_settings_alone():
    assert encoder_parts(OmegaConf.create(ENCODER)) == ({}, {})


def test_an_encoder_has_the_weights_of_a_trained_model(encoder: SmallCNN, captioner: Path):
    torch.manual_seed(1)
    new, plain = new_encoder(OmegaConf.create(ENCODER | {"weights": str(captioner)}))
    assert new.identity() == encoder.identity()
    assert plain == {}


def test_a_trained_model_may_have_another_grid(encoder: SmallCNN, captioner: Path):
    new, _ = new_encoder(OmegaConf.create(ENCODER | {"weights": str(captioner), "grid": False}))
    assert not new.grid
    assert new.digest() == encoder.digest()


def test_the_trained_model_must_have_the_same_encoder(captioner: Path):
    other = {"_target_": "captioning.encoders.TimmEncoder", "model": "resnet18", "weights": str(captioner)}
    with pytest.raises(InputError, match=r"another encoder: SmallCNN \(.*\), expected TimmEncoder \(resnet18\)"):
        new_encoder(OmegaConf.create(other))
    wider = ENCODER | {"weights": str(captioner), "channels": [8, 32]}
    with pytest.raises(InputError, match=r"do not fit SmallCNN: .* of another shape"):
        new_encoder(OmegaConf.create(wider))


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=f"{tmp_path.name}.* is no bundle, and no run"):
        new_encoder(OmegaConf.create(ENCODER | {"weights": str(tmp_path)}))
    with pytest.raises(InputError, match="missing does not exist; expected a bundle"):
        new_encoder(OmegaConf.create(ENCODER | {"weights": str(tmp_path / "missing")}))


def test_a_file_of_weights_is_no_trained_model(tmp_path: Path):
    with pytest.raises(InputError, match=r"weights .*missing\.safetensors: no such file"):
        new_encoder(OmegaConf.create(ENCODER | {"weights": str(tmp_path / "missing.safetensors")}))
    (tmp_path / "weights.npz").touch()
    with pytest.raises(InputError, match=r"weights\.npz: expected a file ending in one of"):
        new_encoder(OmegaConf.create(ENCODER | {"weights": str(tmp_path / "weights.npz")}))
