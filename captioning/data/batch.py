"""The batch used by training, validation and search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from captioning.encoders.features import ImageFeatures, Objects


@dataclass(frozen=True)
class CaptionBatch:
    """I images and their N captions. If `Loading.captions_per_image` is set, an image may be in a batch more than once.

    Attributes:
        image_ids: the I images' ids.
        images: the encoder's input: (I, C, H, W) float, or token ids of sentences, (I, S) int64; None if `features` are
            given.
        features: cached features of the images, or None if `images` are given.
        tokens: (N, T+1) int64: `<bos>`, the words, `<eos>` unless the caption is truncated, padding.
        lengths: (N) int64 on the CPU, in descending order: the number of predicted tokens, the words and `<eos>`.
        image_index: (N) int64, the row of each caption's image.
        caption_index: (N) int64, the number of each caption among its image's in the order of the data set, from 0. It
            is counted within each part that `captions_per_image` makes.
        objects: annotated objects of the I images, if requested.
        repeated: whether the images are also in another process's batch, because there were fewer images than
            processes. Such a batch counts for nothing in training.
    """

    image_ids: tuple[int | str, ...]
    images: Tensor | None
    features: ImageFeatures | None
    tokens: Tensor
    lengths: Tensor
    image_index: Tensor
    caption_index: Tensor
    objects: Objects | None = None
    repeated: bool = False

    def inputs(self) -> PackedSequence:
        """Pack the inputs of a teacher-forced decoder: `<bos>` and the words."""
        return self._pack(self.tokens[:, :-1])

    def targets(self) -> PackedSequence:
        """Pack the tokens to predict: the words and `<eos>`."""
        return self._pack(self.tokens[:, 1:])

    def words(self, eos: int) -> tuple[Tensor, Tensor]:
        """Return the captions without `<bos>` and `<eos>`.

        Args:
            eos: the id of `<eos>`.

        Returns:
            tokens (N, T) int64 and lengths (N) int64 on the CPU, the number of words; what follows a caption's words
            has no meaning.
        """
        last = self.tokens.gather(1, self.lengths.to(self.tokens.device)[:, None])[:, 0]
        return self.tokens[:, 1:], self.lengths - (last == eos).cpu().long()

    def _pack(self, tokens: Tensor) -> PackedSequence:
        return pack_padded_sequence(tokens, self.lengths, batch_first=True)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> CaptionBatch:
        """Move all tensors except `lengths`, which packing reads on the CPU."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=non_blocking)

        return replace(
            self,
            images=None if self.images is None else move(self.images),
            features=None if self.features is None else self.features.to(device, non_blocking=non_blocking),
            tokens=move(self.tokens),
            image_index=move(self.image_index),
            caption_index=move(self.caption_index),
            objects=None if self.objects is None else self.objects.map(move),
        )


def collate(
    image_ids: Sequence[int | str],
    captions: Sequence[Sequence[Sequence[int]]],
    *,
    pad: int,
    images: Tensor | None = None,
    features: ImageFeatures | None = None,
    objects: Objects | None = None,
    repeated: bool = False,
) -> CaptionBatch:
    """Build a batch: pad the captions, sort them by length and index their images.

    Args:
        image_ids: ids of the I images.
        captions: token ids of each image's captions, from `<bos>` to `<eos>` (which truncated captions lack).
        pad: the id of `<pad>`.
        images: the encoder's input, as in `CaptionBatch`; None if `features` are given.
        features: features of the I images; None if `images` are given.
        objects: annotated objects of the I images.
        repeated: as in `CaptionBatch`.
    """
    rows = [(ids, i, n) for i, own in enumerate(captions) for n, ids in enumerate(own)]
    rows.sort(key=lambda row: -len(row[0]))  # stable: captions of equal length keep the order of the images
    columns = list(zip_longest(*(ids for ids, _, _ in rows), fillvalue=pad)) or [()]
    tokens = torch.tensor(columns, dtype=torch.int64).T
    return CaptionBatch(
        image_ids=tuple(image_ids),
        images=images,
        features=features,
        tokens=tokens,
        lengths=torch.tensor([len(ids) - 1 for ids, _, _ in rows], dtype=torch.int64),
        image_index=torch.tensor([i for _, i, _ in rows], dtype=torch.int64),
        caption_index=torch.tensor([n for _, _, n in rows], dtype=torch.int64),
        objects=objects,
        repeated=repeated,
    )
