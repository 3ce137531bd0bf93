"""The interface of word detectors, which map image features to the probability of each word.

From Captions to Visual Concepts and Back. Fang, Gupta, Iandola, Srivastava, Deng, Dollár, Gao, He, Mitchell, Platt,
Zitnick, Zweig. CVPR 2015. arXiv:1411.4952. The numbers come from the official code (s-gupta/visual-concepts).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

_LEAST = 1e-6
"""No word starts with a probability below this or above 1 minus this: its bias would be infinite."""


class WordDetector(nn.Module, ABC):
    """A linear layer that scores every word in every region, and a rule that joins the regions of an image.

        z_ij = w · φ_ij + u        the logit of a word in region j of image i, with w and u of the word

    The words are the tokens of a tokenizer. The special tokens are columns too, so that a column is a token's id, but
    they are never present.

    Differs: the official code draws w from a normal distribution of deviation 0.001. Here w starts at 0, so that a
    detector without training gives each word exactly the probability that `start` is given.

    Args:
        feature_size: F.
        vocab_size: V.
        dropout: on the features φ_ij before w.

    Attributes:
        vocab_size: V.
    """

    def __init__(self, *, feature_size: int, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_size, vocab_size)
        nn.init.zeros_(self.head.weight)

    def forward(self, features: ImageFeatures) -> Tensor:
        """Compute the probability of each word in each image, (I, V) float32."""
        return self.log_probs(features)[0].exp()

    @abstractmethod
    def log_probs(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """Compute log p and log(1 - p) of each word in each image, (I, V) float32 each.

        Raises:
            InputError: the detector needs a grid, and the features have none.
        """

    @abstractmethod
    def maps(self, features: ImageFeatures) -> Tensor:
        """Compute the probability of each word in each region, (I, R, V) float32; 0 in padding.

        R is 1 for a detector of the whole image.

        Raises:
            InputError: the detector needs a grid, and the features have none.
        """

    @abstractmethod
    def start(self, frequencies: Tensor, features: ImageFeatures) -> None:
        """Set the biases u so that a detector without training gives each word its frequency as its probability.

        Args:
            frequencies: (V,) the share of the training images that have each word. It is kept in 1e-6..1 - 1e-6.
            features: features of any training images, which show how many regions an image has.

        Raises:
            InputError: the detector needs a grid, and the features have none.
        """

    def logits(self, phi: Tensor) -> Tensor:
        """Compute z from the features of images or regions, (..., F) to (..., V), in float32 or wider."""
        z: Tensor = self.head(self.dropout(phi))
        return z.to(torch.promote_types(z.dtype, torch.float32))

    def region_logits(self, features: ImageFeatures) -> Tensor:
        """Compute z_ij of every region, (I, R, V); -inf in padding, which is p_ij = 0.

        Raises:
            InputError: the features have no grid.
        """
        grid = grid_of(self, features)
        if features.mask is None:
            return self.logits(grid)
        padding = ~features.mask[..., None]
        return self.logits(grid.masked_fill(padding, 0.0)).masked_fill(padding, -torch.inf)


def grid_of(detector: WordDetector, features: ImageFeatures) -> Tensor:
    """Return the grid, whose cells are the regions.

    Raises:
        InputError: there is none.
    """
    if features.grid is None:
        raise InputError(f"{type(detector).__name__} looks for words in grid cells; set encoder.grid=true")
    return features.grid


def possible(frequencies: Tensor) -> Tensor:
    """Keep frequencies away from 0 and 1, whose biases are infinite; float64."""
    return frequencies.double().clamp(_LEAST, 1 - _LEAST)
