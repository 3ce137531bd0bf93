"""Calibrated probabilities are the precision on the calibration images, and rise with the probability."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captioning.encoders.detectors import Calibration
from captioning.errors import InputError


def official(scores: list[float], counts: list[int], asked: list[float], K: int = 5) -> list[float]:
    """The official procedure for one word as loops: precision at each image, running maximum, interpolation."""
    precisions: dict[float, float] = {}
    for threshold in sorted(set(scores)):
        tp = fp = 0.0
        for score, c in zip(scores, counts, strict=True):
            if score >= threshold:
                tp += c * (1 - 1 / K)
                fp += 1.0 if c == 0 else 1 / K if c == 1 else 0.0
        best = max(precisions.values(), default=0.0)
        precisions[threshold] = max(best, tp / (tp + fp))
    points = list(precisions)
    x = [-1000.0, *points, 1000.0]
    y = [precisions[points[0]], *precisions.values(), precisions[points[-1]]]
    return np.interp(asked, x, y).tolist()


def random_images(num_images: int, num_words: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and counts that go together, and no word that no image has."""
    random = torch.Generator().manual_seed(seed)
    p = torch.rand(num_images, num_words, generator=random)
    counts = torch.binomial(torch.full_like(p, 5.0), p**2, generator=random)
    counts[0] = 1
    return p, counts


PROBABILITIES = st.floats(0, 1, width=32)


@given(
    st.lists(st.tuples(PROBABILITIES, st.integers(0, 5)), min_size=1, max_size=20).filter(
        lambda x: any(c for _, c in x)
    ),
    st.lists(PROBABILITIES, min_size=1, max_size=20),
)
def test_the_curve_is_that_of_the_official_procedure(images: list[tuple[float, int]], asked: list[float]):
    scores, counts = zip(*images, strict=True)
    calibration = Calibration(vocab_size=1, num_knots=20).double()
    calibration.fit(torch.tensor([scores]).T, torch.tensor([counts]).T)
    found = calibration(torch.tensor([asked], dtype=torch.float64).T)[:, 0]
    assert found.tolist() == pytest.approx(official(list(scores), list(counts), asked), abs=1e-9)


@given(st.integers(0, 9), st.integers(1, 300), st.integers(2, 40))
def test_it_is_monotone_and_in_0_to_1(seed: int, num_images: int, num_knots: int):
    p, counts = random_images(num_images, 3, seed)
    calibration = Calibration(vocab_size=3, num_knots=num_knots)
    calibration.fit(p, counts)
    assert (calibration.probabilities.diff() >= 0).all()
    found = calibration(torch.linspace(0, 1, 501)[:, None].expand(501, 3))
    assert ((found >= 0) & (found <= 1)).all()
    assert (found.diff(dim=0) >= 0).all()


def test_each_word_has_its_own_curve():
    p, counts = random_images(20, 3)
    calibration = Calibration(vocab_size=3).double()
    calibration.fit(p, counts)
    expected = [official(p[:, w].tolist(), counts[:, w].int().tolist(), p[:, w].tolist()) for w in range(3)]
    assert_close(calibration(p.double()), torch.tensor(expected, dtype=torch.float64).T)


def test_of_many_images_the_kept_points_are_exact_and_dense_at_the_top():
    p, counts = random_images(2000, 1)
    calibration = Calibration(vocab_size=1, num_knots=64).double()
    calibration.fit(p, counts)
    knots = calibration.probabilities[0]
    exact = official(p[:, 0].tolist(), counts[:, 0].int().tolist(), knots.tolist())
    assert calibration.precisions[0].tolist() == pytest.approx(exact, abs=1e-9)
    highest = p.double().flatten().sort(descending=True).values
    assert torch.equal(knots.flip(0)[:10], highest[:10])
    assert knots[0] == highest[-1]
    assert len(knots.unique()) == 64


def test_the_curve_of_many_images_differs_little_from_that_of_all():
    p, counts = random_images(1000, 1)
    few, every = Calibration(vocab_size=1), Calibration(vocab_size=1, num_knots=1000)
    few.fit(p, counts)
    every.fit(p, counts)
    assert (few(p) - every(p)).abs().max() < 0.02


def test_a_word_that_no_image_has_keeps_its_probability_and_is_counted(caplog):
    caplog.set_level(logging.INFO, logger="captioning")
    p, counts = random_images(20, 3)
    counts[:, 1] = 0
    calibration = Calibration(vocab_size=3)
    calibration.fit(p, counts)
    assert_close(calibration(p)[:, 1], p[:, 1])
    assert not torch.allclose(calibration(p)[:, 0], p[:, 0])
    assert "calibrated 2 of 3 words on 20 images; no image has the others" in caplog.text


def test_before_fit_it_is_the_identity():
    p = torch.linspace(0, 1, 99)[:, None].expand(99, 3)
    assert_close(Calibration(vocab_size=3)(p), p)


def test_below_and_above_the_calibration_images_the_curve_is_constant():
    calibration = Calibration(vocab_size=1)
    calibration.fit(torch.tensor([[0.4], [0.6]]), torch.tensor([[0], [5]]))
    found = calibration(torch.tensor([[0.0], [0.4], [0.5], [0.6], [1.0]]))[:, 0]
    assert_close(found, torch.tensor([0.8, 0.8, 0.9, 1.0, 1.0]))  # (5 - 1) / (5 - 1 + 1) of both images


def test_curves_are_saved_as_tensors_of_one_size_whatever_the_images():
    p, counts = random_images(20, 3)
    fitted, loaded = Calibration(vocab_size=3), Calibration(vocab_size=3)
    sizes = {name: tensor.shape for name, tensor in fitted.state_dict().items()}
    fitted.fit(p, counts)
    assert {name: tensor.shape for name, tensor in fitted.state_dict().items()} == sizes
    loaded.load_state_dict(fitted.state_dict())
    assert torch.equal(loaded(p), fitted(p))
    assert not list(fitted.parameters())


@pytest.mark.parametrize(
    ("p", "counts", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, 3), "at least one image"),
        (torch.zeros(2, 3), torch.zeros(2, 5), r"3 words in at least one image, found \(2, 3\) and \(2, 5\)"),
        (torch.zeros(2, 5), torch.zeros(2, 5), "3 words in at least one image"),
        (torch.full((2, 3), 1.5), torch.zeros(2, 3), r"probabilities in 0\.\.1"),
        (torch.full((2, 3), torch.nan), torch.zeros(2, 3), r"probabilities in 0\.\.1"),
        (torch.zeros(2, 3), torch.full((2, 3), 6), r"counts in 0\.\.5, found 6 to 6"),
        (torch.zeros(2, 3), torch.full((2, 3), -1), r"counts in 0\.\.5, found -1 to -1"),
    ],
)
def test_what_is_no_calibration_set_is_refused(p, counts, message):
    with pytest.raises(InputError, match=message):
        Calibration(vocab_size=3).fit(p, counts)


def test_one_reference_and_one_knot_are_refused():
    with pytest.raises(InputError, match="needs at least 2"):
        Calibration(vocab_size=1).fit(torch.zeros(1, 1), torch.ones(1, 1), num_references=1)
    with pytest.raises(InputError, match="needs at least 2 points"):
        Calibration(vocab_size=1, num_knots=1)
