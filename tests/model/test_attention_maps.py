"""The attention of a model while it writes a caption or a translation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from captioning.decoders import ShowAndTell, ShowAttendAndTell, Soft
from captioning.encoders import SmallCNN, TextEncoder, TextTransform, WithMirrored
from captioning.errors import InputError
from captioning.model.attention_maps import (
    alignments,
    attention_maps,
    draw_alignment,
    draw_attention_map,
    save_figure,
)
from captioning.model.captioner import Captioner
from captioning.recurrent import GRU, LSTM
from captioning.text import Tokenizer, train_words

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
def images() -> list[Image.Image]:
    return [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")]


def test_each_word_has_the_weights_it_was_chosen_with(captioner, images):
    captions = ["a cat sleeps", "a dog runs on a field"]
    found = attention_maps(captioner, captioner.pixels(images), captions)
    assert [one.words for one in found] == [tuple(c.split()) for c in captions]
    for image, one in zip(images, found, strict=True):
        assert one.weights.shape == (len(one.words), 8, 12)  # a quarter of 32 x 48
        features = captioner.encoder(captioner.pixels([image]))
        state = captioner.decoder.start(features)
        last = captioner.tokenizer.special.bos
        for word, weights in zip(one.words, one.weights, strict=True):
            expected = captioner.decoder.attention(state.hidden, state.memory)[0]
            assert_close(weights.flatten(), expected, rtol=0, atol=1e-5)
            _, state = captioner.decoder.step(torch.tensor([last]), state)
            last = captioner.tokenizer.encode([word])[0][1]


def test_the_map_of_a_model_that_reads_mirror_images_shows_both_weights_of_a_place(captioner, images):
    images = [image.copy() for image in images]
    for image in images:
        image.paste("white", (0, 0, 20, 60))
    both = WithMirrored(encoder=captioner.encoder)
    mirrored = Captioner(both, captioner.decoder, captioner.tokenizer).eval()
    inputs, captions = mirrored.pixels(images), ["a cat sleeps", "a dog runs"]
    found = attention_maps(mirrored, inputs, captions)
    of_mirror_images = attention_maps(mirrored, inputs.flip(3), captions)
    for one, other in zip(found, of_mirror_images, strict=True):
        assert one.weights.shape == (len(one.words), 8, 12)
        assert_close(one.weights.sum((1, 2)), torch.ones(len(one.words)))
        assert_close(one.weights, other.weights.flip(2), rtol=1e-4, atol=1e-6)
        assert not one.weights.isclose(one.weights.flip(2)).all()  # else it would not matter which way it is


def test_the_image_is_as_the_encoder_saw_it(captioner, images):
    (found,) = attention_maps(captioner, captioner.pixels(images[:1]), ["a cat"])
    assert_close(found.pixels, torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 32, 48), rtol=0, atol=1e-6)


def test_a_drawing_shows_the_image_and_each_word(captioner, images, tmp_path):
    (found,) = attention_maps(captioner, captioner.pixels(images[:1]), ["a dog runs on a field"])
    words = [ax for ax in draw_attention_map(found).axes if ax.get_title()]
    titles = [ax.get_title().split()[0] for ax in words]
    assert {ax.images[1].get_clim() for ax in words} == {(0.0, found.weights.max().item())}  # one scale for all
    assert titles == ["a", "dog", "runs", "on", "a", "field"]
    save_figure(draw_attention_map(found), tmp_path / "maps" / "red.png")
    with Image.open(tmp_path / "maps" / "red.png") as drawn:
        assert drawn.width > drawn.height > 100


def test_a_decoder_that_does_not_attend_is_refused(tokenizer, images):
    encoder = SmallCNN((32, 32))
    decoder = ShowAndTell(feature_size=encoder.feature_size, vocab_size=len(tokenizer), recurrent=GRU)
    captioner = Captioner(encoder, decoder, tokenizer)
    with pytest.raises(InputError, match="ShowAndTell reads one vector of the whole image"):
        attention_maps(captioner, captioner.pixels(images), ["a", "cat"])


def test_a_folder_that_cannot_be_written_is_named(captioner, images, tmp_path):
    (tmp_path / "file").write_text("")
    (found,) = attention_maps(captioner, captioner.pixels(images[:1]), ["a cat"])
    with pytest.raises(InputError, match="could not be written"):
        save_figure(draw_attention_map(found), tmp_path / "file" / "red.png")


def test_training_mode_changes_nothing_and_stays(captioner, images):
    captioner.decoder.dropout.p = 0.9
    captioner.decoder.init[2].p = 0.9
    (expected,) = attention_maps(captioner, captioner.pixels(images[:1]), ["a cat sleeps"])
    (found,) = attention_maps(captioner.train(), captioner.pixels(images[:1]), ["a cat sleeps"])
    assert_close(found.weights, expected.weights, rtol=0, atol=0)
    assert captioner.training


GERMAN = ["ein hund rennt", "hund"]


def translator(tokenizer: Tokenizer, *, attends: bool = True, reverse: bool = False) -> Captioner:
    torch.manual_seed(0)
    source = train_words(GERMAN, min_count=1)
    encoder = TextEncoder(vocab_size=len(source), recurrent=GRU, embedding_size=3, hidden_size=5, reverse=reverse)
    sizes = {"feature_size": 5, "vocab_size": len(tokenizer), "embedding_size": 7, "hidden_size": 11}
    decoder = (
        ShowAttendAndTell(phi=Soft(), attention_size=3, **sizes) if attends else ShowAndTell(recurrent=LSTM, **sizes)
    )
    return Captioner(encoder, decoder, tokenizer, transform=TextTransform(source)).eval()


def test_each_target_token_has_weights_over_the_source_that_sum_to_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = translator(tokenizer)
    first, second = alignments(model, GERMAN, ["a dog runs", "a dog"])
    assert first.source == ("ein", "hund", "rennt", "<eos>")
    assert second.target == ("a", "dog", "<eos>")
    assert second.weights.shape == (3, 2)  # what the longer sentence has beyond is not shown
    for alignment in (first, second):
        torch.testing.assert_close(alignment.weights.sum(1), torch.ones(len(alignment.target)))
    (alone,) = alignments(model, GERMAN[1:], ["a dog"])
    torch.testing.assert_close(alone.weights, second.weights)
    save_figure(draw_alignment(first), tmp_path / "maps" / "1.png")
    with Image.open(tmp_path / "maps" / "1.png") as drawn:
        assert drawn.format == "PNG"


def test_a_reversed_source_is_shown_in_the_order_it_is_read(tokenizer: Tokenizer) -> None:
    (found,) = alignments(translator(tokenizer, reverse=True), GERMAN[:1], ["a dog"])
    assert found.source == ("rennt", "hund", "ein", "<eos>")


def test_what_has_no_alignment_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="ShowAndTell reads one vector"):
        alignments(translator(tokenizer, attends=False), GERMAN[:1], ["a dog"])
    encoder = SmallCNN()
    decoder = ShowAndTell(feature_size=encoder.feature_size, vocab_size=len(tokenizer), recurrent=GRU)
    captioner = Captioner(encoder, decoder, tokenizer)
    with pytest.raises(InputError, match="captions images"):
        alignments(captioner, GERMAN[:1], ["a dog"])
