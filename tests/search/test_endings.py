"""Captions do not end with words that seldom end one."""

from __future__ import annotations

import re

import pytest
import torch

from captioning.errors import InputError
from captioning.search import BAD_ENDINGS, BeamSearch, GreedySearch, NoBadEndings, bad_endings
from captioning.text import train_bpe, train_byte_bpe, train_characters, train_words

CAPTIONS = ["A dog runs on the grass with a ball", "the dog of a man", "a pizza and the end"] * 3


def test_the_end_is_forbidden_after_these_words_and_nothing_else_changes():
    log_probs, tokens = torch.randn(5, 7), torch.tensor([[4, 5], [5, 4], [6, 6], [5, 6], [4, 4]])
    before = log_probs.clone()
    processed = NoBadEndings([4, 6], eos=2)(2, tokens, log_probs)
    assert log_probs.equal(before)
    assert processed[:, 2].eq(-torch.inf).tolist() == [False, True, True, True, True]
    expected = before.clone()
    expected[1:, 2] = -torch.inf
    assert processed.equal(expected)
    assert NoBadEndings([4], eos=2)(0, tokens[:, :0], log_probs) is log_probs
    assert NoBadEndings([], eos=2)(2, tokens, log_probs) is log_probs


@pytest.mark.parametrize("search", [GreedySearch(), BeamSearch(beam_size=2)], ids=["greedy", "beam"])
def test_a_caption_goes_on_until_it_may_end(search, chain, special, spell):
    decoder = chain({"^": {"a": 1.0}, "a": {"$": 0.7, "b": 0.3}, "b": {"a": 0.6, "$": 0.4}})
    free = search(decoder, decoder.features, special)
    assert spell(free.tokens[0, 0]) == "a$"
    search = type(search)(**{**search.settings(), "processors": [NoBadEndings([4], eos=special.eos)], "max_length": 3})
    found = search(decoder, decoder.features, special)
    captions = {"greedy": "aba", "beam": "ab$"}  # a truncated caption may end anywhere
    assert spell(found.tokens[0, 0]) == captions["greedy" if isinstance(search, GreedySearch) else "beam"]


@pytest.mark.parametrize("train", [train_words, train_bpe, train_byte_bpe])
def test_the_words_are_found_in_any_tokenizer_s_vocabulary(train):
    tokenizer = train(CAPTIONS, min_count=1) if train is not train_byte_bpe else train(CAPTIONS, vocab_size=300)
    ids = bad_endings(tokenizer.vocabulary)
    assert list(ids) == sorted(set(ids))
    for words, bad in (("dog runs with the", True), ("the man of a", True), ("the dog", False), ("pizza", False)):
        last = tokenizer.encode([words])[0][-2]
        assert (last in ids) == bad, words
    found = {tokenizer.decode([i]).strip().lower() for i in ids}
    assert found <= set(BAD_ENDINGS)
    assert found >= {"the", "a", "with", "of"}


def test_words_of_the_caller_s_own_are_found_in_any_case():
    assert bad_endings(["<pad>", "Ein", "eine", "Hund", "ein"], words=["ein", "der"]) == (1, 4)


def test_characters_are_no_words():
    tokenizer = train_characters(CAPTIONS)
    with pytest.raises(InputError, match="consists of characters, expected words"):
        bad_endings(tokenizer.vocabulary)


def test_the_list_holds_words_in_lower_case_once():
    assert len(set(BAD_ENDINGS)) == len(BAD_ENDINGS)
    assert all(re.fullmatch("[a-z]+", word) for word in BAD_ENDINGS)
    assert {"a", "an", "the", "with", "of"} <= set(BAD_ENDINGS)
