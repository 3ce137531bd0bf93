"""The pointing game: the share of words whose region lies in a box of what they name.

Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", ECCV (arXiv:1608.00507): a hit is a point
that lies on an instance of the named class, and accuracy is hits / (hits + misses). Differs: words are pooled over
classes, a box stands for the instance, and no margin around it counts. The words and regions are those of the
alignment of Karpathy and Fei-Fei 2015 (arXiv:1412.2306), which the paper only draws.

A region is a grid cell, and it lies in a box if its centre does, edges included. What is compared:

    model         the region that the model gives the word; the whole image, region -1, is a miss
    grid_cells    the same without the whole image: the best grid cell
    centre        the grid cell in the middle of the image; the mean of those that share the middle
    chance        a grid cell drawn at random: the share of cells that lie in a box
    bound         the most that any choice of grid cells reaches: whether a cell lies in a box
    whole_image   no score: the share of words whose region is the whole image
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.uncertainty import Interval, check_replicates, ends, times_drawn

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
Bools = NDArray[np.bool_]

SOURCES = ("model", "grid_cells", "centre", "chance", "bound", "whole_image")
"""What points, in the order of the columns of `hits`."""

WHOLE_IMAGE = -1
"""The region that is the whole image."""


def cell_centres(rows: int, columns: int) -> Floats:
    """Compute the centres of grid cells, (R, 2): x and y as fractions of the grid's width and height, row by row."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(x + 0.5) / columns, (y + 0.5) / rows], axis=1)


def central_cells(rows: int, columns: int) -> Floats:
    """Share a weight of 1 among the cells that touch the middle of the grid: one, two or four of them. (R,)."""
    touches = [np.abs(np.arange(size) - (size - 1) / 2) <= 0.5 for size in (rows, columns)]
    weights = np.outer(*touches).astype(np.float64).ravel()
    return np.asarray(weights / weights.sum())


def in_boxes(points: Floats, boxes: Floats) -> Bools:
    """Say of each point, (R,), whether it lies in any of the boxes; their edges count as inside.

    Args:
        points: (R, 2) x and y.
        boxes: (K, 4) left, top, width and height, in the unit of the points.
    """
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    within = np.all((low <= points[:, None]) & (points[:, None] <= high), axis=2)
    return np.asarray(within.any(axis=1))


def hits(regions: Integers, cells: Integers, inside: Bools, central: Floats) -> Floats:
    """Compute how often each word is pointed at rightly.

    Args:
        regions: (N,) the model's region of each word: a grid cell, or `WHOLE_IMAGE`.
        cells: (N,) the model's region of each word if it may choose only grid cells.
        inside: (N, R) which grid cells lie in a box of what the word names.
        central: (R,) from `central_cells`.

    Returns:
        (N, 6) in the order of `SOURCES`, from 0 to 1; expectations for `centre` and `chance`.

    Raises:
        InputError: the shapes differ, or a region is no cell of the grid.
    """
    num_words, num_cells = inside.shape
    if not (regions.shape == cells.shape == (num_words,) and central.shape == (num_cells,)):
        raise InputError(
            f"expected regions and cells of {num_words} words and weights of {num_cells} grid cells; found the shapes "
            f"{regions.shape}, {cells.shape} and {central.shape}"
        )
    if ((regions < WHOLE_IMAGE) | (regions >= num_cells)).any() or ((cells < 0) | (cells >= num_cells)).any():
        raise InputError(f"expected regions from 0 to {num_cells - 1}, or {WHOLE_IMAGE} for the whole image")
    words, whole = np.arange(num_words), regions == WHOLE_IMAGE
    columns = {
        "model": inside[words, regions] & ~whole,
        "grid_cells": inside[words, cells],
        "centre": inside @ central,
        "chance": inside.mean(axis=1),
        "bound": inside.any(axis=1),
        "whole_image": whole,
    }
    return np.stack([columns[source] for source in SOURCES], axis=1).astype(np.float64)


def shares(
    found: Floats,
    images: Integers,
    generator: np.random.Generator,
    *,
    num_replicates: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Average over words, with percentile intervals from images drawn with replacement, with all their words.

    Args:
        found: (N, 6) from `hits`.
        images: (N,) the image of each word.
        generator: draws the images.
        num_replicates: how often images are drawn. Images without words are not drawn.
        confidence: the share of replicates within the interval.

    Returns:
        By the names of `SOURCES`.

    Raises:
        InputError: there is no word, there are fewer than two replicates, or `confidence` is not between 0 and 1.
    """
    check_replicates(num_replicates, confidence)
    if not len(found):
        raise InputError("expected at least one word that names an object with a box; found none")
    rows = np.unique(images, return_inverse=True)[1]
    per_image = np.zeros((rows.max() + 1, len(SOURCES) + 1))
    np.add.at(per_image, rows, np.column_stack([found, np.ones(len(found))]))
    totals = np.concatenate([times @ per_image for times in times_drawn(len(per_image), generator, num_replicates)])
    low, high = ends(totals[:, :-1] / totals[:, -1:], confidence)
    columns = zip(SOURCES, found.mean(axis=0), low, high, strict=True)
    return {source: Interval(*map(float, column)) for source, *column in columns}
