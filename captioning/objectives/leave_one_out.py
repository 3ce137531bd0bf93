"""Self-critical training whose baseline is the mean reward of the image's other samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.objectives.policy_gradient import PolicyGradient


class LeaveOneOut(PolicyGradient):
    """Samples are rewarded for being better than the other samples of their image.

        b_i = (Σ_j r_j - r_i) / (n - 1)

    Source: Luo 2020 (arXiv:2003.09971), with five samples of each image. The baseline does not depend on the sample, so
    the gradient is unbiased, and no greedy caption is needed.
    """

    least_samples = 2

    def baselines(self, rewards: Tensor, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the mean reward of each sample's others, (I, n)."""
        return (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
