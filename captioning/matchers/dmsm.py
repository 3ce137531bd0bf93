"""An image and a sentence as one vector each: the deep multimodal similarity model (DMSM), with letter trigrams.

From Captions to Visual Concepts and Back. Fang et al. CVPR 2015. arXiv:1411.4952. The half that reads sentences is the
convolutional DSSM of Shen et al. 2014. Both are as remembered; they were not checked against the papers' texts.

    f_t = how often each letter trigram occurs in #w_t#: #cat# has #ca, cat and at#                         (1)
    h_t = tanh(W_c [f_{t-1}; f_t; f_{t+1}] + b_c);   f_0 = f_{T+1} = 0                                      (2)
    v = max_t h_t, the maximum of each unit                                                                 (3)
    y_D = tanh(W_s v + b_s)                                                                                 (4)
    y_Q = x_n;   x_l = tanh(W_l x_{l-1} + b_l), l = 1, ..., n;   x_0 = CNN(I)                               (5)
    R(Q, D) = cos(y_Q, y_D)                                                                                 (6)

The loss is `captioning.objectives.SampledNegatives`. Trigrams let similar words, such as a plural, share weights.
Words that the vocabulary lacks are all the same token, `<unk>`, which has trigrams of its own.

    paper        here           shape
    W_c          trigrams       (Z, 3 D), of the Z trigrams that the vocabulary's words have; D units
    b_c          bias           (D)
    W_s, b_s     sentence       (h, D), (h)
    W_l, b_l     image          (D, F), (D), ..., (h, D), (h)

D and h are 300 there. W_c is stored by trigram, because (1) is sparse. Other weights have torch's default
initialisation. Those of W_c are uniform with the bound of Glorot and Bengio for as many inputs as three words have on
average.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.decoders.attention import in_float
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.matchers.matcher import Embedded, Matcher
from captioning.matchers.similarity import best_regions
from captioning.matchers.words import is_word

_WINDOW = 3  # words that h_t reads


class Dmsm(Matcher):
    """Two tanh networks, over letter trigrams and over the image, whose outputs are compared by their cosine.

    Args:
        feature_size: F.
        vocab_size: V.
        vocabulary: the V words, in the order of their ids.
        hidden_size: D.
        joint_size: h, the width of the space that images and sentences share.
        num_layers: n, the layers that read the image.
        feature_dropout: on CNN(I).
        dropout: on v.

    Raises:
        InputError: there are not V words, a word is empty, or `num_layers` is below 1.
    """

    trigrams_of_words: Tensor
    first: Tensor

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        vocabulary: Sequence[str],
        hidden_size: int = 300,
        joint_size: int = 300,
        num_layers: int = 2,
        feature_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(vocabulary) != vocab_size or not all(vocabulary):
            raise InputError(f"vocabulary: expected {vocab_size} words, none of them empty; found {len(vocabulary)}")
        if num_layers < 1:
            raise InputError(f"num_layers={num_layers} must be at least 1")
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        # They follow from the vocabulary, so a bundle does not hold them.
        found, first, num_trigrams = index_trigrams(vocabulary)
        self.register_buffer("trigrams_of_words", found, persistent=False)
        self.register_buffer("first", first, persistent=False)
        bound = (6 / (_WINDOW * len(found) / vocab_size + hidden_size)) ** 0.5
        self.trigrams = nn.Parameter(torch.empty(num_trigrams, _WINDOW * hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.sentence = nn.Linear(hidden_size, joint_size)
        widths = [feature_size, *[hidden_size] * (num_layers - 1), joint_size]
        self.image = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.feature_dropout, self.dropout = nn.Dropout(feature_dropout), nn.Dropout(dropout)

    def images(self, features: ImageFeatures) -> Embedded:
        """Compute y_Q / |y_Q|, (I, 1, h)."""
        x = self.feature_dropout(features.pooled)
        for layer in self.image:
            x = layer(x).tanh()  # (5)
        return Embedded(F.normalize(in_float(x), dim=1)[:, None])

    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        """Compute y_D / |y_D|, (N, 1, h)."""
        is_real = is_word(lengths, tokens.shape[1]).to(tokens.device)
        words, occurrences = torch.unique(tokens[is_real], return_inverse=True)
        x = self.trigrams.new_zeros(len(tokens), tokens.shape[1] + 2, _WINDOW, self.hidden_size)
        x[:, 1:-1][is_real] = self._of_words(words)[occurrences]
        h = (x[:, :-2, 0] + x[:, 1:-1, 1] + x[:, 2:, 2] + self.bias).tanh()  # (2)
        h = h.masked_fill(~is_real[..., None], -1.0)  # tanh's least value, also of a sentence without words
        v = F.pad(h, (0, 0, 0, 1), value=-1.0).amax(1)  # (3)
        y = self.sentence(self.dropout(v)).tanh()  # (4)
        return Embedded(F.normalize(in_float(y), dim=1)[:, None], (lengths > 0)[:, None].to(tokens.device))

    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        """Compute R(Q, D) by (6)."""
        return best_regions(images, sentences)

    def _of_words(self, words: Tensor) -> Tensor:
        """Multiply f of words by the three parts of W_c, one for each position in the window, (words, 3, D)."""
        starts, counts = self.first[words], self.first[words + 1] - self.first[words]
        offsets = counts.cumsum(0) - counts
        positions = torch.arange(int(counts.sum()), device=words.device)
        positions = positions + (starts - offsets).repeat_interleave(counts)
        summed = F.embedding_bag(self.trigrams_of_words[positions], self.trigrams, offsets, mode="sum")
        return summed.view(len(words), _WINDOW, self.hidden_size)


def letter_trigrams(word: str) -> list[str]:
    """List the letter trigrams of (1), with repetitions: `cat` has #ca, cat and at#."""
    marked = f"#{word}#"
    return [marked[i : i + 3] for i in range(len(marked) - 2)]


def index_trigrams(words: Sequence[str]) -> tuple[Tensor, Tensor, int]:
    """Number the letter trigrams of words, in the order of the alphabet.

    Returns:
        The trigrams of all words, word by word, int64; (V + 1) int64 where each word's begin, and where the last one's
        end; and the number of different trigrams.
    """
    own = [letter_trigrams(word) for word in words]
    numbers = {trigram: number for number, trigram in enumerate(sorted(set(chain.from_iterable(own))))}
    found = torch.tensor([numbers[trigram] for trigrams in own for trigram in trigrams], dtype=torch.int64)
    first = torch.tensor([0, *map(len, own)], dtype=torch.int64).cumsum(0)
    return found, first, len(numbers)
