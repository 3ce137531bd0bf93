"""Obj2Text's layout encoder, object by object, in float64; and how the image joins it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.decoders import Obj2Text
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


def lstm(w, name, x, state):
    """torch's cell and its weights, with gates in the order i, f, g, o."""
    weights = [w[f"{name}.{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    h, c = torch.lstm_cell(x[None], [s[None] for s in state], *weights)
    return h[0], c[0]


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("image", ["none", "add", "concatenate"])
def test_equals_the_papers_equations_with_gradients(assert_is_the_equations, image, boxes):
    def literal(w, one, tokens):
        def affine(name, x):
            return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

        h = c = torch.zeros(17).double()
        mask = one.objects.mask[0]
        for category, box in zip(one.objects.categories[0][mask], one.objects.boxes[0][mask], strict=True):
            x = w["layout.category.weight"][category]
            h, c = lstm(w, "layout.lstm", x + affine("layout.location", box) if boxes else x, (h, c))
        code = h  # zeros where the image has no objects
        if image == "add":
            code = code + affine("image", one.pooled[0])
        if image == "concatenate":
            code = affine("join", torch.cat([code, affine("image", one.pooled[0])]))
        h = c = torch.zeros(19).double()
        h, c = lstm(w, "recurrent.fused", code, (h, c))  # its output is not used
        logits = []
        for token in tokens:
            h, c = lstm(w, "recurrent.fused", w["embedding.weight"][token], (h, c))
            logits.append(affine("head", h))
        return logits

    assert_is_the_equations(build(image=image, boxes=boxes), literal, lambda one: one)


def test_the_order_of_objects_matters(seen):
    layout = build().layout
    turned = seen.objects.map(lambda x: x.flip(1))
    assert not layout(seen.objects)[0].allclose(layout(turned)[0])


OF_PICTURE = {"none": 0, "add": 4096 * 512 + 512, "concatenate": 4096 * 512 + 512 + (512 + 512) * 512 + 512}


@pytest.mark.parametrize("image", ["none", "add", "concatenate"])
def test_parameter_count_of_the_official_code(image):
    # Everything 512, 80 categories, VGG-16's 4096 channels; 8791 words and four special tokens. Layout: C k + 4 k + k
    # + 4((k + H) H + H). Decoder, neuraltalk2's: V E + 4((E + H) H + H) + H V + V. Image: F E + E, and if it is
    # concatenated 2 E E + E. torch's two LSTMs have each bias twice: 4 H more each.
    model = Obj2Text(
        feature_size=4096, vocab_size=8795, categories=list(map(str, range(80))), recurrent=LSTM, image=image
    )
    layout = 80 * 512 + 4 * 512 + 512 + 4 * ((512 + 512) * 512 + 512)
    decoder = 8795 * 512 + 4 * ((512 + 512) * 512 + 512) + 512 * 8795 + 8795
    assert (layout, decoder) == (2_142_720, 11_114_075)
    assert sum(p.numel() for p in model.parameters()) == layout + decoder + 2 * 4 * 512 + OF_PICTURE[image]


def test_unknown_settings_and_missing_objects_are_refused(seen):
    with pytest.raises(InputError, match="image='both', expected one of none, add, concatenate"):
        build(image="both")
    with pytest.raises(InputError, match=r"data\.objects=true"):
        build().start(replace(seen, objects=None))
