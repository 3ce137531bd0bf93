"""Regions and words in one space: a bidirectional ReLU network over words, and the region that fits each word best.

Deep Visual-Semantic Alignments for Generating Image Descriptions. Karpathy, Fei-Fei. CVPR 2015. arXiv:1412.2306,
section 3.1.

    v_i = W_m CNN(I_b) + b_m                        (1)        f = ReLU
    x_t = W_w I_t                                   (2)
    e_t = f(W_e x_t + b_e)                          (3)
    h^f_t = f(e_t + W_f h^f_{t-1} + b_f)            (4)
    h^b_t = f(e_t + W_b h^b_{t+1} + b_b)            (5)
    s_t = f(W_d (h^f_t + h^b_t) + b_d)              (6)
    S_kl = Σ_{t ∈ g_l} max_{i ∈ g_k} v_i · s_t      (8)

Regions and (1) are in `captioning.matchers.regions`, (8) is in `captioning.matchers.similarity`, and the loss (9) in
`captioning.objectives.MaxMargin`. The input e_t enters the recurrence without a matrix.

    paper        here         shape
    W_w          embedding    (V, E)
    W_e, b_e     word         (D, E), (D)
    W_f, b_f     forwards     (D, D), (D)
    W_b, b_b     backwards    (D, D), (D)
    W_d, b_d     head         (h, D), (h)
    W_m, b_m     regions      (h, F), (h)

W_w holds word2vec's vectors there and is fixed, with E = 300; here training's `embeddings` sets them, or they are
learned. The paper's D is 300 to 600 and its h 1000 to 1600. Dropout is everywhere but in the recurrence.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.encoders.features import ImageFeatures
from captioning.matchers.matcher import Embedded, Matcher
from captioning.matchers.regions import Regions
from captioning.matchers.similarity import best_regions
from captioning.matchers.words import packed, padded
from captioning.recurrent.bidirectional import mirrored
from captioning.recurrent.layer import Hidden, unroll


class Brnn(Matcher):
    """A bidirectional ReLU network over words, and one linear layer over regions.

    Args:
        feature_size: F.
        vocab_size: V.
        embedding_size: E.
        hidden_size: D.
        joint_size: h, the width of the space that regions and words share.
        normalise: whether to divide each v_i by its length, and the s_t of a sentence by the length of their sum. Then
            the score is a cosine if all words choose the same region. The paper does not do this.
        num_drawn: how many regions each batch of training draws; None for all. See `Regions`.
        feature_dropout: on CNN(I_b).
        embedding_dropout: on x_t.
        dropout: on e_t and on h^f_t + h^b_t.
        init_range: r; embeddings are initialised uniformly in [-r, r]. With large r, words keep their random vectors.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        embedding_size: int = 300,
        hidden_size: int = 512,
        joint_size: int = 1024,
        normalise: bool = False,
        num_drawn: int | None = None,
        feature_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        dropout: float = 0.0,
        init_range: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size, self.hidden_size, self.normalise = vocab_size, hidden_size, normalise
        self.regions = Regions(feature_size, joint_size, dropout=feature_dropout, num_drawn=num_drawn)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -init_range, init_range)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.word = nn.Linear(embedding_size, hidden_size)
        self.forwards = nn.Linear(hidden_size, hidden_size)
        self.backwards = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, joint_size)

    def images(self, features: ImageFeatures) -> Embedded:
        """Compute v_i, (I, 1 + R, h); row 0 is the whole image."""
        v: Embedded = self.regions(features)
        return replace(v, vectors=F.normalize(v.vectors, dim=2)) if self.normalise else v

    def sentences(self, tokens: Tensor, lengths: Tensor) -> Embedded:
        """Compute s_t, (N, T, h)."""
        words = packed(tokens, lengths)
        x = self.embedding_dropout(self.embedding(words.data))  # (2)
        e = words._replace(data=self.dropout(self.word(x).relu()))  # (3)
        turned = mirrored(e.batch_sizes).to(e.data.device)
        forwards = self._recur(e, self.forwards)  # (4)
        backwards = self._recur(e._replace(data=e.data[turned]), self.backwards)[turned]  # (5)
        s = self.head(self.dropout(forwards + backwards)).relu()  # (6)
        vectors, mask = padded(words._replace(data=s), lengths)
        if self.normalise:
            length = vectors.masked_fill(~mask[..., None], 0).sum(1, keepdim=True).norm(dim=2, keepdim=True)
            vectors = vectors / length.clamp(min=1e-12)
        return Embedded(vectors, mask)

    def similarity(self, images: Embedded, sentences: Embedded) -> Tensor:
        """Compute S_kl by (8), the sum over words."""
        return best_regions(images, sentences)

    def _recur(self, e: PackedSequence, recurrent: nn.Linear) -> Tensor:
        def step(e_t: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
            h = (e_t + recurrent(state[0])).relu()
            return h, (h,)

        h, _ = unroll(step, e, (e.data.new_zeros(int(e.batch_sizes[0]), self.hidden_size),))
        return h.data
