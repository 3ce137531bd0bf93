"""Obj2Text: captions from the names and boxes of objects, read one after the other.

OBJ2TEXT: Generating Visually Descriptive Language from Object Layouts. Yin, Ordonez. EMNLP 2017. arXiv:1707.07102.
Official code: in Torch, based on neuraltalk2, and in PyTorch.

    x_t = W_o o_t + (W_l l_t + b_l);   (h_t, c_t) = LSTM(x_t; h_{t-1}, c_{t-1});   code = h_L
    loss = -Σ log p(s | code): an LSTM reads the code first, then `<bos>` and the words

    paper       here                        shape
    o_t, W_o    category                    (C, E), of C categories
    l_t, W_l    location                    (E, 4): left, top, width, height as fractions
    LSTM        layout                      (I, O, E) -> (I, E), at each image's last object
    CNN(I)      image                       (I, F) -> (I, E)
    decoder     embedding, recurrent, head

An image without objects has a code of zeros. With `image`, the code of the image is added to that of the layout or
concatenated with it. Both official codes add the two; a summary of the paper by others says that they are concatenated.
Differs: a linear map brings concatenated codes to the width of a word. Weights have torch's default initialisation; for
W_o and the words that is N(0, 1). The paper's variants with a set of names (each once) and with attention to the
objects are missing here.
Published on COCO's test server (CIDEr): image alone 0.863, layout and image 0.950 (abstract).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from captioning.decoders.decoder import Capability
from captioning.decoders.recurrence import RecurrentDecoder, RecurrentState, rows_first
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.recurrent.layer import RecurrentFactory

IMAGE = ("none", "add", "concatenate")


class LayoutEncoder(nn.Module):
    """Encodes objects, in the order of the annotation, as one code.

    Args:
        num_categories: C.
        code_size: E.
        boxes: whether the boxes are read beside the names.
        dropout: on x_t.
    """

    def __init__(self, num_categories: int, code_size: int, *, boxes: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.category = nn.Embedding(num_categories, code_size)
        self.location = nn.Linear(4, code_size) if boxes else None
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(code_size, code_size, batch_first=True)

    def forward(self, objects: Objects) -> Tensor:
        """Compute the state after each image's last object, (I, E)."""
        padding = ~objects.mask
        x = self.category(objects.categories.masked_fill(padding, 0))
        if self.location is not None:
            x = x + self.location(objects.boxes.masked_fill(padding[..., None], 0.0).to(x.dtype))
        h = self._read(self.dropout(x))  # outputs after the last object are not used
        last = (objects.mask.sum(1) - 1).clamp(min=0)
        code: Tensor = h[torch.arange(len(h), device=h.device), last]
        return code * objects.mask.any(1, keepdim=True)

    def _read(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return cast(Tensor, self.lstm(x)[0])
        with torch.autocast("cpu", enabled=False):  # many CPUs have no kernel for this LSTM in mixed precision
            return cast(Tensor, self.lstm(x.to(self.category.weight.dtype))[0])


class Obj2Text(RecurrentDecoder):
    """A recurrent layer that reads a layout's code, optionally with the image's, then the words.

    Args:
        feature_size: F.
        vocab_size: V.
        categories: the names of the objects, in the order of their ids.
        recurrent: builds the recurrent layer.
        image: "none" for the layout alone; "add" or "concatenate" to join the image's code.
        boxes: whether the objects' boxes are read beside their names.
        embedding_size: E, the width of words and codes; 512 in the official code.
        hidden_size: D; 512 in the official code.
        dropout: on the objects, and on the inputs and outputs of the recurrent layer.

    Raises:
        InputError: `image` is none of the three values, or features without objects are decoded.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.OBJECTS})

    def __init__(
        self,
        *,
        feature_size: int,
        vocab_size: int,
        categories: Sequence[str],
        recurrent: RecurrentFactory,
        image: str = "none",
        boxes: bool = True,
        embedding_size: int = 512,
        hidden_size: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if image not in IMAGE:
            raise InputError(f"obj2text: image={image!r}, expected one of {', '.join(IMAGE)}")
        self.vocab_size, self.categories = vocab_size, list(categories)
        self.layout = LayoutEncoder(len(self.categories), embedding_size, boxes=boxes, dropout=dropout)
        self.image = None if image == "none" else nn.Linear(feature_size, embedding_size)
        self.join = nn.Linear(2 * embedding_size, embedding_size) if image == "concatenate" else None
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.recurrent = recurrent(embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)

    def start(self, features: ImageFeatures) -> RecurrentState:
        """Read the code as the first input; its output is not used."""
        if features.objects is None:
            raise InputError(
                "this decoder reads annotated objects, but the features have none; set data.objects=true and use a "
                "data set with annotated objects"
            )
        code = self.layout(features.objects)
        if self.image is not None:
            seen = self.image(features.pooled)
            code = code + seen if self.join is None else self.join(torch.cat([code, seen], 1))
        _, state = self.recurrent.step(self.dropout(code))
        return RecurrentState(rows_first(state))

    def embed(self, tokens: Tensor) -> Tensor:
        """Compute x_t, the word's vector, with dropout."""
        x: Tensor = self.dropout(self.embedding(tokens))
        return x
