"""Cross-entropy: maximum likelihood by teacher forcing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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

    def losses(logits: Tensor, targets: Tensor) -> Tensor:
        return smoothed_losses(logits, targets, label_smoothing)[0]

    return summed_loss(decoder, hidden, losses, targets) / len(targets)


def smoothed_losses(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of each row. Its gradient, p - q, cannot be differentiated again.

        loss = -Σ_v q_v log p_v        p = softmax(logits)        q_v = (1 - ε) [v = target] + ε / V

    It takes less time than torch's cross-entropy, because p is computed once.

    Args:
        logits: (n, V).
        targets: (n) int64.
        label_smoothing: ε.

    Returns:
        The losses, (n), and log p of the targets without a gradient, (n).
    """
    found: tuple[Tensor, Tensor] = _SmoothedLosses.apply(logits, targets, label_smoothing)
    return found


class _SmoothedLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        p, largest = logits.softmax(1), logits.amax(1)
        to_log_p = p.amax(1).log() - largest  # the largest p is at least 1 / V, so its logarithm is exact
        of_target = logits.gather(1, targets[:, None])[:, 0] + to_log_p
        losses = -(of_target.lerp(logits.mean(1) + to_log_p, label_smoothing) if label_smoothing else of_target)
        ctx.save_for_backward(p, targets)
        ctx.label_smoothing = label_smoothing
        ctx.mark_non_differentiable(of_target)
        return losses, of_target

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_losses: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (p, targets), share = ctx.saved_tensors, ctx.label_smoothing
        of_losses = of_losses[:, None]
        of_logits = (p - share / p.shape[1] if share else p) * of_losses
        return of_logits.scatter_add_(1, targets[:, None], (share - 1) * of_losses), None, None


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
