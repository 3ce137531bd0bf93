"""Building a captioner from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from captioning.commands import config_folder
from captioning.data import CaptionDataModule, CocoDataModule
from captioning.data.example import CaptionedImage
from captioning.data.feature_store import FeatureWriter
from captioning.errors import InputError
from captioning.text import train_words
from captioning.training import build_captioner


class TrainAlone(CocoDataModule):
    """A data set of which no split but train may be looked at."""

    def read(self, split: str) -> list[CaptionedImage]:
        assert split == "train"
        return super().read(split)


def compose(*overrides: str) -> DictConfig:
    tiny = ("encoder.size=[8,8]", "encoder.feature_size=6", "encoder.channels=[8,8]", "decoder.hidden_size=5")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return hydra.compose("train", [*tiny, "decoder.embedding_size=7", "name=x", "output=x", *overrides])


def built(data: CaptionDataModule, *overrides: str) -> Any:
    torch.manual_seed(0)
    return build_captioner(compose(*overrides), data)


def test_vocabulary_and_statistics_come_from_the_training_split_alone(scenes: Path) -> None:
    data = TrainAlone(str(scenes))
    captioner = built(data, "standardise=true", "text.min_count=1")
    assert captioner.tokenizer.to_json() == train_words(data.captions("train"), min_count=1).to_json()
    assert not torch.equal(captioner.standardise.std, torch.ones(6))


def test_statistics_are_the_same_from_cached_features_as_from_pictures(scenes: Path, tmp_path: Path) -> None:
    plain = built(CocoDataModule(str(scenes)), "standardise=true")
    data = CocoDataModule(str(scenes))
    data.connect(plain.encoder, plain.tokenizer)
    ids = [image.image_id for image in data.images("train")]
    with (
        FeatureWriter(tmp_path / "train", plain.encoder.identity(), ids, dtype="float32") as writer,
        torch.inference_mode(),
    ):
        for batch in data.evaluation_dataloader("train"):
            writer.write(plain.encoder(batch.images))
    cached = built(CocoDataModule(str(scenes), features=str(tmp_path)), "standardise=true")
    for name in ("mean", "std"):
        torch.testing.assert_close(getattr(cached.standardise, name), getattr(plain.standardise, name))


def test_features_that_move_cannot_be_standardised(scenes: Path) -> None:
    with pytest.raises(InputError, match="standardise=true needs a frozen encoder"):
        built(CocoDataModule(str(scenes)), "standardise=true", "finetuning=whole")


def test_a_captioner_knows_what_its_bundle_needs(scenes: Path) -> None:
    captioner = built(CocoDataModule(str(scenes)))
    assert set(captioner.config) == {"encoder", "decoder", "search", "standardise"}
    assert captioner.config["decoder"]["vocab_size"] == len(captioner.tokenizer)
    assert captioner.config["decoder"]["feature_size"] == 6
