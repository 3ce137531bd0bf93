"""Sutskever et al.: the state in which an encoder ends a sentence is the state in which the decoder begins.

Sequence to Sequence Learning with Neural Networks. Sutskever, Vinyals, Le. NIPS 2014. arXiv:1409.3215.

    h_t = σ(W_hx x_t + W_hh h_{t-1});   y_t = W_yh h_t        (a plain network; section 2, as are the lines below)
    p(y_1 .. y_T' | x_1 .. x_T) = Π_t p(y_t | v, y_1 .. y_{t-1})                                           (1)

Each p is a softmax over the words of an LSTM whose initial state is v, "the last hidden state" of another LSTM,
which has read x_1 .. x_T: of each layer its own, h and c. That one may read the source from its last word (section
3.3); how it reads is the encoder's.

    paper     here                    shape
    v         features.final          (I, L, D) each
    x_t       embedding               (B, E)
    h_t       the recurrent output    (B, D)
    W_yh      head                    (V, D)

The paper's layer is an LSTM of 4 layers of 1000 cells, with embeddings of 1000; weights start uniform in
[-0.08, 0.08] (section 3.4).
Differs: the recurrent layer is any, and starts as it itself does. W_yh has a bias. The paper says nothing of dropout:
it stands on x_t and h_t and never between steps, as in `LanguageModel`.
Published on WMT'14 English to French, 5 reversed LSTMs, beam of 12: BLEU 34.81 (Table 1).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder
from captioning.decoders.recurrence import RecurrentState, rows_first, run, step
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentFactory


class Sutskever(Decoder[RecurrentState]):
    """A recurrent language model that goes on from an encoder's last state.

    Args:
        feature_size: F, which every decoder is told and this one does not use.
        vocab_size: V.
        recurrent: builds the recurrent layer; of the encoder's kind, with as many layers.
        embedding_size: E; the paper's is 1000.
        hidden_size: D, the encoder's; the paper's is 1000.
        dropout: on x_t and h_t, in training.
        init_range: embeddings and head start uniform in [-r, r]; the paper's is 0.08.

    Raises:
        InputError: at use, where features have no final state, or one that is not this layer's.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 1000,
        hidden_size: int = 1000,
        dropout: float = 0.0,
        init_range: float = 0.08,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -init_range, init_range)
        nn.init.zeros_(self.head.bias)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """v, a row an image."""
        own = rows_first(self.recurrent.initial(len(features), like=self.embedding.weight))
        return RecurrentState(_same(features.final, own))

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


def _same(final: Hidden | None, own: Hidden) -> Hidden:
    """`final`, if its shapes are those of `own`."""
    if final is None:
        raise InputError(
            "this decoder starts from the state in which a recurrent encoder ended, but the features have none; use "
            "encoder=text"
        )
    if [s.shape for s in final] != [s.shape for s in own]:
        expected, found = (" and ".join(str(tuple(s.shape)) for s in state) for state in (own, final))
        raise InputError(
            "this decoder starts from the state in which the encoder ended, and its own layer needs (rows, layers, "
            f"width) of {expected}; found {found}: give both the same cell, number of layers and hidden_size, "
            "and the encoder one direction"
        )
    return final
