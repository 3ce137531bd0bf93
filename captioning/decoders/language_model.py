"""A recurrent language model: captions without their images, the baseline that every captioner must beat.

Recurrent neural network based language model. Mikolov, Karafiát, Burget, Černocký, Khudanpur. Interspeech 2010.

    x_t = W_e S_t                      S_0 = <bos>
    h_t = RNN(x_t, h_{t-1})            h_0 = 0
    p_{t+1} = softmax(W_o h_t + b_o)

    symbol    here                    shape
    W_e       embedding               (V, E)
    h_t       the recurrent output    (B, D)
    W_o       head                    (V, D)

Dropout stands on x_t and h_t and never between steps: Zaremba, Sutskever, Vinyals 2014 (arXiv:1409.2329).
W_o = W_e where the softmax is tied: Press, Wolf 2017 (arXiv:1608.05859); Inan, Khosravi, Socher 2017
(arXiv:1611.01462).
Differs: the recurrent layer is any, where Mikolov's is Elman's network. Weights start as torch's layers do, W_e so from
N(0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder
from captioning.decoders.recurrence import RecurrentState, rows_first, run, step
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import RecurrentFactory


class LanguageModel(Decoder[RecurrentState]):
    """A decoder that never looks at the image: every image gets the same caption.

    Args:
        feature_size: F, which every decoder is told and this one does not use.
        vocab_size: V.
        recurrent: builds the recurrent layer.
        embedding_size: E.
        hidden_size: D.
        dropout: on x_t and h_t, in training.
        tied: W_o is W_e.

    Raises:
        InputError: `tied`, and E is not D.
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
                "softmax's matrix is the embeddings'"
            )
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = TiedHead(self.embedding) if tied else nn.Linear(hidden_size, vocab_size)
        if tied:  # as a head starts: torch's embeddings are sqrt(D) times larger, and so would be the logits
            nn.init.uniform_(self.embedding.weight, -(hidden_size**-0.5), hidden_size**-0.5)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """h_0 = 0, a row an image."""
        zeros = self.recurrent.initial(len(features), like=self.embedding.weight)
        return RecurrentState(rows_first(zeros))

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """One word."""
        h, recurrent = step(self.recurrent, self.dropout(self.embedding(tokens)), state.recurrent)
        return self.head(self.dropout(h)), RecurrentState(recurrent)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """h_t of every step, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        x = inputs._replace(data=self.dropout(self.embedding(inputs.data)))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped


class TiedHead(nn.Module):
    """W_e h + b_o, with the matrix of `embedding`; V and E are its."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = (embedding,)  # in a tuple: a weight is registered and saved once
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, h: Tensor) -> Tensor:
        """(.., E) to (.., V)."""
        return F.linear(h, self.embedding[0].weight, self.bias)
