"""Greedy search on Markov chains that are solved by hand."""

from __future__ import annotations

import math

import pytest
import torch

from captioning.errors import InputError
from captioning.search import GreedySearch

# The best first word is a, then `<eos>`; the caption b `<eos>` is more probable as a whole.
TRAP = {
    "^": {"a": 0.6, "b": 0.4},
    "a": {"$": 0.4, "a": 0.25, "b": 0.35},
    "b": {"$": 0.9, "a": 0.05, "b": 0.05},
}


def test_takes_the_best_word_at_each_step(chain, special, spell):
    decoder = chain(TRAP)
    found = GreedySearch()(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]) == "a$"
    assert found.token_scores[0, 0].exp().tolist() == pytest.approx([0.6, 0.4])
    assert found.scores[0, 0].exp().item() == pytest.approx(0.24)
    assert found.lengths.tolist() == [[2]]
    assert found.finished.tolist() == [[True]]


def test_a_caption_that_never_ends_is_truncated_and_unfinished(chain, special, spell):
    decoder = chain({"^": {"a": 1.0}, "a": {"b": 1.0}, "b": {"a": 0.75, "$": 0.25}})
    found = GreedySearch(max_length=5)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]) == "ababa"
    assert found.scores.item() == pytest.approx(2 * math.log(0.75))
    assert found.lengths.tolist() == [[5]]
    assert found.finished.tolist() == [[False]]


def test_an_end_at_the_last_step_is_an_end(chain, special):
    decoder = chain(TRAP)
    assert GreedySearch(max_length=2)(decoder, decoder.features, special).finished.tolist() == [[True]]


def test_an_image_whose_caption_has_ended_leaves_the_batch(chain, special, spell):
    ends_at_once = {"^": {"$": 1.0}}
    ends_later = {"^": {"a": 1.0}, "a": {"b": 1.0}, "b": {"$": 1.0}}
    decoder = chain(ends_later, ends_at_once, TRAP)
    found = GreedySearch()(decoder, decoder.features, special)
    assert [spell(tokens) for tokens in found.tokens[:, 0]] == ["ab$", "$..", "a$."]
    assert decoder.rows == [3, 2, 1]


def test_a_dead_end_is_not_a_caption(chain, special):
    def nothing_after_a(step, tokens, log_probs):
        if step == 0:
            return log_probs
        return log_probs.masked_fill((tokens[:, -1:] == 4), -torch.inf)

    decoder = chain(TRAP, {"^": {"b": 1.0}, "b": {"c": 1.0}, "c": {"$": 1.0}})
    found = GreedySearch(processors=[nothing_after_a])(decoder, decoder.features, special)
    assert found.tokens[:, 0].tolist() == [[special.pad] * 3, [5, 6, special.eos]]
    assert found.scores[:, 0].tolist() == [-torch.inf, 0.0]
    assert found.lengths[:, 0].tolist() == [0, 3]
    assert found.finished[:, 0].tolist() == [False, True]
    assert not found.token_scores.any()
    assert decoder.rows == [2, 2, 1]


@pytest.mark.parametrize("max_length", [0, -1])
def test_max_length_below_one_is_refused(max_length):
    with pytest.raises(InputError, match=f"max_length={max_length} must be at least 1"):
        GreedySearch(max_length=max_length)
