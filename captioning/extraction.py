"""Caching the features of whole splits."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL.Image import Image
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioning.data.feature_store import FeatureWriter
from captioning.data.images import load_image

log = logging.getLogger(__name__)


class _Pictures(Dataset[Tensor]):
    def __init__(self, paths: list[Path], transform: "Callable[[Image], Tensor]") -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(load_image(self.paths[row]))


def extract(config: DictConfig) -> None:
    """Encode every picture of `config.splits` that is not in the store yet."""
    data, encoder = instantiate(config.data), instantiate(config.encoder)
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    encoder.set_trainable(0)
    encoder.eval().to(device)
    for split in config.splits:
        images = data.images(split)
        print(images[:0])
