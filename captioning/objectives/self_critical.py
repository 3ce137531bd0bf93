"""Self-critical training: the baseline of a sampled caption is the reward of the caption that greedy search finds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.objectives.policy_gradient import PolicyGradient
from captioning.search.greedy import GreedySearch


class SelfCritical(PolicyGradient):
    """Samples are rewarded for being better than what the decoder would say in a test.

        ∂L/∂s_t = (r(w^s) - r(ŵ)) (p(w_t | h_t) - 1_{w_t^s}),   ŵ_t = argmax p(w_t | h_t)                 (9), (10)

    Source: Rennie et al. 2017 (arXiv:1612.00563); one sample of each image, rewarded by CIDEr-D.
    """

    def baselines(self, rewards: Tensor, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the reward of each image's greedy caption, (I, 1)."""
        greedy = self.search(GreedySearch(max_length=self.sampling.max_length), decoder, features)
        return self.rewards(greedy, batch)
