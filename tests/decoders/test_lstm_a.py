"""LSTM-A's equations, one word at a time, in float64, and what each variant reads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch.testing import assert_close

from captioning.commands import config_folder
from captioning.decoders import LstmA, ShowAndTell
from captioning.errors import InputError
from captioning.model.limits import check_arguments
from captioning.recurrent import LSTM, ShowAndTellLSTM

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
VARIANTS = {
    "A1": {"first": ["words"], "each": None},
    "A2": {"first": ["image", "words"], "each": None},
    "A3": {"first": ["words", "image"], "each": None},
    "A4": {"first": ["words"], "each": "image"},
    "A5": {"first": ["image"], "each": "words"},
}
INPUTS = {  # before the caption, and beside a word
    "A1": lambda v, a: ([a], 0),
    "A2": lambda v, a: ([v, a], 0),
    "A3": lambda v, a: ([a, v], 0),
    "A4": lambda v, a: ([a], v),
    "A5": lambda v, a: ([v], a),
}
build = partial(LstmA, **SIZES, num_words=5, recurrent=ShowAndTellLSTM)


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def loud(variant, **settings):
    """A decoder in which every weight matters."""
    torch.manual_seed(0)
    model = build(**VARIANTS[variant], **settings).eval()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    return model


def test_equals_the_equations_with_gradients(assert_is_the_equations, variant):
    def literal(w, one, tokens):
        image, words = one
        w_x, w_m = w["recurrent.w_x"].split(19), w["recurrent.w_m"].split(19)

        def lstm(x, m, c):
            i, f, o = (torch.sigmoid(w_x[gate] @ x + w_m[gate] @ m) for gate in range(3))
            c = f * c + i * torch.tanh(w_x[3] @ x + w_m[3] @ m)
            return o * c, c

        v = w["maps.image.weight"] @ image + w["maps.image.bias"] if variant != "A1" else None  # (1)
        a = w["maps.words.weight"] @ words  # (2)
        before, beside = INPUTS[variant](v, a)
        m = c = torch.zeros(19).double()
        for x in before:
            m, c = lstm(x, m, c)
        logits = []
        for token in tokens:
            m, c = lstm(w["embedding.weight"][token] + beside, m, c)  # (3)
            logits.append(w["head.weight"] @ m + w["head.bias"])  # (4)
        return logits

    model = build(**VARIANTS[variant], image_bias=True, head_bias=True)
    assert_is_the_equations(model, literal, see=lambda one: (one.pooled[0], one.words[0].double()))


def test_stepping_equals_teacher_forcing(variant, features, batch):
    model = loud(variant)
    packed = batch.inputs()
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(
        packed._replace(data=model(features, packed, batch.image_index)), batch_first=True
    )
    state = model.start(features).rows(batch.image_index)
    for t in range(padded.shape[1]):
        logits, state = model.step(batch.tokens[:, t], state)
        real = batch.lengths > t
        assert_close(logits[real], padded[real, t])


def test_each_variant_reads_what_it_names_and_nothing_else(variant, features, batch):
    model = loud(variant)
    before = model(features, batch.inputs(), batch.image_index)
    other_image = replace(features, pooled=features.pooled + 1)
    other_words = replace(features, words=1 - features.words)
    assert not model(other_words, batch.inputs(), batch.image_index).allclose(before)
    assert model(other_image, batch.inputs(), batch.image_index).equal(before) == (variant == "A1")
    assert sorted(model.maps) == (["words"] if variant == "A1" else ["image", "words"])


def test_the_order_of_the_first_inputs_matters(features, batch):
    image_first, words_first = loud("A2"), loud("A3")
    words_first.load_state_dict(image_first.state_dict())
    one, other = (m(features, batch.inputs(), batch.image_index) for m in (image_first, words_first))
    assert not one.allclose(other)


def test_without_words_it_is_show_and_tell(features, batch):
    settings = {"recurrent": LSTM, "image_bias": True, "head_bias": True}
    theirs = ShowAndTell(**SIZES, **settings).eval()
    ours = LstmA(**SIZES, **settings, num_words=5, first=["image"], each=None).eval()
    ours.load_state_dict({name.replace("image.", "maps.image."): w for name, w in theirs.state_dict().items()})
    one, other = (m(replace(features, words=None), batch.inputs(), batch.image_index) for m in (ours, theirs))
    assert one.equal(other)


def test_parameter_count_is_show_and_tells_and_one_map_of_words_more():
    # im2txt's 15,447,776 at F = 2048, V = 12,000, and W E more; torch's LSTM holds each bias twice: 4 H more.
    sizes = {"feature_size": 2048, "vocab_size": 12_000, "recurrent": LSTM, "head_bias": True}
    model = LstmA(**sizes, num_words=1000)
    assert sum(p.numel() for p in model.parameters()) - 4 * 512 == 15_447_776 + 1000 * 512


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_probabilities_may_be_float32_whatever_the_weights_are(variant, features, batch, dtype):
    model = loud(variant)
    expected = model(features, batch.inputs(), batch.image_index)
    seen = replace(features, pooled=features.pooled.to(dtype))
    assert seen.words.dtype == torch.float32
    logits = model.to(dtype)(seen, batch.inputs(), batch.image_index)
    assert logits.dtype == dtype
    near = 0.1 if dtype == torch.bfloat16 else 1e-5
    assert_close(logits.float(), expected, rtol=0, atol=near * expected.abs().max().item())


def test_features_without_the_words_are_refused(variant, features):
    model = loud(variant)
    with pytest.raises(InputError, match=r"reads detected words, but the features have none; use encoder=detected_"):
        model.start(replace(features, words=None))
    with pytest.raises(InputError, match=r"probabilities of 4 words, expected 5; use the word detector"):
        model.start(replace(features, words=features.words[:, :4]))


@pytest.mark.parametrize("first", [[], ["image", "image"], ["words", "objects"]])
def test_first_names_image_and_words_at_most_once(first):
    with pytest.raises(InputError, match=r"^first=\[.*\]: expected image, words or both, each at most once$"):
        build(first=first)


def test_each_names_image_or_words():
    with pytest.raises(InputError, match=r"^each='objects': expected image, words or null$"):
        build(each="objects")


def test_a_bundle_cannot_give_other_types():
    check_arguments(LstmA, VARIANTS["A3"])
    for wrong in ({"first": "words"}, {"first": [1]}, {"each": ["image"]}, {"num_words": "5"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            check_arguments(LstmA, wrong)


@pytest.mark.parametrize("dropout", ["dropout", "image_dropout"])
def test_dropout_acts_only_in_training(acts_only_in_training, dropout):
    assert acts_only_in_training(build(**{dropout: 0.5}))
    assert not acts_only_in_training(build())


def test_weights_are_initialised_in_the_given_range():
    torch.manual_seed(0)
    model = build(init_range=0.02, image_bias=True, head_bias=True)
    for part in (*model.maps.values(), model.embedding, model.head):
        assert 0.015 < part.weight.abs().max() <= 0.02
    assert not model.maps["image"].bias.any()
    assert not model.head.bias.any()


def test_the_files_of_settings_are_the_five_variants():
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        for name, expected in VARIANTS.items():
            config = hydra.compose("train", [f"decoder=lstm_{name.lower()}", "name=a-run", "output=runs/a-run"])
            assert {key: config.decoder[key] for key in expected} == expected
