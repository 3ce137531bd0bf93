"""Shapes and colours of objects are distinct and well-formed."""

import numpy as np
import pytest

from captioning.data.scenes.shapes import COLOURS, SHAPES, shade


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_centred_has_longer_side_two_and_parts_inside_its_rims(name: str) -> None:
    corners = np.concatenate(SHAPES[name].rims)
    np.testing.assert_allclose(corners.max(axis=0) + corners.min(axis=0), 0, atol=1e-9)
    assert np.ptp(corners, axis=0).max() == pytest.approx(2)
    parts = np.concatenate([points for points, _ in SHAPES[name].parts])
    assert (parts.min(axis=0) > corners.min(axis=0)).all()
    assert (parts.max(axis=0) < corners.max(axis=0)).all()


def test_all_colours_are_clearly_different() -> None:
    colours = np.array(list(COLOURS.values()), dtype=float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distance[~np.eye(len(colours), dtype=bool)].min() > 80


def test_shade_mixes_with_white_and_black() -> None:
    assert shade((10, 100, 200), 0) == (10, 100, 200)
    assert shade((10, 100, 200), 1) == (255, 255, 255)
    assert shade((10, 100, 200), -1) == (0, 0, 0)
    assert shade((10, 100, 200), -0.5) == (5, 50, 100)
