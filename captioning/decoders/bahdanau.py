"""Bahdanau et al.: before each word, the decoder attends to the words of the source sentence.

Neural Machine Translation by Jointly Learning to Align and Translate. Bahdanau, Cho, Bengio. ICLR 2015.
arXiv:1409.0473, appendix A; its equations have no numbers. Official code: GroundHog. The paper's RNNsearch.

    h_j = [→h_j; ←h_j];   s_0 = tanh(W_s ←h_1)
    e_ij = v_a · tanh(W_a s_{i-1} + U_a h_j);   α_i = softmax(e_i);   c_i = Σ_j α_ij h_j
    z_i = σ(W_z E y_{i-1} + U_z s_{i-1} + C_z c_i);   r_i = σ(W_r E y_{i-1} + U_r s_{i-1} + C_r c_i)
    s̃_i = tanh(W E y_{i-1} + U [r_i ∘ s_{i-1}] + C c_i)
    s_i = (1 - z_i) ∘ s_{i-1} + z_i ∘ s̃_i
    t̃_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i;   t_i,k = max(t̃_i,2k-1, t̃_i,2k)
    p(y_i | ..) ∝ exp(y_i^T W_o t_i)

Here z weights the new state; in Cho et al. it weights the old one. The paper prints t̃ with s_{i-1}, although p is
conditioned on s_i. The official code reads s_{i-1} too, so s_i serves the next word.

    paper          here                shape
    h_j            features.grid       (I, R, F), F = 2n
    ←h_1           features.pooled's second half
    W_s            init                (D, F / 2)
    E              embedding           (V, E)
    W_a, U_a, v_a  attention           (B, D), (I, R, F) -> (B, R)
    W              from_word           rows z, r, s̃
    U_z, U_r / U   recurrence / reset_recurrence
    C              from_context        rows z, r, s̃
    U_o, V_o, C_o  output_hidden, output_word, output_context    rows t̃
    W_o            head                (V, l)

Every sum has a bias, which the paper omits in print "to increase readability". Initialisation as in appendix B.1: each
U is orthogonal, W_a and U_a are from N(0, 0.001²), v_a and the biases are zero, all else is from N(0, 0.01²).
Differs: the paper does not say what y_0 is; here it is `<bos>`, whose embedding is learned. Padding has weight 0.
Published on WMT'14 English to French, trained on sentences of up to 50 words (Table 1): BLEU 26.75, trained longer
28.45; on sentences without unknown words 34.16 and 36.15.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, Memory, regions, unrolled
from captioning.decoders.decoder import Attended, AttentiveDecoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError


@dataclass(frozen=True)
class BahdanauState(State):
    """s_{i-1}, (B, D), and the annotations."""

    hidden: Tensor
    memory: Memory


class BahdanauStep(NamedTuple):
    """s_{i-1}, (B, D), c_i, (B, F), and α_i, (B, R)."""

    before: Tensor
    context: Tensor
    attention: Tensor


class Bahdanau(AttentiveDecoder[BahdanauState]):
    """A gated recurrence with attention to the source and a max-out output.

    Args:
        feature_size: F; the paper's is 2000.
        vocab_size: V.
        embedding_size: E; the paper's is 620.
        hidden_size: D; the paper's is 1000.
        attention_size: A; the paper's is 1000.
        maxout_size: l, the number of units of t, each the larger of two; the paper's is 500.
        bidirectional: whether the encoder of sentences is bidirectional. If True, W_s reads ←h_1, the second half of
            `pooled`. If False, as for an encoder of images, W_s reads all of `pooled`.
        dropout: on E y_{i-1} and on t_i; the paper has none.

    Raises:
        InputError: features without regions are decoded, or `bidirectional` is True and the features are not those of
            a bidirectional encoder.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 620,
        hidden_size: int = 1000,
        attention_size: int = 1000,
        maxout_size: int = 500,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.read_from = feature_size // 2 if bidirectional else 0
        self.init = nn.Linear(feature_size - self.read_from, hidden_size)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        key = nn.Linear(feature_size, attention_size)
        self.attention = AdditiveAttention(key, hidden_size, attention_size)
        self.from_word = nn.Linear(embedding_size, 3 * hidden_size)
        self.recurrence = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.reset_recurrence = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_context = nn.Linear(feature_size, 3 * hidden_size, bias=False)
        self.output_hidden = nn.Linear(hidden_size, 2 * maxout_size)
        self.output_word = nn.Linear(embedding_size, 2 * maxout_size, bias=False)
        self.output_context = nn.Linear(feature_size, 2 * maxout_size, bias=False)
        self.head = nn.Linear(maxout_size, vocab_size)
        self.dropout = nn.Dropout(dropout)
        for weight in self.parameters():  # appendix B.1
            nn.init.normal_(weight, std=0.01) if weight.ndim > 1 else nn.init.zeros_(weight)
        for w in (key.weight, self.attention.from_query.weight):
            nn.init.normal_(w, std=0.001)
        nn.init.zeros_(self.attention.score.weight)
        for u in (*self.recurrence.weight.data.chunk(2), self.reset_recurrence.weight.data):
            nn.init.orthogonal_(u)

    def start(self, features: ImageFeatures) -> BahdanauState:
        """Compute s_0, and U_a h_j of all positions."""
        # The final states of a bidirectional encoder have half the width of its outputs.
        if self.read_from and (features.final is None or features.final[0].shape[2] != self.init.in_features):
            raise InputError(
                "decoder.bidirectional=true needs features of a bidirectional encoder of sentences; use "
                "recurrent@encoder.recurrent=bidirectional, or set decoder.bidirectional=false"
            )
        memory = self.attention.memory(regions(features), features.mask)
        return BahdanauState(torch.tanh(self.init(features.pooled[:, self.read_from :])), memory)

    def step(self, tokens: Tensor, state: BahdanauState) -> tuple[Tensor, BahdanauState]:
        """See `Decoder.step`."""
        y = self.dropout(self.embedding(tokens))
        outputs, state = self._cell(self.from_word(y), state)
        return self.head(self._output(outputs, y)), state

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """See `AttentiveDecoder.attend`; t_i of all steps is one product."""
        state = self.start(features).rows(image_index)
        y = self.dropout(self.embedding(inputs.data))
        outputs = unrolled(self._cell, inputs._replace(data=self.from_word(y)), state)
        return Attended(self._output(outputs, y), outputs.attention)

    def _cell(self, word: Tensor, state: BahdanauState) -> tuple[BahdanauStep, BahdanauState]:
        alpha = self.attention(state.hidden, state.memory)
        c = state.memory.mix(alpha)
        gates, candidate = (word + self.from_context(c)).tensor_split([2 * state.hidden.shape[1]], 1)
        z, r = (gates + self.recurrence(state.hidden)).sigmoid().chunk(2, 1)
        candidate = torch.tanh(candidate + self.reset_recurrence(r * state.hidden))
        s = (1 - z) * state.hidden + z * candidate
        return BahdanauStep(state.hidden, c, alpha), replace(state, hidden=s)

    def _output(self, outputs: BahdanauStep, y: Tensor) -> Tensor:
        """Compute t_i."""
        before, context = (x.to(self.output_hidden.weight.dtype) for x in (outputs.before, outputs.context))
        pairs = self.output_hidden(before) + self.output_word(y) + self.output_context(context)  # t̃_i
        dropped: Tensor = self.dropout(torch.maximum(pairs[:, 0::2], pairs[:, 1::2]))
        return dropped
