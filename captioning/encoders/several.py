"""The encoders of an ensemble whose members do not share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.text import TextEncoder
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError


@final
class SeveralEncoders(Encoder):
    """Computes the features of the same images, or sentences, by several encoders.

    The features are those of the first encoder, with those of the rest in `ImageFeatures.others`. All read what the
    first one's transform makes. If another one's mean or deviation of colours differs, the pixels are converted for it.

    Args:
        encoders: at least two, which read images of one size, or sentences of one vocabulary.
        transforms: the transform of each as plain values; none for the encoders' own. Encoders of sentences have none.

    Attributes:
        feature_sizes: F of each.

    Raises:
        InputError: there are fewer than two, they do not read the same inputs, one reads features from files, or one is
            itself of several.
    """

    def __init__(self, *, encoders: Sequence[Encoder], transforms: Sequence[Mapping[str, Any]] = ()) -> None:
        if len(encoders) < 2:
            raise InputError(f"expected at least two encoders, found {len(encoders)}")
        if any(len(getattr(encoder, "feature_sizes", ())) > 1 for encoder in encoders):
            raise InputError(
                "the features are already those of several encoders; name the members of that ensemble instead"
            )
        names = " and ".join(encoder.model_name for encoder in encoders)
        first, reads = encoders[0], {encoder.reads for encoder in encoders}
        if reads not in ({"images"}, {"texts"}):
            raise InputError(
                f"{names} read {' and '.join(sorted(reads))}; an ensemble's encoders read images, or sentences, or its "
                "members share one encoder"
            )
        super().__init__(names[:200], grid=any(encoder.grid for encoder in encoders))
        self.reads = first.reads
        own = _transforms(encoders, transforms) if first.reads == "images" else []
        self.transform = own[0] if own else None
        self.encoders, self.feature_size = nn.ModuleList(encoders), first.feature_size
        self.feature_sizes = tuple(encoder.feature_size for encoder in encoders)
        self._colours = [None if _colours(other) == _colours(own[0]) else _colours(other) for other in own]
        if first.reads == "texts":
            self.vocab_size = cast(TextEncoder, first).vocab_size

    def forward(self, images: Tensor) -> ImageFeatures:
        """Return the features of the first encoder, with those of the others; `images` as for `Encoder.forward`."""
        first, *others = (encoder(self._for(number, images)) for number, encoder in enumerate(self.encoders))
        features: ImageFeatures = replace(first, others=tuple(others))
        return features

    def _for(self, number: int, images: Tensor) -> Tensor:
        colours = self._colours[number] if self._colours else None
        if colours is None:
            return images
        assert isinstance(self.transform, ImageTransform)
        (mean, std), (own_mean, own_std) = (
            [torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1) for values in pair]
            for pair in (_colours(self.transform), colours)
        )
        return (images * std + mean - own_mean) / own_std


def _colours(transform: ImageTransform) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return transform.mean, transform.std


def _transforms(encoders: Sequence[Encoder], given: Sequence[Mapping[str, Any]]) -> list[ImageTransform]:
    """Return each encoder's transform, after checking that they differ in their colours alone.

    Raises:
        InputError: they differ in more, or an encoder has none.
    """
    if given and len(given) != len(encoders):
        raise InputError(f"found {len(given)} transforms of {len(encoders)} encoders, expected as many")
    own = [encoder.transform for encoder in encoders]
    found = [ImageTransform.from_dict(values) for values in given] if given else own
    transforms = [transform for transform in found if isinstance(transform, ImageTransform)]
    if len(transforms) < len(encoders):
        raise InputError("an encoder of images has no transform; give transforms")
    for encoder, transform in zip(encoders, transforms, strict=True):
        different = [
            f"{field.name} {getattr(transforms[0], field.name)} and {getattr(transform, field.name)}"
            for field in fields(ImageTransform)
            if field.name not in ("mean", "std")
            and getattr(transform, field.name) != getattr(transforms[0], field.name)
        ]
        if different:
            raise InputError(
                f"{encoders[0].model_name} and {encoder.model_name} read different images ({', '.join(different)}); an "
                "ensemble reads each image once: choose models whose images have one size"
            )
    return transforms
