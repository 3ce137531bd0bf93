"""Cross-entropy plus a term that spreads attention evenly over the regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import AttentiveDecoder, Capability, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.objectives.averages import Mean, total
from captioning.objectives.cross_entropy import check_label_smoothing, mean_cross_entropy


@dataclass(frozen=True)
class DoublyStochastic:
    """Cross-entropy, plus weight · the captions' mean of Σ_i (1 - Σ_t α_ti)².

    Source: Xu et al. 2015 (arXiv:1502.03044), section 4.2.1, with τ = 1. The weights sum to 1 over regions; the term
    makes them sum to about 1 over time too. All weights of a caption of T tokens sum to T. So the term is least if
    each of R regions gets T/R, whatever τ is, and a large λ flattens attention.
    Differs: cross-entropy is a mean over tokens; in the paper and its official code it is a sum over the tokens of a
    caption, averaged over captions. A weight of 1 there corresponds to a weight of 1 / T here.

    Args:
        weight: λ.
        label_smoothing: see `CrossEntropy`.

    Raises:
        InputError: `label_smoothing` is not in 0..1.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.REGIONS})

    weight: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)

    def __call__(self, decoder: AttentiveDecoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        return total(self.means(decoder, features, batch))

    def means(self, decoder: AttentiveDecoder[Any], features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean, Mean]:
        """Compute the mean over tokens and that over captions."""
        inputs, targets = batch.inputs(), batch.targets().data
        attended = decoder.attend(features, inputs, batch.image_index)
        alpha = in_float(attended.attention)
        sums = alpha.new_zeros(len(batch.lengths), alpha.shape[1]).index_add(0, packed_rows(inputs), alpha)
        deviation = (1 - sums).square()
        if features.mask is not None:
            deviation = deviation * features.mask.index_select(0, batch.image_index)
        loss = mean_cross_entropy(decoder, attended.hidden, targets, label_smoothing=self.label_smoothing)
        penalty = self.weight * deviation.sum(1).mean()
        return Mean(loss, len(targets)), Mean(penalty, len(deviation))
