"""Batches of a split, from pictures or from cached features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from captioning.data.batch import CaptionBatch, collate
from captioning.data.encoded import EncodedCaptions
from captioning.data.example import CaptionedImage
from captioning.data.feature_store import FeatureStore
from captioning.data.images import load_image
from captioning.data.layouts import Layouts
from captioning.data.sampler import Rows


class CaptionDataset(Dataset[CaptionBatch]):
    """A split whose items are whole batches: index it with a list of rows, as a sampler of batches yields.

    Args:
        images: the split.
        captions: their ids, in the same order.
        pad: the id of `<pad>`.
        source: makes a picture (C, H, W), or the store that holds every image's features.
        layouts: the images' objects, where batches are to bring them.
        keep: keep every picture that `source` made in memory; of use where it always makes the same of one.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
        captions: EncodedCaptions,
        *,
        pad: int,
        source: Callable[[Image], Tensor] | FeatureStore,
        layouts: Layouts | None = None,
        keep: bool = False,
    ) -> None:
        self.images, self.captions, self.pad, self.source = images, captions, pad, source
        self.layouts = layouts
        self._kept: dict[Path, Tensor] | None = {} if keep else None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, rows: Sequence[int]) -> CaptionBatch:
        """The batch of the images in these rows."""
        ids = [self.images[row].image_id for row in rows]
        captions = [self.captions[row] for row in rows]
        objects = None if self.layouts is None else self.layouts[rows]
        if isinstance(self.source, FeatureStore):
            return collate(ids, captions, pad=self.pad, features=self.source.features(ids), objects=objects)
        with torch.random.fork_rng(devices=()):
            # An augmented picture depends on its epoch and batch alone: not on workers, nor on a resumed run.
            torch.manual_seed(rows.seed if isinstance(rows, Rows) else 0)
            pictures = torch.stack([self._picture(self.images[row].path, self.source) for row in rows])
        return collate(ids, captions, pad=self.pad, images=pictures, objects=objects)

    def _picture(self, path: Path, source: Callable[[Image], Tensor]) -> Tensor:
        if self._kept is None:
            return source(load_image(path))
        if path not in self._kept:
            self._kept[path] = source(load_image(path))
        return self._kept[path]
