"""Noise-contrastive estimation: learn to distinguish the captions' words from words drawn at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.processes import several_processes, sum_over_processes
from captioning.errors import InputError
from captioning.objectives.chunks import summed_loss


class NoiseContrastive(nn.Module):
    """The mean over the batch's tokens of the loss of telling each from k noise words.

        Δ(w) = s(w) - log(k q_w)        s(w): the decoder's logit, as if exp s(w) were a probability
        loss = -log σ(Δ(S_t)) - Σ_i log σ(-Δ(w_i)),     w_1 .. w_k drawn from q
        q_w  = (c_w + 1) / (Σ_v c_v + V)                c_w: how often w was a target so far

    Source: Gutmann, Hyvärinen 2010; for language models Mnih, Teh 2012 (arXiv:1206.6426). With P = exp s, the expected
    gradient of -loss is Σ_w k q_w / (P(w) + k q_w) · (1[w = S_t] - P(w)) ∂s(w). As k grows, it becomes that of the
    likelihood if P sums to 1, which the loss teaches. The loss is not a likelihood: validation computes perplexity by
    the softmax.
    Differs: q is estimated from the batches so far, with one added to every count, so that no word has probability 0.
    All logits are computed, because decoders return all, so a step is no faster than with `CrossEntropy`.

    Args:
        feature_size: F; not used.
        vocab_size: V.
        num_noise: k.

    Attributes:
        counts: c, (V) int64, of all processes; saved in checkpoints.

    Raises:
        InputError: k is below 1.
    """

    counts: Tensor

    def __init__(self, *, feature_size: int, vocab_size: int, num_noise: int = 25) -> None:
        super().__init__()
        if num_noise < 1:
            raise InputError(f"num_noise={num_noise} must be at least 1")
        self.num_noise = num_noise
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.int64))

    def forward(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        hidden = decoder.hidden(features, batch.inputs(), batch.image_index)
        targets = batch.targets().data
        if self.training:
            own = torch.bincount(targets, minlength=len(self.counts)) * (not batch.repeated)
            self.counts += sum_over_processes(own) if several_processes() else own
        q = (self.counts + 1).double() / (self.counts + 1).sum()
        noise = torch.multinomial(q, len(targets) * self.num_noise, replacement=True).view(len(targets), -1)
        words = torch.cat([targets[:, None], noise], 1)
        return summed_loss(decoder, hidden, _loss, words, (self.num_noise * q).log()[words]) / len(targets)


def _loss(logits: Tensor, words: Tensor, log_kq: Tensor) -> Tensor:
    """Compute the loss of each row from its target and noise words, (n, 1 + k)."""
    deltas = logits.gather(1, words) - log_kq.to(logits.dtype)
    return -F.logsigmoid(deltas[:, 0]) - F.logsigmoid(-deltas[:, 1:]).sum(1)
