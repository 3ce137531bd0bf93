"""NeuralTalk: the image is a bias in the first step.

Deep Visual-Semantic Alignments for Generating Image Descriptions. Karpathy, Fei-Fei. CVPR 2015.
arXiv:1412.2306, section 3.2. Official code: neuraltalk (its RNN generator).

    b_v = W_hi CNN(I)                                                   (13)
    h_t = f(W_hx x_t + W_hh h_{t-1} + b_h + 1(t = 1) ⊙ b_v)             (14)    f = ReLU, h_0 = 0
    y_t = softmax(W_oh h_t + b_o)                                       (15)

x_t is the embedding of a word; x_1 is `<bos>` and the last target `<eos>`.

    paper        here            shape
    W_hi, b_v    from_image      (D, F), (I, D)
    x_t          embedding       (B, E)
    W_hx         from_word       (D, E)
    W_hh, b_h    recurrence      (D, D), (D)
    W_oh, b_o    head            (V, D), (V)

The official code adds b_v at every step unless `rnn_feed_once` is set: `image_every_step`. It has biases in (13) and
with W_hx: `encoder_biases`. It can pass b_v and W_hx x_t through f, as the paper mentions: `relu_encoders`. It has
dropout on x_t, on b_v, and on h_t before (15). Its other generator, an LSTM without tanh on the cell, is
`ShowAndTell(recurrent=ShowAndTellLSTM(bias=True), image_bias=True, head_bias=True)`.
Differs: the official code initialises b_o to the logarithm of each word's frequency, which a decoder does not know;
here all biases are initialised to zero.
Published on Flickr8k (VGG, Table 2): BLEU-1..4 of 57.9/38.3/24.5/16.0, METEOR 16.7, CIDEr 31.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import Hidden, unroll


@dataclass(frozen=True)
class NeuralTalkState(State):
    """h_{t-1}, and what the image adds in the next step; (B, D) each."""

    recurrent: Tensor
    image: Tensor


class NeuralTalk(Decoder[NeuralTalkState]):
    """A ReLU recurrence over words with the image as a bias in the first step.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E; 256 in the official code.
        hidden_size: D; about 512 in the paper, 256 in the official code.
        image_every_step: whether b_v is added at every step, as by default in the official code. The paper found it
            worse.
        encoder_biases: whether W_hi and W_hx have biases, as in the official code.
        relu_encoders: whether f is applied to b_v and W_hx x_t too.
        encoder_dropout: on x_t and b_v; 0.5 in the official code.
        dropout: on h_t before the head; 0.5 in the official code.
        init_range: r; weights are initialised uniformly in [-r, r], the head's in [-r / 10, r / 10]; 0.1 in the
            official code.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 256,
        hidden_size: int = 256,
        image_every_step: bool = False,
        encoder_biases: bool = False,
        relu_encoders: bool = False,
        encoder_dropout: float = 0.0,
        dropout: float = 0.0,
        init_range: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.image_every_step = image_every_step
        self.from_image = nn.Linear(feature_size, hidden_size, bias=encoder_biases)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.from_word = nn.Linear(embedding_size, hidden_size, bias=encoder_biases)
        self.recurrence = nn.Linear(hidden_size, hidden_size)
        self.encoder_dropout = nn.Dropout(encoder_dropout)
        self.dropout = nn.Dropout(dropout)
        self.encoder_f = nn.ReLU() if relu_encoders else nn.Identity()
        self.head = nn.Linear(hidden_size, vocab_size)
        for name, weight in self.named_parameters():
            r = 0.0 if weight.dim() == 1 else init_range * (0.1 if name == "head.weight" else 1.0)
            nn.init.uniform_(weight, -r, r)

    def start(self, features: ImageFeatures) -> NeuralTalkState:
        """Compute (13), and set h_0 = 0."""
        image = self.encoder_f(self.encoder_dropout(self.from_image(features.pooled)))  # (13)
        return NeuralTalkState(torch.zeros_like(image), image)

    def step(self, tokens: Tensor, state: NeuralTalkState) -> tuple[Tensor, NeuralTalkState]:
        """See `Decoder.step`."""
        h, following = self._recur(self._read(tokens), (state.recurrent, state.image))
        return self.head(self.dropout(h)), NeuralTalkState(*following)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute h_t, (sum of lengths, D); only (14) needs a loop over time."""
        state = self.start(features).rows(image_index)
        words = inputs._replace(data=self._read(inputs.data))
        h, _ = unroll(self._recur, words, (state.recurrent, state.image))
        dropped: Tensor = self.dropout(h.data)
        return dropped

    def _read(self, tokens: Tensor) -> Tensor:
        """Compute W_hx x_t."""
        word: Tensor = self.encoder_f(self.from_word(self.encoder_dropout(self.embedding(tokens))))
        return word

    def _recur(self, word: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        h, image = state
        h = torch.relu(word + self.recurrence(h) + image)  # (14)
        return h, (h, image if self.image_every_step else torch.zeros_like(image))  # 1(t = 1)
