"""The batch that training, validation and search share."""

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
    """I images, each once, and their N captions.

    Attributes:
        image_ids: the I images' ids.
        images: (I, C, H, W) float, or None where `features` are given.
        features: what the encoder made of them earlier, or None where `images` are given.
        tokens: (N, T+1) int64: `<bos>`, the words, `<eos>`, padding.
        lengths: (N) int64 on the CPU, sorted from the longest: the number of tokens that are predicted, the
            words and `<eos>`.
        image_index: (N) int64: each caption's row in the images.
        objects: what is annotated in the I images, where it is asked for.
    """

    image_ids: tuple[int | str, ...]
    images: Tensor | None
    features: ImageFeatures | None
    tokens: Tensor
    lengths: Tensor
    image_index: Tensor
    objects: Objects | None = None

    def inputs(self) -> PackedSequence:
        """The tokens that a teacher-forced decoder reads: `<bos>` and the words."""
        return self._pack(self.tokens[:, :-1])

    def targets(self) -> PackedSequence:
        """The tokens that it must predict: the words and `<eos>`."""
        return self._pack(self.tokens[:, 1:])

    def _pack(self, tokens: Tensor) -> PackedSequence:
        return pack_padded_sequence(tokens, self.lengths, batch_first=True)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> CaptionBatch:
        """Move all but `lengths`, which packing reads on the CPU."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=non_blocking)

        tokens, image_index = move(self.tokens), move(self.image_index)
        assert tokens is not None and image_index is not None
        features = None if self.features is None else self.features.to(device, non_blocking=non_blocking)
        objects = None if self.objects is None else self.objects.map(lambda x: x.to(device, non_blocking=non_blocking))
        return replace(
            self,
            images=move(self.images),
            features=features,
            tokens=tokens,
            image_index=image_index,
            objects=objects,
        )


def collate(
    image_ids: Sequence[int | str],
    captions: Sequence[Sequence[Sequence[int]]],
    *,
    pad: int,
    images: Tensor | None = None,
    features: ImageFeatures | None = None,
    objects: Objects | None = None,
) -> CaptionBatch:
    """Pad, sort and index the captions of some images.

    Args:
        image_ids: of the I images.
        captions: for each image its captions' ids, `<bos>` first and `<eos>` last.
        pad: the id of `<pad>`.
        images: (I, C, H, W), or
        features: of the I images.
        objects: of the I images.
    """
    rows = [(ids, i) for i, own in enumerate(captions) for ids in own]
    rows.sort(key=lambda row: -len(row[0]))  # stable: equal lengths keep the images' order
    columns = list(zip_longest(*(ids for ids, _ in rows), fillvalue=pad)) or [()]
    tokens = torch.tensor(columns, dtype=torch.int64).T
    return CaptionBatch(
        image_ids=tuple(image_ids),
        images=images,
        features=features,
        tokens=tokens,
        lengths=torch.tensor([len(ids) - 1 for ids, _ in rows], dtype=torch.int64),
        image_index=torch.tensor([i for _, i in rows], dtype=torch.int64),
        objects=objects,
    )
