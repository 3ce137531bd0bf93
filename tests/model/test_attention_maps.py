"""Where a model looks while it says a caption."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from captioning.decoders import ShowAndTell, ShowAttendAndTell, Soft
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.model.attention_maps import draw, looks, save
from captioning.model.captioner import Captioner
from captioning.recurrent import GRU

SIZES = {"embedding_size": 17, "hidden_size": 19, "attention_size": 23}


@pytest.fixture
def captioner(tokenizer) -> Captioner:
    torch.manual_seed(0)
    encoder = SmallCNN((32, 48), channels=(8, 8, 16), grid=True)
    decoder = ShowAttendAndTell(feature_size=encoder.feature_size, vocab_size=len(tokenizer), phi=Soft(), **SIZES)
    for weight in decoder.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    return Captioner(encoder, decoder, tokenizer).eval()


@pytest.fixture
def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")]


def test_each_word_has_the_weights_it_was_chosen_with(captioner, pictures):
    captions = ["a cat sleeps", "a dog runs on a field"]
    found = looks(captioner, pictures, captions)
    assert [look.words for look in found] == [tuple(c.split()) for c in captions]
    for picture, look in zip(pictures, found, strict=True):
        assert look.weights.shape == (len(look.words), 8, 12)  # a quarter of 32 x 48
        features = captioner.encoder(captioner.encoder.transform(picture)[None])
        state = captioner.decoder.start(features)
        last = captioner.tokenizer.special.bos
        for word, weights in zip(look.words, look.weights, strict=True):
            expected = captioner.decoder.attention(state.hidden, state.memory)[0]
            assert_close(weights.flatten(), expected, rtol=0, atol=1e-5)
            _, state = captioner.decoder.step(torch.tensor([last]), state)
            last = captioner.tokenizer.encode([word])[0][1]


def test_the_image_is_as_the_encoder_saw_it(captioner, pictures):
    (look,) = looks(captioner, pictures[:1], ["a cat"])
    assert_close(look.pixels, torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 32, 48), rtol=0, atol=1e-6)


def test_a_drawing_shows_the_image_and_each_word(captioner, pictures, tmp_path):
    (look,) = looks(captioner, pictures[:1], ["a dog runs on a field"])
    words = [ax for ax in draw(look).axes if ax.get_title()]
    titles = [ax.get_title().split()[0] for ax in words]
    assert {ax.images[1].get_clim() for ax in words} == {(0.0, look.weights.max().item())}  # one scale for all
    assert titles == ["a", "dog", "runs", "on", "a", "field"]
    save(look, tmp_path / "maps" / "red.png")
    with Image.open(tmp_path / "maps" / "red.png") as drawn:
        assert drawn.width > drawn.height > 100


def test_a_decoder_that_does_not_attend_is_refused(tokenizer, pictures):
    encoder = SmallCNN((32, 32))
    decoder = ShowAndTell(feature_size=encoder.feature_size, vocab_size=len(tokenizer), recurrent=GRU)
    captioner = Captioner(encoder, decoder, tokenizer)
    with pytest.raises(InputError, match="ShowAndTell sees the whole at once"):
        looks(captioner, pictures, ["a", "cat"])


def test_a_folder_that_cannot_be_written_is_named(captioner, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    (look,) = looks(captioner, pictures[:1], ["a cat"])
    with pytest.raises(InputError, match="could not be written"):
        save(look, tmp_path / "file" / "red.png")


def test_training_mode_changes_nothing_and_stays(captioner, pictures):
    captioner.decoder.dropout.p = 0.9
    captioner.decoder.init[2].p = 0.9
    (expected,) = looks(captioner, pictures[:1], ["a cat sleeps"])
    (found,) = looks(captioner.train(), pictures[:1], ["a cat sleeps"])
    assert_close(found.weights, expected.weights, rtol=0, atol=0)
    assert captioner.training
