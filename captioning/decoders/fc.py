"""FC: a max-out LSTM reads the image as its first word.

Self-critical Sequence Training for Image Captioning. Rennie, Marcheret, Mroueh, Ross, Goel. CVPR 2017.
arXiv:1612.00563, section 2, the FC model; of its equations only (1) has a number.

    x_1 = W_I CNN(F)                   x_t = E 1_{w_{t-1}}, t > 1
    h_t, c_t = LSTM(x_t, h_{t-1}, c_{t-1}),      h_0 = c_0 = 0
    s_t = W_s h_t                      w_t ~ softmax(s_t)                    (1)

The LSTM's equations are in `captioning.recurrent.MaxoutLSTM`. It has biases; the paper prints none with W_I,
E and W_s. The image's own s_1 is not scored, and x_2 is `<bos>`; the paper implies both.

    paper     here         shape
    CNN(F)    pooled       (I, F)
    W_I       image        (E, F)
    E         embedding    (V, E)
    h_t       the recurrent output    (B, D)
    W_s       head         (V, D)

Differs: the paper does not mention dropout and initialisation. As in later code by others, dropout is on h_t before
W_s, and E and W_s are initialised uniformly in [-0.1, 0.1].
Published on COCO (FC-2k, cross-entropy, beam search, Table 1): CIDEr 94.0, BLEU-4 29.6, ROUGE-L 52.6, METEOR
25.2; after self-critical training 106.3/31.9/54.3/25.5.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import RecurrentFactory


class FC(RecurrentDecoder):
    """A recurrent layer that reads the image once, then the words; no bias but the layer's own.

    Args:
        feature_size: F.
        vocab_size: V.
        recurrent: builds the recurrent layer; the paper's is `MaxoutLSTM`.
        embedding_size: E, the width of words and of the image; the paper's is 512.
        hidden_size: D; the paper's is 512.
        dropout: on h_t before the head.
        init_range: r; embeddings and head are initialised uniformly in [-r, r].
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 512,
        hidden_size: int = 512,
        dropout: float = 0.0,
        init_range: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.image = nn.Linear(feature_size, embedding_size, bias=False)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size, bias=False)
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -init_range, init_range)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """Read x_1 = W_I CNN(F) from a state of zeros; the output is not used."""
        x = self.image(features.pooled)
        _, state = self.recurrent.step(x)
        return RecurrentState(rows_first(state))

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute x_t = E 1_{w_{t-1}}, without dropout."""
        x: Tensor = self.embedding(tokens)
        return x
