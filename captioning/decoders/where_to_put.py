"""What the four places for an image share: init_inject, pre_inject, par_inject and merge.

Where to put the Image in an Image Caption Generator. Tanti, Gatt, Camilleri. Natural Language Engineering
2018. arXiv:1703.09137. Released code: where-image2. Below: "Where".
What is the Role of Recurrent Neural Networks (RNNs) in an Image Caption Generator? The same authors. INLG 2017.
arXiv:1708.02043. Released code: rnn-role. Below: "Role"; its inject is `ParInject`, its merge `Merge`, with an
LSTM, zeros as h_0 and one width s for all.

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

Dropout, where an architecture has it, is on I / |I|, on e_t and on h_t before the softmax, never on i.
Equations and settings are those of the released code; neither paper's own text has been compared.
Differs: TensorFlow's GRU starts the gates' biases at 1, here they start as the recurrent layer starts them. START
and END are one token there, `<bos>` and `<eos>` here, which also has `<pad>`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ImageVector(nn.Module):
    """i = W_I I / |I| + b_I.

    Args:
        feature_size: F.
        image_size: P.
        normalise: I to length 1 first; both papers do.
        dropout: on I / |I|, in training.
    """

    def __init__(self, feature_size: int, image_size: int, *, normalise: bool, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_size, image_size)
        self.normalise, self.dropout = normalise, nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        """(I, F) to (I, P)."""
        image: Tensor = self.linear(self.dropout(F.normalize(pooled) if self.normalise else pooled))
        return image


def start_weights(decoder: nn.Module, *, std: float | None, clip: float | None) -> None:
    """Start every matrix, h_0 too, normal and cut; the biases of image and head at zero.

    Args:
        decoder: whose recurrent layer's biases stay as they are.
        std: of the normal distribution, or None for Xavier's.
        clip: what lies beyond ±clip is set to ±clip, and with a std of 1 most does; None for no cut.
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
