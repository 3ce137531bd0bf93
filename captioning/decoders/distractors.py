"""The features of other images, which a bundle holds among its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


class Distractors(nn.Module):
    """The features of D images as a decoder reads them, in buffers that the state dict contains.

    The sizes make a module of zeros, which the weights of a bundle fill. `of` makes one of features.

    Args:
        num_images: D.
        feature_size: F.
        num_regions: R; None for features without a grid.
        masked: whether a mask tells which regions are padding.
        num_words: W of a word detector; None for features without detected words.

    Raises:
        InputError: a size is below 1, or there is a mask without regions.
    """

    pooled: Tensor
    grid: Tensor | None
    mask: Tensor | None
    words: Tensor | None

    def __init__(
        self,
        *,
        num_images: int,
        feature_size: int,
        num_regions: int | None = None,
        masked: bool = False,
        num_words: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_images": num_images, "feature_size": feature_size, "num_regions": num_regions}
        for name, size in {**sizes, "num_words": num_words}.items():
            if size is not None and size < 1:
                raise InputError(f"{name}={size} must be at least 1")
        if masked and num_regions is None:
            raise InputError("masked=true needs num_regions: a mask tells which regions are padding")
        self.sizes = {**sizes, "masked": masked, "num_words": num_words}
        # Buffers of the device "meta" take no memory, so the limits of a bundle apply before there is any.
        self._empty("pooled", num_images, feature_size)
        self._empty("grid", num_images, num_regions, feature_size)
        self._empty("mask", num_images, num_regions if masked else None, dtype=torch.bool)
        self._empty("words", num_images, num_words)
        self.to_empty(device="cpu")
        for buffer in self.buffers():
            buffer.zero_()

    def _empty(self, name: str, *shape: int | None, dtype: torch.dtype = torch.float32) -> None:
        sizes = [size for size in shape if size is not None]
        buffer = torch.empty(sizes, dtype=dtype, device="meta") if len(sizes) == len(shape) else None
        self.register_buffer(name, buffer)

    @classmethod
    def of(cls, *batches: ImageFeatures) -> Distractors:
        """Copy features.

        Args:
            batches: features of D images as the decoder reads them, at least one batch.

        Raises:
            InputError: there is no image. Or the features are those of sentences, of annotated objects or of several
                encoders.
        """
        if not sum(map(len, batches)):
            raise InputError("expected the features of at least one other image, found none")
        if any(batch.final is not None or batch.objects is not None or batch.others for batch in batches):
            raise InputError(
                "other images are contrasted by the features of one encoder, without objects; if an ensemble has "
                "several encoders, contrast each member, and make the ensemble of these"
            )
        names = [name for name in ("pooled", "grid", "mask", "words") if getattr(batches[0], name) is not None]
        tensors = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
        made = cls(
            num_images=len(tensors["pooled"]),
            feature_size=tensors["pooled"].shape[1],
            num_regions=tensors["grid"].shape[1] if "grid" in tensors else None,
            masked="mask" in tensors,
            num_words=tensors["words"].shape[1] if "words" in tensors else None,
        ).to(tensors["pooled"].device)
        for name, tensor in tensors.items():
            made.get_buffer(name).copy_(tensor)
        return made

    def each(self, like: Tensor) -> list[ImageFeatures]:
        """Return the features of each image alone, on the device and in the dtype of `like`."""
        features = ImageFeatures(self.pooled, self.grid, self.mask, words=self.words)
        features = features.to(like.device).cast(like.dtype)
        return [features.rows(row) for row in torch.arange(len(features), device=like.device)[:, None]]
