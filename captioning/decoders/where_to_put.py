"""What init_inject, pre_inject, par_inject and merge share: the image's vector and the initial weights.

Where to put the Image in an Image Caption Generator. Tanti, Gatt, Camilleri. Natural Language Engineering
2018. arXiv:1703.09137. Official code: where-image2. Below: "Where".
What is the Role of Recurrent Neural Networks (RNNs) in an Image Caption Generator? The same authors. INLG 2017.
arXiv:1708.02043. Official code: rnn-role. Below: "Role". Its inject is `ParInject` and its merge is `Merge`, with
an LSTM, h_0 = 0 and one width s for all.

    i = W_I I / |I| + b_I                      the image
    e_t = W_e S_{t-1}, S_0 = START             the words, t = 1 ..
    h_t = GRU(.., h_{t-1})                     with the reset before the recurrent matrix: `ChoGRU`, bias=True
    p_t = softmax(W_o .. + b_o)

    symbol    here                    shape
    I         pooled                  (I, F)
    i         image                   (I, P)
    e_t       embedding               (B, E)
    h_t       the recurrent output    (B, D)
    W_o       head                    (V, D) or (V, P + D)

Dropout may be on I / |I|, on e_t and on h_t before the softmax, never on i.
Equations and settings are those of the official code; they were not compared with the text of the papers.
Differs: TensorFlow's GRU initialises the gates' biases to 1; here the recurrent layer initialises them. START and END
are one token there; here they are `<bos>` and `<eos>`, and there is `<pad>` too.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ImageVector(nn.Module):
    """i = W_I I / |I| + b_I.

    Args:
        feature_size: F.
        image_size: P.
        normalise: whether I is scaled to length 1 first, as in both papers.
        dropout: on I / |I|.
    """

    def __init__(self, feature_size: int, image_size: int, *, normalise: bool, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_size, image_size)
        self.normalise, self.dropout = normalise, nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (I, F) to (I, P)."""
        image: Tensor = self.linear(self.dropout(F.normalize(pooled) if self.normalise else pooled))
        return image


def start_weights(decoder: nn.Module, *, std: float | None, clip: float | None) -> None:
    """Initialise matrices and h_0 from a clipped normal distribution, and the biases of image and head to zero.

    Args:
        decoder: the decoder; the biases of its recurrent layer stay as they are.
        std: the standard deviation, or None for Xavier's.
        clip: values are clipped to ±clip, which with std = 1 and clip = 0.1 changes most of them; None for no clipping.
    """
    for name, weight in decoder.named_parameters():
        if weight.dim() > 1:
            if std is None:
                nn.init.xavier_normal_(weight)
            else:
                nn.init.normal_(weight, std=std)
            if clip is not None:
                weight.data.clamp_(-clip, clip)
        elif not name.startswith("recurrent."):
            nn.init.zeros_(weight)
