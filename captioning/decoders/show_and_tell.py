"""Show and Tell: an LSTM reads the image as its first word.

Show and Tell: A Neural Image Caption Generator. Vinyals, Toshev, Bengio, Erhan. CVPR 2015. arXiv:1411.4555.
Official code: im2txt.

    x_{-1} = CNN(I)                                   (10)
    x_t = W_e S_t,              t = 0 .. N-1          (11)
    p_{t+1} = LSTM(x_t),        t = 0 .. N-1          (12)
    L(I, S) = - sum_{t=1..N} log p_t(S_t)             (13)

S_0 is `<bos>` and S_N is `<eos>`. CNN(I) includes a linear map from the image's feature to the width of a word
embedding. The output of the step that reads the image is not scored. Three LSTMs can be passed as `recurrent`:

    LSTM of                                         biases   tanh on the cell   in captioning.recurrent
    the paper, (4) to (8)                           no       no                 ShowAndTellLSTM
    im2txt                                          yes      yes                LSTM
    NeuralTalk (arXiv:1412.2306), official code     yes      no                 ShowAndTellLSTM(bias=True)

    paper        here                     shape
    CNN(I)       image(image_dropout(pooled))   (I, E)
    W_e          embedding                (V, E)
    m_t          the recurrent output     (B, D)
    softmax      head                     (B, V)

Differs: (9) prints Softmax(m_t) without a matrix. Here `head` first projects m_t to the vocabulary.
Published on Flickr8k, for an ensemble: BLEU-1 of 63 (Table 2). BLEU-2/3 of 41/27 are quoted in arXiv:1412.2306.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import RecurrentFactory


class ShowAndTell(RecurrentDecoder):
    """A recurrent layer that reads the image once, then the words.

    Args:
        feature_size: F.
        vocab_size: V.
        recurrent: builds the recurrent layer.
        embedding_size: E, the width of words and of the image; the paper's is 512.
        hidden_size: D; the paper's is 512.
        image_dropout: on the image's feature.
        dropout: on the recurrent layer's inputs and outputs, as in im2txt. The paper uses dropout, but gives neither
            its places nor its rates.
        image_bias: whether the map of the image has a bias. NeuralTalk's has one, im2txt's has none.
        head_bias: whether the projection to the vocabulary has a bias. Both codes have one, the paper prints none.
        init_range: r; embeddings and head are initialised uniformly in [-r, r]; 0.08 in im2txt.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        recurrent: RecurrentFactory,
        embedding_size: int = 512,
        hidden_size: int = 512,
        image_dropout: float = 0.0,
        dropout: float = 0.0,
        image_bias: bool = False,
        head_bias: bool = False,
        init_range: float = 0.08,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.image_dropout = nn.Dropout(image_dropout)
        self.image = nn.Linear(feature_size, embedding_size, bias=image_bias)
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size, bias=head_bias)
        for weight in (self.image.weight, self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -init_range, init_range)
        for bias in (self.image.bias, self.head.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """Start from a state of zeros and read the image, x_{-1} of (10). The output of this step is not used."""
        x = self.image(self.image_dropout(features.pooled))
        _, state = self.recurrent.step(self.dropout(x))
        return RecurrentState(rows_first(state))

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute (11): x_t = W_e S_t, with dropout."""
        x: Tensor = self.dropout(self.embedding(tokens))
        return x
