"""The vocabulary of a model that learns from further captions."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.text import Tokenizer, extend_vocabulary, keep_vocabulary, train_characters, train_words

OLD = ["a dog runs", "a cat runs", "a dog sleeps"]
NEW = ["A zebra runs, a zebra!", "the zebra and a giraffe", "a giraffe", "one okapi"]
WORDS = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "zebra", "okapi", "dog's", "7"]), max_size=6).map(" ".join)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train_words(OLD, min_count=1)


def test_a_kept_vocabulary_is_the_model_s_and_its_unknown_words_are_named(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    assert keep_vocabulary(tokenizer, NEW) is tokenizer
    assert "64.3 % of the words in the training captions are not in the vocabulary and become <unk>" in caplog.text
    assert "different ones: 6, the most frequent: zebra (3), giraffe (2), the (1), and (1)" in caplog.text


def test_at_most_ten_unknown_words_are_named(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    keep_vocabulary(tokenizer, [" ".join(f"new{n}" for n in range(30))])
    assert "different ones: 30," in caplog.text
    assert caplog.text.count("(1)") == 10


def test_a_vocabulary_that_has_every_word_is_no_warning(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        keep_vocabulary(tokenizer, OLD)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_frequent_new_words_follow_the_model_s(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    extended = extend_vocabulary(tokenizer, NEW, min_count=2)
    assert extended.vocabulary == [*tokenizer.vocabulary, "zebra", "giraffe"]
    assert extended.special == tokenizer.special
    assert "different ones: 4," in caplog.text
    (ids,) = extended.encode(["A zebra, an okapi"])
    assert extended.decode(ids) == "a zebra <unk> <unk>"


def test_an_extended_vocabulary_is_saved_and_extended_again(tokenizer: Tokenizer) -> None:
    extended = extend_vocabulary(tokenizer, NEW, min_count=2)
    again = Tokenizer.from_json(extended.to_json())
    assert again.vocabulary == extended.vocabulary
    assert extend_vocabulary(again, NEW, min_count=2).vocabulary == extended.vocabulary
    assert extend_vocabulary(again, NEW, min_count=1).vocabulary[: len(extended)] == extended.vocabulary


@given(st.lists(WORDS, min_size=1), st.lists(WORDS), st.integers(1, 3))
def test_known_words_keep_their_ids_whatever_is_added(old: list[str], new: list[str], min_count: int) -> None:
    tokenizer = train_words([*old, "a"], min_count=1)
    extended = extend_vocabulary(tokenizer, new, min_count=min_count)
    assert extended.vocabulary[: len(tokenizer)] == tokenizer.vocabulary
    assert extended.encode(old) == tokenizer.encode(old)
    counts = [word for caption in new for word in tokenizer.words(caption)]
    frequent = {word for word in counts if counts.count(word) >= min_count}
    assert set(extended.vocabulary) == {*tokenizer.vocabulary, *frequent}


def test_parts_of_words_spell_new_words_so_nothing_is_added() -> None:
    characters = train_characters(OLD, min_count=1)
    assert keep_vocabulary(characters, NEW) is characters
    with pytest.raises(InputError, match="which spell new words too; set vocabulary=keep"):
        extend_vocabulary(characters, NEW)
