"""How probable each sentence is for each picture: what retrieval by a captioner ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.objectives import token_losses


@torch.no_grad()
def sentence_log_probs(
    decoder: Decoder[Any], features: ImageFeatures, sentences: Sequence[Sequence[int]], *, pairs: int = 1024
) -> Tensor:
    """Weigh every sentence for every image: log P(sentence | image), end word included, by teacher forcing.

    Args:
        decoder: in evaluation mode.
        features: of I images.
        sentences: S captions' ids, `<bos>` first and `<eos>` last.
        pairs: of an image and a sentence that are computed at once.

    Returns:
        (I, S) float64, in nats.
    """
    num_images, device = len(features), features.pooled.device
    found = torch.empty(len(sentences), num_images, dtype=torch.float64, device=device)
    longest_first = sorted(range(len(sentences)), key=lambda s: -len(sentences[s]))
    at_once = max(1, pairs // num_images)
    for start in range(0, len(sentences), at_once):
        chunk = longest_first[start : start + at_once]
        batch = _every_pair([sentences[s] for s in chunk], num_images, device)
        losses = token_losses(decoder, features, batch)
        row = packed_rows(batch.targets())
        sums = torch.zeros(len(batch.lengths), dtype=torch.float64, device=device).index_add_(0, row, losses.double())
        found[chunk] = -sums.view(len(chunk), num_images)
    return found.T


def _every_pair(sentences: Sequence[Sequence[int]], num_images: int, device: torch.device) -> CaptionBatch:
    """Each sentence with each image: sentence by sentence, which stay sorted from the longest."""
    tokens = pad_sequence([torch.tensor(ids) for ids in sentences], batch_first=True).to(device)
    lengths = torch.tensor([len(ids) - 1 for ids in sentences])
    return CaptionBatch(
        image_ids=(),
        images=None,
        features=None,
        tokens=tokens.repeat_interleave(num_images, 0),
        lengths=lengths.repeat_interleave(num_images),
        image_index=torch.arange(num_images, device=device).repeat(len(sentences)),
    )
