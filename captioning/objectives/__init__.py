"""Decoder and batch to loss."""

from captioning.objectives.caption_and_words import CaptionAndWords
from captioning.objectives.cross_entropy import CrossEntropy, token_losses
from captioning.objectives.doubly_stochastic import DoublyStochastic
from captioning.objectives.reinforce import Reinforce

__all__ = ["CaptionAndWords", "CrossEntropy", "DoublyStochastic", "Reinforce", "token_losses"]
