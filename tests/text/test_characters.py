"""Each character is one token; rare characters are spelled by bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import Tokenizer, train_characters


@pytest.fixture(scope="module")
def characters(sentences) -> Tokenizer:
    return train_characters(sentences, min_count=2)


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
def test_every_text_is_decoded_exactly(characters, text):
    check_round_trip(characters, text)


def test_a_frequent_character_is_one_token_and_a_rare_one_is_bytes():
    tokenizer = train_characters(["aé a", "éx"], min_count=2)
    assert tokenizer.vocabulary[260:] == ["a", "é"]
    assert tokens(tokenizer, "éa x") == ["é", "a", "<0x20>", "<0x78>"]
    assert tokens(tokenizer, "犬") == ["<0xE7>", "<0x8A>", "<0xAC>"]


def test_characters_are_sorted_by_count_then_by_code():
    assert train_characters(["cab ca", "c"], min_count=1).vocabulary[260:] == ["c", "a", " ", "b"]


def test_invalid_utf_8_is_replaced(characters):
    ids = characters.encode(["a犬a"])[0][1:-1]
    assert characters.decode(ids[:2] + ids[4:]) == "a\ufffda"
    assert characters.decode([*ids[:3], ids[4]]) == "a\ufffd\ufffda"


@pytest.mark.parametrize("captions", [[], ["abc"]])
def test_a_vocabulary_without_characters_is_refused(captions):
    with pytest.raises(InputError, match=r"no character occurs 5 times in the training captions; lower text\.min_c"):
        train_characters(captions)


def test_the_number_of_characters_is_logged(caplog):
    caplog.set_level("INFO", logger="captioning")
    train_characters(["aba"], min_count=2)
    assert "vocabulary: 1 characters that occur at least 2 times, and 256 bytes" in caplog.text
