"""A data set of regions: the snippets that an aligner finds for each region of each image.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), sections 3.1.4 and 3.2. The Markov random field splits each caption
into snippets, runs of words with one region. The pairs of regions and snippets train a generator that describes
regions, as pairs of images and captions train one that describes images.

    dataset_regions.json   one "image" for each region that has snippets, with the snippets as its captions, in the form
                           that `captioning.data.readers.Karpathy` reads
    features/train, /val   stores with the vector of each region, for the encoder `GridCells`

Differs: regions are grid cells and the whole image, where the paper has detected boxes and the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import track

from captioning.data.features.store import FeatureWriter
from captioning.data.module import CaptionDataModule
from captioning.encoders.features import ImageFeatures
from captioning.encoders.grid_cells import GridCells
from captioning.errors import InputError
from captioning.files.atomic import new_folder, write_json
from captioning.matchers.alignment import align, snippets
from captioning.model.aligner import Aligner

FILE, FEATURES = "dataset_regions.json", "features"

ImageId = int | str
Snippets = dict[int, list[str]]
"""The snippets of each region of an image. Regions are counted as in the grid, row by row; -1 is the whole image."""


@dataclass
class Found:
    """The snippets of one split, and what was left out.

    Attributes:
        min_words: the fewest words of a snippet that is kept.
        regions: the snippets of each image, by its id, in the split's order.
        num_captions: captions that were aligned.
        num_unknown: captions without a word that the aligner knows. They are left out.
        num_short: snippets with fewer than `min_words` words. They are left out.
        num_words: words of all snippets that are kept.
    """

    min_words: int
    regions: dict[ImageId, Snippets] = field(default_factory=dict)
    num_captions: int = 0
    num_unknown: int = 0
    num_short: int = 0
    num_words: int = 0

    def add(self, image_id: ImageId, region: int, words: Sequence[str]) -> None:
        """Keep a snippet, or count it if it is too short."""
        if len(words) < self.min_words:
            self.num_short += 1
            return
        self.num_words += len(words)
        self.regions[image_id].setdefault(region, []).append(" ".join(words))

    def __str__(self) -> str:
        kept = [texts for regions in self.regions.values() for texts in regions.values()]
        whole, num = sum(-1 in regions for regions in self.regions.values()), sum(map(len, kept))
        return (
            f"{num:,} snippets of {self.num_words / max(num, 1):.1f} words on average, for {len(kept):,} regions, of "
            f"which {whole:,} are whole images; from {self.num_captions:,} captions of {len(self.regions):,} images; "
            f"left out: {self.num_short:,} snippets of fewer than {self.min_words} words, and {self.num_unknown:,} "
            "captions without a known word"
        )


def region_name(image_id: ImageId, region: int) -> str:
    """Name a region as an image of the data set."""
    return f"{image_id}#{'image' if region < 0 else region}"


def find_snippets(aligner: Aligner, data: CaptionDataModule, split: str, *, beta: float, min_words: int) -> Found:
    """Align every caption of a split with its image.

    Args:
        aligner: in evaluation mode.
        data: a data module that was built with the aligner's encoder, transform and tokenizer.
        split: its images and captions.
        beta: β of the Markov random field; see `captioning.matchers.alignment`.
        min_words: shorter snippets are left out, and counted.

    Raises:
        InputError: the aligner has no vector for each word or its tokens are not whole words, or no snippet is left.
    """
    found, captions = Found(min_words), data.splits.references(split)
    for image_id, features in _images(aligner, data, split):
        found.regions[image_id] = Snippets()
        known = [caption for caption in captions[image_id] if aligner.knows(caption)]
        found.num_captions += len(captions[image_id])
        found.num_unknown += len(captions[image_id]) - len(known)
        for caption, psi in zip(known, aligner.affinities(features, known) if known else (), strict=True):
            words = aligner.tokenizer.words(caption)  # also those that the aligner does not know
            for snippet in snippets(align(psi, beta=beta)):
                found.add(image_id, snippet.region - 1, words[snippet.begin : snippet.end])
    if not any(found.regions.values()):
        raise InputError(
            f"no snippet of {split} has {min_words} words; raise beta={beta} for longer ones, or lower min_words"
        )
    return found


@torch.inference_mode()
def _images(aligner: Aligner, data: CaptionDataModule, split: str) -> Iterator[tuple[ImageId, ImageFeatures]]:
    """Yield the id of each image of a split, and its standardised features."""
    for batch in track(data.evaluation_dataloader(split), f"aligning the captions of {split}"):
        features = aligner.features(batch.to(aligner.device))
        for row, image_id in enumerate(batch.image_ids):
            yield image_id, features.rows(torch.tensor([row], device=aligner.device))


def check_new(folder: Path) -> None:
    """Check that a folder holds no data set of regions.

    Raises:
        InputError: it holds one.
    """
    if held := [name for name in (FILE, FEATURES) if (folder / name).exists()]:
        raise InputError(f"{folder} already holds {' and '.join(held)}; choose another folder, or remove them")


def write_regions(
    folder: Path, found: Mapping[str, Found], aligner: Aligner, data: CaptionDataModule, *, dtype: str
) -> None:
    """Write the data set. The features appear whole or not at all, and last comes the JSON file, which readers need.

    Args:
        folder: where the data set is written.
        found: the snippets by split.
        aligner: in evaluation mode.
        data: the data module from which they were found.
        dtype: of the features, "float16" or "float32".

    Raises:
        InputError: the folder holds such a data set or cannot be written, or the aligner's encoder has no grid.
    """
    check_new(folder)
    identity = GridCells(encoder=aligner.encoder).identity(aligner.transform)
    with new_folder(folder / FEATURES) as made:
        for split, own in found.items():
            ids = [region_name(image_id, region) for image_id, texts in own.regions.items() for region in texts]
            with FeatureWriter(made / split, identity, ids, dtype=dtype) as writer:
                _write_features(writer, own, aligner, data, split)
    images = [
        {"filename": region_name(image_id, region), "split": split, "sentences": [{"raw": text} for text in texts]}
        for split, own in found.items()
        for image_id, regions in own.regions.items()
        for region, texts in regions.items()
    ]
    write_json(folder / FILE, {"dataset": "regions", "images": images}, indent=None)


@torch.inference_mode()
def _write_features(writer: FeatureWriter, found: Found, aligner: Aligner, data: CaptionDataModule, split: str) -> None:
    for batch in track(data.evaluation_dataloader(split), f"writing the regions of {split}"):
        features = aligner.encoder_features(batch.to(aligner.device))
        rows = chosen_rows(features, [list(found.regions[image_id]) for image_id in batch.image_ids])
        if len(rows):
            writer.write(rows)


def chosen_rows(features: ImageFeatures, regions: Sequence[Sequence[int]]) -> ImageFeatures:
    """Select the vectors of regions.

    Args:
        features: pooled (I, F) and grid (I, R, F), as the encoder returned them.
        regions: of each image, counted as in the grid; -1 for the whole image.

    Returns:
        pooled, one row for each region, image by image.
    """
    assert features.grid is not None  # `GridCells` refuses encoders without one
    vectors = torch.cat([features.pooled[:, None], features.grid], 1)  # (I, 1 + R, F)
    rows = [row for row, own in enumerate(regions) for _ in own]
    return ImageFeatures(vectors[rows, [1 + region for own in regions for region in own]])
