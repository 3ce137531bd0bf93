"""A recurrent language model, which ignores the image: the baseline that every captioner must beat.

Recurrent neural network based language model. Mikolov, Karafiát, Burget, Černocký, Khudanpur. Interspeech 2010.

    x_t = W_e S_t                      S_0 = <bos>
    h_t = RNN(x_t, h_{t-1})            h_0 = 0
    p_{t+1} = softmax(W_o h_t + b_o)

    symbol    here                    shape
    W_e       embedding               (V, E)
    h_t       the recurrent output    (B, D)
    W_o       head                    (V, D)

Dropout is on x_t and h_t and never between steps: Zaremba, Sutskever, Vinyals 2014 (arXiv:1409.2329).
W_o = W_e if the softmax is tied: Press, Wolf 2017 (arXiv:1608.05859); Inan, Khosravi, Socher 2017 (arXiv:1611.01462).
Differs: any recurrent layer may be used; Mikolov's is Elman's network. Weights have torch's default initialisation; for
W_e that is N(0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import RecurrentFactory


class LanguageModel(RecurrentDecoder):
    """A decoder that ignores the image: every image gets the same caption.

    Args:
        feature_size: F; not used.
        vocab_size: V.
        recurrent: builds the recurrent layer.
        embedding_size: E.
        hidden_size: D.
        dropout: on x_t and h_t.
        tied: whether W_o is W_e.

    Raises:
        InputError: `tied` is True and E is not D.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 512,
        hidden_size: int = 512,
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if tied and embedding_size != hidden_size:
            raise InputError(
                f"tied=true needs embedding_size={embedding_size} and hidden_size={hidden_size} to be equal: the "
                "softmax and the embedding share one matrix"
            )
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = TiedHead(self.embedding) if tied else nn.Linear(hidden_size, vocab_size)
        if tied:  # initialised as a head; torch's embeddings would make the logits sqrt(D) times larger
            nn.init.uniform_(self.embedding.weight, -(hidden_size**-0.5), hidden_size**-0.5)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """Set h_0 = 0; one row per image."""
        zeros = self.recurrent.initial(features.pooled.shape[0], like=self.embedding.weight)
        return RecurrentState(rows_first(zeros))

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute x_t = W_e S_t, with dropout."""
        x: Tensor = self.dropout(self.embedding(tokens))
        return x


class TiedHead(nn.Module):
    """Computes W_e h + b_o with the matrix of `embedding`."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = (embedding,)  # in a tuple, so that only the decoder registers and saves the weight
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, h: Tensor) -> Tensor:
        """Map (.., E) to (.., V)."""
        return F.linear(h, self.embedding[0].weight, self.bias)
