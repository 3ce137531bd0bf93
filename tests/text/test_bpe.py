"""Byte pair encoding merges as Algorithm 1 does, and texts survive encoding and decoding."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import Tokenizer, train_bpe

BLANKS = " \t\n\u00a0\u2028\u3000"


def symbols(word: str) -> tuple[str, ...]:
    return (*word[:-1], word[-1] + "</w>")


def merged(word: tuple[str, ...], left: str, right: str) -> tuple[str, ...]:
    if len(word) < 2:
        return word
    if word[:2] == (left, right):
        return (left + right, *merged(word[2:], left, right))
    return (word[0], *merged(word[1:], left, right))


def algorithm_1(words: Counter[str], vocabulary: list[str], size: int, min_count: int) -> list[tuple[str, str]]:
    """Return the merges of Sennrich et al.'s Algorithm 1 in their order.

    Of equally frequent pairs it takes the one whose first symbol, then whose second, joined the vocabulary first.
    """
    segmented, ids, merges = (
        {symbols(word): n for word, n in words.items()},
        {s: i for i, s in enumerate(vocabulary)},
        [],
    )
    while len(ids) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in segmented.items():
            for pair in pairwise(word):
                pairs[pair] += n
        best = max(pairs, key=lambda pair: (pairs[pair], -ids[pair[0]], -ids[pair[1]]), default=None)
        if best is None or pairs[best] < min_count:
            break
        segmented = {merged(word, *best): n for word, n in segmented.items()}
        ids.setdefault("".join(best), len(ids))
        merges.append(best)
    return merges


def words(tokenizer: Tokenizer, captions: list[str]) -> Counter[str]:
    normalize = tokenizer.backend.normalizer.normalize_str
    return Counter(word for caption in captions for word in normalize(caption).split())


def learned(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [(left, right) for left, right in json.loads(tokenizer.to_json())["model"]["merges"]]


def first(tokenizer: Tokenizer) -> list[str]:
    """Return the vocabulary before the first merge."""
    return tokenizer.vocabulary[: len(tokenizer) - len({left + right for left, right in learned(tokenizer)})]


def multi30k(shared: Path, language: str, split: str, number: int) -> list[str]:
    with gzip.open(shared / f"data/multi30k/{split}.{language}.gz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines][:number]


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode([text])[0][1:-1]]


def round_trip(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer.encode([text])[0])


@pytest.fixture(scope="module")
def bpe(sentences) -> Tokenizer:
    return train_bpe(sentences, vocab_size=300)


def test_the_most_frequent_pairs_are_merged_first():
    """The example of subword-nmt, worked out by hand. The first two pairs are equally frequent."""
    captions = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    assert learned(train_bpe(captions, vocab_size=40))[:3] == [("e", "s"), ("es", "t</w>"), ("l", "o")]


@pytest.mark.parametrize(("size", "min_count"), [(180, 2), (230, 3), (9999, 2)])
def test_merges_are_those_of_algorithm_1(sentences, size, min_count):
    tokenizer = train_bpe(sentences, vocab_size=size, min_count=min_count)
    assert learned(tokenizer) == algorithm_1(words(tokenizer, sentences), first(tokenizer), size, min_count)


@given(st.lists(st.text("aab ", min_size=1), min_size=1, max_size=6))
def test_merges_are_those_of_algorithm_1_when_letters_repeat(captions):
    captions = ["a", *captions]
    tokenizer = train_bpe(captions, vocab_size=99)
    assert learned(tokenizer) == algorithm_1(words(tokenizer, captions), first(tokenizer), 99, 2)


@pytest.mark.shared
@pytest.mark.parametrize("language", ["cs", "de", "en", "fr"])
def test_merges_are_those_of_algorithm_1_on_sentences_of_multi30k(shared, language):
    captions = multi30k(shared, language, "train", 500)
    tokenizer = train_bpe(captions, vocab_size=600)
    assert learned(tokenizer) == algorithm_1(words(tokenizer, captions), first(tokenizer), 600, 2)


def test_texts_are_tokenized_by_the_merges_in_their_order(bpe):
    text = "Die nasse Männer laufen, während l'enfant neben der newest Station sleeps."
    expected: list[str] = []
    for word in words(bpe, [text]).elements():
        segmented = symbols(word)
        for left, right in learned(bpe):
            segmented = merged(segmented, left, right)
        expected += segmented
    assert tokens(bpe, text) == expected
    assert len(expected) < len(text) / 1.5


def test_punctuation_is_separated_from_words_and_joined_again():
    tokenizer = train_bpe(['a dog, "a dog". a dog\'s (dog)'] * 2, vocab_size=200)
    text = 'a dog\'s "dog", (dog).'
    assert tokens(tokenizer, text).count("dog</w>") == 3
    assert round_trip(tokenizer, text) == text


def test_the_vocabulary_holds_each_character_inside_a_word_and_at_its_end():
    tokenizer = train_bpe(["ab"], vocab_size=99)
    assert tokenizer.vocabulary[4:] == ["a</w>", "b</w>", "￭</w>", "a", "b", "￭"]
    assert tokens(tokenizer, "ba b.") == ["b", "a</w>", "b</w>", "￭", "<unk>"]


@given(st.data())
def test_a_text_of_known_characters_is_decoded_exactly_except_for_white_space(bpe, sentences, data):
    seen = sorted(set("".join(sentences)))
    text = data.draw(st.text(st.sampled_from(seen) | st.sampled_from(BLANKS) | st.sampled_from("'\".,- aé")))
    assert round_trip(bpe, text) == " ".join(text.split())
    assert bpe.special.unk not in bpe.encode([text])[0]


@pytest.mark.parametrize(
    ("seen", "new"),
    [
        (
            ["犬が海辺を走っている。", "海辺で犬が「待て」と言われた。", "走っている犬。"],
            "海辺を走る犬が「待て」と言った。",
        ),
        (
            ["Ein Mädchen läuft über die Straße.", "„Fußball“, sagt der Mann – und geht."],
            "„Ein Fußball“, sagt das Mädchen.",
        ),
        (["Žena běží přes most.", "Muž stojí u řeky, pes čeká."], "Žena stojí u řeky, pes běží přes most."),
    ],
    ids=["ja", "de", "cs"],
)
def test_languages_with_and_without_spaces_are_decoded_exactly(seen, new):
    tokenizer = train_bpe(seen * 3, vocab_size=200)
    for text in (*seen, new):
        assert round_trip(tokenizer, text) == text
    assert any(len(token.removesuffix("</w>")) > 2 for token in tokens(tokenizer, seen[0]))


@pytest.mark.parametrize("blank", ["  ", "\t", "\u00a0", "\u3000", " \n "])
def test_white_space_becomes_one_space_between_words_and_is_stripped_around_them(blank):
    assert round_trip(train_bpe(["a b"], vocab_size=99), f"{blank}a{blank}b{blank}") == "a b"


@pytest.mark.shared
@pytest.mark.parametrize("language", ["cs", "de", "en", "fr"])
def test_the_sentences_of_multi30k_are_decoded_exactly(shared, language):
    train = multi30k(shared, language, "train", 29000)
    tokenizer = train_bpe(train, vocab_size=4000)
    seen = set("".join(train))
    others = [text for text in multi30k(shared, language, "test_2016_flickr", 1000) if set(text) <= seen]
    assert len(others) > 950
    for text in train + others:
        assert round_trip(tokenizer, text) == " ".join(text.split())


@pytest.mark.parametrize(
    "text", ["<eos>", "<pad> <bos>", "x<unk>y", "a</w>b </w>", "<eos></w>", "a - b", "...", "d'accord ?", "( a ) '"]
)
def test_special_tokens_and_punctuation_spelled_in_a_text_are_text(text):
    tokenizer = train_bpe([text, "x <eos>y <eos>z"] * 9, vocab_size=99)
    ids = tokenizer.encode([text])[0]
    special = tokenizer.special
    assert not {special.pad, special.bos, special.eos, special.unk} & set(ids[1:-1])
    assert tokenizer.decode(ids) == text


def test_a_joiner_in_a_text_becomes_another_square():
    assert round_trip(train_bpe(["a ￭ b"], vocab_size=99), "a ￭ b￭") == "a ■ b■"


@given(st.data())
def test_no_joiner_is_left_in_decoded_text(bpe, data):
    decoded = bpe.decode(data.draw(st.lists(st.integers(0, len(bpe) - 1))))
    assert "￭" not in decoded


def test_unseen_characters_become_unknown(bpe):
    assert round_trip(bpe, "Ein 犬t läuft") == "Ein <unk>t läuft"
    assert round_trip(bpe, "Ein t犬 läuft") == "Ein t<unk>läuft"  # the end-of-word mark is lost too


def test_lowercase_converts_every_text_to_lower_case(sentences):
    tokenizer = train_bpe(sentences, vocab_size=300, lowercase=True)
    assert round_trip(tokenizer, "Die STRAßE. Žena") == "die straße. žena"
    assert not any(character.isupper() for token in tokenizer.vocabulary for character in token)


def test_a_vocabulary_too_small_for_the_characters_is_refused():
    with pytest.raises(InputError, match=r"text\.vocab_size=11: too small for the 4 characters .* at least 12"):
        train_bpe(["abc"], vocab_size=11)
    assert len(train_bpe(["abc"], vocab_size=12)) == 12


@pytest.mark.parametrize("captions", [[], [""], [" \n"]])
def test_captions_without_text_are_refused(captions):
    with pytest.raises(InputError, match=r"the training captions hold no text; check data\.root"):
        train_bpe(captions)


def test_the_number_of_merges_is_logged(caplog):
    caplog.set_level("INFO", logger="captioning")
    train_bpe(["aba"] * 3, min_count=3)
    assert "vocabulary: 3 characters, inside words and at their end, and 2 merges" in caplog.text
