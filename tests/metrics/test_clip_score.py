"""CLIPScore by the paper's formulas, in a space of two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import CocoScorer, Scores, compare, intervals
from captioning.metrics.clip_score import ClipScore


class Angles:
    """Texts and images whose names are angles in degrees; "" is 0."""

    version = "angles"

    def __init__(self) -> None:
        self.read: list[str] = []

    def texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.read += texts
        return self._vectors([float(text.removeprefix("A photo depicts ") or 0) for text in texts])

    def images(self, paths: Sequence[Path]) -> NDArray[np.float64]:
        return self._vectors([float(path.stem) for path in paths])

    def _vectors(self, degrees: Sequence[float]) -> NDArray[np.float64]:
        return np.array([(np.cos(np.radians(angle)), np.sin(np.radians(angle))) for angle in degrees])


def scores_of(image: float, references: Sequence[float], caption: float) -> tuple[float, float]:
    metric = ClipScore([[str(angle) for angle in references]], [Path(f"{image}.jpg")], Angles())
    return tuple(metric.scores(metric.statistics([str(caption)]))[0].tolist())


@pytest.mark.parametrize(
    ("image", "references", "caption", "clip_s", "ref_clip_s"),
    [
        (0, [0], 0, 2.5, 2 * 2.5 * 1 / 3.5),
        (0, [120, 60], 60, 1.25, 2 * 1.25 * 1 / 2.25),  # the nearest reference counts
        (0, [0, 120], 60, 1.25, 2 * 1.25 * 0.5 / 1.75),
        (0, [0], 90, 0, 0),
        (0, [180], 120, 0, 0),  # not below 0
        (0, [180], 60, 1.25, 0),  # near the image, on the other side of the reference
        (0, [150, 240], 60, 1.25, 0),
    ],
)
def test_scores_are_those_of_the_paper_s_formulas(
    image: float, references: list[float], caption: float, clip_s: float, ref_clip_s: float
) -> None:
    assert scores_of(image, references, caption) == pytest.approx((clip_s, ref_clip_s), abs=1e-12)


ANGLE = st.integers(0, 359)


@given(images=st.lists(st.tuples(ANGLE, st.lists(ANGLE, min_size=1, max_size=4), ANGLE), min_size=1, max_size=5))
def test_an_image_s_scores_are_its_own_and_the_corpus_s_their_mean(images: list[tuple[int, list[int], int]]) -> None:
    references = [[str(angle) for angle in group] for _, group, _ in images]
    metric = ClipScore(references, [Path(f"{image}.jpg") for image, _, _ in images], Angles())
    statistics = metric.statistics([str(caption) for *_, caption in images])
    each = np.array([scores_of(*image) for image in images])
    np.testing.assert_allclose(metric.scores(statistics), each, rtol=0, atol=1e-12)
    np.testing.assert_allclose(metric.scores(statistics.sum(axis=0)), each.mean(axis=0), rtol=0, atol=1e-12)


def test_every_text_follows_the_prompt_as_it_was_written() -> None:
    angles = Angles()
    metric = ClipScore([["1.5", "2"]], [Path("0.jpg")], angles)
    metric.statistics([""])
    assert angles.read == ["A photo depicts 1.5", "A photo depicts 2", "A photo depicts "]


def test_a_scorer_passes_captions_as_they_were_written() -> None:
    angles = Angles()
    scorer = CocoScorer({1: ["1"]}, metrics=["CLIPScore"], images=[Path("0.jpg")], embedding=angles)
    scorer.score({1: "1E1"})
    assert angles.read[-1] == "A photo depicts 1E1"


REFERENCES = {3: ["10", "20"], 1: ["30"], 2: ["50", "60", "70"]}
IMAGES = [Path("0.jpg"), Path("40.jpg"), Path("80.jpg")]


@pytest.fixture(scope="module")
def scorer() -> CocoScorer:
    return CocoScorer(REFERENCES, metrics=["BLEU", "CLIPScore"], images=IMAGES, embedding=Angles())


@pytest.fixture(scope="module")
def scores(scorer: CocoScorer) -> Scores:
    return scorer.score({1: "40", 2: "20", 3: "0"})


def test_a_scorer_reports_it_beside_the_others(scorer: CocoScorer, scores: Scores) -> None:
    assert list(scores.corpus) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CLIP-S", "RefCLIP-S"]
    assert [each["CLIP-S"] for each in scores.per_image.values()] == pytest.approx([2.5, 2.5, 1.25])
    assert scores.corpus["CLIP-S"] == pytest.approx(6.25 / 3)
    assert {type(score) for score in scores.corpus.values()} == {float}
    assert scorer.signature()["CLIPScore"] == "angles"


def test_it_has_intervals_and_differences(scorer: CocoScorer, scores: Scores) -> None:
    found = intervals(scores, num_replicates=50)["CLIP-S"]
    assert 1.25 <= found.low < found.score < found.high <= 2.5
    difference = compare(scores, scorer.score({1: "40", 2: "20", 3: "60"}), num_replicates=50)["CLIP-S"]
    assert difference.difference == pytest.approx(1.25 / 3)


@pytest.mark.parametrize(
    ("references", "images", "message"),
    [
        ([], [], "the references of at least one image, found none"),
        ([["1"], []], ["1.jpg", "2.jpg"], "not so for 1 of them, the first in row 1"),
        ([["1"], ["2"]], ["1.jpg"], "a file for each of 2 images, found 1"),
    ],
)
def test_wrong_references_and_images_are_refused(references: list[list[str]], images: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClipScore(references, [Path(name) for name in images], Angles())


def test_wrong_candidates_are_refused() -> None:
    with pytest.raises(InputError, match="a list of 1 candidates, one for each image; found 2"):
        ClipScore([["1"]], [Path("1.jpg")], Angles()).statistics(["1", "2"])
