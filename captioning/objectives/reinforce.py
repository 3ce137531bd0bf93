"""REINFORCE for decoders that sample the region they attend to."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import AttentiveDecoder, Capability, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.objectives.averages import mean_of_all
from captioning.objectives.chunks import summed_loss
from captioning.objectives.cross_entropy import check_label_smoothing, smoothed_losses


class Reinforce(nn.Module):
    """The gradient of hard attention's variational bound, per token.

        ∂L_s ≈ ∂log p(y|s̃,a) + λ_r (r - b) ∂log p(s̃|a) + λ_e ∂H[s̃],  r = log p(y|s̃,a) / T        (after (6), (7))
        b_k = 0.9 b_{k-1} + 0.1 r_k

    The advantage of batch k is r - b_{k-1}: the baseline is the average over earlier batches, and b_0 is 0, as in the
    official code. A batch's r in (6) is the mean over its captions.
    Source: Xu et al. 2015 (arXiv:1502.03044), section 4.1. The returned value is not a likelihood. Its gradient is the
    negative of the above, divided by the batch's number of tokens as in `CrossEntropy`.
    Differs: the paper prints r without the division by the caption's number of tokens, T. The official code divides,
    and its batches have captions of one length. A sum would vary with the length far more than with the sampled
    regions, and its noise would drown the likelihood.

    Args:
        reward_weight: λ_r.
        entropy_weight: λ_e.
        label_smoothing: see `CrossEntropy`; it does not change the reward.

    Attributes:
        baseline: b, the moving average of the captions' r over the batches of all processes; saved in checkpoints.

    Raises:
        InputError: `label_smoothing` is not in 0..1.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REGIONS, Capability.SAMPLED_REGIONS})
    baseline: Tensor

    def __init__(
        self, *, reward_weight: float = 1.0, entropy_weight: float = 0.002, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        check_label_smoothing(label_smoothing)
        self.reward_weight, self.entropy_weight = reward_weight, entropy_weight
        self.label_smoothing = label_smoothing
        self.register_buffer("baseline", torch.zeros(()))

    def forward(self, decoder: AttentiveDecoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        inputs, targets = batch.inputs(), batch.targets().data
        attended = decoder.attend(features, inputs, batch.image_index)
        assert attended.log_choice is not None  # `check_objective` refuses such a decoder
        alpha = in_float(attended.attention)
        log_p = alpha.new_empty(len(targets))  # of each target, without a gradient
        likelihood = summed_loss(decoder, attended.hidden, self._log_likelihood, targets, log_p)
        of_caption = packed_rows(inputs)

        def sums(x: Tensor) -> Tensor:
            return x.new_zeros(len(batch.lengths)).index_add(0, of_caption, x)

        reward = sums(log_p) / batch.lengths.to(log_p)
        advantage = reward - self.baseline
        if self.training:
            self.baseline.lerp_(mean_of_all(reward, batch).to(self.baseline), 0.1)
        log_s = sums(in_float(attended.log_choice))
        logarithm = alpha.clamp_min(torch.finfo(alpha.dtype).tiny).log()  # a region that is not real has α = 0
        entropy = -(alpha * logarithm).sum(1)
        bound = likelihood + self.reward_weight * (advantage * log_s).sum() + self.entropy_weight * entropy.sum()
        return -bound / len(targets)

    def _log_likelihood(self, logits: Tensor, targets: Tensor, log_p: Tensor) -> Tensor:
        """Compute the smoothed log-likelihood of each target, and write that without smoothing into `log_p`."""
        losses, of_targets = smoothed_losses(logits, targets, self.label_smoothing)
        log_p.copy_(of_targets)
        return -losses
