"""Building a captioner from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from safetensors.torch import save_file

from captioning.bundle import load_bundle, save_bundle
from captioning.commands import config_folder
from captioning.data import CaptionDataModule, CocoDataModule
from captioning.data.example import CaptionedImage
from captioning.data.feature_store import FeatureWriter
from captioning.data.images import load_image
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.text import train_words
from captioning.training import build_captioner, fit_standardise


class TrainAlone(CocoDataModule):
    """A data set of which no split but train may be looked at."""

    def read(self, split: str) -> list[CaptionedImage]:
        assert split == "train"
        return super().read(split)


def compose(*overrides: str) -> DictConfig:
    tiny = ("encoder.size=[8,8]", "encoder.channels=[8,8]", "decoder.hidden_size=5")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return hydra.compose("train", [*tiny, "decoder.embedding_size=7", "name=x", "output=x", *overrides])


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The overrides of an encoder that has its weights and keeps them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    save_file(SmallCNN((8, 8), channels=(8, 8)).state_dict(), path)
    return f"encoder.weights={path}", "finetuning=frozen"


def built(data: CaptionDataModule, *overrides: str) -> Any:
    torch.manual_seed(0)
    return build_captioner(compose(*overrides), data)


def test_vocabulary_and_statistics_come_from_the_training_split_alone(scenes: Path, frozen: tuple[str, str]) -> None:
    data = TrainAlone(str(scenes))
    captioner = built(data, *frozen, "standardise=true", "text.min_count=1")
    assert captioner.tokenizer.to_json() == train_words(data.captions("train"), min_count=1).to_json()
    assert not torch.equal(captioner.standardise.std, torch.ones(6))


def test_statistics_are_the_same_from_cached_features_as_from_pictures(
    scenes: Path, tmp_path: Path, frozen: tuple[str, str]
) -> None:
    plain = built(CocoDataModule(str(scenes)), *frozen, "standardise=true")
    data = CocoDataModule(str(scenes))
    data.connect(plain.encoder, plain.tokenizer)
    ids = [image.image_id for image in data.images("train")]
    with (
        FeatureWriter(tmp_path / "train", plain.encoder.identity(), ids, dtype="float32") as writer,
        torch.inference_mode(),
    ):
        for batch in data.evaluation_dataloader("train"):
            writer.write(plain.encoder(batch.images))
    cached = built(CocoDataModule(str(scenes), features=str(tmp_path)), *frozen, "standardise=true")
    for name in ("mean", "std"):
        torch.testing.assert_close(getattr(cached.standardise, name), getattr(plain.standardise, name))


@pytest.mark.parametrize("eval_batch_size", [3, 5, 64])
def test_statistics_are_of_as_many_pictures_whatever_the_batch(
    scenes: Path, frozen: tuple[str, str], eval_batch_size: int
) -> None:
    data = CocoDataModule(str(scenes), eval_batch_size=eval_batch_size)
    captioner = built(data, *frozen, "standardise=true")
    fit_standardise(captioner, data, most=5)
    pictures = [captioner.encoder.transform(load_image(image.path)) for image in data.images("train")[:5]]
    with torch.inference_mode():
        expected = captioner.encoder(torch.stack(pictures)).pooled.mean(0)
    torch.testing.assert_close(captioner.standardise.mean, expected)


def test_features_that_move_cannot_be_standardised(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"standardise=true needs a frozen encoder.* finetuning=frozen"):
        built(CocoDataModule(str(scenes)), "standardise=true", "finetuning=whole")


@pytest.mark.parametrize("data", ["scenes", "flickr8k"])
def test_an_encoder_with_random_weights_must_learn(scenes: Path, data: str) -> None:
    settings = (f"data={data}", f"data.root={scenes}")
    assert built(CocoDataModule(str(scenes)), *settings).finetuning is not None
    with pytest.raises(InputError, match="random weights that does not learn sees nothing; set finetuning=whole"):
        built(CocoDataModule(str(scenes)), *settings, "finetuning=frozen")


@pytest.mark.parametrize("encoder", ["resnet50", "efficientnet_lite"])
def test_an_encoder_with_published_weights_is_frozen_unless_it_is_asked_for(encoder: str) -> None:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        assert hydra.compose("train", [f"encoder={encoder}"]).finetuning is None
        assert hydra.compose("train", [f"encoder={encoder}", "finetuning=whole"]).finetuning is not None
        assert hydra.compose("train", ["finetuning=frozen"]).finetuning is None


def test_a_captioner_knows_what_its_bundle_needs(scenes: Path) -> None:
    captioner = built(CocoDataModule(str(scenes)))
    assert set(captioner.config) == {"encoder", "decoder", "search", "standardise"}
    assert captioner.config["decoder"]["vocab_size"] == len(captioner.tokenizer)
    assert captioner.config["decoder"]["feature_size"] == 8 + 13


def test_a_run_s_bundle_scales_features_as_the_run_did(scenes: Path, tmp_path: Path, frozen: tuple[str, str]) -> None:
    data = CocoDataModule(str(scenes))
    captioner = built(data, *frozen, "standardise=0.2").eval()
    bundled = load_bundle(save_bundle(captioner, tmp_path / "bundle"))
    pictures = [image.path for image in data.images("val")]
    assert bundled.caption(pictures) == captioner.caption(pictures)


def test_categories_of_objects_come_from_the_training_split_alone(scenes: Path) -> None:
    data = TrainAlone(str(scenes), objects=True)
    captioner = built(data, "decoder=obj2text")
    assert list(captioner.decoder.categories) == data.categories("train")


def test_a_captioner_s_random_numbers_start_from_the_run_s_seed(scenes: Path) -> None:
    assert built(CocoDataModule(str(scenes)), "seed=5").seed == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics.names=[WER]", "expected metrics among BLEU, METEOR, .*found .'WER'"),
        ("metrics.names=[BLEU]", "the epoch is chosen by CIDEr; add it"),
        ("metrics.names=[CIDEr,SPICE]", "SPICE needs"),
        ("metrics.backend=x", "expected one of the backends captioning, pycocoevalcap"),
    ],
)
def test_metrics_that_validation_cannot_compute_are_told_before_training(
    scenes: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        built(CocoDataModule(str(scenes)), override)
