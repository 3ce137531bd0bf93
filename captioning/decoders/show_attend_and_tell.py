"""Show, Attend and Tell: look at a place of the image before each word.

Show, Attend and Tell: Neural Image Caption Generation with Visual Attention. Xu, Ba, Kiros, Cho, Courville,
Salakhutdinov, Zemel, Bengio. ICML 2015. arXiv:1502.03044. Released code: arctic-captions.

    e_ti = f_att(a_i, h_{t-1});  α_t = softmax(e_t);  z_t = φ({a_i}, {α_i})                         (1)
    i, f, o = σ(W E y_{t-1} + U h_{t-1} + Z z_t + b)
    c_t = f ⊙ c_{t-1} + i ⊙ tanh(W_c E y_{t-1} + U_c h_{t-1} + Z_c z_t + b_c);  h_t = o ⊙ tanh(c_t)
    c_0 = f_init,c(mean_i a_i);  h_0 = f_init,h(mean_i a_i)
    p(y_t | ..) ∝ exp(L_o (E y_{t-1} + L_h h_t + L_z z_t))                                          (2)
    hard φ: z_t = a_s, s ~ Multinoulli(α_t)                                                         (3), (4)
    soft φ: z_t = Σ_i α_t,i a_i;  with the gate: β_t Σ_i α_t,i a_i,  β_t = σ(f_β(h_{t-1}))          (8)

    paper        here                     shape
    a_i          features.grid            (I, R, F)
    E            embedding                (V, E)
    f_att        attention                (B, D), (I, R, F) -> (B, R)
    W, b / U / Z from_word / recurrence / from_context     rows i, f, o, c
    f_init       init, init_cell, init_hidden
    f_β          gate                     (B, D) -> (B, 1)
    L_h / L_z / L_o    output_hidden / output_context / head

Differs: the released code's first word is a vector of zeros; here it is the embedding of `<bos>`, which learns, unless
`zero_start`. The release puts tanh between the sum in (2) and L_o: an option, as are its layers in f_att and f_init and
its switches for what (2) reads. Its further layers on h_t and before L_o, its LSTM over the places and its dropout
inside the LSTM, all off by default, are not here. The paper does not say how weights start; here as in the release,
each U orthogonal, biases at zero (but for `forget_bias`), all else from N(0, 0.01²).
Published on Flickr8k (BLEU without brevity penalty): soft 67/44.8/29.9/19.5, METEOR 18.93; hard
67/45.7/31.4/21.3, METEOR 20.30 (Table 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, Memory, in_float, places
from captioning.decoders.decoder import Attended, AttentiveDecoder, State
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import Hidden, unroll


class Phi(Protocol):
    """φ of (1): from weights to the context."""

    def __call__(self, memory: Memory, alpha: Tensor, luck: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Look.

        Args:
            memory: the places.
            alpha: their weights, (B, R).
            luck: uniform in [0, 1), drawn once a caption, (B); 0 where words are fed one by one.
            training: whether places may be drawn at random.

        Returns:
            z_t, (B, F), and the log-probability of what was drawn, (B); 0 where nothing was.
        """
        ...


class Soft:
    """(8): the expected place, deterministic."""

    def __call__(self, memory: Memory, alpha: Tensor, luck: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """See `Phi`."""
        return memory.mix(alpha), torch.zeros_like(alpha[:, 0])


class Hard:
    """(3), (4): one place, drawn; learns by `captioning.objectives.Reinforce`.

    Section 4.1: for some captions the expected place stands in for the drawn one, which lowers the variance.
    When not training it always does, so that captions can be reproduced.

    Args:
        expected_share: of captions that see the expected place; the paper's is 0.5.
    """

    def __init__(self, *, expected_share: float = 0.5) -> None:
        self.expected_share = expected_share

    def __call__(self, memory: Memory, alpha: Tensor, luck: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """See `Phi`."""
        if not training:
            return memory.mix(alpha), torch.zeros_like(alpha[:, 0])
        expected = luck < self.expected_share
        s = torch.multinomial(alpha.detach().float(), 1)  # (3)
        one = torch.zeros_like(alpha).scatter_(1, s, 1.0)
        z = memory.mix(torch.where(expected[:, None], alpha, one))  # (8) or (4)
        return z, alpha.gather(1, s)[:, 0].log().masked_fill(expected, 0.0)


@dataclass(frozen=True)
class ShowAttendAndTellState(State):
    """What the next step needs.

    Attributes:
        hidden: h_{t-1}, (B, D).
        cell: c_{t-1}, (B, D).
        memory: the image's places.
        luck: see `Phi`, (B).
        reads: 0 where the next word is read as zeros, 1 elsewhere, (B, 1).
    """

    hidden: Tensor
    cell: Tensor
    memory: Memory
    luck: Tensor
    reads: Tensor


class ShowAttendAndTell(AttentiveDecoder[ShowAttendAndTellState]):
    """An LSTM that attends to the image's places before each word.

    Args:
        feature_size: F.
        vocab_size: V.
        phi: `Soft()` or `Hard()`.
        embedding_size: E; the release's is 512.
        hidden_size: D; the release's is 1800 on COCO.
        attention_size: A; the release's is F.
        attention_layers: from a place to f_att's key, tanh between them; the release's is 2 on COCO.
        init_layers: of f_init, ReLU between them; the release's is 2 on COCO.
        zero_start: the first word is a vector of zeros, as the release has it.
        beta: the gate β_t.
        word_output: whether (2) reads E y_{t-1}; the release's prev2out.
        context_output: whether (2) reads z_t; the release's ctx2out.
        tanh_output: tanh between (2)'s sum and L_o, as the release has it.
        dropout: in training, on h_t before (2), and where the next two do not say otherwise.
        init_dropout: on the hidden layers of f_init.
        output_dropout: before L_o.
        forget_bias: what the forget gate's bias starts at; the release's is 0. With 1, as in Up-Down's release, the
            cell remembers from the first step of training.

    Raises:
        InputError: at use, where features have no places.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        phi: Phi,
        embedding_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        attention_layers: int = 1,
        init_layers: int = 2,
        zero_start: bool = False,
        beta: bool = True,
        word_output: bool = True,
        context_output: bool = True,
        tanh_output: bool = True,
        dropout: float = 0.0,
        init_dropout: float | None = None,
        output_dropout: float | None = None,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size, self.phi = vocab_size, phi
        self.zero_start, self.word_output, self.tanh_output = zero_start, word_output, tanh_output
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.attention = AdditiveAttention(
            _layers(feature_size, attention_size, attention_layers), hidden_size, attention_size
        )
        self.from_word = nn.Linear(embedding_size, 4 * hidden_size)
        self.recurrence = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.from_context = nn.Linear(feature_size, 4 * hidden_size, bias=False)
        self.init_dropout = nn.Dropout(dropout if init_dropout is None else init_dropout)
        self.init = nn.Sequential()
        for _ in range(init_layers - 1):
            self.init.extend([nn.Linear(feature_size, feature_size), nn.ReLU(), self.init_dropout])
        self.init_cell = nn.Linear(feature_size, hidden_size)
        self.init_hidden = nn.Linear(feature_size, hidden_size)
        self.gate = nn.Linear(hidden_size, 1) if beta else None
        self.output_hidden = nn.Linear(hidden_size, embedding_size)
        self.output_context = nn.Linear(feature_size, embedding_size) if context_output else None
        self.dropout = nn.Dropout(dropout)
        self.output_dropout = nn.Dropout(dropout if output_dropout is None else output_dropout)
        self.head = nn.Linear(embedding_size, vocab_size)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.01) if weight.ndim > 1 else nn.init.zeros_(weight)
        for u in self.recurrence.weight.chunk(4):
            nn.init.orthogonal_(u)
        nn.init.constant_(self.from_word.bias.chunk(4)[1], forget_bias)

    def start(self, features: ImageFeatures) -> ShowAttendAndTellState:
        """c_0, h_0 from the mean place, and the keys of f_att."""
        memory = self.attention.memory(places(features), features.mask)
        x = self.init(memory.mean())
        c, h = in_float(self.init_cell(x)).tanh(), self.init_hidden(x).tanh()
        reads = torch.full_like(h[:, :1], 0.0 if self.zero_start else 1.0)
        return ShowAttendAndTellState(h, c, memory, torch.zeros_like(h[:, 0]), reads)

    def step(self, tokens: Tensor, state: ShowAttendAndTellState) -> tuple[Tensor, ShowAttendAndTellState]:
        """(1), the LSTM, and (2)."""
        y = self.embedding(tokens) * state.reads
        hidden, cell, z, _, _ = self._cell(self.from_word(y), state)
        reads = torch.ones_like(state.reads)
        return self.head(self._output(y, hidden, z)), replace(state, hidden=hidden, cell=cell, reads=reads)

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """(1) and the LSTM along time, then (2) of all steps at once."""
        state = self.start(features).rows(image_index)
        y = self.embedding(inputs.data)
        if self.zero_start:
            y[: len(image_index)] = 0.0  # packed: the first word of every caption stands before the second of any
        sizes = [self.recurrence.in_features, state.memory.values.shape[2], state.memory.values.shape[1], 1]
        luck = torch.rand_like(state.luck)  # each caption its own

        def step(x: Tensor, now: Hidden) -> tuple[Tensor, Hidden]:
            h, c, image, own = now
            memory = replace(state.memory, image=image)
            h, c, z, alpha, log_choice = self._cell(x, replace(state, hidden=h, cell=c, memory=memory, luck=own))
            return torch.cat([h, z, alpha, log_choice[:, None]], 1), (h, c, image, own)

        words = inputs._replace(data=self.from_word(y))
        outputs, _ = unroll(step, words, (state.hidden, state.cell, state.memory.image, luck))
        h, z, alpha, log_choice = torch.split(outputs.data, sizes, 1)
        return Attended(self._output(y, h, z), alpha, log_choice[:, 0])

    def _cell(self, word: Tensor, state: ShowAttendAndTellState) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """h_t, c_t, z_t, α_t and the log-probability of what φ drew."""
        alpha = self.attention(state.hidden, state.memory)  # (1)
        z, log_choice = self.phi(state.memory, alpha, state.luck, training=self.training)
        if self.gate is not None:
            z = self.gate(state.hidden).sigmoid() * z  # β_t
        gates = word + self.recurrence(state.hidden) + self.from_context(z)
        i, f, o, g = gates.chunk(4, 1)
        c = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c, z, alpha, log_choice

    def _output(self, y: Tensor, h: Tensor, z: Tensor) -> Tensor:
        x = self.output_hidden(self.dropout(h))  # (2)
        if self.word_output:
            x = y + x
        if self.output_context is not None:
            x = x + self.output_context(z)
        dropped: Tensor = self.output_dropout(x.tanh() if self.tanh_output else x)
        return dropped


def _layers(feature_size: int, attention_size: int, num_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(feature_size, attention_size)]
    for _ in range(num_layers - 1):
        layers += [nn.Tanh(), nn.Linear(attention_size, attention_size)]
    return nn.Sequential(*layers)
