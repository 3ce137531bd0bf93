"""Stems, synonym sets and function words equal the jar's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from captioning.metrics.meteor_universal import resources
from captioning.metrics.meteor_universal.lexicon import Lexicon


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def assert_stems_equal_the_jars(lexicon: Lexicon, words: list[str], run_in_jar: Callable[..., list[str]]) -> None:
    words = [word for word in words if not any(map(str.isdigit, word))]  # the jar's program skips numbers
    for word, stem in zip(words, run_in_jar(words, "Stemmer", "en"), strict=True):
        assert lexicon.stem(word) == stem, word


def test_stems_equal_the_jars(lexicon: Lexicon, run_in_jar: Callable[..., list[str]]):
    # Snowball has changed its stems of "biologist" and "added" since.
    words = ["biologist", "added", "adding", "dying", "skis", "news", "early", "generously", "'tis", "dog's", "y", "as"]
    assert_stems_equal_the_jars(lexicon, words + resources.word_list("synonym/english.synsets")[::100], run_in_jar)


@pytest.mark.slow
def test_stems_of_all_words_of_wordnet_equal_the_jars(lexicon: Lexicon, run_in_jar: Callable[..., list[str]]):
    assert_stems_equal_the_jars(lexicon, resources.word_list("synonym/english.synsets")[::2], run_in_jar)


@pytest.mark.parametrize(
    ("inflected", "base"),
    [
        ("dogs", "dog"),
        ("boxes", "box"),
        ("benches", "bench"),
        ("firemen", "fireman"),
        ("ponies", "pony"),
        ("riding", "ride"),
        ("jumping", "jump"),
        ("loved", "love"),
        ("jumped", "jump"),
        ("smaller", "small"),
        ("nicer", "nice"),
        ("smallest", "small"),
        ("nicest", "nice"),
        ("geese", "goose"),  # an exception, like the next
        ("ran", "run"),
    ],
)
def test_word_has_the_synonyms_of_its_base_form(lexicon: Lexicon, inflected: str, base: str):
    assert lexicon.synsets(base)
    assert lexicon.synsets(base) <= lexicon.synsets(inflected)


def test_an_exception_adds_only_its_bases(lexicon: Lexicon):
    assert lexicon.synsets("ate") > lexicon.synsets("eat")  # the past tense of eat, and a goddess
    assert lexicon.synsets("better") >= lexicon.synsets("good") | lexicon.synsets("well")
    assert not lexicon.synsets("archer") >= lexicon.synsets("arch")  # an exception of itself


def test_only_listed_words_are_base_forms(lexicon: Lexicon):
    assert not lexicon.synsets("xyzzys")
    assert not lexicon.synsets("")


def test_words_of_two_letters_or_ending_in_ss_keep_their_ending(lexicon: Lexicon):
    assert not lexicon.synsets("as") & lexicon.synsets("a")
    assert lexicon.synsets("moss").isdisjoint(lexicon.synsets("mos"))
    assert not lexicon.synsets("princesss")


def test_function_words(lexicon: Lexicon):
    assert all(map(lexicon.is_function_word, ["the", "a", "'s", "-", "’"]))
    assert not any(map(lexicon.is_function_word, ["dog", "", "The"]))
