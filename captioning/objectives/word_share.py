"""Word share: a word detector learns how many of an image's captions have each word."""

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
from captioning.objectives.word_presence import NUM_CAPTIONS
from captioning.text.tokenizer import SpecialTokens


def word_shares(batch: CaptionBatch, vocab_size: int, special: SpecialTokens) -> Tensor:
    """Return the share of the first five captions of each image that have each word, (I, V) float32.

    Special tokens are never present. An image without captions has no words.

    Args:
        batch: I images and their captions.
        vocab_size: V.
        special: ids of the special tokens.
    """
    targets = batch.targets()
    device = targets.data.device
    has = torch.zeros(len(batch.lengths), vocab_size, device=device)
    has[packed_rows(targets), targets.data] = 1.0
    has[:, list(vars(special).values())] = 0.0
    first = batch.caption_index < NUM_CAPTIONS
    images = batch.image_index[first]
    counts = torch.zeros(len(batch.image_ids), vocab_size, device=device).index_add_(0, images, has[first])
    captions = torch.bincount(images, minlength=len(counts)).clamp(min=1)
    return counts / captions[:, None]


@dataclass(frozen=True)
class WordShare:
    """The cross-entropy with the share of captions that have each word, summed over words and averaged over images.

        L = -1/I Σ_i Σ_w [s_iw log p_iw + (1 - s_iw) log(1 - p_iw)]          in nats per image

    s_iw is the share of the first five captions of image i that have the word w, so p_iw estimates the probability that
    one caption has it. `WordPresence`, the loss of Fang et al. 2015 (arXiv:1411.4952), asks whether any caption has it:
    there, a word of one caption counts as much as a word of all five. The average precision of that paper is graded by
    the number of captions, as this loss is. The loss is ours.

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
        shares = word_shares(batch, detector.vocab_size, self.special).to(log_present.dtype)
        present = shares * log_present.masked_fill(shares == 0, 0.0)  # 0 log 0 = 0
        absent = (1 - shares) * log_absent.masked_fill(shares == 1, 0.0)
        loss = -(present + absent).sum() / len(shares)
        return (Mean(loss, len(shares)),)
