"""M-best lists: the M best captions of each image, which a search found, with the features that re-rank them.

The file is JSON, a list of images. Each hypothesis has the same features, finite numbers by name. The first hypothesis
of an image is the one that the search ranks first.

    [{"image_id": 42, "hypotheses": [{"caption": "a dog", "features": {"length": 2, ...}}, ...]}, ...]

An image may also have "reference_loss" and "reference_tokens", from which the model's perplexity on any images follows:
the sum of -log p over the tokens of its references in nats, and their number. Then all images have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.files.atomic import write_json
from captioning.json_files import Finite, read_typed
from captioning.metrics.files import ImageId, listing
from captioning.metrics.metric import Metric
from captioning.metrics.tokenization import keep_text

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class _Hypothesis(msgspec.Struct, forbid_unknown_fields=True):
    caption: str
    features: dict[str, Finite]


class _Image(msgspec.Struct, forbid_unknown_fields=True):
    image_id: int | str
    hypotheses: Annotated[list[_Hypothesis], msgspec.Meta(min_length=1)]
    reference_loss: Finite | None = None
    reference_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


@dataclass(frozen=True)
class NBest:
    """The M best captions of I images; M may differ between images.

    Attributes:
        image_ids: (I) different ids.
        captions: the captions of each image, the one that the search ranks first in front.
        names: the names of the J features.
        values: (H, J) the features of all H captions, image by image.
        losses: (I, 2) the sum over the tokens of each image's references of -log p in nats, and the number of these
            tokens; None if no model computed them.

    Raises:
        InputError: there is no image, an image occurs twice or has no caption, or `values` or `losses` has another
            shape or holds infinite numbers or NaN.
    """

    image_ids: tuple[ImageId, ...]
    captions: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    values: Floats
    losses: Floats | None = None

    def __post_init__(self) -> None:
        if not self.image_ids or len(self.captions) != len(self.image_ids) or not all(self.captions):
            raise InputError(f"expected captions of each of {len(self.image_ids)} images, of at least one image")
        if twice := [image_id for image_id, count in Counter(self.image_ids).items() if count > 1]:
            raise InputError(f"images that occur twice: {listing(twice)}; keep one list of each")
        expected = (sum(map(len, self.captions)), len(self.names))
        if self.values.shape != expected or not np.isfinite(self.values).all():
            raise InputError(f"expected finite features of shape {expected}; found shape {self.values.shape}, or NaN")
        pairs = (len(self.image_ids), 2)
        if self.losses is not None and (self.losses.shape != pairs or not np.isfinite(self.losses).all()):
            raise InputError(f"expected finite losses of shape {pairs}; found shape {self.losses.shape}, or NaN")

    @property
    def rows(self) -> Integers:
        """The row in `values` of each caption, (I, M); an image with fewer captions repeats its last one."""
        counts = np.fromiter(map(len, self.captions), np.int64, len(self.captions))
        ends = counts.cumsum()
        rows: Integers = np.minimum((ends - counts)[:, None] + np.arange(counts.max()), ends[:, None] - 1)
        return rows

    def select(self, images: Integers) -> NBest:
        """Select images by their position."""
        rows = [np.unique(row) for row in self.rows[images]]
        return NBest(
            tuple(self.image_ids[i] for i in images),
            tuple(self.captions[i] for i in images),
            self.names,
            self.values[np.concatenate(rows)] if rows else self.values[:0],
            None if self.losses is None else self.losses[images],
        )

    def with_features(self, names: Sequence[str]) -> NBest:
        """Keep some of the features, in the given order.

        Raises:
            InputError: there is no feature of such a name, or a name occurs twice.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise InputError(
                f"there is no feature '{shown(unknown[0])}'; choose among {shown(', '.join(self.names), 300)}"
            )
        if len(set(names)) < len(names):
            raise InputError(f"expected each feature once, found {shown(', '.join(names))}")
        columns = [self.names.index(name) for name in names]
        return replace(self, names=tuple(names), values=self.values[:, columns])

    @property
    def features(self) -> Floats:
        """The features of the captions of each image, (I, M, J); an image with fewer captions repeats its last one."""
        return self.values[self.rows]

    def chosen(self, best: Integers) -> dict[ImageId, str]:
        """Return one caption of each image, by its position in the image's list, (I)."""
        return {image_id: own[i] for image_id, own, i in zip(self.image_ids, self.captions, best.tolist(), strict=True)}

    def statistics(self, metric: Metric) -> Floats:
        """Compute a metric's statistics of every caption, (I, M, S); an image with fewer captions repeats its last one.

        Args:
            metric: a metric of the references of these images, in the same order.

        Raises:
            InputError: the metric has references of another number of images.
        """
        tokenize = keep_text if metric.tokenizer is None else metric.tokenizer.tokenize
        tokenized = list(tokenize(dict(zip(self.image_ids, self.captions, strict=True))).values())
        most = max(map(len, tokenized))
        return np.stack([metric.statistics([own[min(m, len(own) - 1)] for own in tokenized]) for m in range(most)], 1)


def read_nbest(path: str | Path) -> NBest:
    """Read M-best lists.

    Raises:
        InputError: the file cannot be read or is of another form, an image occurs twice or has no hypothesis, or
            hypotheses have different features. The message says where.
    """
    images, where = read_typed(Path(path), list[_Image]), shown(path, 300)
    if not images:
        raise InputError(f"{where}: expected M-best lists of at least one image, found none")
    names = tuple(images[0].hypotheses[0].features)
    values = list[list[float]]()
    for image in images:
        for i, hypothesis in enumerate(image.hypotheses):
            if hypothesis.features.keys() != set(names):
                raise InputError(
                    f"{where}: image {shown(image.image_id)}, hypotheses[{i}]: expected the features of the first "
                    f"hypothesis, {shown(', '.join(names))}; found {shown(', '.join(hypothesis.features)) or 'none'}"
                )
            values.append([hypothesis.features[name] for name in names])
    try:
        return NBest(
            tuple(image.image_id for image in images),
            tuple(tuple(hypothesis.caption for hypothesis in image.hypotheses) for image in images),
            names,
            np.array(values, np.float64).reshape(len(values), len(names)),
            _losses(images),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _losses(images: Sequence[_Image]) -> Floats | None:
    losses = [(image.reference_loss, image.reference_tokens) for image in images]
    if all(pair == (None, None) for pair in losses):
        return None
    if without := [image.image_id for image, pair in zip(images, losses, strict=True) if None in pair]:
        raise InputError(
            "expected reference_loss and reference_tokens of all images or of none; images that lack one: "
            f"{listing(without)}"
        )
    return np.array(losses, np.float64)


def write_nbest(path: str | Path, lists: NBest) -> None:
    """Write M-best lists in the form that `read_nbest` reads.

    Raises:
        InputError: the file cannot be written.
    """
    rows = iter(lists.values.tolist())
    losses = [dict[str, float]()] * len(lists.image_ids) if lists.losses is None else map(_loss, lists.losses.tolist())
    content = [
        {
            "image_id": image_id,
            **loss,
            "hypotheses": [
                {"caption": caption, "features": dict(zip(lists.names, row, strict=True))}
                for caption, row in zip(own, rows, strict=False)  # takes as many rows as the image has captions
            ],
        }
        for image_id, own, loss in zip(lists.image_ids, lists.captions, losses, strict=True)
    ]
    write_json(path, content, indent=None)


def _loss(pair: Sequence[float]) -> dict[str, float]:
    return {"reference_loss": pair[0], "reference_tokens": int(pair[1])}


def in_order(
    lists: NBest, references: Mapping[ImageId, Sequence[str]], where: str = "M-best lists"
) -> list[Sequence[str]]:
    """Return the references of each image of M-best lists, in the lists' order.

    Args:
        lists: the lists.
        references: the references of the same images.
        where: the lists' file, for messages.

    Raises:
        InputError: the images are not those of the references; the message lists the difference.
    """
    listed = set(lists.image_ids)
    missing = [image_id for image_id in references if image_id not in listed]
    unknown = [image_id for image_id in lists.image_ids if image_id not in references]
    if missing or unknown:
        raise InputError(
            f"{where}: expected a list for each of the {len(references)} images with references; those without a list: "
            f"{listing(missing)}; lists without references: {listing(unknown)}"
        )
    return [references[image_id] for image_id in lists.image_ids]


def halves(image_ids: Sequence[ImageId]) -> tuple[Integers, Integers]:
    """Split images into the half to tune weights on and the half to report, by a digest of each image's id.

    The halves do not depend on the order of the images, so neighbours in a file, which may show the same scene, are
    split at random. Among an odd number of images, the reported half has one more.

    Returns:
        The positions of the images of each half, ascending.

    Raises:
        InputError: there are fewer than two images.
    """
    if len(image_ids) < 2:
        raise InputError(f"expected at least two images, to tune on one half of them; found {len(image_ids)}")
    digests = [sha256(str(image_id).encode()).digest() for image_id in image_ids]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    half = len(order) // 2
    return np.sort(np.array(order[:half])), np.sort(np.array(order[half:]))
