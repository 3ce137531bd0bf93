"""Files of the ranks that a matcher gives, from which matchers are compared without models or captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from captioning.errors import InputError, shown
from captioning.files.arrays import ArrayKind, read_safetensors
from captioning.files.atomic import replacing
from captioning.json_files import parse_json, typed
from captioning.metrics.files import ImageId
from captioning.metrics.ranking import Retrieval, summarize

RANKS = "ranks.safetensors"
"""The file's name in the folder of a result."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """The content of such a file.

    Attributes:
        image_ids: of I images.
        sentences: the digest of the sentences, see `digest`; ranks among different sentences are not compared.
        directions: `image_to_text` and `text_to_image`, by name.
    """

    image_ids: Sequence[ImageId]
    sentences: str
    directions: Mapping[str, Retrieval]

    def save(self, path: str | Path) -> None:
        """Write the file, as safetensors.

        Raises:
            InputError: the file cannot be written.
        """
        arrays: dict[str, NDArray[np.int64]] = {}
        for name, found in self.directions.items():
            arrays |= {f"{name} ranks": found.ranks.astype(np.int64), f"{name} images": found.images.astype(np.int64)}
        metadata = {"image_ids": json.dumps(list(self.image_ids)), "sentences": self.sentences}
        with replacing(path) as new:
            new.write_bytes(save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata=metadata))


def digest(sentences: Sequence[str]) -> str:
    """Return the SHA-256 digest of sentences in their order, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(sentences)).encode()).hexdigest()


def load_ranks(path: str | Path) -> Ranks:
    """Read what `Ranks.save` wrote.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    names = ("image_to_text", "text_to_image")
    try:
        metadata, arrays = read_safetensors(path, ArrayKind(("int64",), dimensions=1))
        if arrays.keys() != {f"{name} {of}" for name in names for of in ("ranks", "images")}:
            raise InputError("it has no ranks of both directions")
        if not metadata.keys() >= {"image_ids", "sentences"}:
            raise InputError("it has no ids of images or no digest of sentences")
        image_ids = typed(parse_json(metadata["image_ids"], "image_ids"), list[int | str], "image_ids")
        if len(set(image_ids)) < len(image_ids):
            raise InputError("an image has two rows")
        for name in names:
            ranks, images = arrays[f"{name} ranks"], arrays[f"{name} images"]
            if ranks.shape != images.shape or ranks.min() < 1 or set(images.tolist()) != set(range(len(image_ids))):
                raise InputError(f"{name} has no ranks from 1 of each of {len(image_ids)} images")
    except InputError as error:
        raise InputError(f"{shown(path, 300)}: expected the ranks of a matcher ({error}); evaluate again") from error
    directions = {name: summarize(arrays[f"{name} ranks"], arrays[f"{name} images"]) for name in names}
    return Ranks(image_ids, metadata["sentences"], directions)
