from __future__ import annotations

import math

import pytest

from captioning.metrics.bleu import Bleu
from captioning.metrics.ngrams import ReferenceNGrams


def test_bleu_equals_a_worked_example():
    # All 4 words and 1 of 3 pairs occur in the reference, which is one word longer.
    bleu = Bleu([["the dog runs very fast"]])
    scores = bleu.scores(bleu.statistics(["the dog fast runs"])[0])
    brevity_penalty = math.exp(1 - 5 / 4)
    assert scores[:2] == pytest.approx([brevity_penalty, brevity_penalty * math.sqrt(1 / 3)], rel=1e-6)


def test_corpus_comes_from_summed_counts_and_not_from_a_mean():
    bleu = Bleu([["a dog"], ["a red bus on the street"]])
    statistics = bleu.statistics(["a dog", "a bus in the big city"])
    assert bleu.scores(statistics)[:, 0] == pytest.approx([1, 1 / 2], rel=1e-6)
    assert bleu.scores(statistics.sum(axis=0))[0] == pytest.approx(5 / 8, rel=1e-6)


def test_counts_are_clipped_at_the_largest_count_in_one_reference():
    bleu = Bleu([["the cat", "the the cat", "the"]])
    matches = bleu.statistics(["the the the the"])[0, 0]
    assert matches == 2


@pytest.mark.parametrize(("lengths", "closest"), [((2, 9), 2), ((3, 7), 3), ((7, 3), 3), ((5, 4), 5), ((12,), 12)])
def test_closest_reference_is_the_shorter_of_two(lengths: tuple[int, ...], closest: int):
    bleu = Bleu([[" ".join("w" * length) for length in lengths]])
    assert bleu.statistics(["a b c d e"])[0, -1] == closest


def test_counted_references_give_the_same_scores():
    references = [["a dog runs", "the dog"], ["a red bus"]]
    candidates = ["a dog", "the red bus"]
    expected = Bleu(references).statistics(candidates)
    assert (Bleu(ReferenceNGrams(references)).statistics(candidates) == expected).all()
