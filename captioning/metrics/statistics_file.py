"""Files of an evaluation's statistics, from which intervals and tests are computed without captions or references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from captioning.errors import InputError, shown
from captioning.metrics.coco import Scores
from captioning.metrics.files import ImageId
from captioning.metrics.table import METRICS


@dataclass(frozen=True)
class KeptStatistics:
    """The content of such a file.

    Attributes:
        image_ids: the image ids of the I rows.
        references: the digest of the references in the signature; scores against different references are not compared.
        tables: the statistics (I, S) of each metric, by its name.
    """

    image_ids: list[ImageId]
    references: str
    tables: dict[str, NDArray[np.float64]]


def save_statistics(path: str | Path, scores: Scores, references: str) -> None:
    """Write the statistics (I, S) of each metric, the images' ids, and the references' digest, as safetensors."""
    arrays = {name: np.ascontiguousarray(statistics) for name, statistics in scores.statistics.items()}
    metadata = {"image_ids": json.dumps(list(scores.per_image)), "references": references}
    save_file(arrays, str(path), metadata=metadata)


def load_statistics(path: str | Path) -> KeptStatistics:
    """Read what `save_statistics` wrote.

    Raises:
        InputError: the file is missing, or holds something else. Statistics of metrics of other packages are left out.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            # Metrics of other packages are named by their path; no code that a file names is imported.
            names = [name for name in file.keys() if "." not in name]  # noqa: SIM118 it is not a mapping
            tables = {name: file.get_tensor(name) for name in names}
        image_ids, references = json.loads(metadata["image_ids"]), metadata["references"]
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{shown(path, 300)}: expected the statistics of an evaluation ({shown(error)}); evaluate again"
        ) from error
    if (
        not isinstance(image_ids, list)
        or not tables.keys() <= METRICS.keys()
        or any(table.ndim != 2 or len(table) != len(image_ids) for table in tables.values())
    ):
        raise InputError(
            f"{shown(path, 300)}: expected a row of each metric's statistics for each image; evaluate again"
        )
    return KeptStatistics(image_ids, references, tables)
