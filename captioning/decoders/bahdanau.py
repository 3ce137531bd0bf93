"""Bahdanau et al.: before each word, look at the words of the source.

Neural Machine Translation by Jointly Learning to Align and Translate. Bahdanau, Cho, Bengio. ICLR 2015.
arXiv:1409.0473, appendix A; its equations have no numbers. Released code: GroundHog. The paper's RNNsearch.

    h_j = [→h_j; ←h_j];   s_0 = tanh(W_s ←h_1)
    e_ij = v_a · tanh(W_a s_{i-1} + U_a h_j);   α_i = softmax(e_i);   c_i = Σ_j α_ij h_j
    z_i = σ(W_z E y_{i-1} + U_z s_{i-1} + C_z c_i);   r_i = σ(W_r E y_{i-1} + U_r s_{i-1} + C_r c_i)
    s̃_i = tanh(W E y_{i-1} + U [r_i ∘ s_{i-1}] + C c_i)
    s_i = (1 - z_i) ∘ s_{i-1} + z_i ∘ s̃_i
    t̃_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i;   t_i,k = max(t̃_i,2k-1, t̃_i,2k)
    p(y_i | ..) ∝ exp(y_i^T W_o t_i)

The new state comes in with z, where in Cho et al. z keeps the old one. t̃ is printed with s_{i-1}, though p is
conditioned on s_i, and the release reads s_{i-1} too: s_i serves the next word.

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

Every sum has a bias, which the paper has and leaves unprinted "to increase readability". As in appendix B.1, each U
starts orthogonal, W_a and U_a from N(0, 0.001²), v_a and biases at zero, all else from N(0, 0.01²).
Differs: the paper does not say what y_0 is; here it is `<bos>`, whose embedding learns. A place that is not real has
weight 0.
Published on WMT'14 English to French, after sentences of up to 50 words (Table 1): BLEU 26.75, trained longer 28.45;
where no word is unknown 34.16 and 36.15.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, Memory, places
from captioning.decoders.decoder import Attended, AttentiveDecoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, unroll


@dataclass(frozen=True)
class BahdanauState(State):
    """s_{i-1}, (B, D), and the annotations."""

    hidden: Tensor
    memory: Memory


class Bahdanau(AttentiveDecoder[BahdanauState]):
    """A gated recurrence that attends to the source before each word, with a max-out output.

    Args:
        feature_size: F; the paper's is 2000.
        vocab_size: V.
        embedding_size: E; the paper's is 620.
        hidden_size: D; the paper's is 1000.
        attention_size: A; the paper's is 1000.
        maxout_size: l, units of t, each the larger of two; the paper's is 500.
        bidirectional: the encoder reads sentences both ways, so that the second half of `pooled` is ←h_1, which W_s
            reads; False for any other encoder, of images too, where it reads all of `pooled`.
        dropout: on E y_{i-1} and on t_i, in training; the paper has none.

    Raises:
        InputError: at use, where features have no places, or `bidirectional` and they are of no such encoder.
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
        """s_0, and U_a h_j of all places."""
        # An encoder that reads both ways ends in states of half its outputs' width.
        if self.read_from and (features.final is None or features.final[0].shape[2] != self.init.in_features):
            raise InputError(
                "bidirectional=true: this decoder starts from ←h_1, where a sentence that is read both ways ends, but "
                "the features are of another encoder; set decoder.bidirectional=false, which starts from all of its "
                "vector, or recurrent@encoder.recurrent=bidirectional"
            )
        memory = self.attention.memory(places(features), features.mask)
        return BahdanauState(torch.tanh(self.init(features.pooled[:, self.read_from :])), memory)

    def step(self, tokens: Tensor, state: BahdanauState) -> tuple[Tensor, BahdanauState]:
        """One word."""
        y = self.dropout(self.embedding(tokens))
        s, c, _ = self._cell(self.from_word(y), state)
        return self.head(self._output(state.hidden, y, c)), replace(state, hidden=s)

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """α and s along time, then t of all steps at once."""
        state = self.start(features).rows(image_index)
        y = self.dropout(self.embedding(inputs.data))

        def step(word: Tensor, now: Hidden) -> tuple[Tensor, Hidden]:
            before, image = now
            s, c, alpha = self._cell(word, BahdanauState(before, replace(state.memory, image=image)))
            return torch.cat([before, c, alpha], 1), (s, image)

        words = inputs._replace(data=self.from_word(y))
        outputs, _ = unroll(step, words, (state.hidden, state.memory.image))
        sizes = [state.hidden.shape[1], state.memory.values.shape[2], state.memory.values.shape[1]]
        before, c, alpha = torch.split(outputs.data, sizes, 1)
        return Attended(self._output(before, y, c), alpha, torch.zeros_like(alpha[:, 0]))

    def _cell(self, word: Tensor, state: BahdanauState) -> tuple[Tensor, Tensor, Tensor]:
        """s_i, c_i and α_i."""
        alpha = self.attention(state.hidden, state.memory)
        c = state.memory.mix(alpha)
        gates, candidate = (word + self.from_context(c)).tensor_split([2 * state.hidden.shape[1]], 1)
        z, r = (gates + self.recurrence(state.hidden)).sigmoid().chunk(2, 1)
        candidate = torch.tanh(candidate + self.reset_recurrence(r * state.hidden))
        return (1 - z) * state.hidden + z * candidate, c, alpha

    def _output(self, before: Tensor, y: Tensor, c: Tensor) -> Tensor:
        """t_i of s_{i-1}."""
        pairs = self.output_hidden(before) + self.output_word(y) + self.output_context(c)  # t̃_i
        dropped: Tensor = self.dropout(torch.maximum(pairs[:, 0::2], pairs[:, 1::2]))
        return dropped
