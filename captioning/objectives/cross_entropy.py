"""Cross-entropy: maximum likelihood by teacher forcing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


def token_losses(decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
    """Compute -log p of every target token in nats, (sum of lengths), packed as the batch's targets."""
    logits = decoder(features, batch.inputs(), batch.image_index)
    return F.cross_entropy(in_float(logits), batch.targets().data, reduction="none")


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
        logits = decoder(features, batch.inputs(), batch.image_index)
        return F.cross_entropy(in_float(logits), batch.targets().data, label_smoothing=self.label_smoothing)
