"""Obj2Text: the objects' names and boxes, read one after the other, are all there is to know.

OBJ2TEXT: Generating Visually Descriptive Language from Object Layouts. Yin, Ordonez. EMNLP 2017. arXiv:1707.07102.
Released code: in Torch, on neuraltalk2, and in PyTorch.

    x_t = W_o o_t + (W_l l_t + b_l);   (h_t, c_t) = LSTM(x_t; h_{t-1}, c_{t-1});   code = h_L
    loss = -Σ log p(s | code): an LSTM reads the code first, then `<bos>` and the words

    paper       here                        shape
    o_t, W_o    category                    (C, E), of C categories
    l_t, W_l    location                    (E, 4): left, top, width, height as fractions
    LSTM        layout                      (I, O, E) -> (I, E), at each image's last object
    CNN(I)      image                       (I, F) -> (I, E)
    decoder     embedding, recurrent, head

An image without objects has a code of zeros. With the image beside the layout, both releases add the two codes; a
reader of the paper says that they are concatenated: `image` chooses.
Differs: concatenated codes go through a linear map to the width of a word. Weights start as torch's layers
do, W_o and the words so from N(0, 1). The paper's other variants, a set of names (each once) and attention to the
objects, are not here.
Published on COCO's test server (CIDEr): image alone 0.863, layout and image 0.950 (abstract).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.decoder import Decoder
from captioning.decoders.recurrence import RecurrentState, rows_first, run, step
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.recurrent.layer import RecurrentFactory

IMAGE = ("none", "add", "concatenate")


class LayoutEncoder(nn.Module):
    """Objects in the annotation's order to one code.

    Args:
        num_categories: C.
        code_size: E.
        boxes: read the boxes too; without them the names alone are read.
        dropout: on x_t, in training.
    """

    def __init__(self, num_categories: int, code_size: int, *, boxes: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.category = nn.Embedding(num_categories, code_size)
        self.location = nn.Linear(4, code_size) if boxes else None
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(code_size, code_size, batch_first=True)

    def forward(self, objects: Objects) -> Tensor:
        """The state after each image's last object, (I, E)."""
        x = self.category(objects.categories)
        if self.location is not None:
            x = x + self.location(objects.boxes)
        h, _ = self.lstm(self.dropout(x))  # what stands behind the last object is not picked
        last = (objects.mask.sum(1) - 1).clamp(min=0)
        code: Tensor = h[torch.arange(len(h), device=h.device), last]
        return code * objects.mask.any(1, keepdim=True)


class Obj2Text(Decoder[RecurrentState]):
    """A recurrent layer that reads a layout's code, with or without the image's, then the words.

    Args:
        feature_size: F.
        vocab_size: V.
        categories: the names of the objects, in the order of their ids.
        recurrent: builds the recurrent layer.
        image: "none": the layout alone; "add" or "concatenate": how the image's code joins the layout's.
        boxes: read the objects' boxes beside their names.
        embedding_size: E, of words and of codes; the release's is 512.
        hidden_size: D; the release's is 512.
        dropout: on objects, on the recurrent layer's inputs and outputs, in training.

    Raises:
        InputError: `image` is another; at use, features come without objects.
    """

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
        """The code is the first input; its output is dropped."""
        if features.objects is None:
            raise InputError(
                "this decoder reads the objects of an image, and there are none; give it a data set with "
                "annotated objects and data.objects=true"
            )
        code = self.layout(features.objects)
        if self.image is not None:
            seen = self.image(features.pooled)
            code = code + seen if self.join is None else self.join(torch.cat([code, seen], 1))
        _, state = self.recurrent.step(self.dropout(code))
        return RecurrentState(rows_first(state))

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """One word."""
        h, recurrent = step(self.recurrent, self.dropout(self.embedding(tokens)), state.recurrent)
        return self.head(self.dropout(h)), RecurrentState(recurrent)

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """The recurrent output of every step at once, (sum of lengths, D)."""
        state = self.start(features).rows(image_index)
        x = inputs._replace(data=self.dropout(self.embedding(inputs.data)))
        dropped: Tensor = self.dropout(run(self.recurrent, x, state.recurrent))
        return dropped
