"""LSTM-A: Show and Tell's LSTM also reads the probabilities of detected words, which the paper calls attributes.

Boosting Image Captioning with Attributes. Yao, Pan, Li, Qiu, Mei. ICCV 2017. arXiv:1611.01646.

    v = T_v I                                                      (1)
    a = T_a A                                                      (2)
    x_t = T_s w_t,        t = 0 .. N-1                             (3)
    h_t = LSTM(x_t),      p_{t+1} = softmax(h_t)                   (4)

The variants differ in when the LSTM reads v and a: before the caption, or added to each x_t.

    variant   first         each    inputs                                BLEU-4   METEOR   CIDEr
    A1        words         -       a, x_0, x_1, ..                       31.7     24.9     96.0
    A2        image, words  -       v, a, x_0, x_1, ..                    32.2     25.0     97.5
    A3        words, image  -       a, v, x_0, x_1, ..                    32.1     25.2     98.4
    A4        words         image   a, x_0 + v, x_1 + v, ..               30.6     24.0     90.6
    A5        image         words   v, x_0 + a, x_1 + a, ..               32.5     25.1     98.6

The scores are those published on COCO (Karpathy's test split, GoogLeNet, beam of 3). Show and Tell, which is (1), (3)
and (4), has 28.4, 23.1 and 84.3 there.

    paper     here                          shape
    I         image_dropout(pooled)         (I, F)
    A         features.words                (I, W), from a detector of W words; 1000 in the paper
    T_v, T_a  maps["image"], maps["words"]  (E, F), (E, W)
    T_s       embedding                     (V, E)
    h_t       the recurrent output          (B, D)
    softmax   head                          (V, D)

The equations are numbered here. They are as summaries describe them, and were not compared with the paper's text.
Differs: `head` projects h_t to the vocabulary. Dropout, biases and initial weights are those of `ShowAndTell`. T_a has
no bias. An input that is read both before the caption and with each word has one map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder, packed_rows
from captioning.decoders.recurrence import RecurrentState, rows_first, run, step
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent.layer import Hidden, RecurrentFactory

Input = Literal["image", "words"]


@dataclass(frozen=True)
class LstmAState(RecurrentState):
    """The recurrent layer's state, and what is added to each word: one tensor (B, E), or none."""

    each: tuple[Tensor, ...]


class LstmA(Decoder[LstmAState]):
    """A recurrent layer that reads the image, the detected words or both before the caption or with each of its words.

    Args:
        feature_size: F.
        vocab_size: V.
        num_words: W, the number of the detector's words.
        recurrent: builds the recurrent layer.
        first: what is read before the caption, in this order.
        each: what is added to every word's embedding; None for nothing. The defaults are the variant A5.
        embedding_size: E, the width of words, of the image and of the detected words.
        hidden_size: D.
        image_dropout: on the image's feature.
        dropout: on the recurrent layer's inputs and outputs.
        image_bias: whether the map of the image has a bias.
        head_bias: whether the projection to the vocabulary has a bias.
        init_range: r; maps, embeddings and head are initialised uniformly in [-r, r].

    Raises:
        InputError: `first` is empty, names something twice, or names anything but image and words; or `each` does. Or
            the decoded features lack the W words' probabilities, although the decoder reads them.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        num_words: int,
        recurrent: RecurrentFactory,
        first: Sequence[Input] = ("image",),
        each: Input | None = "words",
        embedding_size: int = 512,
        hidden_size: int = 512,
        image_dropout: float = 0.0,
        dropout: float = 0.0,
        image_bias: bool = False,
        head_bias: bool = False,
        init_range: float = 0.08,
    ) -> None:
        super().__init__()
        self.first, self.each = tuple(first), () if each is None else (each,)
        _check_inputs(self.first, self.each)
        self.vocab_size, self.num_words = vocab_size, num_words
        self.image_dropout = nn.Dropout(image_dropout)
        sizes = {"image": (feature_size, image_bias), "words": (num_words, False)}
        read = [name for name in sizes if name in self.first + self.each]
        self.maps = nn.ModuleDict(
            {name: nn.Linear(sizes[name][0], embedding_size, bias=sizes[name][1]) for name in read}
        )
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size, bias=head_bias)
        for part in (self.maps, self.embedding, self.head):
            for weight in part.parameters():
                reach = init_range if weight.dim() > 1 else 0.0  # biases start at zero
                nn.init.uniform_(weight, -reach, reach)

    def start(self, features: ImageFeatures) -> LstmAState:
        """Read what comes before the caption from a state of zeros; the outputs of these steps are not used."""
        inputs = {name: mapped(self._input(name, features)) for name, mapped in self.maps.items()}  # (1), (2)
        state: Hidden | None = None
        for name in self.first:
            _, state = self.recurrent.step(self.dropout(inputs[name]), state)
        assert state is not None
        return LstmAState(rows_first(state), tuple(inputs[name] for name in self.each))

    def step(self, tokens: Tensor, state: LstmAState) -> tuple[Tensor, LstmAState]:
        """See `Decoder.step`."""
        h, recurrent = step(self.recurrent, self._embed(tokens, state.each), state.recurrent)
        return self.head(self.dropout(h)), LstmAState(recurrent, state.each)  # (4)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """Compute h_t with dropout, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        rows = packed_rows(inputs)
        x = inputs._replace(data=self._embed(inputs.data, tuple(i.index_select(0, rows) for i in state.each)))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped

    def _embed(self, tokens: Tensor, each: tuple[Tensor, ...]) -> Tensor:
        """Compute (3), add what is read with each word, (B, E), and apply dropout."""
        x: Tensor = self.dropout(sum(each, self.embedding(tokens)))
        return x

    def _input(self, name: str, features: ImageFeatures) -> Tensor:
        """Return I with dropout, (I, F), or A, (I, W)."""
        return self.image_dropout(features.pooled) if name == "image" else self._words(features.words)

    def _words(self, words: Tensor | None) -> Tensor:
        """Check A and convert it to the dtype of the weights: detectors give float32."""
        if words is None:
            raise InputError(
                "this decoder reads detected words, but the features have none; use encoder=detected_words"
            )
        if words.shape[1] != self.num_words:
            raise InputError(
                f"the features have probabilities of {words.shape[1]} words, expected {self.num_words}; use the word "
                "detector with which the model was trained"
            )
        return words.to(self.embedding.weight.dtype)


def _check_inputs(first: tuple[str, ...], each: tuple[str, ...]) -> None:
    known = get_args(Input)
    if not first or len(set(first)) < len(first) or not set(first) <= set(known):
        raise InputError(f"first={list(first)}: expected image, words or both, each at most once")
    if not set(each) <= set(known):
        raise InputError(f"each={each[0]!r}: expected image, words or null")
