"""Cho et al.: every step of the decoder reads one vector of the whole sentence.

Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation. Cho, van Merriënboer,
Gulcehre, Bahdanau, Bougares, Schwenk, Bengio. EMNLP 2014. arXiv:1406.1078, appendix A; its equations have no
numbers. Official code: GroundHog.

    c = tanh(V h_N);   h'_0 = tanh(V' c)
    z' = σ(W'_z e(y_{t-1}) + U'_z h'_{t-1} + C_z c);   r' = σ(W'_r e(y_{t-1}) + U'_r h'_{t-1} + C_r c)
    h̃' = tanh(W' e(y_{t-1}) + r' ⊙ (U' h'_{t-1} + C c))
    h'_t = z' ⊙ h'_{t-1} + (1 - z') ⊙ h̃'
    s'_t = O_h h'_t + O_y y_{t-1} + O_c c;   s_i = max(s'_{2i-1}, s'_{2i})
    p(y_t | ..) = softmax(G s_t),   G = G_l G_r

The reset gate acts after U', and also on C c. So this is not `ChoGRU`, the unit of the same paper's encoder.

    paper          here              shape
    h_N            features.pooled   (I, F)
    V              code              (D, F)
    V'             init              (D, D)
    e              embedding         (V, E)
    W'             from_word         rows z', r', h̃'
    U'             recurrence        rows z', r', h̃'
    C              from_code         rows z', r', h̃'
    O_h, O_y, O_c  output_hidden, output_word, output_code    rows s'
    G_r, G_l       reduce, head

The paper contradicts itself on sizes. Section 4.1 has embeddings of 100, 500 max-out units and matrices of rank 100.
Appendix A has embeddings of 500 and a G_r of 500 x 1000, which reads 1000 max-out units. The defaults are the
appendix's. Weights are initialised from N(0, 0.01²), each U' orthogonal (section 4.1).
Differs: e(y_0) is zero in the paper; here it is the embedding of `<bos>`, which is learned. The paper prints O_y with
the one-hot y_{t-1}; here O_y reads e(y_{t-1}), as in the official code. The paper prints no bias; `bias` adds one to
every sum.
Published on WMT'14 English to French, as a feature of a phrase-based system: BLEU 33.87, without it 33.30 (Table 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, State, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import Hidden, unroll


@dataclass(frozen=True)
class ChoState(State):
    """h'_{t-1}, (B, D), and what c adds at every step: C c to the gates, (B, 3 D), and O_c c to s', (B, 2 S)."""

    hidden: Tensor
    to_gates: Tensor
    to_output: Tensor


class Cho(Decoder[ChoState]):
    """A gated recurrence that reads the source's vector c at every step, with a max-out output.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E.
        hidden_size: D, also of c; the paper's is 1000.
        maxout_size: S, the number of units of s, each the larger of two.
        rank_size: the rank of G.
        bias: whether every sum has a bias (in V, V', W', O_h and G_l); the paper prints none.
        dropout: on e(y_{t-1}) and on s; the paper has none.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 500,
        hidden_size: int = 1000,
        maxout_size: int = 1000,
        rank_size: int = 500,
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.code = nn.Linear(feature_size, hidden_size, bias=bias)
        self.init = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.from_word = nn.Linear(embedding_size, 3 * hidden_size, bias=bias)
        self.recurrence = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.from_code = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.output_hidden = nn.Linear(hidden_size, 2 * maxout_size, bias=bias)
        self.output_word = nn.Linear(embedding_size, 2 * maxout_size, bias=False)
        self.output_code = nn.Linear(hidden_size, 2 * maxout_size, bias=False)
        self.reduce = nn.Linear(maxout_size, rank_size, bias=False)
        self.head = nn.Linear(rank_size, vocab_size, bias=bias)
        self.dropout = nn.Dropout(dropout)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.01) if weight.ndim > 1 else nn.init.zeros_(weight)
        for u in self.recurrence.weight.data.chunk(3):
            nn.init.orthogonal_(u)

    def start(self, features: ImageFeatures) -> ChoState:
        """Compute h'_0 and all that depends on c alone."""
        c = torch.tanh(self.code(features.pooled))
        return ChoState(torch.tanh(self.init(c)), self.from_code(c), self.output_code(c))

    def step(self, tokens: Tensor, state: ChoState) -> tuple[Tensor, ChoState]:
        """See `Decoder.step`."""
        y = self.dropout(self.embedding(tokens))
        h, _ = self._recur(self.from_word(y), (state.hidden, state.to_gates))
        return self.head(self._output(h, y, state.to_output)), replace(state, hidden=h)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute G_r s_t, (sum of lengths, rank); only h'_t needs a loop over time."""
        state = self.start(features).rows(image_index)
        y = self.dropout(self.embedding(inputs.data))
        words = inputs._replace(data=self.from_word(y))
        h, _ = unroll(self._recur, words, (state.hidden, state.to_gates))
        return self._output(h.data, y, state.to_output.index_select(0, packed_rows(inputs)))

    def _recur(self, word: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        h, code = state
        d = h.shape[1]
        past = self.recurrence(h) + code  # U' h' + C c
        z, r = (word[:, : 2 * d] + past[:, : 2 * d]).sigmoid().chunk(2, 1)
        candidate = torch.tanh(word[:, 2 * d :] + r * past[:, 2 * d :])
        h = z * h + (1 - z) * candidate
        return h, (h, code)

    def _output(self, h: Tensor, y: Tensor, code: Tensor) -> Tensor:
        """Compute G_r s_t."""
        pairs = self.output_hidden(h) + self.output_word(y) + code  # s'_t
        s = torch.maximum(pairs[:, 0::2], pairs[:, 1::2])
        reduced: Tensor = self.reduce(self.dropout(s))
        return reduced
