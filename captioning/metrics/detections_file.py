"""Files of what a word detector says about each image, from which detectors are compared without models or captions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from captioning.errors import InputError, shown
from captioning.files.arrays import ArrayKind, read_safetensors
from captioning.files.atomic import replacing
from captioning.json_files import parse_json, typed
from captioning.metrics.files import ImageId
from captioning.metrics.word_counts import WordCounts
from captioning.metrics.word_sizes import WordSizes

DETECTIONS = "detections.safetensors"
"""The file's name in the folder of a result."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The content of such a file.

    Attributes:
        image_ids: of I images.
        counts: of the images and of the W words that occur in a reference.
        order: (I, W) unsigned integers that order the images of each word as the detector's scores do: a higher score
            has a higher number, and equal scores have the same. All that is computed from scores depends on this alone.
        sizes: of the objects that these words mention; None if they are not known.
    """

    image_ids: Sequence[ImageId]
    counts: WordCounts
    order: NDArray[np.unsignedinteger[Any]]
    sizes: WordSizes | None = None

    @classmethod
    def of(
        cls,
        image_ids: Sequence[ImageId],
        counts: WordCounts,
        scores: NDArray[np.float64],
        sizes: WordSizes | None = None,
    ) -> Detections:
        """Keep what a comparison needs of a detector's scores, (I, W); words that do not occur are left out."""
        columns = [np.unique(column, return_inverse=True)[1] for column in scores[:, counts.occur].T]
        order = np.stack(columns, axis=1)
        own = None if sizes is None else WordSizes(sizes.limits, sizes.sizes[:, counts.occur])
        return cls(list(image_ids), counts.occurring, order.astype(np.min_scalar_type(order.max())), own)

    def save(self, path: str | Path) -> None:
        """Write the file, as safetensors.

        Raises:
            InputError: the file cannot be written.
        """
        arrays = {"counts": self.counts.counts.astype(np.uint8), "order": self.order}
        metadata = {"image_ids": json.dumps(list(self.image_ids)), "words": json.dumps(self.counts.words)}
        if self.sizes is not None:
            arrays["sizes"] = self.sizes.sizes
            metadata["area_limits"] = json.dumps(self.sizes.limits)
        with replacing(path) as new:
            new.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata=metadata))


def load_detections(path: str | Path) -> Detections:
    """Read what `Detections.save` wrote.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        metadata, arrays = read_safetensors(path, ArrayKind(("uint8", "uint16", "uint32"), dimensions=2))
        if arrays.keys() - {"sizes"} != {"counts", "order"} or len({array.shape for array in arrays.values()}) > 1:
            raise InputError("it has no counts and order of the same shape")
        if not metadata.keys() >= {"image_ids", "words"}:
            raise InputError("it has no ids of images or no words")
        image_ids = typed(parse_json(metadata["image_ids"], "image_ids"), list[int | str], "image_ids")
        words = typed(parse_json(metadata["words"], "words"), list[str], "words")
        counts = WordCounts(tuple(words), arrays["counts"])
        if len(image_ids) != len(arrays["counts"]) or len(set(image_ids)) < len(image_ids):
            raise InputError(f"it has {len(set(image_ids))} different ids of {len(arrays['counts'])} images")
        if not counts.occur.all():
            raise InputError("it has words that occur in no reference")
        sizes = _sizes(metadata, arrays)
    except InputError as error:
        raise InputError(
            f"{shown(path, 300)}: expected what a word detector says about each image ({error}); evaluate again"
        ) from error
    return Detections(image_ids, counts, arrays["order"], sizes)


def _sizes(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> WordSizes | None:
    if "sizes" not in arrays and "area_limits" not in metadata:
        return None
    if not ("sizes" in arrays and "area_limits" in metadata):
        raise InputError("it has sizes without the limits of areas, or the reverse")
    limits = typed(parse_json(metadata["area_limits"], "area_limits"), tuple[float, float], "area_limits")
    return WordSizes(limits, arrays["sizes"])
