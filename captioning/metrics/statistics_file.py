"""Files of an evaluation's statistics, from which intervals and tests are computed without captions or references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from captioning.errors import InputError, shown
from captioning.files.arrays import ArrayKind, read_safetensors
from captioning.files.atomic import replacing
from captioning.json_files import parse_json, typed
from captioning.metrics.coco import Scores
from captioning.metrics.files import ImageId
from captioning.metrics.metric import Metric
from captioning.metrics.table import METRICS

_LARGEST = 1e15  # counts of any corpus are smaller, and their sums and squares are finite


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
    """Write the statistics (I, S) of each metric, the images' ids, and the references' digest, as safetensors.

    Raises:
        InputError: the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(statistics) for name, statistics in scores.statistics.items()}
    metadata = {"image_ids": json.dumps(list(scores.per_image)), "references": references}
    with replacing(path) as new:
        new.write_bytes(save(arrays, metadata=metadata))


def load_statistics(path: str | Path) -> KeptStatistics:
    """Read what `save_statistics` wrote.

    Raises:
        InputError: the file is missing, or holds something else. Statistics of metrics of other packages are left out.
    """
    try:
        metadata, tables = read_safetensors(path, ArrayKind(("float64",), dimensions=2))
        if not metadata.keys() >= {"image_ids", "references"}:
            raise InputError("it has no ids of images")
        image_ids = typed(parse_json(metadata["image_ids"], "image_ids"), list[int | str], "image_ids")
    except InputError as error:
        raise InputError(
            f"{shown(path, 300)}: expected the statistics of an evaluation ({error}); evaluate again"
        ) from error
    # Metrics of other packages are named by their path; no code that a file names is imported.
    tables = {name: table for name, table in tables.items() if "." not in name}
    if len(set(image_ids)) < len(image_ids) or not all(
        name in METRICS and len(table) == len(image_ids) and _are_statistics(METRICS[name], table)
        for name, table in tables.items()
    ):
        raise InputError(
            f"{shown(path, 300)}: expected a row of each metric's statistics for each image; evaluate again"
        )
    return KeptStatistics(image_ids, metadata["references"], tables)


def _are_statistics(metric: type[Metric], table: NDArray[np.float64]) -> bool:
    """Check that a table (I, S) can be a metric's: no sum of its rows overflows, and that of all rows has scores."""
    if not ((table >= 0) & (table <= _LARGEST)).all():
        return False
    try:
        with np.errstate(all="ignore"):
            scores = metric.scores(table.sum(axis=0))
    except (ValueError, IndexError):  # of another number of columns
        return False
    return scores.shape == (len(metric.names),) and bool(np.isfinite(scores).all())
