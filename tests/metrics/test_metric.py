"""BLEU, ROUGE-L and CIDEr equal pycocoevalcap's, for a corpus and for each image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocoevalcap.bleu import bleu as reference_bleu
from pycocoevalcap.cider import cider as reference_cider
from pycocoevalcap.rouge import rouge as reference_rouge

from captioning.errors import InputError
from captioning.metrics import tokenize
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider
from captioning.metrics.metric import Metric
from captioning.metrics.rouge import RougeL

METRICS: list[Any] = [Bleu, RougeL, Cider]
EVERY = pytest.mark.parametrize("metric", METRICS)

CAPTION = st.lists(st.sampled_from(["a", "dog", "runs", "on", "é"]), max_size=8).map(" ".join)
IMAGES = st.lists(st.tuples(CAPTION, st.lists(CAPTION, min_size=1, max_size=4)), min_size=1, max_size=5)


def reference_scores(metric: Any, candidates: list[str], references: list[list[str]]) -> NDArray[np.float64]:
    """Pycocoevalcap's own scores: the corpus's in the first row, then each image's."""
    truth, results = dict(enumerate(references)), {row: [caption] for row, caption in enumerate(candidates)}
    if metric is Bleu:
        corpus, per_image = reference_bleu.Bleu(4).compute_score(truth, results, verbose=0)
        return np.column_stack([corpus, per_image]).T
    scorer = {RougeL: reference_rouge.Rouge, Cider: reference_cider.Cider}[metric]()
    corpus, per_image = scorer.compute_score(truth, results)
    return np.array([[corpus], *([score] for score in per_image)])


def assert_equals_reference(metric: Any, candidates: list[str], references: list[list[str]]) -> None:
    built: Metric = metric(references)
    statistics = built.statistics(candidates)
    found = np.vstack([built.scores(statistics.sum(axis=0)), built.scores(statistics)])
    expected = reference_scores(metric, candidates, references)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def assert_equals_reference_for_each_caption(metric: Any, captions: list[list[str]]) -> None:
    """Each caption in turn against the others of its image."""
    for left_out in range(max(map(len, captions))):
        groups = [group for group in captions if len(group) > left_out]
        others = [group[:left_out] + group[left_out + 1 :] for group in groups]
        assert_equals_reference(metric, [group[left_out] for group in groups], others)


@EVERY
@given(images=IMAGES)
@example(images=[("", ["a"])])
@example(images=[("", ["", "a"]), ("a", [""])])
@example(images=[("a a a a a", ["a dog", "a a a"]), ("dog", ["a"])])
@example(images=[("a dog runs", ["a", "a dog runs on a"])])  # equally far from the short one and the long one
@example(images=[("dog", ["dog"]), ("cow cow cow", ["a a"])])  # captions of one word; words of no reference
def test_scores_equal_pycocoevalcaps(metric: Any, images: list[tuple[str, list[str]]]):
    references = [group for _, group in images]
    if metric is Cider and not any(map(any, references)):
        return  # pycocoevalcap's code fails without a word
    assert_equals_reference(metric, [caption for caption, _ in images], references)


@EVERY
def test_scores_of_hard_captions_equal_pycocoevalcaps(metric: Any, hard_captions: list[str]):
    texts = [" ".join(text.split()) for text in hard_captions]
    shifted = texts[3:] + texts[:3]
    references = [[f"{text} and a dog", shifted[row], *texts[: row % 3]] for row, text in enumerate(texts)]
    assert_equals_reference(metric, texts, references)
    assert_equals_reference(metric, shifted, references)


@EVERY
def test_scores_of_one_image_equal_pycocoevalcaps(metric: Any):
    assert_equals_reference(metric, ["a dog runs on grass"], [["a dog runs on the grass", "the dog"]])


@EVERY
def test_no_reference_with_a_word_scores_as_no_match(metric: Any):
    built = metric([[""], ["", ""]])
    assert built.scores(built.statistics(["a dog", "a"])) == pytest.approx(0, abs=1e-5)


@EVERY
def test_scores_may_have_leading_axes(metric: Any):
    built: Metric = metric([["a dog runs", "the dog"], ["a red bus"], ["two men"]])
    statistics = built.statistics(["a dog", "a bus", ""])
    replicates = statistics[[[0, 1, 2], [2, 2, 0]]].sum(axis=1)
    found = built.scores(replicates[:, None])
    assert found.shape == (2, 1, len(built.names))
    for replicate, scores in zip(replicates, found, strict=True):
        assert (scores[0] == built.scores(replicate)).all()


@EVERY
@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([], "expected the references of at least one image, found none"),
        ([["a"], []], r"each of 2 images; not so for 1 of them, the first in row 1"),
        (["a dog", ["a"]], r"each of 2 images; not so for 1 of them, the first in row 0"),
    ],
)
def test_wrong_references_are_refused(metric: Any, references: Any, message: str):
    with pytest.raises(InputError, match=message):
        metric(references)


@EVERY
@pytest.mark.parametrize(("candidates", "found"), [(["a"], "1"), ([], "0"), ("ab", "one string")])
def test_wrong_candidates_are_refused(metric: Any, candidates: Any, found: str):
    with pytest.raises(InputError, match=f"a list of 2 candidates, one for each image; found {found}"):
        metric([["a"], ["b"]]).statistics(candidates)


@pytest.fixture(scope="module")
def flickr8k_dev(shared: Path) -> list[list[str]]:
    folder = shared / "data" / "flickr8k"
    dev = (folder / "Flickr_8k.devImages.txt").read_text(encoding="utf-8").split()
    captions: dict[str, list[str]] = {name: [] for name in dev}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        if (image := name.split("#")[0]) in captions:
            captions[image].append(caption)
    return list(tokenize(captions).values())


@pytest.fixture(scope="module")
def coco_val2017(shared: Path) -> list[list[str]]:
    path = shared / "data" / "coco_captions" / "captions_val2017.json"
    captions: dict[int, list[str]] = {}
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    return list(tokenize(captions).values())


@EVERY
@pytest.mark.shared
def test_scores_equal_pycocoevalcaps_on_flickr8k_dev(metric: Any, flickr8k_dev: list[list[str]]):
    assert len(flickr8k_dev) == 1000
    assert_equals_reference_for_each_caption(metric, flickr8k_dev)


@EVERY
@pytest.mark.shared
def test_scores_equal_pycocoevalcaps_on_coco(metric: Any, coco_val2017: list[list[str]]):
    assert len(coco_val2017) == 5000
    assert sum(map(len, coco_val2017)) == 25_014
    assert_equals_reference_for_each_caption(metric, coco_val2017)
