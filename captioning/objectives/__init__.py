"""Decoder and batch to loss."""

from captioning.objectives.caption_and_words import CaptionAndWords
from captioning.objectives.cross_entropy import CrossEntropy, token_losses

__all__ = ["CaptionAndWords", "CrossEntropy", "token_losses"]
