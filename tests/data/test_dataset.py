"""A split whose items are whole batches."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from captioning.data.dataset import CaptionDataset
from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.data.features.store import FeatureStore, FeatureWriter
from captioning.data.sampler import Rows
from captioning.data.sources import Images
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.text import Tokenizer

CAPTIONS = [("a dog runs",), (), ("a cat", "a cat sleeps on a field")]


@pytest.fixture
def images(tmp_path: Path) -> list[CaptionedImage]:
    found = []
    for n, captions in enumerate(CAPTIONS):
        path = tmp_path / f"{n}.png"
        Image.new("RGB", (4, 3), (n, 2 * n, 255)).save(path)
        found.append(CaptionedImage(10 + n, path, captions))
    return found


def level(one_image: Image.Image) -> torch.Tensor:
    return torch.tensor([[[float(one_image.getpixel((0, 0))[0])]]])


def noisy(one_image: Image.Image) -> torch.Tensor:
    return torch.rand(1, 2, 2)


def seeded(rows: list[int], seed: int) -> Rows:
    chosen = Rows(rows)
    chosen.seed = seed
    return chosen


def test_an_item_is_the_batch_of_the_rows_that_are_asked_for(
    images: list[CaptionedImage], tokenizer: Tokenizer
) -> None:
    dataset = CaptionDataset(
        images, EncodedCaptions(images, tokenizer), pad=tokenizer.special.pad, source=Images(level)
    )
    assert len(dataset) == 3
    batch = dataset[[2, 1]]
    assert batch.image_ids == (12, 11)
    assert batch.images.flatten().tolist() == [2.0, 1.0]
    assert [tokenizer.decode(tokens) for tokens in batch.tokens.tolist()] == ["a cat sleeps on a field", "a cat"]
    assert batch.image_index.tolist() == [0, 0]
    assert batch.lengths.tolist() == [7, 3]


def test_what_is_random_depends_on_the_rows_seed_alone(images: list[CaptionedImage], tokenizer: Tokenizer) -> None:
    dataset = CaptionDataset(images, EncodedCaptions(images, tokenizer), pad=0, source=Images(noisy))
    first = dataset[seeded([0, 1], 5)].images
    torch.rand(3)
    assert torch.equal(dataset[seeded([0, 1], 5)].images, first)
    assert not torch.equal(dataset[seeded([0, 1], 6)].images, first)
    assert not torch.equal(first[0], first[1])


def test_images_that_are_kept_are_read_once(images: list[CaptionedImage], tokenizer: Tokenizer) -> None:
    captions = EncodedCaptions(images, tokenizer)
    kept = CaptionDataset(images, captions, pad=0, source=Images(level, keep=True))
    read_anew = CaptionDataset(images, captions, pad=0, source=Images(level))
    before = kept[[0, 2]].images
    Image.new("RGB", (4, 3), (77, 0, 0)).save(images[2].path)
    assert torch.equal(kept[[0, 2]].images, before)
    assert read_anew[[0, 2]].images.flatten().tolist() == [0.0, 77.0]


def test_making_a_batch_draws_nothing_from_the_random_numbers_of_training(
    images: list[CaptionedImage], tokenizer: Tokenizer
) -> None:
    dataset = CaptionDataset(images, EncodedCaptions(images, tokenizer), pad=0, source=Images(noisy))
    before = torch.get_rng_state()
    dataset[seeded([0, 1, 2], 5)]
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_read_by_image_id_and_workers_get_the_same(
    images: list[CaptionedImage], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with FeatureWriter(tmp_path / "store", {}, [12, 10, 11], dtype="float32") as writer:
        writer.write(ImageFeatures(torch.tensor([[12.0], [10.0], [11.0]])))
    for path in tmp_path.glob("*.png"):
        path.unlink()
    dataset = CaptionDataset(images, EncodedCaptions(images, tokenizer), pad=0, source=FeatureStore(tmp_path / "store"))
    for own in (dataset, pickle.loads(pickle.dumps(dataset))):
        batch = own[[0, 2]]
        assert batch.images is None
        assert batch.features.pooled.tolist() == [[10.0], [12.0]]


def test_an_image_that_cannot_be_read_is_named(images: list[CaptionedImage], tokenizer: Tokenizer) -> None:
    dataset = CaptionDataset(images, EncodedCaptions(images, tokenizer), pad=0, source=Images(level))
    images[1].path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1\.png"):
        dataset[[0, 1]]
