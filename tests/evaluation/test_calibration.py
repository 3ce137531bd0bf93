"""Calibration on one half of the images and the report on the other, from what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.evaluation.calibration import (
    Observed,
    Training,
    describe,
    fit,
    report,
    score_of_people,
    scores_of,
    signals_of,
    split_in_halves,
)
from captioning.model.confidences import Correctness
from captioning.model.domain import Domain

RANDOM = np.random.default_rng(0)
TRAINING = Training(Domain.fit(RANDOM.normal(size=(50, 7))), "pooled", np.full(11, 0.5))
RULE = Correctness("CIDEr", 0.2)
FITTED: dict[str, Any] = {"data": "flickr8k", "split": "val", "num_images": 600}


def observe(num_images: int, seed: int) -> tuple[list[Observed], np.ndarray]:
    """Captions that are right with the probability sigmoid(log_prob + 1), and three words of each."""
    random = np.random.default_rng(seed)
    signals = random.normal(size=(num_images, 4))
    right = random.random(num_images) < 1 / (1 + np.exp(-2 * signals[:, 0] - 1))
    words = random.normal(size=(num_images, 3, 4))
    said = random.random((num_images, 3)) < 1 / (1 + np.exp(-words[:, :, 1]))
    distances = random.gamma(20, 0.05, num_images)
    found = [Observed(i, "", *own) for i, own in enumerate(zip(signals, distances.tolist(), words, said, strict=True))]
    return found, right


def test_confidences_of_held_out_images_are_calibrated_and_sort_them() -> None:
    confidences = fit(*observe(600, 1), TRAINING, RULE, FITTED)
    found = report(confidences, *observe(2000, 2), risk=0.1)
    for kind in (found["captions"], found["words"]):
        assert kind["equal_mass"]["ece"] < 0.05
        assert kind["equal_mass"]["low"] <= kind["equal_mass"]["high"]
    assert found["captions"]["auroc"] > 0.75
    assert found["captions"]["risk"]["0.7"] < 0.75 * found["captions"]["risk"]["1"]
    assert found["out_of_domain"]["flagged"] < 0.02
    assert found["risk_control"]["given_and_wrong"] <= 0.1
    assert 0.3 < found["risk_control"]["coverage"] < 1


def test_the_confidence_of_a_coverage_is_reached_by_that_share_of_the_fitted_captions() -> None:
    observed, right = observe(600, 1)
    confidences = fit(observed, right, TRAINING, RULE, FITTED)
    own = confidences.values.captions(signals_of(observed, confidences.values.words))
    assert np.mean(own >= confidences.least_confidence(0.7)) == pytest.approx(0.7, abs=0.01)
    assert confidences.least_confidence(1.0) == own.min()
    with pytest.raises(InputError, match="coverage=0"):
        confidences.least_confidence(0)


def test_captions_that_are_all_right_and_risks_that_cannot_be_kept_are_refused() -> None:
    observed, right = observe(100, 1)
    with pytest.raises(InputError, match=r"^all of the captions reach CIDEr 0\.2, .* another correct\.threshold"):
        fit(observed, np.ones(100, bool), TRAINING, RULE, FITTED)
    with pytest.raises(InputError, match=r"^none of the captions"):
        fit(observed, np.zeros(100, bool), TRAINING, RULE, FITTED)
    with pytest.raises(InputError, match=r"^risk=0\.001 cannot be kept on 100 images"):
        report(fit(observed, right, TRAINING, RULE, FITTED), observed, right, risk=0.001)


def test_the_halves_do_not_share_an_image_and_depend_on_ids_alone() -> None:
    observed, _ = observe(101, 1)
    ids = [own.image_id for own in observed]
    one, other = split_in_halves(observed)
    assert sorted([*one, *other]) == ids
    backwards, _ = split_in_halves(observed[::-1])
    assert {ids[::-1][row] for row in backwards} == set(one)


REFERENCES = {i: [f"a {c} dog runs", f"the {c} dog is running", f"a {c} animal"] for i, c in enumerate("abcdefghij")}


def test_nine_of_ten_of_people_s_captions_reach_their_score() -> None:
    threshold = score_of_people(REFERENCES, "CIDEr", share=0.9)
    firsts = {i: own[0] for i, own in REFERENCES.items()}
    others = {i: own[1:] for i, own in REFERENCES.items()}
    assert np.mean([score >= threshold for score in scores_of(firsts, others, "CIDEr").values()]) >= 0.9
    with pytest.raises(InputError, match=r"one reference only.* set correct\.threshold"):
        score_of_people({1: ["a dog"], 2: ["a cat"]}, "CIDEr")


def test_a_metric_of_several_scores_is_refused() -> None:
    with pytest.raises(InputError, match=r"correct\.metric=BLEU has the scores BLEU-1, "):
        scores_of({i: own[0] for i, own in REFERENCES.items()}, REFERENCES, "BLEU")


def test_risk_and_reliability_of_an_evaluation_are_described() -> None:
    found = describe(np.linspace(0, 1, 300), np.arange(300) > 150)
    assert found["right"] == pytest.approx(149 / 300)
    assert list(found["risk"]) == ["1", "0.9", "0.8", "0.7", "0.6", "0.5"]
    assert found["auroc"] == 1.0
