"""Which source words a translation's words are said from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from captioning import Captioner
from captioning.decoders import ShowAndTell, Soft
from captioning.decoders.show_attend_and_tell import ShowAttendAndTell
from captioning.encoders import SmallCNN, TextEncoder, TextTransform
from captioning.errors import InputError
from captioning.model.alignments import align, save
from captioning.recurrent import GRU, LSTM
from captioning.text import Tokenizer, train_words

GERMAN = ["ein hund rennt", "hund"]


def translator(tokenizer: Tokenizer, *, attends: bool = True, reverse: bool = False) -> Captioner:
    torch.manual_seed(0)
    source = train_words(GERMAN, min_count=1)
    encoder = TextEncoder(vocab_size=len(source), recurrent=GRU, embedding_size=3, hidden_size=5, reverse=reverse)
    encoder.transform = TextTransform(source)
    sizes = {"feature_size": 5, "vocab_size": len(tokenizer), "embedding_size": 7, "hidden_size": 11}
    decoder = (
        ShowAttendAndTell(phi=Soft(), attention_size=3, **sizes) if attends else ShowAndTell(recurrent=LSTM, **sizes)
    )
    return Captioner(encoder, decoder, tokenizer).eval()


def test_each_target_token_has_weights_over_the_source_that_sum_to_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = translator(tokenizer)
    first, second = align(model, GERMAN, ["a dog runs", "a dog"])
    assert first.source == ("ein", "hund", "rennt", "<eos>")
    assert second.target == ("a", "dog", "<eos>")
    assert second.weights.shape == (3, 2)  # what the longer sentence has beyond is not shown
    for alignment in (first, second):
        torch.testing.assert_close(alignment.weights.sum(1), torch.ones(len(alignment.target)))
    (alone,) = align(model, GERMAN[1:], ["a dog"])
    torch.testing.assert_close(alone.weights, second.weights)
    save(first, tmp_path / "maps" / "1.png")
    with Image.open(tmp_path / "maps" / "1.png") as drawn:
        assert drawn.format == "PNG"


def test_a_reversed_source_is_shown_in_the_order_it_is_read(tokenizer: Tokenizer) -> None:
    (found,) = align(translator(tokenizer, reverse=True), GERMAN[:1], ["a dog"])
    assert found.source == ("rennt", "hund", "ein", "<eos>")


def test_what_has_no_alignment_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="a ShowAndTell sees the whole at once"):
        align(translator(tokenizer, attends=False), GERMAN[:1], ["a dog"])
    pictures = translator(tokenizer)
    pictures.encoder = SmallCNN()
    with pytest.raises(InputError, match="captions images"):
        align(pictures, GERMAN[:1], ["a dog"])
