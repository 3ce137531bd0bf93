"""Extract the features of whole splits into stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioning.data.example import CaptionedImage
from captioning.data.features.precision import check_precision
from captioning.data.features.regions import load_regions, open_regions, require_regions
from captioning.data.features.store import FeatureWriter
from captioning.data.sampler import InOrderSampler
from captioning.data.sources import Source, source_of
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.fused import fused
from captioning.encoders.regions import Regions
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.files.lock import locked

log = logging.getLogger(__name__)

FeaturesOf = Callable[[Sequence[CaptionedImage]], Iterable[ImageFeatures]]
"""Maps images to their features, a batch at a time."""


class ImageBatches(Dataset[Tensor]):
    """The encoder's input of a split: index it with a list of rows."""

    def __init__(self, images: Sequence[CaptionedImage], source: Source) -> None:
        self.images, self.source = images, source

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Return the images in these rows, (I, C, H, W)."""
        return self.source([self.images[row] for row in rows])


def extract(
    splits: Mapping[str, Sequence[CaptionedImage]],
    features_of: FeaturesOf,
    folder: Path,
    *,
    identity: Mapping[str, object],
    dtype: str,
    reads_images: bool = True,
) -> None:
    """Write the features of splits that are not in their stores yet.

    Args:
        splits: images by the name of their split.
        features_of: computes or reads features.
        folder: holds one store per split.
        identity: what the features depend on, as `Encoder.identity` gives it.
        dtype: "float16" or "float32".
        reads_images: whether features are computed from image files, whose state is then recorded.

    Raises:
        InputError: an image or its regions cannot be read; a store cannot be written, is being written by another
            process, is damaged or holds other features; or images were replaced after an earlier part was written.
    """
    for split, images in splits.items():
        store, ids = folder / split, [image.image_id for image in images]
        files = [image.path for image in images] if reads_images else None
        with locked(store), FeatureWriter(store, dict(identity), ids, dtype=dtype, files=files) as writer:
            write_split(split, features_of(images[writer.rows_done :]), writer)
        log.info("%s: features of %d images", store, len(images))


def from_files(files: str, encoder: Regions, *, batch_size: int) -> FeaturesOf:
    """Read the features of a detector's regions from its files.

    Args:
        files: bottom-up attention's .tsv file, or a folder of .npz files.
        encoder: gives F and the largest number of regions of an image.
        batch_size: images read together.

    Raises:
        InputError: the files do not exist or, when features are read, an image has no regions in them.
    """
    opened = open_regions(files)

    def features_of(images: Sequence[CaptionedImage]) -> Iterator[ImageFeatures]:
        require_regions(opened, images, files)
        for start in range(0, len(images), batch_size):
            yield load_regions(
                opened,
                images[start : start + batch_size],
                feature_size=encoder.feature_size,
                num_regions=encoder.num_regions,
            )

    return features_of


def by_encoder(
    encoder: Encoder,
    *,
    transform: ImageTransform | TextTransform | None,
    device: str | None,
    batch_size: int,
    num_workers: int,
    precision: str = "float32",
) -> FeaturesOf:
    """Compute features by a frozen encoder of images.

    Args:
        encoder: in evaluation mode.
        transform: prepares the images: the encoder's own, or a model's.
        precision: of the network, a value of `PRECISIONS`. The features of bfloat16 differ from those of float32 by a
            few percent, so `with_precision` adds it to the identity.
        device: such as "cuda"; None for a GPU if there is one, else the CPU.
        batch_size: images encoded together.
        num_workers: processes that load images.

    Raises:
        InputError: there is no such device or precision, or the encoder reads sentences.
    """
    if not isinstance(transform, ImageTransform):
        raise InputError("an encoder of sentences is trained with its decoder: its features are not cached")
    check_precision(precision)
    dtype: torch.dtype = getattr(torch, precision)
    encoder = fused(encoder)
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder.to(chosen, dtype).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={device}: {str(error).splitlines()[0]}") from error

    def features_of(images: Sequence[CaptionedImage]) -> Iterator[ImageFeatures]:
        source = source_of(encoder, transform, images)
        sampler = InOrderSampler(len(images), batch_size)
        loader = DataLoader(ImageBatches(images, source), batch_size=None, sampler=sampler, num_workers=num_workers)
        return encode(encoder, loader, chosen, dtype=dtype)

    return features_of


@torch.inference_mode()
def encode(
    encoder: Encoder, loader: Iterable[Tensor], device: torch.device, *, dtype: torch.dtype = torch.float32
) -> Iterator[ImageFeatures]:
    """Encode the batches of `loader` with an encoder whose weights have this dtype."""
    for images in loader:
        yield encoder(images.to(device, dtype, non_blocking=True))


def write_split(split: str, batches: Iterable[ImageFeatures], writer: FeatureWriter) -> None:
    """Write features with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        done = writer.rows_done
        task = progress.add_task(f"features of {split}", total=done + len(writer.remaining), completed=done)
        for features in batches:
            writer.write(features)
            progress.update(task, completed=writer.rows_done)
