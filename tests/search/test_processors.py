"""Processors see what the search sees, and change nothing but the choice."""

from __future__ import annotations

import pytest
import torch

from captioning.search import BeamSearch, Forbid, GreedySearch
from captioning.search.processors import apply, never

SEARCHES = [GreedySearch, BeamSearch]


def test_forbid_sets_its_tokens_alone_to_minus_infinity_and_copies():
    log_probs = torch.randn(2, 5)
    before = log_probs.clone()
    processed = Forbid([1, 3])(0, torch.zeros(2, 0), log_probs)
    assert processed[:, [1, 3]].eq(-torch.inf).all()
    assert processed[:, [0, 2, 4]].equal(log_probs[:, [0, 2, 4]])
    assert log_probs.equal(before)
    assert Forbid([])(0, torch.zeros(2, 0), log_probs).equal(before)


def test_processors_are_composed_in_order():
    def double(step, tokens, log_probs):
        return 2 * log_probs

    def less_one(step, tokens, log_probs):
        return log_probs - 1

    ones = -torch.ones(1, 1)
    assert apply([double, less_one], 0, ones, ones).item() == -3
    assert apply([less_one, double], 0, ones, ones).item() == -4
    assert apply([], 0, ones, ones) is ones


def test_never_forbids_the_special_tokens_but_the_end_in_place(special):
    for allowed, ids in ((False, [special.pad, special.bos, special.unk]), (True, [special.pad, special.bos])):
        log_probs = torch.randn(2, 7)
        expected = log_probs.index_fill(1, torch.tensor(ids), -torch.inf)
        assert never(special, allow_unknown=allowed)(0, torch.zeros(2, 0), log_probs) is log_probs
        assert log_probs.equal(expected)


@pytest.mark.parametrize("search", SEARCHES)
def test_padding_begin_and_unknown_are_never_chosen(search, chain, special, spell):
    likely = {".": 0.3, "^": 0.3, "?": 0.3, "a": 0.06, "$": 0.04}
    decoder = chain(dict.fromkeys(".^?ab", likely))
    found = search(max_length=4)(decoder, decoder.features, special)
    assert set(spell(found.tokens[0, 0, : found.lengths[0, 0]])) <= set("a$")
    assert found.token_scores[0, 0, 0].exp().item() == pytest.approx(0.06 if search is GreedySearch else 0.04)


@pytest.mark.parametrize("search", SEARCHES)
def test_unknown_may_be_allowed(search, chain, special, spell):
    decoder = chain({"^": {"?": 0.9, "a": 0.1}, "?": {"$": 0.9, ".": 0.1}, "a": {"$": 1.0}})
    found = search(allow_unknown=True)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]) == "?$"


@pytest.mark.parametrize("search", SEARCHES)
def test_a_processor_sees_each_rows_own_prefix_and_scores_stay_the_decoders(search, chain, special, spell):
    # Without the processor, a follows a without end.
    again = {"a": 0.8, "b": 0.12, "$": 0.08}
    decoder = chain({"^": again, "a": again, "b": again}, {"^": {"b": 1.0}, "a": again, "b": again})

    def no_word_twice(step, tokens, log_probs):
        assert tokens.shape == (len(log_probs), step)
        return log_probs.scatter(1, tokens, -torch.inf)

    found = search(processors=[no_word_twice])(decoder, decoder.features, special)
    captions = [spell(t).rstrip(".") for t in found.tokens[:, 0]]
    assert all(len(set(caption)) == len(caption) for caption in captions)
    assert captions == (["ab$", "ba$"] if search is GreedySearch else ["$", "b$"])
