"""The pointing game against loops, and what holds for all boxes: the bound, chance and the middle."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from captioning.errors import InputError
from captioning.metrics.pointing import (
    SOURCES,
    WHOLE_IMAGE,
    cell_centres,
    central_cells,
    hits,
    in_boxes,
    shares,
)

SIDES = st.integers(1, 6)
QUARTERS = st.integers(0, 8).map(lambda n: n / 8)  # so that centres of cells often lie on an edge
BOXES = st.lists(st.tuples(QUARTERS, QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=3).map(np.array)
MODEL, CELLS, CENTRE, CHANCE, BOUND, WHOLE = range(6)


def boxed(rows: int, columns: int, boxes: np.ndarray) -> np.ndarray:
    return in_boxes(cell_centres(rows, columns), boxes)


@given(SIDES, SIDES)
def test_centres_stand_row_by_row(rows: int, columns: int) -> None:
    expected = [((x + 0.5) / columns, (y + 0.5) / rows) for y in range(rows) for x in range(columns)]
    assert_allclose(cell_centres(rows, columns), expected, atol=1e-15)


@given(SIDES, SIDES)
def test_the_middle_is_shared_by_the_cells_that_touch_it(rows: int, columns: int) -> None:
    touch = [y <= rows / 2 <= y + 1 and x <= columns / 2 <= x + 1 for y, x in product(range(rows), range(columns))]
    assert_allclose(central_cells(rows, columns), np.array(touch) / sum(touch))


@given(SIDES, SIDES, BOXES)
def test_a_cell_is_inside_if_its_centre_is_in_any_box_or_on_its_edge(
    rows: int, columns: int, boxes: np.ndarray
) -> None:
    expected = [
        any(x <= px <= x + w and y <= py <= y + h for x, y, w, h in boxes.tolist())
        for px, py in cell_centres(rows, columns).tolist()
    ]
    assert boxed(rows, columns, boxes).tolist() == expected


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((0.25, 0.25, 0.5, 0.5), True),  # its corners are the centres of the four cells
        ((0.25, 0.25, 0.0, 0.0), True),
        ((0.26, 0.25, 0.5, 0.5), False),
        ((0.0, 0.0, 0.25, 0.24), False),
    ],
)
def test_edges_count_as_inside(box: tuple[float, ...], inside: bool) -> None:
    assert boxed(2, 2, np.array([box]))[0] == inside


@given(SIDES, SIDES, st.lists(BOXES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_pointing_at_a_box_s_cells_reaches_the_bound_and_nothing_exceeds_it(rows, columns, words, random) -> None:
    inside = np.stack([boxed(rows, columns, boxes) for boxes in words])
    right = np.array([random.choice(np.flatnonzero(own).tolist() or [0]) for own in inside])
    anywhere = np.array([random.randrange(WHOLE_IMAGE, rows * columns) for _ in words])
    found = hits(anywhere, right, inside, central_cells(rows, columns))
    assert_allclose(found[:, CELLS], found[:, BOUND])
    for source in (MODEL, CENTRE, CHANCE):
        assert (found[:, source] <= found[:, BOUND]).all()


@given(SIDES, SIDES, BOXES)
def test_a_model_that_points_at_the_centres_of_large_boxes_scores_one(rows: int, columns: int, boxes) -> None:
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], [1 / columns, 1 / rows])], axis=1)
    boxes[:, :2] = np.minimum(boxes[:, :2], 1 - np.minimum(boxes[:, 2:], 1))
    inside = np.stack([boxed(rows, columns, box[None]) for box in boxes])
    x, y = (boxes[:, :2] + boxes[:, 2:] / 2).T
    nearest = np.abs(cell_centres(rows, columns)[None] - np.stack([x, y], 1)[:, None]).sum(2).argmin(1)
    assert_allclose(hits(nearest, nearest, inside, central_cells(rows, columns))[:, [MODEL, CELLS, BOUND]], 1)


@given(SIDES, SIDES, BOXES)
def test_chance_and_the_middle_are_means_over_the_cells_that_they_may_choose(rows: int, columns: int, boxes) -> None:
    num_cells, central = rows * columns, central_cells(rows, columns)
    inside = np.repeat(boxed(rows, columns, boxes)[None], num_cells, axis=0)
    found = hits(np.arange(num_cells), np.arange(num_cells), inside, central)
    assert_allclose(found[:, CHANCE], found[:, MODEL].mean())
    assert_allclose(found[:, CENTRE], found[central > 0, MODEL].mean())


def test_the_whole_image_is_a_miss_and_is_counted() -> None:
    inside = np.array([[True, True], [True, False], [False, True]])
    found = hits(np.array([WHOLE_IMAGE, 0, 0]), np.array([1, 0, 0]), inside, np.array([0.5, 0.5]))
    assert found[:, MODEL].tolist() == [0, 1, 0]
    assert found[:, CELLS].tolist() == [1, 1, 0]
    assert found[:, WHOLE].tolist() == [1, 0, 0]
    assert found[:, CHANCE].tolist() == [1, 0.5, 0.5]


@pytest.mark.parametrize(("region", "cell"), [(2, 0), (-2, 0), (0, -1), (0, 2)])
def test_a_region_outside_the_grid_is_refused(region: int, cell: int) -> None:
    with pytest.raises(InputError, match="expected regions from 0 to 1, or -1 for the whole image"):
        hits(np.array([region]), np.array([cell]), np.ones((1, 2), bool), np.array([0.5, 0.5]))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"of 1 words and weights of 2 grid cells; found the shapes \(2,\), \(1,\)"):
        hits(np.array([0, 1]), np.array([0]), np.ones((1, 2), bool), np.array([0.5, 0.5]))


def words_of_images(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    images = np.repeat(np.arange(num_images) * 7, random.integers(1, 6, num_images))  # ids with gaps
    return random.random((len(images), len(SOURCES))), random.permutation(images)


def test_shares_are_means_over_words_with_a_bootstrap_over_images() -> None:
    found, images = words_of_images(23)
    own = shares(found, images, np.random.default_rng(1), num_replicates=300, confidence=0.9)
    random, ids = np.random.default_rng(1), np.unique(images)
    drawn = random.integers(len(ids), size=(300, len(ids)))
    means = []
    for replicate in drawn:
        rows = np.concatenate([np.flatnonzero(images == ids[i]) for i in replicate])
        means.append([math.fsum(found[rows, j]) / len(rows) for j in range(len(SOURCES))])
    low, high = np.quantile(means, [0.05, 0.95], axis=0)
    assert list(own) == list(SOURCES)
    assert_allclose([i.score for i in own.values()], found.mean(0))
    assert_allclose([i.low for i in own.values()], low)
    assert_allclose([i.high for i in own.values()], high)


def test_words_of_one_image_are_drawn_together() -> None:
    found = np.ones((6, len(SOURCES)))
    found[:3] = 0
    together = shares(found, np.array([0, 0, 0, 1, 1, 1]), np.random.default_rng(0))["model"]
    assert (together.low, together.high) == (0, 1)


def test_no_word_and_few_replicates_are_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="expected at least one word that names an object with a box"):
        shares(np.ones((0, len(SOURCES))), np.zeros(0, int), generator)
    with pytest.raises(InputError, match="at least 2 replicates"):
        shares(np.ones((1, len(SOURCES))), np.zeros(1, int), generator, num_replicates=1)
