"""Paint a layout as an image. It is painted larger and then reduced, so that edges are smooth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from captioning.data.scenes.layout import Layout, Thing
from captioning.data.scenes.shapes import COLOURS, SHAPES, Points, shade

_SUPERSAMPLE = 4
_SHADOW = np.array((0.018, 0.026))  # offset to the right and down, as fractions of the image
_COLOUR_NOISE = 7  # an object's colour varies by this many of 255 levels in each channel

RGB = tuple[int, int, int]


class _Canvas:
    """An image that is painted at _SUPERSAMPLE times its size, with coordinates in fractions of its side."""

    def __init__(self, size: int, rows: npt.NDArray[np.float64]) -> None:
        """Fill each row with its colour: (size * _SUPERSAMPLE, 3), 0 to 255."""
        self.side = size * _SUPERSAMPLE
        pixels = np.repeat(rows.round().astype(np.uint8)[:, None], self.side, axis=1)
        self.image = Image.fromarray(pixels)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def polygon(self, points: Points, colour: RGB, alpha: int = 255) -> None:
        """Fill a polygon with corners (P, 2)."""
        self._draw.polygon((points * self.side).ravel().tolist(), fill=(*colour, alpha))

    def ellipse(self, x: float, y: float, width: float, height: float, colour: RGB, alpha: int = 255) -> None:
        """Fill an ellipse with centre (x, y)."""
        box = np.array((x - width / 2, y - height / 2, x + width / 2, y + height / 2)) * self.side
        self._draw.ellipse(box.tolist(), fill=(*colour, alpha))

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([value * self.side for value in (left, top, right, bottom)], fill=colour)

    def line(self, points: Points, width: float, colour: RGB) -> None:
        """Draw a thin line through points (P, 2)."""
        self._draw.line((points * self.side).ravel().tolist(), fill=colour, width=round(width * self.side))


def render(layout: Layout, rng: np.random.Generator, size: int) -> Image.Image:
    """Paint a layout.

    Args:
        layout: the scene to paint.
        rng: draws details that no caption mentions, such as clouds. The number of draws does not depend on the size.
        size: pixels per side.

    Returns:
        an RGB image.
    """
    canvas = _paint_background(layout.background, rng, size)
    for thing in layout.back_to_front:
        _paint_thing(canvas, thing, rng)
    return canvas.image.reduce(_SUPERSAMPLE)


def _paint_thing(canvas: _Canvas, thing: Thing, rng: np.random.Generator) -> None:
    noise = rng.integers(-_COLOUR_NOISE, _COLOUR_NOISE + 1, size=3)
    red, green, blue = np.clip(np.array(COLOURS[thing.colour]) + noise, 0, 255).tolist()
    colour = (red, green, blue)
    silhouette = thing.silhouette()
    for rim in silhouette:
        canvas.polygon(rim + _SHADOW, (0, 0, 0), alpha=45)
    for rim in silhouette:
        canvas.polygon(rim, shade(colour, -0.7))
    for points, amount in SHAPES[thing.category].parts:
        canvas.polygon(thing.place(points), shade(colour, amount))


def _paint_background(background: str, rng: np.random.Generator, size: int) -> _Canvas:
    far, near, detail = _BACKGROUNDS[background]
    horizon = rng.uniform(0.3, 0.5)
    height = size * _SUPERSAMPLE
    split = round(horizon * height)
    rows = np.concatenate((np.linspace(*far, split), np.linspace(*near, height - split)))
    canvas = _Canvas(size, np.clip(rows + rng.uniform(-6, 6), 0, 255))
    detail(canvas, rng, horizon)
    return canvas


def _clouds(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    for x, y, width in rng.uniform((0, 0.15, 0.1), (1, 0.7, 0.2), size=(3, 3)).tolist():
        for shift, scale in ((-0.5, 0.7), (0.5, 0.7), (0.0, 1.0)):
            puff = (x + shift * width, y * horizon - 0.02 * scale, scale * width, 0.4 * scale * width)
            canvas.ellipse(*puff, (255, 255, 255), alpha=200)


def _grass(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    _clouds(canvas, rng, horizon)
    for x, y, lean in rng.uniform((0, horizon + 0.03, -0.012), (1, 1, 0.012), size=(30, 3)).tolist():
        blade = np.array([(x - 0.006, y), (x + lean, y - 0.035), (x + 0.006, y)])
        canvas.polygon(blade, (132, 180, 92))


def _sand(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    canvas.rectangle(0, horizon - 0.1, 1, horizon, (120, 196, 214))
    canvas.rectangle(0, horizon - 0.012, 1, horizon + 0.004, (250, 250, 245))
    for x, y in rng.uniform((0, horizon + 0.03), (1, 1), size=(45, 2)).tolist():
        canvas.ellipse(x, y, 0.012, 0.008, (206, 184, 138))


def _snow(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    for x, width, height in rng.uniform((0, 0.3, 0.1), (1, 0.6, 0.22), size=(3, 3)).tolist():
        hill = np.array([(x - width / 2, horizon), (x, horizon - height), (x + width / 2, horizon)])
        canvas.polygon(hill, (226, 233, 242))
    for x, y in rng.uniform(0, 1, size=(45, 2)).tolist():
        canvas.ellipse(x, y, 0.014, 0.014, (255, 255, 255))


def _sea(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    _clouds(canvas, rng, horizon)
    for x, y in rng.uniform((-0.1, horizon + 0.04), (1, 1), size=(22, 2)).tolist():
        along = np.linspace(0, 1, 9)
        wave = np.stack((x + 0.13 * along, y + 0.007 * np.sin(along * 4 * np.pi)), axis=1)
        canvas.line(wave, 0.009, (186, 224, 234))


def _night(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    for x, y in rng.uniform((0, 0), (1, horizon - 0.02), size=(28, 2)).tolist():
        canvas.ellipse(x, y, 0.011, 0.011, (235, 235, 215))
    x, y = rng.uniform((0.08, 0.08), (0.92, 0.2)).tolist()
    canvas.ellipse(x, y, 0.12, 0.12, (240, 238, 215))


def _road(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    _clouds(canvas, rng, horizon)
    canvas.rectangle(0, horizon, 1, horizon + 0.025, (205, 205, 200))
    middle, phase = (horizon + 1.03) / 2, rng.uniform(0, 0.25)
    for start in np.arange(phase - 0.25, 1, 0.25).tolist():
        canvas.rectangle(start, middle - 0.013, start + 0.14, middle + 0.013, (246, 246, 240))


def _wall(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> None:
    brick = 0.08
    shift = rng.uniform(0, brick)
    for row, y in enumerate(np.arange(horizon - brick, 1 + brick, brick).tolist()):
        canvas.rectangle(0, y, 1, y + 0.006, (184, 180, 176))
        for x in np.arange(shift - brick + brick * (row % 2), 1, 2 * brick).tolist():
            canvas.rectangle(x, y, x + 0.006, y + brick, (184, 180, 176))


_Detail = Callable[[_Canvas, np.random.Generator, float], None]

# The colours of the far part (top, bottom) and of the near part (top, bottom), and the details painted on them.
# All colours are pale or dull, or dark at night. None is an object's colour.
_BACKGROUNDS: dict[str, tuple[tuple[RGB, RGB], tuple[RGB, RGB], _Detail]] = {
    "grass": (((150, 205, 245), (220, 240, 252)), ((184, 220, 140), (158, 204, 112)), _grass),
    "sand": (((165, 215, 248), (222, 242, 252)), ((242, 226, 184), (228, 206, 156)), _sand),
    "snow": (((176, 192, 214), (205, 216, 230)), ((250, 252, 255), (232, 238, 247)), _snow),
    "sea": (((190, 222, 242), (228, 242, 248)), ((138, 200, 216), (96, 164, 194)), _sea),
    "night": (((18, 20, 52), (44, 46, 92)), ((62, 74, 88), (40, 50, 64)), _night),
    "road": (((170, 210, 240), (225, 238, 246)), ((160, 162, 168), (134, 136, 142)), _road),
    "wall": (((206, 202, 198), (206, 202, 198)), ((206, 202, 198), (206, 202, 198)), _wall),
}
