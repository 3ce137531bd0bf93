"""Caching the features of whole splits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioning.data.example import CaptionedImage
from captioning.data.feature_store import FeatureWriter
from captioning.data.images import load_image
from captioning.data.module import split_name
from captioning.encoders.encoder import Encoder
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError

log = logging.getLogger(__name__)


class Pictures(Dataset[Tensor]):
    """The pictures of a split, as an encoder takes them."""

    def __init__(self, images: Sequence[CaptionedImage], transform: ImageTransform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        """The picture in a row, (C, H, W)."""
        return self.transform(load_image(self.images[row].path))


def extract(config: DictConfig) -> None:
    """Encode every picture of `config.splits` that is not in its store yet.

    Raises:
        InputError: a picture cannot be read, a store cannot be written or holds other features, or a setting is not
            possible.
    """
    if config.batch_size < 1:
        raise InputError(f"batch_size={config.batch_size}, expected at least 1")
    data = instantiate(config.data)
    splits = {split: data.images(split) for split in map(split_name, config.splits)}
    encoder: Encoder = instantiate(config.encoder)
    encoder.set_trainable(0)
    identity = encoder.identity()
    try:
        device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder.to(device).to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={config.device}: {str(error).splitlines()[0]}") from error
    for split, images in splits.items():
        folder = Path(config.features) / split
        with FeatureWriter(folder, identity, [image.image_id for image in images], dtype=config.dtype) as writer:
            left = images[writer.rows_done :]
            loader = DataLoader(
                Pictures(left, encoder.transform), config.batch_size, num_workers=config.data.num_workers
            )
            encode_split(split, encoder, loader, writer, device)
        log.info("%s: features of %d images", folder, len(images))


@torch.inference_mode()
def encode_split(
    split: str, encoder: Encoder, loader: DataLoader[Tensor], writer: FeatureWriter, device: torch.device
) -> None:
    """Encode what `loader` yields into `writer`, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        done = writer.rows_done
        task = progress.add_task(f"encoding {split}", total=done + len(writer.remaining), completed=done)
        for pictures in loader:
            pictures = pictures.to(device, memory_format=torch.channels_last, non_blocking=True)
            writer.write(encoder(pictures))
            progress.update(task, completed=writer.rows_done)
