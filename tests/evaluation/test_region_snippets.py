"""Snippets become the captions of regions, and regions the images of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from captioning import Aligner
from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.features.store import FeatureStore
from captioning.data.readers import Coco, Karpathy
from captioning.encoders import GridCells, ImageFeatures, SmallCNN
from captioning.errors import InputError
from captioning.evaluation.region_snippets import FEATURES, FILE, chosen_rows, find_snippets, write_regions
from captioning.matchers import Brnn, SentenceVector
from captioning.recurrent import GRU
from captioning.text import Tokenizer, train_bpe, train_words


@pytest.fixture(scope="module")
def splits(scenes: Path) -> Splits:
    return Splits(Coco(str(scenes)))


@pytest.fixture(scope="module")
def tokenizer(splits: Splits) -> Tokenizer:
    return train_words(splits.captions("train"), min_count=20)  # rarer words are unknown


@pytest.fixture(scope="module")
def aligner(tokenizer: Tokenizer) -> Aligner:
    """An aligner that has learned nothing: neighbouring words often have other regions."""
    torch.manual_seed(3)
    encoder = SmallCNN((16, 16), channels=(8, 16), grid=True)
    sizes = {"embedding_size": 7, "hidden_size": 11, "joint_size": 13}
    matcher = Brnn(feature_size=encoder.feature_size, vocab_size=len(tokenizer), init_range=3.0, **sizes)
    return Aligner(encoder, matcher, tokenizer).eval()


def opened(aligner: Aligner, splits: Splits) -> CaptionDataModule:
    return CaptionDataModule(
        splits,
        Loading(eval_batch_size=3),
        encoder=aligner.encoder,
        transform=aligner.transform,
        tokenizer=aligner.tokenizer,
    )


@pytest.fixture(scope="module")
def data(aligner: Aligner, splits: Splits) -> CaptionDataModule:
    return opened(aligner, splits)


class InMemory:
    """A reader of one image of the scenes with other captions."""

    name = "memory"

    def __init__(self, splits: Splits, captions: Sequence[str]) -> None:
        self.splits, self.captions = splits, tuple(captions)

    def read(self, split: str, *, check_files: bool = True) -> list[object]:
        image = self.splits.images(split)[0]
        return [type(image)(image.image_id, image.path, self.captions)]


def test_without_a_minimum_every_word_of_every_caption_is_in_one_snippet(aligner, data, splits):
    found = find_snippets(aligner, data, "val", beta=0.0, min_words=1)
    assert (found.num_short, found.num_unknown, found.num_captions) == (0, 0, 40)
    assert list(found.regions) == [image.image_id for image in splits.images("val")]
    for image in splits.images("val"):
        snippets = [text for texts in found.regions[image.image_id].values() for text in texts]
        words = [word for caption in image.captions for word in aligner.tokenizer.words(caption)]
        assert sorted(" ".join(snippets).split()) == sorted(words)
    assert found.num_words == sum(len(aligner.tokenizer.words(c)) for c in splits.captions("val"))


def test_snippets_are_those_of_each_caption_aligned_alone(aligner, data, splits):
    found = find_snippets(aligner, data, "val", beta=0.1, min_words=1)
    image = splits.images("val")[4]
    expected: dict[int, list[str]] = {}
    for caption in image.captions:
        aligned = aligner.align(image.path, caption, beta=0.1)
        words = caption.lower().replace(".", "").replace(",", "").split()
        for snippet in aligned.snippets:
            expected.setdefault(snippet.region, []).append(" ".join(words[snippet.begin : snippet.end]))
    assert found.regions[image.image_id] == expected
    assert len(expected) >= 3
    unknown = aligner.tokenizer.special.unk
    assert any(unknown in ids for ids in aligner.tokenizer.encode(splits.captions("val")))
    assert "<unk>" not in str(found.regions)


def test_a_large_beta_makes_each_caption_one_snippet(aligner, data, splits):
    found = find_snippets(aligner, data, "val", beta=1e6, min_words=1)
    texts = [text for regions in found.regions.values() for own in regions.values() for text in own]
    assert sorted(texts) == sorted(" ".join(aligner.tokenizer.words(c)) for c in splits.captions("val"))


def test_what_is_left_out_is_counted(aligner, data, splits):
    every, long = (find_snippets(aligner, data, "val", beta=0.0, min_words=n) for n in (1, 3))
    sizes = [len(t.split()) for regions in every.regions.values() for own in regions.values() for t in own]
    assert long.num_short == sum(size < 3 for size in sizes) > 0
    assert long.num_words == sum(size for size in sizes if size >= 3)
    known = splits.captions("val")[0]
    strange = find_snippets(
        aligner, opened(aligner, Splits(InMemory(splits, [known, "xyzzy plugh"]))), "val", beta=0.0, min_words=1
    )
    assert (strange.num_unknown, strange.num_captions) == (1, 2)
    assert "plugh" not in str(strange.regions)
    assert "left out: 0 snippets of fewer than 1 words, and 1 captions without a known word" in str(strange)


def test_no_snippet_at_all_is_an_error(aligner, data):
    with pytest.raises(InputError, match=r"no snippet of val has 1000 words; raise beta=0\.25"):
        find_snippets(aligner, data, "val", beta=0.25, min_words=1000)


def test_the_vectors_of_regions_are_the_cells_and_the_whole_image():
    features = ImageFeatures(pooled=torch.randn(3, 5), grid=torch.randn(3, 7, 5))
    regions = [[6, -1], [], [0, 3, 2]]
    expected = [
        features.pooled[row] if region < 0 else features.grid[row, region]
        for row, own in enumerate(regions)
        for region in own
    ]
    found = chosen_rows(features, regions)
    assert found.grid is None and torch.equal(found.pooled, torch.stack(expected))
    assert len(chosen_rows(features, [[], [], []])) == 0


def test_the_data_set_holds_each_region_with_its_snippets_and_its_vector(aligner, data, splits, tmp_path):
    found = {split: find_snippets(aligner, data, split, beta=0.5, min_words=2) for split in ("train", "val")}
    write_regions(tmp_path / "data", found, aligner, data, dtype="float32")
    for split, own in found.items():
        images = Karpathy(str(tmp_path / "data" / FILE), str(tmp_path)).read(split, check_files=False)
        captions = {image.image_id: image.captions for image in images}
        store = FeatureStore(tmp_path / "data" / FEATURES / split)
        store.check(GridCells(encoder=aligner.encoder).identity(), list(captions))
        assert list(store.image_ids) == list(captions)
        for image in splits.images(split)[:5]:
            with torch.no_grad():
                features = aligner.encoder(aligner.pixels([image.path]))
            for region, texts in own.regions[image.image_id].items():
                name = f"{image.image_id}#{'image' if region < 0 else region}"
                assert captions.pop(name) == tuple(texts)
                expected = features.pooled[0] if region < 0 else features.grid[0, region]
                torch.testing.assert_close(store.features([name]).pooled[0], expected)


def test_nothing_is_left_of_a_data_set_that_fails(aligner, data, tmp_path):
    found = find_snippets(aligner, data, "val", beta=0.5, min_words=2)
    with torch.no_grad():
        broken = Aligner(aligner.encoder, aligner.matcher, aligner.tokenizer).eval()
        scale, kept = broken.encoder.norm.weight, broken.encoder.norm.weight.clone()
        scale.fill_(torch.inf)
        found.regions[next(iter(found.regions))][-1] = ["the whole image"]
        try:
            with pytest.raises(InputError, match="are not finite"):
                write_regions(tmp_path, {"val": found}, broken, data, dtype="float16")
        finally:
            scale.copy_(kept)
    assert not list(tmp_path.iterdir())


def test_an_existing_data_set_is_not_replaced(aligner, data, tmp_path):
    found = {"val": find_snippets(aligner, data, "val", beta=0.5, min_words=2)}
    write_regions(tmp_path, found, aligner, data, dtype="float16")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError, match="already holds dataset_regions"):
        write_regions(tmp_path, found, aligner, data, dtype="float16")
    assert (tmp_path / FILE).read_bytes() == before


def test_snippets_need_a_vector_for_each_whole_word(aligner, splits, tokenizer):
    encoder = aligner.encoder
    gru = SentenceVector(
        feature_size=encoder.feature_size, vocab_size=len(tokenizer), embedding_size=7, hidden_size=11, recurrent=GRU
    )
    one = Aligner(encoder, gru, tokenizer).eval()
    with pytest.raises(InputError, match="one vector for a sentence"):
        find_snippets(one, opened(one, splits), "val", beta=0.0, min_words=1)
    parts = train_bpe(splits.captions("train"), vocab_size=90)
    matcher = Brnn(feature_size=encoder.feature_size, vocab_size=len(parts), embedding_size=7, hidden_size=11)
    two = Aligner(encoder, matcher, parts).eval()
    with pytest.raises(InputError, match="expected one of whole words"):
        find_snippets(two, opened(two, splits), "val", beta=0.0, min_words=1)
