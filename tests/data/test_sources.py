"""What an encoder reads of an example."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captioning.data.example import CaptionedImage
from captioning.data.sources import Images, Nothing, Texts, source_of
from captioning.encoders import Blind, SmallCNN, TextEncoder, TextTransform
from captioning.encoders.text_transform import NO_TOKEN
from captioning.errors import InputError
from captioning.recurrent import GRU
from captioning.text import Tokenizer, train_words

IMAGE = CaptionedImage(1, Path("absent.png"), ("a dog",))
SENTENCES = [CaptionedImage(n, Path("train.de"), (), text=text) for n, text in enumerate(["ein hund", "", "hund"])]


@pytest.fixture
def german() -> Tokenizer:
    return train_words(["ein hund"], min_count=1)


def text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    return TextEncoder(vocab_size=len(tokenizer), recurrent=GRU, embedding_size=3, hidden_size=5)


def chosen(encoder, images, tokenizer=None):
    return source_of(encoder, TextTransform(tokenizer) if tokenizer else encoder.transform, images)


def test_sentences_are_their_words_and_the_end_padded_by_no_token(german: Tokenizer) -> None:
    ids = chosen(text_encoder(german), SENTENCES, german)(SENTENCES)
    ein, hund, eos = german.backend.token_to_id("ein"), german.backend.token_to_id("hund"), german.special.eos
    assert ids.tolist() == [[ein, hund, eos], [eos, NO_TOKEN, NO_TOKEN], [hund, eos, NO_TOKEN]]


def test_an_encoder_that_reads_no_images_opens_no_file() -> None:
    source = chosen(Blind(), [IMAGE])
    assert isinstance(source, Nothing)
    assert torch.equal(source([IMAGE]), torch.zeros(1, 1, 1, 1))
    assert isinstance(chosen(Blind(), SENTENCES), Nothing)


def test_each_encoder_gets_what_it_reads(german: Tokenizer) -> None:
    assert isinstance(chosen(SmallCNN(), [IMAGE]), Images)
    assert isinstance(chosen(text_encoder(german), SENTENCES, german), Texts)


def test_an_encoder_of_the_other_kind_is_refused(german: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"data set has sentences.*reads images; choose encoder=text"):
        chosen(SmallCNN(), SENTENCES)
    with pytest.raises(InputError, match=r"data set has images.*reads texts; choose an encoder of images"):
        chosen(text_encoder(german), [IMAGE], german)
