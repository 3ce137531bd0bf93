"""The generated data of COCO's size have the form of the real ones, and are written once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from captioning.benchmarks.coco_size import Size, generate
from captioning.data.features.store import FeatureStore
from captioning.data.readers.karpathy import read_karpathy
from captioning.encoders import TorchvisionEncoder
from captioning.text import train_words

SIZE = Size(train=60, evaluated=7, grid=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    generate(folder, SIZE)
    return folder


@pytest.mark.parametrize(("name", "num_train", "regions"), [("pooled", 60, None), ("grid", 6, 49)])
def test_every_image_has_five_captions_and_features_of_the_encoder(
    folder: Path, name: str, num_train: int, regions: int | None
) -> None:
    data = generate(folder, SIZE)[name]
    encoder = TorchvisionEncoder("resnet50", str(data.weights), grid=regions is not None)
    for split, count in (("train", num_train), ("val", 7), ("test", 7)):
        images = read_karpathy(data.karpathy, folder, split, check_files=False)
        assert len(images) == count
        assert {len(image.captions) for image in images} == {5}
        if split == "test":
            continue
        store = FeatureStore(data.features / split)
        store.check(encoder.identity(), [image.image_id for image in images])
        features = store.features([images[-1].image_id])
        assert features.pooled.shape == (1, 2048)
        assert (None if features.grid is None else features.grid.shape[1]) == regions


def test_data_that_exist_are_used_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    generate(folder, SIZE)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_words_are_as_unequally_frequent_as_in_a_language(folder: Path) -> None:
    images = read_karpathy(generate(folder, SIZE)["pooled"].karpathy, folder, "train", check_files=False)
    captions = [caption for image in images for caption in image.captions]
    words = Counter(word for caption in captions for word in caption.lower().rstrip(".").split())
    assert train_words(captions, min_count=1).vocabulary[4:] == sorted(words, key=lambda word: (-words[word], word))
    lengths = [len(caption.split()) for caption in captions]
    assert 9 < np.mean(lengths) < 12
    assert words.most_common(1)[0][1] > 20 * np.median(list(words.values()))
