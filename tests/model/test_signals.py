"""The signals of captions and words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from captioning.model.signals import caption_signals, first, searching_all, token_frequencies, with_words, word_signals
from captioning.search import BeamSearch, DiverseBeamSearch, GnmtSearch, GreedySearch, Sampling
from captioning.search.hypotheses import Hypotheses

EOS = 2
FREQUENCIES = np.array([0.01, 0.02, 0.99, 0.5, 0.25, 0.125])
FOUND = Hypotheses(
    tokens=torch.tensor([[[3, 4, EOS], [3, 5, EOS]], [[5, EOS, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]),
    lengths=torch.tensor([[3, 3], [2, 0], [0, 0]]),
    scores=torch.tensor([[-1.5, -2.0], [-4.0, -torch.inf], [-torch.inf, -torch.inf]]),
    token_scores=torch.zeros(3, 2, 3),
    finished=torch.tensor([[True, True], [True, False], [False, False]]),
)


def test_signals_of_captions_are_those_computed_by_hand() -> None:
    bits = math.log(2)  # the tokens 3, 4 and 5 have the rarities 1, 2 and 3 bits
    found = caption_signals(FOUND, FREQUENCIES, np.array([1.0, math.e, 1.0]), EOS)
    assert found[0] == pytest.approx([-0.5, 2 * 1 / (3 + 4), 1.5 * bits, 0.0], abs=1e-9)
    assert found[1] == pytest.approx([-2.0, 1.0, 3 * bits, 1.0], abs=1e-9)
    assert found[2, 0] == -math.inf
    words = [np.array([0.5, 0.25, math.nan]), np.array([math.nan]), np.array([])]
    assert with_words(found, words)[:, 4] == pytest.approx([-1.5 * bits, 0, 0])


def test_signals_of_words_are_logits_their_square_and_their_product() -> None:
    found = word_signals([math.log(0.5), math.log(0.8), 0.0], [3, 4, 4], FREQUENCIES)
    frequency = math.log(1 / 3)
    assert found[0] == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert found[1] == pytest.approx([math.log(4), frequency, frequency**2, math.log(4) * frequency])
    assert found[2, 0] == pytest.approx(8.0)  # a probability of 1 has no infinite logit
    assert word_signals([], [], FREQUENCIES).shape == (0, 4)


def test_frequencies_are_shares_of_images_and_never_0_or_1() -> None:
    found = token_frequencies([[1, 1, 2], [2]], vocab_size=4)
    assert found == pytest.approx(np.array([0.5, 1.5, 2.5, 0.5]) / 3)


@pytest.mark.parametrize("search", [BeamSearch(beam_size=4), DiverseBeamSearch(beam_size=6), GnmtSearch(beam_size=4)])
def test_searches_with_beams_return_all_of_them(search: BeamSearch) -> None:
    assert searching_all(search) == replace(search, num_best=search.beam_size)


@pytest.mark.parametrize("search", [GreedySearch(), Sampling(num_samples=3)])
def test_other_searches_stay_as_they_are(search: GreedySearch) -> None:
    assert searching_all(search) == search


def test_the_first_hypotheses_are_those_that_a_search_for_fewer_returns() -> None:
    found = first(FOUND, 1)
    assert found.tokens.equal(FOUND.tokens[:, :1])
    assert found.scores.shape == found.finished.shape == (3, 1)
