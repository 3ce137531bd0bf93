"""Show, Attend and Tell: the decoder attends to regions of the image before each word.

Show, Attend and Tell: Neural Image Caption Generation with Visual Attention. Xu, Ba, Kiros, Cho, Courville,
Salakhutdinov, Zemel, Bengio. ICML 2015. arXiv:1502.03044. Official code: arctic-captions.

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

Differs: the first word of the official code is a vector of zeros; here it is the embedding of `<bos>`, which is
learned, unless `zero_start` is set. The official code has tanh between the sum in (2) and L_o. Here this is an
option, and so are that code's layers in f_att and f_init and its switches for what (2) reads. Its further layers on h_t
and before L_o, its LSTM over the regions and its dropout inside the LSTM are off by default there and missing here. The
paper does not describe the initialisation; as in the official code, each U is orthogonal, biases are zero (except for
`forget_bias`), and all else is from N(0, 0.01²).
Published on Flickr8k (BLEU without brevity penalty): soft 67/44.8/29.9/19.5, METEOR 18.93; hard
67/45.7/31.4/21.3, METEOR 20.30 (Table 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, Memory, in_float, regions, unrolled
from captioning.decoders.decoder import Attended, AttentiveDecoder, Capability, State
from captioning.encoders.features import ImageFeatures


class Phi(Protocol):
    """φ of (1): maps attention weights to the context.

    Attributes:
        samples: whether φ samples regions in training.
    """

    samples: bool

    def __call__(self, memory: Memory, alpha: Tensor, luck: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Compute the context.

        Args:
            memory: the regions.
            alpha: their weights, (B, R).
            luck: one random number in [0, 1) per caption, (B); 0 in `Decoder.step`.
            training: whether regions may be sampled.

        Returns:
            z_t, (B, F), and the log-probability of the sampled region, (B); 0 for rows without a sample.
        """
        ...


class Soft:
    """(8): the expected region; deterministic."""

    samples = False

    def __call__(self, memory: Memory, alpha: Tensor, luck: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """See `Phi`."""
        return memory.mix(alpha), torch.zeros_like(alpha[:, 0])


class Hard:
    """(3), (4): one sampled region; trained by `captioning.objectives.Reinforce`.

    In training, some captions use the expected region instead of a sample, which lowers the variance (section 4.1). In
    evaluation all captions use it, so that they are reproducible.

    Args:
        expected_share: the share of captions that use the expected region; the paper's is 0.5.
    """

    samples = True

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
        memory: the image's regions.
        luck: see `Phi`, (B).
        reads: 0 if the next word is read as zeros, else 1, (B, 1).
    """

    hidden: Tensor
    cell: Tensor
    memory: Memory
    luck: Tensor
    reads: Tensor


class ShowAttendAndTellStep(NamedTuple):
    """h_t, (B, D), z_t, (B, F), α_t, (B, R), and the log-probability of the sampled region, (B, 1)."""

    hidden: Tensor
    context: Tensor
    attention: Tensor
    log_choice: Tensor


class ShowAttendAndTell(AttentiveDecoder[ShowAttendAndTellState]):
    """An LSTM that attends to the image's regions before each word.

    Args:
        feature_size: F.
        vocab_size: V.
        phi: `Soft()` or `Hard()`.
        embedding_size: E; 512 in the official code.
        hidden_size: D; 1800 in the official code, on COCO.
        attention_size: A; F in the official code.
        attention_layers: the number of layers of f_att's key, with tanh between them; 2 in the official code, on COCO.
        init_layers: the number of layers of f_init, with ReLU between them; 2 in the official code, on COCO.
        zero_start: whether the first word is a vector of zeros, as in the official code.
        beta: whether there is the gate β_t.
        word_output: whether (2) reads E y_{t-1}; prev2out in the official code.
        context_output: whether (2) reads z_t; ctx2out in the official code.
        tanh_output: whether there is tanh between the sum in (2) and L_o, as in the official code.
        dropout: on h_t before (2), and the default of the next two.
        init_dropout: on the hidden layers of f_init.
        output_dropout: before L_o.
        forget_bias: the initial bias of the forget gate; 0 in the official code. With 1, as in the official code of
            Up-Down, the cell remembers from the first step of training.

    Raises:
        InputError: the features that `start` is given have no regions.
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

    @property
    def provides(self) -> frozenset[Capability]:
        """Attention over regions, and sampled regions with hard φ."""
        return super().provides | ({Capability.SAMPLED_REGIONS} if self.phi.samples else set())

    def start(self, features: ImageFeatures) -> ShowAttendAndTellState:
        """Compute c_0 and h_0 from the mean region, and the keys of f_att."""
        memory = self.attention.memory(regions(features), features.mask)
        x = self.init(memory.mean())
        c, h = in_float(self.init_cell(x)).tanh(), self.init_hidden(x).tanh()
        reads = torch.full_like(h[:, :1], 0.0 if self.zero_start else 1.0)
        return ShowAttendAndTellState(h, c, memory, torch.zeros_like(h[:, 0]), reads)

    def step(self, tokens: Tensor, state: ShowAttendAndTellState) -> tuple[Tensor, ShowAttendAndTellState]:
        """See `Decoder.step`."""
        y = self.embedding(tokens) * state.reads
        outputs, state = self._cell(self.from_word(y), state)
        return self.head(self._output(outputs, y)), replace(state, reads=torch.ones_like(state.reads))

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """See `AttentiveDecoder.attend`; (2) of all steps is one product."""
        state = self.start(features).rows(image_index)
        y = self.embedding(inputs.data)
        if self.zero_start:
            y[: len(image_index)] = 0.0  # packed: the first words of all captions come before any second word
        state = replace(state, luck=torch.rand_like(state.luck))
        outputs = unrolled(self._cell, inputs._replace(data=self.from_word(y)), state)
        return Attended(self._output(outputs, y), outputs.attention, outputs.log_choice[:, 0])

    def _cell(
        self, word: Tensor, state: ShowAttendAndTellState
    ) -> tuple[ShowAttendAndTellStep, ShowAttendAndTellState]:
        alpha = self.attention(state.hidden, state.memory)  # (1)
        z, log_choice = self.phi(state.memory, alpha, state.luck, training=self.training)
        if self.gate is not None:
            z = self.gate(state.hidden).sigmoid() * z  # β_t
        gates = word + self.recurrence(state.hidden) + self.from_context(z)
        i, f, o, g = gates.chunk(4, 1)
        c = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        h = (o.sigmoid() * c.tanh()).to(self.recurrence.weight.dtype)  # c is float32 at least
        return ShowAttendAndTellStep(h, z, alpha, log_choice[:, None]), replace(state, hidden=h, cell=c)

    def _output(self, outputs: ShowAttendAndTellStep, y: Tensor) -> Tensor:
        x = self.output_hidden(self.dropout(outputs.hidden.to(self.output_hidden.weight.dtype)))  # (2)
        if self.word_output:
            x = y + x
        if self.output_context is not None:
            x = x + self.output_context(outputs.context.to(self.output_context.weight.dtype))
        dropped: Tensor = self.output_dropout(x.tanh() if self.tanh_output else x)
        return dropped


def _layers(feature_size: int, attention_size: int, num_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(feature_size, attention_size)]
    for _ in range(num_layers - 1):
        layers += [nn.Tanh(), nn.Linear(attention_size, attention_size)]
    return nn.Sequential(*layers)
