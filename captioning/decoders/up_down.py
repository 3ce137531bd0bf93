"""Up-Down: one LSTM controls the attention, another one generates the words.

Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering. Anderson, He, Buehler, Teney,
Johnson, Gould, Zhang. CVPR 2018. arXiv:1707.07998, section 3.2. Official code: in Caffe.

    x¹_t = [h²_{t-1}, v̄, W_e Π_t];   h¹_t = LSTM(x¹_t, h¹_{t-1});   v̄ = mean_i v_i
    a_i,t = w_a · tanh(W_va v_i + W_ha h¹_t);   α_t = softmax(a_t);   v̂_t = Σ_i α_i,t v_i
    x²_t = [v̂_t, h¹_t];   h²_t = LSTM(x²_t, h²_{t-1});   p(y_t) = softmax(W_p h²_t + b_p)

    paper            here           shape
    v_i              features.grid  (I, R, F), grid cells or regions
    W_e              embedding      (V, E)
    LSTM¹ on v̄       from_mean      (4 D, F)       LSTM¹ on W_e Π_t   from_word      (4 D, E), with the bias
    LSTM¹ on h²      from_language  (4 D, D)       LSTM¹ on h¹        recurrence_1   (4 D, D)
    W_va, W_ha, w_a  attention      (B, D), (I, R, F) -> (B, R), without biases
    LSTM² on v̂       from_context   (4 D, F), with the bias
    LSTM² on h¹      from_attention (4 D, D)       LSTM² on h²        recurrence_2   (4 D, D)
    W_p, b_p         head           (V, D)

The gates are in the order i, f, o, candidate. As in the official code, weights are initialised from N(0, 0.01²) and
the biases of the forget gates to 1.
Published on COCO, Karpathy's test split, cross-entropy (Table 1): BLEU-1 0.772, BLEU-4 0.362, METEOR 0.270, ROUGE-L
0.564, CIDEr 1.135; on a ResNet's grid CIDEr 1.054.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import AdditiveAttention, AttentionStep, Memory, regions, unrolled
from captioning.decoders.decoder import Attended, AttentiveDecoder, State
from captioning.encoders.features import ImageFeatures


@dataclass(frozen=True)
class UpDownState(State):
    """h¹, c¹, h², c², (B, D) each; what v̄ adds to the gates of LSTM¹, (B, 4 D); and the regions."""

    hidden_1: Tensor
    cell_1: Tensor
    hidden_2: Tensor
    cell_2: Tensor
    mean: Tensor
    memory: Memory


class UpDown(AttentiveDecoder[UpDownState]):
    """Two LSTMs with top-down attention between them.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E; the paper's is 1000.
        hidden_size: D, of both LSTMs; the paper's is 1000.
        attention_size: A; the paper's is 512.
        dropout: on the words and on h²_t before W_p; the official code has none.

    Raises:
        InputError: features without regions are decoded.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 1000,
        hidden_size: int = 1000,
        attention_size: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab_size, gates = vocab_size, 4 * hidden_size
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.from_word = nn.Linear(embedding_size, gates)
        self.from_mean = nn.Linear(feature_size, gates, bias=False)
        self.from_language = nn.Linear(hidden_size, gates, bias=False)
        self.recurrence_1 = nn.Linear(hidden_size, gates, bias=False)
        key = nn.Linear(feature_size, attention_size, bias=False)
        self.attention = AdditiveAttention(key, hidden_size, attention_size)
        self.from_context = nn.Linear(feature_size, gates)
        self.from_attention = nn.Linear(hidden_size, gates, bias=False)
        self.recurrence_2 = nn.Linear(hidden_size, gates, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.01) if weight.ndim > 1 else nn.init.zeros_(weight)
        for lstm in (self.from_word, self.from_context):
            nn.init.ones_(lstm.bias[hidden_size : 2 * hidden_size])

    def start(self, features: ImageFeatures) -> UpDownState:
        """Set both LSTMs to zero; compute what v̄ adds to LSTM¹, and the attention's keys."""
        v = regions(features)
        zeros = v.new_zeros(v.shape[0], self.recurrence_1.in_features)
        memory = self.attention.memory(v, features.mask)
        return UpDownState(zeros, zeros, zeros, zeros, self.from_mean(memory.mean()), memory)

    def step(self, tokens: Tensor, state: UpDownState) -> tuple[Tensor, UpDownState]:
        """See `Decoder.step`."""
        outputs, state = self._cell(self._read(tokens), state)
        return self.head(self.dropout(outputs.hidden)), state

    def attend(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Attended:
        """See `AttentiveDecoder.attend`."""
        state = self.start(features).rows(image_index)
        outputs = unrolled(self._cell, inputs._replace(data=self._read(inputs.data)), state)
        hidden = outputs.hidden.to(self.recurrence_2.weight.dtype)
        return Attended(self.dropout(hidden), outputs.attention)

    def _read(self, tokens: Tensor) -> Tensor:
        """Compute what a word adds to the gates of LSTM¹."""
        word: Tensor = self.from_word(self.dropout(self.embedding(tokens)))
        return word

    def _cell(self, word: Tensor, state: UpDownState) -> tuple[AttentionStep, UpDownState]:
        gates_1 = word + state.mean + self.from_language(state.hidden_2) + self.recurrence_1(state.hidden_1)
        h_1, c_1 = _lstm(gates_1, state.cell_1)
        alpha = self.attention(h_1, state.memory)
        context = state.memory.mix(alpha)
        gates_2 = self.from_context(context) + self.from_attention(h_1) + self.recurrence_2(state.hidden_2)
        h_2, c_2 = _lstm(gates_2, state.cell_2)
        return AttentionStep(h_2, alpha), replace(state, hidden_1=h_1, cell_1=c_1, hidden_2=h_2, cell_2=c_2)


def _lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.chunk(4, 1)
    c = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
