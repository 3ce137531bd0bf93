"""FC: the image is the first word, read by a max-out LSTM.

Self-critical Sequence Training for Image Captioning. Rennie, Marcheret, Mroueh, Ross, Goel. CVPR 2017.
arXiv:1612.00563, section 2, the FC model; its equations have numbers only where one stands below.

    x_1 = W_I CNN(F)                   x_t = E 1_{w_{t-1}}, t > 1
    h_t, c_t = LSTM(x_t, h_{t-1}, c_{t-1}),      h_0 = c_0 = 0
    s_t = W_s h_t                      w_t ~ softmax(s_t)                    (1)

The LSTM's equations are in `captioning.recurrent.MaxoutLSTM`. It has biases; W_I, E and W_s are printed
without. The image's own s_1 is not scored, and x_2 is `<bos>`, both implied by the paper.

    paper     here         shape
    CNN(F)    pooled       (I, F)
    W_I       image        (E, F)
    E         embedding    (V, E)
    h_t       the recurrent output    (B, D)
    W_s       head         (V, D)

Differs: the paper says nothing of dropout and of the weights' start; both are ours, as is
usual in later code: dropout on h_t before W_s, E and W_s uniform in [-0.1, 0.1].
Published on COCO (FC-2k, cross-entropy, beam search, Table 1): CIDEr 94.0, BLEU-4 29.6, ROUGE-L 52.6, METEOR
25.2; after self-critical training 106.3/31.9/54.3/25.5.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder
from captioning.decoders.recurrence import RecurrentState, rows_first, run, step
from captioning.encoders.features import ImageFeatures
from captioning.recurrent.layer import RecurrentFactory


class FC(Decoder[RecurrentState]):
    """A recurrent layer that reads the image once, then the words; no bias but the layer's own.

    Args:
        feature_size: F.
        vocab_size: V.
        recurrent: builds the recurrent layer; the paper's is `MaxoutLSTM`.
        embedding_size: E, of words and of the image; the paper's is 512.
        hidden_size: D; the paper's is 512.
        dropout: on h_t before the head, in training.
        init_range: embeddings and head start uniform in [-r, r].
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
        """x_1 = W_I CNN(F) from a state of zeros; its output is dropped."""
        x = self.image(features.pooled)
        _, state = self.recurrent.step(x)
        return RecurrentState(rows_first(state))

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """x_t = E 1_{w_{t-1}}, the LSTM, and s_t."""
        h, recurrent = step(self.recurrent, self.embedding(tokens), state.recurrent)
        return self.head(self.dropout(h)), RecurrentState(recurrent)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """h_t of every step, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        x = inputs._replace(data=self.embedding(inputs.data))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped
