"""Word presence: a word detector learns which words the captions of an image have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import packed_rows
from captioning.encoders.detectors import WordDetector
from captioning.encoders.features import ImageFeatures
from captioning.objectives.averages import Mean, total
from captioning.text.tokenizer import SpecialTokens

NUM_CAPTIONS = 5
"""Only an image's first captions count, as in the official code: images with more would have more words."""


def word_labels(batch: CaptionBatch, vocab_size: int, special: SpecialTokens) -> Tensor:
    """Return whether one of the first five captions of each image has each word, (I, V) bool.

    Special tokens are never present. An image whose captions are split over batches (`Loading.captions_per_image`) has
    the words of this part alone.

    Args:
        batch: I images and their captions.
        vocab_size: V.
        special: ids of the special tokens.
    """
    targets = batch.targets()
    rows = packed_rows(targets)
    first = batch.caption_index[rows] < NUM_CAPTIONS
    present = torch.zeros(len(batch.image_ids), vocab_size, dtype=torch.bool, device=rows.device)
    present[batch.image_index[rows][first], targets.data[first]] = True
    present[:, list(vars(special).values())] = False
    return present


@dataclass(frozen=True)
class WordPresence:
    """The cross-entropy of the presence of each word, summed over words and averaged over images; in nats per image.

        L = -1/I Σ_i Σ_w [y_iw log p_iw + (1 - y_iw) log(1 - p_iw)]

    y_iw is 1 if one of the first five captions of image i has the word w, else 0. Through the noisy-OR, the gradient
    with respect to the logit of region j is

        I ∂L/∂z_ij = σ(z_ij) · (-(1 - p_i) / p_i if y_i = 1, else 1)

    Source: Fang et al. 2015 (arXiv:1411.4952). Labels from the first five captions: the official code.
    Differs: the official code multiplies the loss by 20, which with its small learning rate only scales the step.

    Args:
        special: ids of the tokenizer's special tokens, which are never present.
    """

    trains: ClassVar[type[nn.Module]] = WordDetector
    special: SpecialTokens

    def __call__(self, detector: WordDetector, features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar.

        Raises:
            InputError: the detector needs a grid, and the features have none.
        """
        return total(self.means(detector, features, batch))

    def means(self, detector: WordDetector, features: ImageFeatures, batch: CaptionBatch) -> tuple[Mean]:
        """Compute the mean over images; see `__call__`."""
        log_present, log_absent = detector.log_probs(features)
        present = word_labels(batch, detector.vocab_size, self.special)
        loss = -torch.where(present, log_present, log_absent).sum() / len(present)
        return (Mean(loss, len(present)),)
