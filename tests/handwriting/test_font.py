"""Lines from plotter fonts are the font's strokes, and each point knows its character."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("HersheyFonts")
from HersheyFonts import HersheyFonts

from captioning.errors import InputError
from captioning.handwriting.font import UNIT, PlotterFont, random_text

PLAIN = PlotterFont("futural", slant=0, size=0, jitter=0)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def positions(points: np.ndarray) -> np.ndarray:
    return points[:, :2].astype(np.float64).cumsum(0) * UNIT


def test_without_style_the_strokes_are_the_font_s_and_end_where_it_lifts_the_pen() -> None:
    fonts = HersheyFonts()
    fonts.load_default_font("futural")
    strokes = [np.array(stroke) for stroke in fonts.strokes_for_text("a tin")]
    line = PLAIN.write("a tin", rng())
    expected = np.concatenate(strokes) * [1, -1] + [0, 9]
    np.testing.assert_allclose(positions(line.points), expected, atol=1e-4)
    assert np.flatnonzero(line.points[:, 2]).tolist() == (np.cumsum([len(s) for s in strokes]) - 1).tolist()
    assert line.points[:, 2].max() == 1
    assert line.points.dtype == np.float32


def test_each_point_belongs_to_its_character() -> None:
    line = PLAIN.write("lo l", rng())
    alone = [len(PLAIN.write(letter, rng()).points) for letter in "lol"]
    assert line.characters.tolist() == [0] * alone[0] + [1] * alone[1] + [3] * alone[2]


def test_letters_stand_on_the_base_line_and_capitals_are_21_high() -> None:
    height = positions(PLAIN.write("H", rng()).points)[:, 1]
    assert (height.min(), height.max()) == pytest.approx((0, 21), abs=1e-4)


def test_a_line_has_one_slant_and_one_size() -> None:
    plain = positions(PLAIN.write("lll", rng()).points)
    styled = positions(PlotterFont("futural", slant=0.5, size=0.3, jitter=0).write("lll", rng()).points)
    draw = rng()
    slant, size = draw.uniform(-0.5, 0.5), draw.uniform(0.7, 1.3)
    np.testing.assert_allclose(styled[:, 1], plain[:, 1] * size, atol=1e-4)
    np.testing.assert_allclose(styled[:, 0], (plain[:, 0] + slant * plain[:, 1]) * size, atol=1e-4)


def test_jitter_moves_each_point_and_does_not_add_up() -> None:
    font = PlotterFont("futural", slant=0, size=0, jitter=0.25)
    text, draw = "minimum" * 9, rng()
    moved = positions(font.write(text, draw).points) - positions(PLAIN.write(text, rng()).points)
    assert moved.std() == pytest.approx(0.25, rel=0.1)
    assert np.abs(moved).max() < 1.5


@pytest.mark.parametrize("name", ["scripts", "futural"])
def test_offsets_have_about_a_standard_deviation_of_one(name: str) -> None:
    draw = rng()
    lines = [PlotterFont(name).write(random_text("abcdefghijklmnopqrstuvwxyz", draw, length=9), draw) for _ in "a" * 50]
    assert 0.5 < np.concatenate([line.points[:, :2] for line in lines]).std() < 3


def test_random_text_has_every_pair_of_letters_and_single_spaces_between_words() -> None:
    draw = rng()
    texts = [random_text("abc", draw, length=11, longest_word=4) for _ in range(200)]
    assert {len(text) for text in texts} == {11}
    assert not any("  " in text or text != text.strip() for text in texts)
    assert max(len(word) for text in texts for word in text.split()) <= 5
    together = "|".join(texts)
    assert all(a + b in together for a in "abc" for b in "abc ")


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InputError, match="font nofont: expected one of astrology"):
        PlotterFont("nofont")
    with pytest.raises(InputError, match="has no 'ü'"):
        PLAIN.write("grün", rng())
    with pytest.raises(InputError, match="something to draw"):
        PLAIN.write(" ", rng())
    with pytest.raises(InputError, match="size=1"):
        PlotterFont(size=1)
