"""Layouts are painted as they are described."""

from itertools import combinations

import numpy as np
import pytest

from captioning.data.scenes.layout import BACKGROUNDS, Layout, Thing, sample_layout
from captioning.data.scenes.render import render
from captioning.data.scenes.shapes import COLOURS


def pixels(layout: Layout, size: int, seed: int = 0) -> np.ndarray:
    return np.asarray(render(layout, np.random.default_rng(seed), size), dtype=float)


def hue(rgb: np.ndarray) -> np.ndarray:
    """Return the hue in degrees, or NaN for colours that are nearly grey."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    x, y = red - (green + blue) / 2, (green - blue) * np.sqrt(3) / 2
    grey = np.ptp(rgb, axis=-1) < 0.3 * rgb.max(axis=-1)
    return np.where(grey, np.nan, np.degrees(np.arctan2(y, x)) % 360)


def between_hues(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs((first - second + 180) % 360 - 180)


HUES = {name: hue(np.array(colour, dtype=float)) for name, colour in COLOURS.items()}


def grey_walls_with_clear_hues() -> list[Layout]:
    """Sample scenes whose objects differ in hue. Pink is left out: it is too pale, and edges of purple have its hue."""
    layouts = (sample_layout(np.random.default_rng(seed)) for seed in range(1000))
    return [
        layout
        for layout in layouts
        if layout.background == "wall"
        and "pink" not in {thing.colour for thing in layout.things}
        and all(between_hues(HUES[a.colour], HUES[b.colour]) > 45 for a, b in combinations(layout.things, 2))
    ]


def test_a_box_encloses_the_visible_part_of_its_object() -> None:
    size = 128
    layouts = grey_walls_with_clear_hues()
    assert sum(thing.hidden > 0 for layout in layouts for thing in layout.things) > 5
    for layout in layouts:
        hues = hue(pixels(layout, size))
        for thing in layout.things:
            rows, columns = np.nonzero(between_hues(hues, HUES[thing.colour]) < 20)
            left, top, width, height = (size * value for value in thing.box)
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(seen, (left, top, left + width, top + height), atol=2)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_colour_stands_out_on_every_background(background: str) -> None:
    size = 48
    empty = pixels(Layout(background, "left of", ()), size)
    for colour in COLOURS:
        for y in (0.2, 0.5, 0.8):
            ball = Thing("ball", colour, "large", 0.2, 0.0, False, centre=(0.5, y))
            painted = pixels(Layout(background, "left of", (ball,)), size)
            middle = np.s_[int((y - 0.1) * size) : int((y + 0.1) * size), int(0.4 * size) : int(0.6 * size)]
            difference = np.linalg.norm(painted[middle] - empty[middle], axis=-1)
            assert np.median(difference) > 60, colour


def test_details_depend_only_on_the_random_generator() -> None:
    layout = sample_layout(np.random.default_rng(3))
    np.testing.assert_array_equal(pixels(layout, 64, seed=1), pixels(layout, 64, seed=1))
    assert (pixels(layout, 64, seed=1) != pixels(layout, 64, seed=2)).any()


def test_an_image_is_square_rgb_of_the_given_size() -> None:
    size = 97
    image = render(sample_layout(np.random.default_rng(0)), np.random.default_rng(0), size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_an_image_of_twice_the_size_shows_the_same_scene() -> None:
    layout = sample_layout(np.random.default_rng(5))
    small, large = pixels(layout, 48), pixels(layout, 96)
    reduced = large.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - small).mean() < 4
