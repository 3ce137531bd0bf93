"""Cross-entropy: maximum likelihood by teacher forcing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives.chunks import chunks, summed_loss


def token_losses(decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
    """Compute -log p of every target token in nats, (sum of lengths), packed as the batch's targets."""
    hidden = decoder.hidden(features, batch.inputs(), batch.image_index)
    parts = chunks(decoder, hidden, batch.targets().data)
    return torch.cat([F.cross_entropy(in_float(decoder.head(h)), own, reduction="none") for h, own in parts])


def mean_cross_entropy(decoder: Decoder[Any], hidden: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """Compute the mean over tokens of the cross-entropy, a scalar; see `CrossEntropy`.

    Args:
        decoder: the decoder.
        hidden: what its head reads, (sum of lengths, ..).
        targets: (sum of lengths) int64.
        label_smoothing: the share of the target's probability that is spread over the vocabulary.
    """
    loss = partial(F.cross_entropy, reduction="none", label_smoothing=label_smoothing)
    return summed_loss(decoder, hidden, loss, targets) / len(targets)


def check_label_smoothing(share: float) -> None:
    """Check that `label_smoothing` is a share.

    Raises:
        InputError: `label_smoothing` is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"label_smoothing={share} must be in 0..1")


@dataclass(frozen=True)
class CrossEntropy:
    """The mean of -log p(S_t | I, S_<t) over the batch's real tokens, `<eos>` included; in nats per token.

    Source: Vinyals et al. 2015, equation 13, with im2txt's mean over tokens. Label smoothing: Szegedy et al.
    2015 (arXiv:1512.00567), section 7.

    Args:
        label_smoothing: the share of the target's probability that is spread over the vocabulary.

    Raises:
        InputError: `label_smoothing` is not in 0..1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)

    def __call__(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        hidden = decoder.hidden(features, batch.inputs(), batch.image_index)
        return mean_cross_entropy(decoder, hidden, batch.targets().data, label_smoothing=self.label_smoothing)
