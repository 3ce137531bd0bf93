"""One vector for the whole image and one for the whole sentence, compared by their cosine.

    v = norm(W_m CNN(I) + b_m)
    x_t = W_w S_t                       h_1, .., h_T = RNN(x_1, .., x_T)
    s = norm(W_s mean_t h_t + b_s)      S = v · s                            norm(x) = x / |x|

The form of Kiros et al. 2014, "Unifying Visual-Semantic Embeddings with Multimodal Neural Language Models"
(arXiv:1411.2539), and of VSE++, Faghri et al. 2018 (arXiv:1707.05612), as remembered; not checked against their text.
Differs: s is a mean over words of both directions' outputs; there it is the last state of a layer that reads forwards.

    symbol       here         shape
    W_m, b_m     image        (h, F), (h)
    W_w          embedding    (V, E)
    W_s, b_s     head         (h, D), (h)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from captioning.encoders.features import ImageFeatures
from captioning.matchers.matcher import Embedded, Matcher
from captioning.matchers.similarity import best_regions
from captioning.matchers.words import packed, padded
from captioning.recurrent.layer import SequenceLayer


class SentenceVector(Matcher):
    """A vector of the whole image and a vector of the whole sentence, both of length 1.

    Args:
        feature_size: F.
        vocab_size: V.
        recurrent: builds the layer over words, such as one of both directions; None for a bag of words, h_t = x_t.
        embedding_size: E.
        hidden_size: D, the width of h_t; E for a bag of words.
        joint_size: h, the width of the space that images and sentences share.
        feature_dropout: on CNN(I).
        embedding_dropout: on x_t.
        init_range: r; embeddings are initialised uniformly in [-r, r]. With large r, words keep their random vectors.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: Callable[[int, int], SequenceLayer] | None,
        embedding_size: int = 300,
        hidden_size: int = 512,
        joint_size: int = 1024,
        feature_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        init_range: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.feature_dropout = nn.Dropout(feature_dropout)
        self.image = nn.Linear(feature_size, joint_size)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -init_range, init_range)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.recurrent = None if recurrent is None else recurrent(embedding_size, hidden_size)
        self.head = nn.Linear(embedding_size if recurrent is None else hidden_size, joint_size)

    def images(self, features: ImageFeatures) -> Embedded:
        """Compute v, (I, 1, h)."""
        v = self.image(self.feature_dropout(features.pooled))
        return Embedded(F.normalize(v, dim=1)[:, None])

    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        """Compute s, (N, 1, h)."""
        words = packed(tokens, lengths)
        h = words._replace(data=self.embedding_dropout(self.embedding(words.data)))
        if self.recurrent is not None:
            h, _ = self.recurrent(h)
        rows, mask = padded(h, lengths)
        mean = rows.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        s = F.normalize(self.head(mean), dim=1)
        return Embedded(s[:, None], mask.any(1, keepdim=True))

    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        """Compute the cosine of v and s."""
        return best_regions(images, sentences)
