"""All four matchers find their matches, in the jar's order."""

from __future__ import annotations

import pytest

from captioning.metrics.meteor_universal.lexicon import Lexicon
from captioning.metrics.meteor_universal.matching import (
    EXACT,
    PARAPHRASE,
    STEM,
    SYNONYM,
    Match,
    Matcher,
    Paraphrases,
    Sentence,
    annotate,
    phrase_texts,
)

PARAPHRASES = {
    b"near": [b"next to", b"by"],
    b"next to": [b"near"],
    b"big hound": [b"large dog"],
}
PHRASES = {*PARAPHRASES, *(phrase for group in PARAPHRASES.values() for phrase in group)}


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def matches(lexicon: Lexicon, candidate: str, reference: str) -> list[list[Match]]:
    def sentence(text: str) -> Sentence:
        return annotate(text.split(), phrase_texts(text.split()), lexicon, PHRASES)

    return Matcher(sentence(candidate), Paraphrases(PARAPHRASES)).matches(sentence(reference))


def test_phrases_of_a_sentence():
    assert phrase_texts(["a", "b", "c"]) == [b"a", b"a b", b"a b c", b"b", b"b c", b"c"]
    assert len(phrase_texts(["a"] * 8)) == 8 * 9 // 2 - 1  # no phrase of the table has eight words
    assert phrase_texts([]) == []


def test_a_word_matches_each_of_its_occurrences(lexicon: Lexicon):
    assert matches(lexicon, "a qq a", "qq a") == [
        [Match(EXACT, 0, 1, 1, 1)],
        [Match(EXACT, 1, 1, 0, 1), Match(EXACT, 1, 1, 2, 1)],
    ]


def test_stem_matches_other_words(lexicon: Lexicon):
    assert matches(lexicon, "jumpiness of jumpiness", "jumpi jumpiness of")[0] == [
        Match(STEM, 0, 1, 0, 1),
        Match(STEM, 0, 1, 2, 1),
    ]


def test_words_with_the_same_stem_and_synonym_set_match_twice(lexicon: Lexicon):
    assert matches(lexicon, "x dogs", "dog") == [[Match(STEM, 0, 1, 1, 1), Match(SYNONYM, 0, 1, 1, 1)]]


def test_synonyms_match(lexicon: Lexicon):
    assert matches(lexicon, "bicycles", "bike") == [[Match(SYNONYM, 0, 1, 0, 1)]]


def test_paraphrases_of_either_side_match(lexicon: Lexicon):
    assert matches(lexicon, "a large dog", "big hound")[0][-1] == Match(PARAPHRASE, 0, 2, 1, 2)
    assert matches(lexicon, "big hound", "a large dog")[1][-1] == Match(PARAPHRASE, 1, 2, 0, 2)


def test_paraphrases_in_both_directions_match_twice(lexicon: Lexicon):
    assert matches(lexicon, "next to", "near")[0] == [Match(PARAPHRASE, 0, 1, 0, 2)] * 2


def test_paraphrases_of_the_reference_come_first_and_in_the_tables_order(lexicon: Lexicon):
    found = [match for match in matches(lexicon, "by it next to", "near")[0] if match.matcher == PARAPHRASE]
    assert found == [Match(PARAPHRASE, 0, 1, 2, 2), Match(PARAPHRASE, 0, 1, 0, 1), Match(PARAPHRASE, 0, 1, 2, 2)]


def test_equal_sentences_have_only_exact_matches(lexicon: Lexicon):
    found = matches(lexicon, "dog dogs near next to", "dog dogs near next to")
    assert {match.matcher for group in found for match in group} == {EXACT}


def test_empty_sentences_match_nothing(lexicon: Lexicon):
    assert matches(lexicon, "", "") == []
    assert matches(lexicon, "", "a dog") == [[], []]
    assert matches(lexicon, "a dog", "") == []
