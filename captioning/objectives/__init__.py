"""Decoder and batch to loss."""

from captioning.objectives.cross_entropy import CrossEntropy, token_losses

__all__ = ["CrossEntropy", "token_losses"]
