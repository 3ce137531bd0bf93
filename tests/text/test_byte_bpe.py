"""Byte-level byte pair encoding represents every text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import Tokenizer, train_byte_bpe


@pytest.fixture(scope="module")
def byte_bpe(sentences) -> Tokenizer:
    return train_byte_bpe(sentences, vocab_size=300)


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode([text])[0][1:-1]]


def check_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode([text])[0]
    special = tokenizer.special
    assert not {special.pad, special.bos, special.eos, special.unk} & set(ids[1:-1])
    assert tokenizer.decode(ids) == text


@settings(max_examples=300)
@given(st.text())
@example("  two blanks, one behind \n")
@example("\r\n\t\0\u0085")
@example("a dog 🐕‍🦺 and 👩🏽‍🚒")
@example("\u0301 e\u0301")
@example("犬が海辺を走っている。")
@example("<pad><bos><eos><unk> Ġ <0x41>")
@example("\ufeff\ufffd\U0010ffff")
def test_every_text_is_decoded_exactly(byte_bpe, text):
    check_round_trip(byte_bpe, text)


def test_the_vocabulary_begins_with_every_byte(byte_bpe):
    assert len(set(byte_bpe.vocabulary[4:260])) == 256
    assert all(len(token) == 1 for token in byte_bpe.vocabulary[4:260])
    assert all(len(token) > 1 for token in byte_bpe.vocabulary[260:])
    assert len(byte_bpe) == 300


def test_no_merge_crosses_a_boundary_of_words_digits_and_punctuation():
    tokenizer = train_byte_bpe(["dogs 12 dog.dog's dog12!? <eos>"] * 9, vocab_size=400)
    text = "dogs 12 dog.dog's dog12!? <eos>"
    assert tokens(tokenizer, text) == ["dogs", "Ġ12", "Ġdog", ".", "dog", "'s", "Ġdog", "12", "!?", "Ġ<", "eos", ">"]


def test_the_most_frequent_pairs_are_merged_first():
    tokenizer = train_byte_bpe(["abab"] * 3 + ["xy"] * 4, vocab_size=262)
    assert tokenizer.vocabulary[260:] == ["ab", "xy"]


def test_pairs_below_min_count_are_not_merged():
    captions = ["xy"] * 3 + ["vw"] * 2
    assert train_byte_bpe(captions, min_count=3).vocabulary[260:] == ["xy"]
    assert train_byte_bpe(captions, min_count=2).vocabulary[260:] == ["xy", "vw"]


def test_invalid_utf_8_is_replaced(byte_bpe):
    ids = byte_bpe.encode(["a犬a"])[0][1:-1]
    assert len(ids) == 5
    assert byte_bpe.decode(ids[:2] + ids[4:]) == "a\ufffda"


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(InputError, match=r"text\.vocab_size=259: too small .* give at least 260"):
        train_byte_bpe(["a"], vocab_size=259)
    assert len(train_byte_bpe(["aaa"] * 3, vocab_size=260)) == 260


@pytest.mark.parametrize("captions", [[], [""]])
def test_captions_without_text_are_refused(captions):
    with pytest.raises(InputError, match=r"the training captions hold no text; check data\.root"):
        train_byte_bpe(captions)


def test_the_number_of_merges_is_logged(caplog):
    caplog.set_level("INFO", logger="captioning")
    train_byte_bpe(["aba"] * 3, min_count=3)
    assert "vocabulary: 256 bytes and 2 merges" in caplog.text
