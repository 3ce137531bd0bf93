"""Obj2Text's layout encoder, object by object, in float64; and how the picture joins it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import Obj2Text, ShowAndTell
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent import LSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
NAMES = ["cat", "dog", "sofa"]


def build(**options) -> Obj2Text:
    torch.manual_seed(0)
    model = Obj2Text(**SIZES, categories=NAMES, recurrent=LSTM, **options)
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    return model.double()


@pytest.fixture
def seen(features) -> ImageFeatures:
    objects = replace(features.objects, boxes=features.objects.boxes.double())
    return ImageFeatures(features.pooled.double(), objects=objects)


@pytest.mark.parametrize("boxes", [True, False])
def test_the_code_is_the_state_after_the_last_object(seen, boxes):
    layout = build(boxes=boxes).layout
    cell = torch.nn.LSTMCell(17, 17).double()
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layout.lstm.state_dict().items()})
    expected = []
    for image in range(3):
        state = torch.zeros(1, 17).double(), torch.zeros(1, 17).double()
        for i in range(2):
            if seen.objects.mask[image, i]:
                x = layout.category.weight[seen.objects.categories[image, i]]
                if boxes:
                    x = x + layout.location.weight @ seen.objects.boxes[image, i] + layout.location.bias
                state = cell(x[None], state)
        expected.append(state[0][0])
    assert_close(layout(seen.objects), torch.stack(expected))
    assert not layout(seen.objects)[2].any()  # the picture without objects


@pytest.mark.parametrize("image", ["none", "add", "concatenate"])
def test_the_code_is_read_first_and_the_picture_joins_it(seen, batch, image):
    model = build(image=image)
    code = model.layout(seen.objects)
    if image != "none":
        picture = seen.pooled @ model.image.weight.T + model.image.bias
        code = (
            code + picture if image == "add" else torch.cat([code, picture], 1) @ model.join.weight.T + model.join.bias
        )
    # Show and Tell over a picture that is this code is the same model.
    told = ShowAndTell(**{**SIZES, "feature_size": 17}, recurrent=LSTM, head_bias=True).double()
    told.load_state_dict({k: v for k, v in model.state_dict().items() if k.split(".")[0] in told_parts()}, strict=False)
    with torch.no_grad():
        told.image.weight.copy_(torch.eye(17))
    expected = told(ImageFeatures(code), batch.inputs(), batch.image_index)
    assert_close(model(seen, batch.inputs(), batch.image_index), expected)


def told_parts() -> set[str]:
    return {"embedding", "recurrent", "head"}


def test_the_order_of_objects_matters(seen):
    layout = build().layout
    turned = seen.objects.map(lambda x: x.flip(1))
    assert not layout(seen.objects)[0].allclose(layout(turned)[0])


def test_parameter_count_of_the_layout_encoder():
    # C k + 4 k + k + 4((k + H) H + H), and torch's second set of 4 H biases; k = H = 512.
    model = Obj2Text(feature_size=1, vocab_size=11, categories=list(map(str, range(80))), recurrent=LSTM)
    count = sum(p.numel() for p in model.layout.parameters())
    assert count == 80 * 512 + 5 * 512 + 4 * ((512 + 512) * 512 + 512) + 4 * 512


def test_what_it_cannot_do_is_told(seen):
    with pytest.raises(InputError, match="image='both', expected one of none, add, concatenate"):
        build(image="both")
    with pytest.raises(InputError, match=r"data\.objects=true"):
        build().start(replace(seen, objects=None))
