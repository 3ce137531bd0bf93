"""Sutskever et al.: the final state of the encoder is the initial state of the decoder.

Sequence to Sequence Learning with Neural Networks. Sutskever, Vinyals, Le. NIPS 2014. arXiv:1409.3215.

    h_t = σ(W_hx x_t + W_hh h_{t-1});   y_t = W_yh h_t        (a simple RNN; all from section 2)
    p(y_1 .. y_T' | x_1 .. x_T) = Π_t p(y_t | v, y_1 .. y_{t-1})                                           (1)

Each p is a softmax over the output of an LSTM. Its initial state is v, "the last hidden state" of another LSTM, which
has read x_1 .. x_T: h and c of each layer. The encoder decides whether the source is read in reverse (section 3.3).

    paper     here                    shape
    v         features.final          (I, L, D) each
    x_t       embedding               (B, E)
    h_t       the recurrent output    (B, D)
    W_yh      head                    (V, D)

The paper has an LSTM of 4 layers of 1000 cells and embeddings of 1000. Weights are initialised uniformly in
[-0.08, 0.08] (section 3.4).
Differs: any recurrent layer may be used, with its own initialisation. W_yh has a bias. The paper does not mention
dropout; here it is on x_t and h_t and never between steps, as in `LanguageModel`.
Published on WMT'14 English to French, 5 reversed LSTMs, beam of 12: BLEU 34.81 (Table 1).
"""

from __future__ import annotations

from torch import Tensor, nn

from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentFactory


class Sutskever(RecurrentDecoder):
    """A recurrent language model whose initial state is the encoder's final state.

    Args:
        feature_size: F; not used.
        vocab_size: V.
        recurrent: builds the recurrent layer: the encoder's cell and number of layers.
        embedding_size: E; the paper's is 1000.
        hidden_size: D, equal to the encoder's; the paper's is 1000.
        dropout: on x_t and h_t.
        init_range: r; embeddings and head are initialised uniformly in [-r, r]; the paper's is 0.08.

    Raises:
        InputError: features are decoded that have no final state, or one of other shapes than this layer's.
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
        """Return v; one row per image."""
        own = rows_first(self.recurrent.initial(features.pooled.shape[0], like=self.embedding.weight))
        return RecurrentState(_same(features.final, own))

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute x_t, the word's vector, with dropout."""
        x: Tensor = self.dropout(self.embedding(tokens))
        return x


def _same(final: Hidden | None, own: Hidden) -> Hidden:
    """Check that `final` has the shapes of `own`, and return it."""
    if final is None:
        raise InputError(
            "this decoder needs the final state of a recurrent encoder, but the features have none; use encoder=text"
        )
    if [s.shape for s in final] != [s.shape for s in own]:
        expected, found = (" and ".join(str(tuple(s.shape)) for s in state) for state in (own, final))
        raise InputError(
            f"the encoder's final state must have (rows, layers, width) of {expected}, found {found}; give encoder and "
            "decoder the same cell, num_layers and hidden_size, and the encoder one direction"
        )
    return final
