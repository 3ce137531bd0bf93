"""Every tokenizer converts captions to ids and back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import BOS, EOS, PAD, UNK, Tokenizer, train_bpe, train_byte_bpe, train_characters, train_words


def test_specials_are_four_different_ids(any_tokenizer):
    special = any_tokenizer.special
    ids = [special.pad, special.bos, special.eos, special.unk]
    assert len(set(ids)) == 4
    assert any_tokenizer.backend.decode(ids) == ""  # other programs that read the file treat them as special too
    assert [any_tokenizer.token(i) for i in ids] == [PAD, BOS, EOS, UNK] == ["<pad>", "<bos>", "<eos>", "<unk>"]


def test_the_vocabulary_includes_the_specials_and_is_in_the_order_of_ids(tokenizer, any_tokenizer):
    assert len(tokenizer) == 11
    for own in (tokenizer, any_tokenizer):
        assert [own.token(i) for i in range(len(own))] == own.vocabulary


def test_only_the_word_tokenizer_is_word_level(sentences):
    for train in (train_words, train_bpe, train_byte_bpe, train_characters):
        tokenizer = train(sentences, min_count=1)
        assert tokenizer.is_word_level == (train is train_words)
        assert Tokenizer.from_json(tokenizer.to_json()).is_word_level == (train is train_words)


@given(caption=st.text(max_size=60))
def test_words_are_those_of_the_tokens_also_if_the_vocabulary_lacks_them(caption):
    tokenizer = train_words(["a man's dog, 3.5 years old, doesn't run"], min_count=1)
    words, ids = tokenizer.words(caption), tokenizer.encode([caption])[0][1:-1]
    assert len(words) == len(ids)
    for word, i in zip(words, ids, strict=True):
        assert word == tokenizer.token(i) if i != tokenizer.special.unk else word not in tokenizer.vocabulary[4:]


def test_words_have_neither_case_nor_punctuation(tokenizer):
    assert tokenizer.words("A zebra, running!") == ["a", "zebra", "running"]


def test_parts_of_words_are_no_words(sentences):
    with pytest.raises(InputError, match="expected one of whole words, from text=words"):
        train_bpe(sentences, vocab_size=300).words("a dog")


def test_captions_begin_with_bos_and_end_with_eos(tokenizer):
    special = tokenizer.special
    short, empty = tokenizer.encode(["A dog.", ""])
    assert [tokenizer.token(i) for i in short] == [BOS, "a", "dog", EOS]
    assert empty == [special.bos, special.eos]
    assert tokenizer.encode([]) == []


def test_unknown_words_become_unk(tokenizer):
    ids = tokenizer.encode(["a zebra runs"])[0]
    assert [tokenizer.token(i) for i in ids] == [BOS, "a", UNK, "runs", EOS]
    assert tokenizer.decode(ids) == "a <unk> runs"


def test_decoding_stops_at_eos_and_skips_padding(tokenizer):
    special = tokenizer.special
    a, dog, runs = (tokenizer.vocabulary.index(word) for word in ("a", "dog", "runs"))
    assert tokenizer.decode([special.bos, a, dog, special.eos, runs, special.pad]) == "a dog"
    assert tokenizer.decode([a, dog, special.pad, special.pad]) == "a dog"
    assert tokenizer.decode([special.eos]) == tokenizer.decode([]) == ""


def test_a_special_token_spelled_in_a_caption_is_text(any_tokenizer):
    special = any_tokenizer.special
    for spelled in ("<eos>", "<bos>", "<pad>"):
        inner = any_tokenizer.encode([f"a {spelled} dog"])[0][1:-1]
        assert not {special.eos, special.bos, special.pad} & set(inner)
        assert len(inner) >= 3


@pytest.mark.parametrize(
    "caption",
    ["a man's dog", "they're here", "it can't run", "the boys' dog", "i'm sure he'll say he'd go, i've seen"],
)
def test_decoding_joins_clitics(caption):
    tokenizer = train_words([caption], min_count=1)
    expected = caption.replace("boys'", "boys").replace(",", "")
    assert tokenizer.decode(tokenizer.encode([caption])[0]) == expected


@given(st.lists(st.sampled_from(["a", "ca", "n't", "'s", "'ss", "'re", "'", "'m-", "o'clock", "<unk>"])))
def test_decoding_joins_words_with_spaces_and_clitics_without(chosen: list[str]):
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([PAD, BOS, EOS, UNK, *chosen]))}
    tokenizer = Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNK)))
    expected = re.sub(r" (n't|'(?:s|re|ve|ll|d|m))(?![^\W_])", r"\1", " ".join(chosen))
    assert tokenizer.decode(vocabulary[word] for word in chosen) == expected


def test_a_file_without_a_decoder_is_read_as_words():
    """Such files were written before subword tokenizers existed."""
    tokenizer = train_words(["a man's dog can't run"], min_count=1)
    content = json.loads(tokenizer.to_json())
    assert content["decoder"] is not None
    again = Tokenizer.from_json(json.dumps({**content, "decoder": None}))
    ids = again.encode(["A man's dog can't run."])[0]
    assert again.decode(ids) == "a man's dog can't run"
    assert again.to_json() == tokenizer.to_json()


@pytest.mark.parametrize("train", [train_bpe, train_byte_bpe, train_characters])
def test_subword_tokenizers_do_not_move_clitics(train):
    text = "a man 's dog ca n't run"
    tokenizer = train([text] * 5)
    for own in (tokenizer, Tokenizer.from_json(tokenizer.to_json())):
        assert own.decode(own.encode([text])[0]) == text


def test_a_json_round_trip_keeps_everything(any_tokenizer):
    again = Tokenizer.from_json(any_tokenizer.to_json())
    captions = ["A dog's cat can't run 3.5 miles!", "zebra <eos> ñ", "", " it 's a  man's\n"]
    encoded = any_tokenizer.encode(captions)
    assert again.encode(captions) == encoded
    assert [again.decode(ids) for ids in encoded] == [any_tokenizer.decode(ids) for ids in encoded]
    assert again.vocabulary == any_tokenizer.vocabulary
    assert again.special == any_tokenizer.special
    assert again.to_json() == any_tokenizer.to_json()


@given(st.lists(st.text(), max_size=5))
def test_any_text_is_encoded_within_the_vocabulary(any_tokenizer, captions: list[str]):
    special = any_tokenizer.special
    encoded = any_tokenizer.encode(captions)
    assert len(encoded) == len(captions)
    for ids in encoded:
        assert ids[0] == special.bos
        assert ids[-1] == special.eos
        inner = set(ids[1:-1])
        assert inner <= set(range(len(any_tokenizer)))
        assert not inner & {special.pad, special.bos, special.eos}
        assert isinstance(any_tokenizer.decode(ids), str)


@given(st.data())
def test_any_ids_can_be_decoded(any_tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, len(any_tokenizer) - 1)))
    any_tokenizer.decode(ids).encode()
    assert any_tokenizer.decode([any_tokenizer.special.eos, *ids]) == ""


@pytest.mark.parametrize("train", [train_words, train_bpe, train_byte_bpe, train_characters])
def test_the_order_of_captions_does_not_change_the_vocabulary(train, sentences):
    """Distributed and resumed runs need the same vocabulary in every process."""
    given = sentences * 5
    assert len({train(captions).to_json() for captions in (given, given[::-1], iter(given))}) == 1


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({PAD: 0, BOS: 1, UNK: 2, "a": 3}, "found <pad>: 0, <bos>: 1, <eos>: none, <unk>: 2; train the tok"),
        ({UNK: 0}, "<pad>: none, <bos>: none, <eos>: none, <unk>: 0"),
        (
            {PAD: 0, BOS: 1, EOS: 0, UNK: 3},
            "four special tokens with different ids, found <pad>: 0, <bos>: 1, <eos>: 0, <unk>: 3",
        ),
    ],
)
def test_a_vocabulary_without_four_different_specials_is_refused(vocabulary, message):
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNK))
    with pytest.raises(InputError, match=message):
        Tokenizer(backend)


@pytest.mark.parametrize("text", ["", "[1]", json.dumps({"model": {"type": "Unheard"}})])
def test_a_file_of_another_kind_is_refused_by_its_name(text):
    with pytest.raises(InputError, match=r"mine/tokenizer\.json: expected a file of the tokenizers library"):
        Tokenizer.from_json(text, source="mine/tokenizer.json")


def test_a_damaged_tokenizer_file_is_refused(tokenizer):
    with pytest.raises(InputError, match=r"tokenizer\.json: expected a file of the tokenizers library"):
        Tokenizer.from_json(tokenizer.to_json()[:-40])


def test_an_id_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(InputError, match="token id 11 is outside the vocabulary of 11"):
        tokenizer.token(11)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, captioning.text; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def changed(tokenizer: Tokenizer, change: Callable[[dict[str, Any]], Any]) -> str:
    content = json.loads(tokenizer.to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda content: content["model"]["vocab"].update(dog=5_000_000),
            "the ids of 11 tokens must be 0 to 10, found 0",
        ),
        (lambda content: content["model"]["vocab"].update(dog=5), "must be 0 to 10"),  # somebody else's
        (lambda content: content["model"]["vocab"].update(dog=-1), "expected a file of the tokenizers library"),
        (lambda content: content["model"]["vocab"].update(dog=2**63), "expected a file of the tokenizers library"),
        (
            lambda content: content.update(
                truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
            ),
            "neither pads nor truncates",
        ),
    ],
)
def test_ids_with_gaps_and_truncation_are_refused(
    tokenizer: Tokenizer, change: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        Tokenizer.from_json(changed(tokenizer, change), source="t.json")
    assert str(raised.value).startswith("t.json")


def test_spans_are_the_characters_of_each_token(tokenizer):
    caption = "  A  Dog, (runs) on...the field!"
    [spans] = tokenizer.spans([caption])
    assert [caption[begin:end] for begin, end in spans] == ["A", "Dog", "runs", "on", "the", "field"]


def test_there_is_a_span_for_each_token_and_they_are_in_order(any_tokenizer, sentences):
    for ids, spans in zip(any_tokenizer.encode(sentences), any_tokenizer.spans(sentences), strict=True):
        assert len(spans) == len(ids) - 2
        assert spans == sorted(spans)
    assert any_tokenizer.spans([]) == []


def test_the_spans_of_a_word_cover_it(any_tokenizer):
    caption = "The newest train waits there."
    begin, end = 4, 10
    [spans] = any_tokenizer.spans([caption])
    own = [span for span in spans if span[0] < end and span[1] > begin]
    assert own[0][0] in (begin - 1, begin)  # tokens of some tokenizers begin with the space before the word
    assert own[-1][1] == end
