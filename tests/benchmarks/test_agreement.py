"""Metrics are compared with human ratings by Kendall's tau."""

from __future__ import annotations

import sys

import pytest

from captioning.benchmarks.agreement import agreement
from captioning.data.readers.flickr8k_judgements import Judged
from captioning.errors import InputError

CAPTIONS = {
    "a.jpg": ("a brown dog runs on the grass", "a dog is running"),
    "b.jpg": ("two cats sleep on a red sofa", "cats on a sofa"),
}
JUDGED = [
    Judged("a.jpg", "a brown dog runs", (4.0, 4.0, 3.0)),
    Judged("a.jpg", "two cats sleep", (1.0, 2.0, 1.0)),
    Judged("b.jpg", "a dog is on a sofa", (2.0, 1.0, 2.0)),
    Judged("b.jpg", "cats on a sofa", (1.0, 1.0, 1.0)),  # a reference of its image, so left out
]


def tau_b(x: list[float], y: list[float]) -> float:
    """Compute Kendall's τ_b pair by pair."""
    signs = [((a > b) - (a < b), (c > d) - (c < d)) for a, c in zip(x, y) for b, d in zip(x, y)]  # noqa: B905
    agree = sum(s * t for s, t in signs)
    return agree / (sum(s != 0 for s, _ in signs) * sum(t != 0 for _, t in signs)) ** 0.5


def test_every_rating_counts_except_those_of_references() -> None:
    (*_, rouge) = agreement("experts", JUDGED, CAPTIONS, metrics=("BLEU", "ROUGE-L"))
    assert (rouge.metric, rouge.num_pairs, rouge.num_ratings) == ("ROUGE-L", 3, 9)
    scores = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]  # the order of the three captions by ROUGE-L
    ratings = [rating for pair in JUDGED[:3] for rating in pair.ratings]
    assert rouge.tau_b == pytest.approx(tau_b(scores, ratings))
    assert -1 <= rouge.tau_c <= 1


def test_a_metric_in_the_order_of_ratings_has_tau_1_and_in_the_opposite_order_minus_1() -> None:
    for ratings, expected in (((3.0, 1.0, 2.0), 1.0), ((1.0, 3.0, 2.0), -1.0)):
        judged = [Judged(p.image, p.caption, (r,)) for p, r in zip(JUDGED[:3], ratings, strict=True)]
        (rouge,) = agreement("crowd", judged, CAPTIONS, metrics=("ROUGE-L",))
        assert rouge.tau_b == pytest.approx(expected)
        assert rouge.tau_c == pytest.approx(expected)


def test_equal_ratings_are_refused() -> None:
    with pytest.raises(InputError, match="all rated alike"):
        agreement("crowd", JUDGED[3:], CAPTIONS, metrics=("ROUGE-L",))


def test_a_missing_scipy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(InputError, match=r"pip install 'captioning\[humans\]'"):
        agreement("experts", JUDGED, CAPTIONS, metrics=("ROUGE-L",))
