"""Att2in: of the LSTM, only the cell's candidate reads the attended regions.

Self-critical Sequence Training for Image Captioning. Rennie, Marcheret, Mroueh, Ross, Goel. CVPR 2017.
arXiv:1612.00563, section 2.

    x_t = E 1_{w_{t-1}},  w_0 = BOS
    i, f, o = σ(W_x x_t + W_h h_{t-1} + b)
    c_t = i ⊙ φ(W⊗_zx x_t + W⊗_zI I_t + W⊗_zh h_{t-1} + b⊗_z) + f ⊙ c_{t-1};   h_t = o ⊙ tanh(c_t)
    I_t = Σ_i α_t^i I_i;  α_t = softmax(a_t + b_α);  a_t^i = W tanh(W_aI I_i + W_ah h_{t-1} + b_a)
    s_t = W_s h_t

φ is max-out over the two linear pieces of ⊗, without tanh.

    paper                here               shape
    I_i                  features.grid      (I, R, F)
    E                    embedding          (V, E)
    W_a., W              attention          (B, D), (I, R, F) -> (B, R)
    W_.x, b / W_.h       from_word / recurrence    rows i, f, o and the two pieces
    W⊗_zI                from_context       (2 D, F)
    W_s                  head               (V, D)

Differs: the biases that the paper prints are one set, in `from_word`; b_α is left out, because it cancels in the
softmax. Weights have torch's default initialisation; for E that is N(0, 1).
Published on COCO, Karpathy's test split, cross-entropy and beam search (Table 4): CIDEr 1.013, BLEU-4 0.313,
ROUGE-L 0.543, METEOR 0.260.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, AttentionStep, Memory, regions, unrolled
from captioning.decoders.decoder import Attended, AttentiveDecoder, State
from captioning.encoders.features import ImageFeatures


@dataclass(frozen=True)
class Att2inState(State):
    """h and c, (B, D) each, and the image's regions."""

    hidden: Tensor
    cell: Tensor
    memory: Memory


class Att2in(AttentiveDecoder[Att2inState]):
    """A max-out LSTM whose candidate reads the attended regions.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E; the paper's is 512.
        hidden_size: D; the paper's is 512.
        attention_size: A; the paper's is 512.
        dropout: on the words and on h_t before W_s.
        head_bias: whether W_s has a bias; the paper prints none.

    Raises:
        InputError: features without regions are decoded.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        dropout: float = 0.0,
        head_bias: bool = False,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.from_word = nn.Linear(embedding_size, 5 * hidden_size)
        self.recurrence = nn.Linear(hidden_size, 5 * hidden_size, bias=False)
        self.from_context = nn.Linear(feature_size, 2 * hidden_size, bias=False)
        self.attention = AdditiveAttention(nn.Linear(feature_size, attention_size), hidden_size, attention_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size, bias=head_bias)

    def start(self, features: ImageFeatures) -> Att2inState:
        """Set h_0 = c_0 = 0, and compute the attention's keys."""
        zeros = features.pooled.new_zeros(features.pooled.shape[0], self.recurrence.in_features)
        return Att2inState(zeros, zeros, self.attention.memory(regions(features), features.mask))

    def step(self, tokens: Tensor, state: Att2inState) -> tuple[Tensor, Att2inState]:
        """See `Decoder.step`."""
        outputs, state = self._cell(self._read(tokens), state)
        return self.head(self.dropout(outputs.hidden)), state

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """See `AttentiveDecoder.attend`."""
        state = self.start(features).rows(image_index)
        outputs = unrolled(self._cell, inputs._replace(data=self._read(inputs.data)), state)
        hidden = outputs.hidden.to(self.recurrence.weight.dtype)
        return Attended(self.dropout(hidden), outputs.attention)

    def _read(self, tokens: Tensor) -> Tensor:
        """Compute what a word adds to the gates and pieces: W_.x x_t + b."""
        word: Tensor = self.from_word(self.dropout(self.embedding(tokens)))
        return word

    def _cell(self, word: Tensor, state: Att2inState) -> tuple[AttentionStep, Att2inState]:
        alpha = self.attention(state.hidden, state.memory)
        gates, pieces = (word + self.recurrence(state.hidden)).tensor_split([3 * state.hidden.shape[1]], 1)
        i, f, o = gates.sigmoid().chunk(3, 1)
        first, second = (pieces + self.from_context(state.memory.mix(alpha))).chunk(2, 1)
        c = i * torch.maximum(first, second) + f * state.cell
        h = o * c.tanh()
        return AttentionStep(h, alpha), replace(state, hidden=h, cell=c)
