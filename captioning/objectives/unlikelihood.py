"""Unlikelihood training against repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives.cross_entropy import check_label_smoothing

LEAST = 1e-5
"""The smallest 1 - p, as in the authors' code."""


@dataclass(frozen=True)
class Unlikelihood:
    """The cross-entropy, and a penalty on the probability of words that the caption already has.

        L_t = -log p(x_t | x_<t) - α Σ_{c in C_t} log(1 - p(c | x_<t)),   C_t = {x_1, ..., x_{t-1}} - {x_t}

    L is a mean over the batch's tokens. Source: Welleck et al. 2019 (arXiv:1908.04319).

    Args:
        weight: α.
        label_smoothing: see `CrossEntropy`; of the first term.

    Raises:
        InputError: `weight` is below 0, or `label_smoothing` is not in 0..1.
    """

    weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)
        if not self.weight >= 0:
            raise InputError(f"weight={self.weight} must be at least 0")

    def __call__(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        inputs, targets = batch.inputs(), batch.targets().data
        log_probs = in_float(decoder(features, inputs, batch.image_index)).log_softmax(1)
        likelihood = F.nll_loss(log_probs, targets).lerp(-log_probs.mean(), self.label_smoothing)
        positions, words = repeated_words(batch)
        p = log_probs[positions, words].exp()
        penalty = -(1 - p).clamp_min(LEAST).log().sum() / len(targets)
        return likelihood + self.weight * penalty


def repeated_words(batch: CaptionBatch) -> tuple[Tensor, Tensor]:
    """List C_t of every target, each word once.

    Returns:
        The position of the target among the packed ones, and the word: int64, one pair for each word of each C_t.
    """
    inputs, targets = batch.inputs(), batch.targets().data
    rows = packed_rows(inputs)
    step = torch.repeat_interleave(torch.arange(len(inputs.batch_sizes)), inputs.batch_sizes).to(rows.device)
    words = batch.tokens[:, 1:]
    new = (words[:, :, None] == words[:, None, :]).tril(-1).any(2).logical_not()  # the first occurrence of each word
    past = torch.arange(words.shape[1], device=rows.device) < step[:, None]
    position, column = (past & new[rows] & (words[rows] != targets[:, None])).nonzero(as_tuple=True)
    return position, words[rows[position], column]
