"""Captions to ids and back, for any tokenizer."""

from __future__ import annotations

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import BOS, EOS, PAD, UNK, Tokenizer, train_words


def test_specials_are_four_different_ids(tokenizer):
    ids = [tokenizer.special.pad, tokenizer.special.bos, tokenizer.special.eos, tokenizer.special.unk]
    assert len(set(ids)) == 4
    assert [tokenizer.token(i) for i in ids] == [PAD, BOS, EOS, UNK] == ["<pad>", "<bos>", "<eos>", "<unk>"]


def test_the_vocabulary_counts_the_specials_and_stands_in_the_order_of_ids(tokenizer):
    assert len(tokenizer) == 11
    assert [tokenizer.token(i) for i in range(11)] == tokenizer.vocabulary


def test_captions_begin_and_end(tokenizer):
    special = tokenizer.special
    short, empty = tokenizer.encode(["A dog.", ""])
    assert [tokenizer.token(i) for i in short] == [BOS, "a", "dog", EOS]
    assert empty == [special.bos, special.eos]
    assert tokenizer.encode([]) == []


def test_unknown_words_are_unknown(tokenizer):
    ids = tokenizer.encode(["a zebra runs"])[0]
    assert [tokenizer.token(i) for i in ids] == [BOS, "a", UNK, "runs", EOS]
    assert tokenizer.decode(ids) == "a <unk> runs"


def test_decoding_stops_at_the_end_and_passes_over_padding(tokenizer):
    special = tokenizer.special
    a, dog, runs = (tokenizer.vocabulary.index(word) for word in ("a", "dog", "runs"))
    assert tokenizer.decode([special.bos, a, dog, special.eos, runs, special.pad]) == "a dog"
    assert tokenizer.decode([a, dog, special.pad, special.pad]) == "a dog"
    assert tokenizer.decode([special.eos]) == tokenizer.decode([]) == ""


def test_a_caption_that_spells_a_special_token_has_none(tokenizer):
    special = tokenizer.special
    for spelled in ("<eos>", "<bos>", "<pad>"):
        inner = tokenizer.encode([f"a {spelled} dog"])[0][1:-1]
        assert not {special.eos, special.bos, special.pad} & set(inner)
        assert len(inner) == 3


@pytest.mark.parametrize(
    "caption",
    ["a man's dog", "they're here", "it can't run", "the boys' dog", "i'm sure he'll say he'd go, i've seen"],
)
def test_decoding_joins_clitics(caption):
    tokenizer = train_words([caption], min_count=1)
    expected = caption.replace("boys'", "boys").replace(",", "")
    assert tokenizer.decode(tokenizer.encode([caption])[0]) == expected


def test_a_json_round_trip_keeps_everything(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    captions = ["A dog's cat can't run 3.5 miles!", "zebra <eos> ñ", ""]
    assert again.encode(captions) == tokenizer.encode(captions)
    assert again.vocabulary == tokenizer.vocabulary
    assert again.special == tokenizer.special
    assert again.to_json() == tokenizer.to_json()


@given(st.lists(st.text(), max_size=5))
def test_any_text_is_encoded_within_the_vocabulary(captions: list[str]):
    tokenizer = train_words(["a dog runs"], min_count=1)
    encoded = tokenizer.encode(captions)
    assert len(encoded) == len(captions)
    for ids in encoded:
        assert ids[0] == tokenizer.special.bos
        assert ids[-1] == tokenizer.special.eos
        inner = set(ids[1:-1])
        assert inner <= set(range(len(tokenizer)))
        assert not inner & {tokenizer.special.pad, tokenizer.special.bos, tokenizer.special.eos}
        assert isinstance(tokenizer.decode(ids), str)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({PAD: 0, BOS: 1, UNK: 2, "a": 3}, "found <pad>: 0, <bos>: 1, <eos>: none, <unk>: 2; train it with"),
        ({UNK: 0}, "<pad>: none, <bos>: none, <eos>: none, <unk>: 0"),
        (
            {PAD: 0, BOS: 1, EOS: 0, UNK: 3},
            "four different ids, found <pad>: 0, <bos>: 1, <eos>: 0, <unk>: 3",
        ),
    ],
)
def test_a_vocabulary_without_four_different_specials_is_refused(vocabulary, message):
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNK))
    with pytest.raises(InputError, match=message):
        Tokenizer(backend)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", json.dumps({"model": {"type": "Unheard"}})])
def test_what_is_no_tokenizer_file_is_refused_by_its_name(text):
    with pytest.raises(InputError, match=r"mine/tokenizer\.json is not a tokenizer file of the tokenizers lib"):
        Tokenizer.from_json(text, source="mine/tokenizer.json")


def test_a_damaged_tokenizer_file_is_refused(tokenizer):
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer file"):
        Tokenizer.from_json(tokenizer.to_json()[:-40])


def test_an_id_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(InputError, match="token id 11 is outside the vocabulary of 11"):
        tokenizer.token(11)
