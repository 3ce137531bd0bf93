"""Metrics are compared with human ratings by Kendall's tau."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from captioning.benchmarks.agreement import agreement, agreements, without_judged, without_references
from captioning.data.readers.flickr8k_judgements import Judged
from captioning.errors import InputError
from captioning.metrics import CocoScorer

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


def test_every_rating_of_the_experts_counts_except_those_of_references() -> None:
    pairs = without_references(JUDGED, CAPTIONS)
    (*_, rouge) = agreement("experts", pairs, CAPTIONS, metrics=("BLEU", "ROUGE-L"))
    assert (rouge.metric, rouge.num_pairs, rouge.num_ratings) == ("ROUGE-L", 3, 9)
    scores = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]  # the order of the three captions by ROUGE-L
    ratings = [rating for pair in JUDGED[:3] for rating in pair.ratings]
    assert rouge.tau_b == pytest.approx(tau_b(scores, ratings))
    assert -1 <= rouge.tau_c <= 1


def test_every_pair_of_the_crowd_counts_and_no_caption_is_its_own_reference(tmp_path: Path) -> None:
    lines = [f"{image}#{k}\t{text}" for image, group in CAPTIONS.items() for k, text in enumerate(group)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines))
    (tmp_path / "ExpertAnnotations.txt").write_text("a.jpg\tb.jpg#0\t1\t1\t2\nb.jpg\ta.jpg#0\t1\t2\t1\n")
    (tmp_path / "CrowdFlowerAnnotations.txt").write_text(
        "a.jpg\tb.jpg#0\t0\t0\t3\nb.jpg\tb.jpg#1\t1\t3\t0\nb.jpg\tb.jpg#0\t0.6\t3\t2\nb.jpg\ta.jpg#1\t0.5\t2\t2\n"
    )
    with pytest.raises(InputError, match=r"b\.jpg: every reference is also a judged caption"):
        agreements(tmp_path, metrics=("ROUGE-L",))
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join([*lines, "b.jpg#2\ttwo grey cats sleep"]))
    experts, crowd = agreements(tmp_path, metrics=("ROUGE-L",))
    assert (experts.num_pairs, experts.num_ratings) == (2, 6)
    assert (crowd.num_pairs, crowd.num_ratings) == (4, 4)
    left = ["two grey cats sleep"]  # of b.jpg, for all its pairs: its two other captions are judged
    references = {0: CAPTIONS["a.jpg"], 1: left, 2: left, 3: left}
    candidates = {0: CAPTIONS["b.jpg"][0], 1: CAPTIONS["b.jpg"][1], 2: CAPTIONS["b.jpg"][0], 3: CAPTIONS["a.jpg"][1]}
    per_image = CocoScorer(references, metrics=("ROUGE-L",)).score(candidates).per_image
    assert crowd.tau_b == pytest.approx(tau_b([per_image[n]["ROUGE-L"] for n in range(4)], [0, 1, 0.6, 0.5]))


def test_of_two_equal_references_one_is_removed_for_each_judgement() -> None:
    captions, judged = {"a.jpg": ("a dog", "a dog", "a cat")}, [Judged("a.jpg", "a dog", (1.0,))]
    assert without_judged(captions, judged) == {"a.jpg": ["a dog", "a cat"]}
    assert without_judged(captions, judged * 2) == {"a.jpg": ["a cat"]}
    assert captions == {"a.jpg": ("a dog", "a dog", "a cat")}


def test_a_metric_in_the_order_of_ratings_has_tau_1_and_in_the_opposite_order_minus_1() -> None:
    for ratings, expected in (((3.0, 1.0, 2.0), 1.0), ((1.0, 3.0, 2.0), -1.0)):
        judged = [Judged(p.image, p.caption, (r,)) for p, r in zip(JUDGED[:3], ratings, strict=True)]
        (rouge,) = agreement("crowd", judged, CAPTIONS, metrics=("ROUGE-L",))
        assert rouge.tau_b == pytest.approx(expected)
        assert rouge.tau_c == pytest.approx(expected)


def test_equal_ratings_are_refused() -> None:
    with pytest.raises(InputError, match="found 1 captions that can be used, all rated alike"):
        agreement("crowd", JUDGED[3:], CAPTIONS, metrics=("ROUGE-L",))


def test_a_missing_scipy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(InputError, match=r"pip install 'captioning\[humans\]'"):
        agreement("experts", JUDGED, CAPTIONS, metrics=("ROUGE-L",))


@pytest.mark.shared
@pytest.mark.slow
def test_the_crowd_agrees_as_the_paper_s_program_says(shared: Path) -> None:
    root = shared / "data/flickr8k"
    if not (root / "CrowdFlowerAnnotations.txt").is_file():
        pytest.skip(f"no judgements of Flickr8k in {root}")
    crowd = [found for found in agreements(root) if found.judges == "crowd"]
    assert {found.num_pairs for found in crowd} == {47_830}
    expected = {"BLEU-1": 17.9, "BLEU-4": 16.9, "ROUGE-L": 19.9, "METEOR": 22.3, "CIDEr": 24.6}
    assert {f.metric: round(100 * (f.tau_b or 0), 1) for f in crowd if f.metric in expected} == expected
