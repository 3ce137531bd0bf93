"""Caching the features of whole splits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioning.data.example import CaptionedImage
from captioning.data.features.store import FeatureWriter
from captioning.data.images import load_image
from captioning.data.datasets import split_name
from captioning.data.features.regions import load_regions, open_regions, require_regions
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.regions import Regions
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError

log = logging.getLogger(__name__)

FeaturesOf = Callable[[Sequence[CaptionedImage]], Iterable[ImageFeatures]]
"""The features of images, some at a time."""


class ImageDataset(Dataset[Tensor]):
    """The images of a split, as an encoder takes them."""

    def __init__(self, images: Sequence[CaptionedImage], transform: ImageTransform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        """The image in a row, (C, H, W)."""
        return self.transform(load_image(self.images[row].path))


def extract(config: DictConfig) -> None:
    """Write the features of `config.splits` that are not in their stores yet: encoded, or regions from their files.

    Raises:
        InputError: an image or its regions cannot be read, a store cannot be written or holds other features, or a
            setting is not possible.
    """
    if config.batch_size < 1:
        raise InputError(f"batch_size={config.batch_size}, expected at least 1")
    encoder: Encoder = instantiate(config.encoder)
    if isinstance(encoder, Regions) != (config.regions is not None):
        raise InputError(
            f"regions={config.regions} with {type(encoder).__name__}: regions=FILES goes with encoder=regions, which "
            "reads them, and with no other"
        )
    data = instantiate(config.data)
    if config.regions is not None:
        data.features = Path(config.features)  # that is to be written: no image is needed
    splits = {split: data.images(split) for split in map(split_name, config.splits)}
    encoder.set_trainable(0)
    identity = encoder.identity()
    features_of = _from_files(config, encoder) if isinstance(encoder, Regions) else _by_encoder(config, encoder)
    for split, images in splits.items():
        folder = Path(config.features) / split
        with FeatureWriter(folder, identity, [image.image_id for image in images], dtype=config.dtype) as writer:
            write_split(split, features_of(images[writer.rows_done :]), writer)
        log.info("%s: features of %d images", folder, len(images))


def _from_files(config: DictConfig, encoder: Regions) -> FeaturesOf:
    files = open_regions(config.regions)
    sizes = {"feature_size": encoder.feature_size, "num_regions": encoder.num_regions}

    def features_of(images: Sequence[CaptionedImage]) -> Iterator[ImageFeatures]:
        require_regions(files, images, config.regions)
        for start in range(0, len(images), config.batch_size):
            yield load_regions(files, images[start : start + config.batch_size], **sizes)

    return features_of


def _by_encoder(config: DictConfig, encoder: Encoder) -> FeaturesOf:
    try:
        device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder.to(device).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={config.device}: {str(error).splitlines()[0]}") from error

    transform = encoder.transform
    if isinstance(transform, TextTransform):
        raise InputError("an encoder of sentences learns with its decoder: its features are not cached")

    def features_of(images: Sequence[CaptionedImage]) -> Iterator[ImageFeatures]:
        pictures = ImageDataset(images, transform)
        return encode(encoder, DataLoader(pictures, config.batch_size, num_workers=config.data.num_workers), device)

    return features_of


@torch.inference_mode()
def encode(encoder: Encoder, loader: DataLoader[Tensor], device: torch.device) -> Iterator[ImageFeatures]:
    """Encode what `loader` yields."""
    for pictures in loader:
        yield encoder(pictures.to(device, memory_format=torch.channels_last, non_blocking=True))


def write_split(split: str, batches: Iterable[ImageFeatures], writer: FeatureWriter) -> None:
    """Write features with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        done = writer.rows_done
        task = progress.add_task(f"features of {split}", total=done + len(writer.remaining), completed=done)
        for features in batches:
            writer.write(features)
            progress.update(task, completed=writer.rows_done)
