"""Parts of encoders come from the bundles of other models."""

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
from captioning.training.encoder_parts import encoder_parts

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


def test_the_bundle_must_be_an_aligner_s(encoder: SmallCNN, tokenizer: Tokenizer, tmp_path: Path):
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), **SIZES}
    recurrent = {"_target_": "captioning.recurrent.GRU", "_partial_": True}
    config = {
        "encoder": ENCODER,
        "decoder": {"_target_": "captioning.decoders.FC", "recurrent": recurrent, **sizes},
        "search": {"_target_": "captioning.search.GreedySearch"},
    }
    torch.manual_seed(0)
    folder = Captioner(encoder, FC(recurrent=GRU, **sizes), tokenizer, config=config).save(tmp_path / "bundle")
    with pytest.raises(InputError, match="holds a decoder, expected a matcher, which `captioning train"):
        encoder_parts(cells(folder))
    with pytest.raises(InputError, match=r"encoder\.weights is null; expected the folder of an aligner's bundle"):
        encoder_parts(cells(None))


def test_other_encoders_are_built_from_their_settings_alone():
    assert encoder_parts(OmegaConf.create(ENCODER)) == ({}, {})
