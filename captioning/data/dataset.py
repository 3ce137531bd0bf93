"""Batches of a split, from images or sentences, or from cached features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from captioning.data.batch import CaptionBatch, collate
from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.data.features.store import FeatureStore
from captioning.data.layouts import Layouts
from captioning.data.sampler import Rows
from captioning.data.sources import Source


class CaptionDataset(Dataset[CaptionBatch]):
    """A split whose items are whole batches: index it with a list of rows, which a sampler yields.

    A row is that of `captions`: an image with its captions, or with a part of them.

    Args:
        images: the split.
        captions: token ids of their captions.
        pad: the id of `<pad>`.
        source: makes the encoder's input from images; or the store that holds every image's features.
        layouts: the images' objects; None if batches have none.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        captions: EncodedCaptions,
        *,
        pad: int,
        source: Source | FeatureStore,
        layouts: Layouts | None = None,
    ) -> None:
        self.images, self.captions, self.pad, self.source = images, captions, pad, source
        self.layouts = layouts

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.captions)

    def __getitem__(self, rows: Sequence[int]) -> CaptionBatch:
        """Return the batch of the images in these rows."""
        images = self.captions.images[rows].tolist()
        ids = [self.images[image].image_id for image in images]
        captions = [self.captions[row] for row in rows]
        others: dict[str, Any] = {"objects": None if self.layouts is None else self.layouts[images]}
        if isinstance(rows, Rows):
            others["repeated"] = rows.repeated
        if isinstance(self.source, FeatureStore):
            return collate(ids, captions, pad=self.pad, features=self.source.features(ids), **others)
        with torch.random.fork_rng(devices=()):
            # Augmentation depends on seed, epoch and batch alone, so workers and resumed runs do not change it.
            torch.manual_seed(rows.seed if isinstance(rows, Rows) else 0)
            inputs = self.source([self.images[image] for image in images])
        return collate(ids, captions, pad=self.pad, images=inputs, **others)
