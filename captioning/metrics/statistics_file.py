"""The statistics of an evaluation as a file: what tests and intervals resample, without captions or references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from captioning.errors import InputError
from captioning.metrics.coco import Scores
from captioning.metrics.files import ImageId
from captioning.metrics.numpy_backend import METRICS


def save_statistics(path: str | Path, scores: Scores) -> None:
    """Write the statistics (I, S) of each metric, and the images' ids, as safetensors."""
    arrays = {name: np.ascontiguousarray(statistics) for name, statistics in scores.statistics.items()}
    save_file(arrays, str(path), metadata={"image_ids": json.dumps(list(scores.per_image))})


def load_statistics(path: str | Path) -> tuple[list[ImageId], dict[str, NDArray[np.float64]]]:
    """Read the images' ids and, by metric, their statistics.

    Raises:
        InputError: the file is missing or was not written by `save_statistics`.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            statistics = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        images = json.loads(metadata["image_ids"])
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected the statistics of an evaluation ({error}); evaluate again") from error
    if not statistics.keys() <= METRICS.keys() or any(len(table) != len(images) for table in statistics.values()):
        raise InputError(f"{path}: expected a row of each metric's statistics for each image; evaluate again")
    return images, statistics
