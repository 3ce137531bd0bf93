"""A decoder: one file per paper is a good rule here too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import RecurrentFactory


class Glance(RecurrentDecoder):
    """A recurrent layer that reads tanh(W v) of the image v as its first word.

    Args:
        feature_size: F, given by captioning.
        vocab_size: V, given by captioning.
        recurrent: builds the recurrent layer.
        embedding_size: E.
        hidden_size: D.
        dropout: on the layer's outputs.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 64,
        hidden_size: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.image = nn.Linear(feature_size, embedding_size)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """Read the image."""
        _, state = self.recurrent.step(torch.tanh(self.image(features.pooled)))
        return RecurrentState(rows_first(state))

    def embed(self, tokens: Tensor) -> Tensor:
        """Look up the words' vectors."""
        x: Tensor = self.embedding(tokens)
        return x
