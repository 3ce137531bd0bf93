"""Caching features: each image once, in the order of its split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from captioning.commands.extract import extract
from captioning.data import Splits
from captioning.data.features.extract import ImageBatches, encode, write_split
from captioning.data.features.store import FeatureStore, FeatureWriter
from captioning.data.images import load_image
from captioning.data.readers import Coco
from captioning.data.sampler import InOrderSampler
from captioning.data.sources import Images
from captioning.encoders import SmallCNN
from captioning.errors import InputError


@pytest.fixture
def config(scenes: Path, tmp_path: Path) -> DictConfig:
    torch.manual_seed(0)
    return OmegaConf.create(
        {
            "data": {"_target_": "captioning.data.readers.Coco", "root": str(scenes), "num_workers": 0},
            "encoder": {
                "_target_": "captioning.encoders.SmallCNN",
                "size": [8, 8],
                "channels": [8, 8],
                "grid": True,
            },
            "features": str(tmp_path / "features"),
            "splits": ["val"],
            "dtype": "float32",
            "precision": "float32",
            "batch_size": 3,
            "regions": None,
            "bundle": None,
            "device": "cpu",
        }
    )


def test_a_store_holds_what_the_encoder_makes_of_each_image(config: DictConfig, scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    extract(config)
    torch.manual_seed(5)
    encoder = SmallCNN((8, 8), channels=(8, 8), grid=True).eval()
    store, images = FeatureStore(tmp_path / "features" / "val"), Splits(Coco(str(scenes))).images("val")
    store.check(encoder.identity(), [image.image_id for image in images])
    assert list(store.image_ids) == [image.image_id for image in images]
    for image in images:
        with torch.inference_mode():
            expected = encoder(encoder.transform(load_image(image.path))[None])
        found = store.features([image.image_id])
        torch.testing.assert_close(found.pooled, expected.pooled)
        torch.testing.assert_close(found.grid, expected.grid)
    assert not (tmp_path / "features" / "train").exists()


def test_what_is_done_is_not_done_again(config: DictConfig, scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    encoder = SmallCNN((8, 8), channels=(8, 8), grid=True).eval()
    images = Splits(Coco(str(scenes))).images("val")
    ids = [image.image_id for image in images]
    marked = torch.full((4, encoder.feature_size), 42.0)
    with FeatureWriter(tmp_path / "features" / "val", encoder.identity(), ids, dtype="float32") as writer:
        with torch.inference_mode():
            features = encoder(torch.stack([encoder.transform(load_image(image.path)) for image in images[:4]]))
        writer.write(type(features)(marked, features.grid))
    torch.manual_seed(5)
    extract(config)
    pooled = np.load(tmp_path / "features" / "val" / "pooled.npy")
    assert (pooled[:4] == 42).all()
    assert (pooled[4:] != 42).all()
    torch.manual_seed(5)
    extract(config)  # a third call has nothing to do
    np.testing.assert_array_equal(np.load(tmp_path / "features" / "val" / "pooled.npy"), pooled)


def test_workers_change_nothing(scenes: Path, tmp_path: Path) -> None:
    encoder = SmallCNN((8, 8), channels=(8, 8)).eval()
    images = Splits(Coco(str(scenes))).images("val")
    stores = []
    for workers in (0, 2):
        batches = ImageBatches(images, Images(encoder.transform))
        loader = torch.utils.data.DataLoader(
            batches, batch_size=None, sampler=InOrderSampler(len(images), 3), num_workers=workers
        )
        ids = [image.image_id for image in images]
        with FeatureWriter(tmp_path / str(workers), encoder.identity(), ids, dtype="float32") as writer:
            write_split("val", encode(encoder, loader, torch.device("cpu")), writer)
        stores.append(np.load(tmp_path / str(workers) / "pooled.npy"))
    np.testing.assert_array_equal(*stores)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 0, "batch_size=0 must be at least 1"),
        ("device", "abacus", "device=abacus: "),
        ("regions", "boxes.tsv", "regions=boxes.tsv with SmallCNN: regions=FILES and encoder=regions go together"),
    ],
)
def test_an_impossible_setting_is_reported(config: DictConfig, key: str, value: object, message: str) -> None:
    config[key] = value
    with pytest.raises(InputError, match=message):
        extract(config)
