"""Prefixes grow by their most probable continuations, and remember where these come from."""

from __future__ import annotations

import torch

from captioning.search.beams import Beams

I, K, V = 3, 2, 11  # noqa: E741 - the legend's letters


def test_a_continuation_names_its_prefix_its_word_and_the_scores_of_both():
    torch.manual_seed(0)
    log_probs, scores = torch.randn(I * K, V).log_softmax(1), -torch.rand(I, K)
    beams = Beams(torch.randint(V, (I, K, 5)), torch.randn(I, K, 5), scores)
    found = beams.continuations(log_probs, K)
    assert found.rows.shape == (I, 2 * K)
    assert (found.rows // K).equal(torch.arange(I)[:, None].expand(I, 2 * K))
    assert found.step_scores.equal(log_probs[found.rows, found.words])
    assert found.scores.equal(scores.flatten()[found.rows] + found.step_scores)
    grown = beams.extended(found)
    assert grown.tokens[:, :, :5].equal(beams.tokens.flatten(0, 1)[found.rows])
    assert grown.tokens[:, :, 5].equal(found.words)
    assert grown.token_scores[:, :, 5].equal(found.step_scores)
