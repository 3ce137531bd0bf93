"""Scheduled sampling: the decoder reads some of its own words in the place of the true ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.modes import evaluating
from captioning.objectives.cross_entropy import check_label_smoothing, mean_cross_entropy
from captioning.objectives.decays import Decay


class ScheduledSampling(nn.Module):
    """The cross-entropy of the true words, where each word that is read is true with probability ε_i only.

        v_t = S_t with probability ε_i, else w_t ~ p(. | I, v_<t);    L = -Σ_t log p(S_t | I, v_<t)

    L is a mean over the batch's tokens. The sampled words have no gradient. So all that is read is drawn first, step by
    step, and then one pass of teacher forcing computes the loss and its gradient: the result is that of the paper's
    step-by-step training. `<bos>` is always true.

    Source: Bengio et al. 2015 (arXiv:1506.03099). Differs: dropout acts in the pass that computes the loss, and not
    when words are drawn.

    Args:
        decay: ε_i by the number of the training step.
        label_smoothing: see `CrossEntropy`.

    Attributes:
        step: i, the training steps so far, int64; saved in checkpoints.

    Raises:
        InputError: `label_smoothing` is not in 0..1.
    """

    step: Tensor

    def __init__(self, *, decay: Decay, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_label_smoothing(label_smoothing)
        self.decay, self.label_smoothing = decay, label_smoothing
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar. In training mode, the step is counted."""
        share = 1 - self.decay(int(self.step))
        if self.training:
            self.step += 1
        inputs = batch.inputs() if share == 0 else mixed_inputs(decoder, features, batch, share)
        hidden = decoder.hidden(features, inputs, batch.image_index)
        return mean_cross_entropy(decoder, hidden, batch.targets().data, label_smoothing=self.label_smoothing)


@torch.no_grad()
def mixed_inputs(decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch, share: float) -> PackedSequence:
    """Replace a share of the words that a decoder reads by words that it draws itself.

    Args:
        decoder: the decoder; words are drawn in evaluation mode.
        features: of the batch's images.
        batch: the batch.
        share: the probability of a drawn word, 1 - ε_i.

    Returns:
        The inputs, packed as those of the batch.
    """
    true = batch.inputs()
    starts = (true.batch_sizes.cumsum(0) - true.batch_sizes).tolist()
    data = true.data.clone()
    drawn_here = torch.rand(data.shape, device=data.device) < share
    with evaluating(decoder):
        state = decoder.start(features).rows(batch.image_index)
        for start, size, rest in zip(starts, true.batch_sizes.tolist(), true.batch_sizes[1:].tolist(), strict=False):
            logits, state = decoder.step(data[start : start + size], state.first(size))
            following = slice(start + size, start + size + rest)
            drawn = torch.multinomial(in_float(logits[:rest]).softmax(1), 1)[:, 0]
            data[following] = torch.where(drawn_here[following], drawn, data[following])
    torch.clear_autocast_cache()  # else teacher forcing would reuse weights that were converted without a gradient
    return true._replace(data=data)
