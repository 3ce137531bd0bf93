"""Splits and the data module: which files a split needs, and what an epoch brings."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.features.store import FeatureWriter
from captioning.data.readers import Coco, Flickr8k, Karpathy
from captioning.data.splits import Reader
from captioning.encoders import Blind, Encoder, SmallCNN
from captioning.errors import InputError
from captioning.text import train_words

SPLITS = {"train": "abcde", "val": "fg", "test": "hij"}
"""Images of each split; image n of the alphabet has 1 + n % 3 captions."""


def captions_of(name: str) -> tuple[str, ...]:
    number = ord(name) - ord("a")
    return tuple(f"A {word} {name} ." for word in ("small", "very large", "green and blue")[: 1 + number % 3])


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = ord(path.stem[-1])
    Image.effect_noise((20, 16), number).convert("RGB").save(path)


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    names = "".join(SPLITS.values())
    tokens = [f"{n}.jpg#{i}\t{text}\n" for n in names for i, text in enumerate(captions_of(n))]
    (tmp_path / "Flickr8k.token.txt").write_text("".join(tokens))
    for split, list_name in (("train", "train"), ("val", "dev"), ("test", "test")):
        listed = "".join(f"{name}.jpg\n" for name in SPLITS[split])
        (tmp_path / f"Flickr_8k.{list_name}Images.txt").write_text(listed)
    for name in names:
        draw(tmp_path / "Images" / f"{name}.jpg")
    return tmp_path


@pytest.fixture
def karpathy(tmp_path: Path) -> Path:
    images = [
        {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": text} for text in captions_of(name)]}
        for split, names in SPLITS.items()
        for name in names
    ]
    (tmp_path / "dataset_tiny.json").write_text(json.dumps({"images": images}))
    for image in images:
        draw(tmp_path / image["filename"])
    return tmp_path


def module(reader: Reader, *, encoder: Encoder | None = None, words: str = "", **loading: Any) -> CaptionDataModule:
    torch.manual_seed(0)
    encoder = encoder or SmallCNN((8, 8), channels=(8, 8)).eval()
    splits = Splits(reader, check_files=encoder.reads != "nothing" and "features" not in loading)
    return CaptionDataModule(
        splits,
        Loading(**loading),
        encoder=encoder,
        transform=encoder.transform,
        tokenizer=train_words([words] if words else splits.captions("train"), min_count=1),
    )


def epoch(data: CaptionDataModule, number: int) -> list[Any]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)  # as Lightning does
    return list(loader)


def words_of(data: CaptionDataModule, batches: list[Any]) -> Counter[tuple[Any, str]]:
    """How often each image came with each caption."""
    return Counter(
        (batch.image_ids[image], data.tokenizer.decode(tokens))
        for batch in batches
        for tokens, image in zip(batch.tokens.tolist(), batch.image_index.tolist(), strict=True)
    )


def keep_flickr8k(root: Path, split: str) -> None:
    for other in {"train": "train", "val": "dev", "test": "test"}.items() - {(split, split), (split, "dev")}:
        (root / f"Flickr_8k.{other[1]}Images.txt").unlink()
    keep_images(root / "Images", split)


def keep_images(folder: Path, split: str) -> None:
    for path in folder.glob("*.jpg"):
        if path.stem not in SPLITS[split]:
            path.unlink()


@pytest.mark.parametrize("split", SPLITS)
def test_flickr8k_needs_only_the_files_of_the_split_that_is_asked(flickr8k: Path, split: str) -> None:
    keep_flickr8k(flickr8k, split)
    data = Splits(Flickr8k(str(flickr8k)))
    assert data.references(split) == {f"{name}.jpg": captions_of(name) for name in SPLITS[split]}


@pytest.mark.parametrize("split", SPLITS)
def test_karpathys_json_needs_only_the_images_of_the_split_that_is_asked(karpathy: Path, split: str) -> None:
    keep_images(karpathy, split)
    data = Splits(Karpathy(str(karpathy / "dataset_tiny.json"), str(karpathy)))
    assert data.references(split) == {f"{name}.jpg": captions_of(name) for name in SPLITS[split]}
    assert data.name == "tiny"


@pytest.mark.parametrize("split", SPLITS)
def test_coco_needs_only_the_files_of_the_split_that_is_asked(scenes: Path, tmp_path: Path, split: str) -> None:
    whole = Splits(Coco(str(scenes))).references(split)
    name = f"captions_{split}2017.json"
    (tmp_path / "annotations").mkdir()
    shutil.copy(scenes / "annotations" / name, tmp_path / "annotations")
    shutil.copytree(scenes / f"{split}2017", tmp_path / f"{split}2017")
    data = module(Coco(str(tmp_path)), words="a red ball", split=split)
    assert data.splits.references(split) == whole
    batches = list(data.val_dataloader())
    assert [image_id for batch in batches for image_id in batch.image_ids] == list(whole)


def test_a_missing_data_set_says_how_it_is_made(tmp_path: Path) -> None:
    data = Splits(Coco(str(tmp_path), hint="make it: captioning scenes data/scenes"))
    with pytest.raises(InputError, match=r"no annotations/ in .*; make it: captioning scenes data/scenes"):
        data.images("train")


def test_flickr8k_may_be_split_by_karpathys_json(flickr8k: Path) -> None:
    sentences = [{"raw": "Another caption"}]
    images = [{"filename": "c.jpg", "split": "train", "sentences": sentences}]
    (flickr8k / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    data = Splits(Flickr8k(str(flickr8k), karpathy=str(flickr8k / "dataset_flickr8k.json")))
    assert data.references("train") == {"c.jpg": ("Another caption",)}


def test_objects_are_read_only_where_asked(scenes: Path) -> None:
    assert all(image.objects for image in Splits(Coco(str(scenes), objects=True)).images("val"))
    assert not any(image.objects for image in Splits(Coco(str(scenes))).images("val"))


def test_objects_of_karpathys_splits_are_those_of_the_official_files(scenes: Path, tmp_path: Path) -> None:
    official = {
        image.image_id: replace(image, mentions=())  # those are of the official captions
        for split in ("train", "val")
        for image in Splits(Coco(str(scenes), objects=True)).images(split)
    }
    entries = [
        {
            "filename": image.path.name,
            "filepath": image.path.parent.name,
            "cocoid": image.image_id,
            "split": ("train", "restval", "val")[number % 3],
            "sentences": [{"raw": caption} for caption in image.captions],
        }
        for number, image in enumerate(official.values())
    ]
    file = tmp_path / "dataset_coco.json"
    file.write_text(json.dumps({"images": entries}))
    data = Splits(Coco(str(scenes), karpathy=str(file), objects=True))
    images = [*data.images("train"), *data.images("val")]
    assert {image.path.parent.name for image in data.images("val")} == {"train2017", "val2017"}
    assert {image.image_id: image for image in images} == official
    assert not any(image.objects for image in Splits(Coco(str(scenes), karpathy=str(file))).images("val"))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
@pytest.mark.parametrize("captions_per_image", [None, 1, 2, 9])
def test_an_epoch_brings_every_caption_of_every_image_once(
    flickr8k: Path, batch_size: int, captions_per_image: int | None
) -> None:
    data = module(Flickr8k(str(flickr8k)), batch_size=batch_size, captions_per_image=captions_per_image)
    expected = Counter(
        (image.image_id, data.tokenizer.decode(data.tokenizer.encode([text])[0]))
        for image in data.splits.images("train")
        for text in image.captions
    )
    for number in range(2):
        batches = epoch(data, number)
        assert words_of(data, batches) == expected
        assert max(len(batch.image_ids) for batch in batches) <= batch_size
        if captions_per_image is None:
            assert sorted(i for batch in batches for i in batch.image_ids) == [f"{n}.jpg" for n in "abcde"]
        else:
            most = max(batch.image_index.bincount().max() for batch in batches)
            assert most == min(captions_per_image, 3)


def test_each_epoch_has_its_own_order_and_a_seed_repeats_it(flickr8k: Path) -> None:
    def orders(seed: int) -> list[list[Any]]:
        data = module(Flickr8k(str(flickr8k)), batch_size=1, seed=seed)
        return [[batch.image_ids for batch in epoch(data, number)] for number in range(3)]

    assert orders(1) == orders(1)
    assert len({str(order) for order in orders(1)}) > 1
    assert orders(1) != orders(2)


@pytest.mark.parametrize("eval_batch_size", [1, 2, 3, 64])
def test_evaluation_brings_every_image_once_in_the_split_s_order(flickr8k: Path, eval_batch_size: int) -> None:
    data = module(Flickr8k(str(flickr8k)), split="test", eval_batch_size=eval_batch_size)
    batches = list(data.val_dataloader())
    assert [image_id for batch in batches for image_id in batch.image_ids] == ["h.jpg", "i.jpg", "j.jpg"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_share_the_images_of_an_epoch_and_of_an_evaluation(flickr8k: Path, num_workers: int) -> None:
    trained, scored = [], []
    for rank in (0, 1):
        data = module(Flickr8k(str(flickr8k)), batch_size=1, eval_batch_size=1, num_workers=num_workers)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        trained.append([i for batch in epoch(data, 0) for i in batch.image_ids])
        scored.append([i for batch in data.evaluation_dataloader("test") for i in batch.image_ids])
    assert [len(own) for own in trained] == [3, 3]  # 5 images, one of them twice
    assert set(trained[0] + trained[1]) == {f"{n}.jpg" for n in "abcde"}
    assert scored == [["h.jpg", "j.jpg"], ["i.jpg", "h.jpg"]]


def test_long_captions_are_cut_in_training_alone_and_counted(flickr8k: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (flickr8k / "Flickr8k.token.txt").open("a") as file:
        file.write("b.jpg#2\tA very large and very green b .\n")
    data = module(Flickr8k(str(flickr8k)), max_length=5)
    with caplog.at_level(logging.INFO):
        cut = epoch(data, 0)
        whole = list(data.evaluation_dataloader("train"))
    eos = data.tokenizer.special.eos
    assert max(batch.tokens.shape[1] for batch in cut) == 1 + 5 + 1
    assert sum(int((batch.tokens == eos).sum()) for batch in cut) == 10 - 1  # what was cut has no end
    assert max(batch.tokens.shape[1] for batch in whole) == 1 + 7 + 1
    assert sum(int((batch.tokens == eos).sum()) for batch in whole) == 10
    assert "1 of 10 captions are longer than max_length=5 tokens and were truncated" in caplog.text


def test_an_unknown_word_of_an_evaluated_split_stays_unknown(flickr8k: Path) -> None:
    data = module(Flickr8k(str(flickr8k)))
    (batch,) = data.val_dataloader()
    assert (batch.tokens == data.tokenizer.special.unk).sum() == sum(len(captions_of(n)) for n in "fg")  # f and g


# ---- cached features --------------------------------------------------------------------------------------------


@pytest.fixture
def cached(flickr8k: Path) -> Callable[[], CaptionDataModule]:
    """Flickr8k with features of its splits train and val, and no images."""
    data = module(Flickr8k(str(flickr8k)))
    for split in ("train", "val"):
        image_files = [batch.images for batch in data.evaluation_dataloader(split)]
        ids = [image.image_id for image in data.splits.images(split)]
        folder = flickr8k / "features" / split
        with FeatureWriter(folder, data.encoder.identity(), ids, dtype="float32") as writer, torch.inference_mode():
            writer.write(data.encoder(torch.cat(image_files)))
    return lambda: module(Flickr8k(str(flickr8k)), features=str(flickr8k / "features"), batch_size=2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_cached_features_are_what_the_encoder_makes_of_the_images(
    flickr8k: Path, cached: Callable[[], CaptionDataModule], split: str
) -> None:
    data = module(Flickr8k(str(flickr8k)), batch_size=2)
    loaders = (
        (data.train_dataloader(), cached().train_dataloader())
        if split == "train"
        else (data.val_dataloader(), cached().val_dataloader())
    )
    for plain, stored in zip(*loaders, strict=True):
        assert stored.images is None
        assert stored.image_ids == plain.image_ids
        assert torch.equal(stored.tokens, plain.tokens)
        assert torch.equal(stored.image_index, plain.image_index)
        with torch.inference_mode():
            torch.testing.assert_close(stored.features.pooled, data.encoder(plain.images).pooled)


def test_cached_features_need_no_images(flickr8k: Path, cached: Callable[[], CaptionDataModule]) -> None:
    shutil.rmtree(flickr8k / "Images")
    assert sum(len(batch.image_ids) for batch in epoch(cached(), 0)) == 5
    with pytest.raises(InputError, match="5 have no file"):
        Splits(Flickr8k(str(flickr8k))).images("train")


@pytest.mark.parametrize("karpathys", [False, True])
def test_an_encoder_that_reads_nothing_needs_neither_images_nor_features(flickr8k: Path, karpathys: bool) -> None:
    shutil.rmtree(flickr8k / "Images")
    sentences = [{"raw": "A caption"}]
    images = [{"filename": f"{n}.jpg", "split": "train", "sentences": sentences} for n in SPLITS["train"]]
    (flickr8k / "dataset.json").write_text(json.dumps({"images": images}))
    source = {"karpathy": str(flickr8k / "dataset.json")} if karpathys else {}
    for features in (None, "nowhere"):
        loading = {} if features is None else {"features": features}
        data = module(Flickr8k(str(flickr8k), **source), encoder=Blind(), words="a small a", **loading)
        assert sum(len(batch.image_ids) for batch in epoch(data, 0)) == 5


def test_features_of_another_encoder_or_of_no_split_are_refused(
    flickr8k: Path, cached: Callable[[], CaptionDataModule]
) -> None:
    folder = cached().loading.features
    torch.manual_seed(7)
    other = SmallCNN((8, 8), channels=(8, 8)).eval()
    data = module(Flickr8k(str(flickr8k)), encoder=other, features=folder)
    with pytest.raises(InputError, match=r"features of another encoder: .*weights.*captioning extract"):
        data.train_dataloader()
    with pytest.raises(InputError, match="test"):
        cached().evaluation_dataloader("test")


def test_dev_has_the_features_of_val(flickr8k: Path, cached: Callable[[], CaptionDataModule]) -> None:
    val = cached()
    dev = module(Flickr8k(str(flickr8k)), features=val.loading.features, split="dev")
    assert dev.split == "val"
    for loader in (dev.val_dataloader(), dev.evaluation_dataloader("dev")):
        assert [i for batch in loader for i in batch.image_ids] == list(val.splits.references("val"))


# ---- augmentation -----------------------------------------------------------------------------------------------


def pixels(data: CaptionDataModule, number: int) -> dict[Any, Any]:
    return {
        image_id: one_image
        for batch in epoch(data, number)
        for image_id, one_image in zip(batch.image_ids, batch.images, strict=True)
    }


def same(one: dict[Any, Any], other: dict[Any, Any]) -> list[bool]:
    assert one.keys() == other.keys()
    return [torch.equal(one[image_id], other[image_id]) for image_id in one]


def test_augmented_images_depend_on_seed_and_epoch_and_not_on_workers(flickr8k: Path) -> None:
    def augmented(**loading: Any) -> CaptionDataModule:
        settings = {"batch_size": 2, "augment": {"brightness": 0.5}, "seed": 3, **loading}
        return module(Flickr8k(str(flickr8k)), **settings)

    first = pixels(augmented(), 0)
    torch.manual_seed(99)  # what was drawn before does not matter
    assert all(same(first, pixels(augmented(), 0)))
    assert all(same(first, pixels(augmented(num_workers=2), 0)))
    assert not any(same(first, pixels(augmented(), 1)))
    assert not any(same(first, pixels(augmented(seed=4), 0)))


def test_only_training_images_are_augmented(flickr8k: Path) -> None:
    augmented = module(Flickr8k(str(flickr8k)), augment={"brightness": 0.5})
    plain = module(Flickr8k(str(flickr8k)))
    for split in ("train", "val"):
        for one, other in zip(augmented.evaluation_dataloader(split), plain.evaluation_dataloader(split), strict=True):
            assert torch.equal(one.images, other.images)


def test_augmented_images_cannot_be_kept() -> None:
    with pytest.raises(InputError, match="an augmented image differs each time"):
        Loading(augment={"flip": 0.5}, keep_images=True)


def test_an_unknown_setting_of_augmentation_is_reported(flickr8k: Path) -> None:
    data = module(Flickr8k(str(flickr8k)), augment={"scale": (2.0, 3.0)})
    with pytest.raises(InputError, match="augmentation: scale"):
        data.train_dataloader()
    augment: Any
    for augment in ({"flip": 0.5}, True):
        data = module(Flickr8k(str(flickr8k)), augment=augment)
        with pytest.raises(InputError, match=r"data\.augment=.*: expected values of some of scale, .*horizontal_flip"):
            data.train_dataloader()


@pytest.mark.parametrize("pool", [1, 7])
def test_batches_are_filled_from_the_pool_that_is_asked_for(flickr8k: Path, pool: int) -> None:
    data = module(Flickr8k(str(flickr8k)), pool=pool)
    assert data.train_dataloader().sampler.pool == pool
