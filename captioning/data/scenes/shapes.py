"""The shapes and colours of objects: polygons around the origin and the colours that fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

RIM = 0.11  # width of the dark rim, for a shape that spans about [-1, 1]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 42),
    "orange": (250, 132, 20),
    "yellow": (252, 220, 40),
    "green": (26, 142, 58),
    "blue": (38, 92, 222),
    "purple": (132, 52, 172),
    "pink": (255, 138, 192),
    "brown": (118, 70, 36),
}


@dataclass(frozen=True)
class Shape:
    """The shape of a kind of object, centred on the origin. Its longer side has length 2; y points down.

    Attributes:
        rims: polygons (P, 2) whose union is the silhouette: each solid part, widened by its rim.
        parts: polygons (P, 2) in painting order, each with a shade from -1 (black) to 1 (white); 0 is the object's own
            colour.
    """

    rims: tuple[Points, ...]
    parts: tuple[tuple[Points, float], ...]


def _circle(x: float, y: float, radius: float, height: float | None = None, corners: int = 28) -> Points:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack((x + radius * np.cos(angle), y + (height or radius) * np.sin(angle)), axis=1)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)


def _polygon(*corners: tuple[float, float]) -> Points:
    return np.array(corners, dtype=np.float64)


def _star(inner: float) -> Points:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2, inner, 1.0)
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)


def _heart() -> Points:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(angle) ** 3
    y = 13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)
    return np.stack((x, -y), axis=1) / 16


def _ring(outer: float, inner: float) -> Points:
    # One path: around the outside, then around the hole in the opposite direction, joined by a seam of zero width.
    circle = np.concatenate((_circle(0, 0, 1), [(1.0, 0.0)]))
    return np.concatenate((outer * circle, inner * circle[::-1]))


def _grown(polygon: Points, width: float) -> Points:
    """Move every edge outwards by `width`. Corners stay corners, but very sharp ones grow less."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    length = np.linalg.norm(edges, axis=1, keepdims=True)
    normals = np.stack((edges[:, 1], -edges[:, 0]), axis=1) / np.where(length, length, 1)
    before = np.roll(normals, 1, axis=0)
    mitre = (normals + before) / np.maximum(1 + (normals * before).sum(1, keepdims=True), 0.35)
    return np.asarray(polygon + width * mitre, dtype=np.float64)


def _shape(
    solid: tuple[tuple[Points, float], ...],
    details: tuple[tuple[Points, float], ...] = (),
    rims: Sequence[Points] = (),
) -> Shape:
    rims = rims or [_grown(points, RIM) for points, _ in solid]
    corners = np.concatenate(rims)
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle, scale = (low + high) / 2, 2 / (high - low).max()
    return Shape(
        rims=tuple((rim - middle) * scale for rim in rims),
        parts=tuple(((points - middle) * scale, shade) for points, shade in (*solid, *details)),
    )


_CROSS = _polygon(
    *((-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)),
    *((0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)),
)

SHAPES: dict[str, Shape] = {
    "ball": _shape(
        ((_circle(0, 0, 1), 0.0),),
        ((_circle(0.05, 0.08, 0.8), 0.12), (_circle(-0.36, -0.4, 0.24, 0.18), 0.8)),
    ),
    "box": _shape(
        ((_rectangle(-1, -1, 1, 1), 0.0),),
        ((_rectangle(-1, -1, 1, -0.55), 0.35), (_rectangle(-0.2, -1, 0.2, 1), -0.3)),
    ),
    "triangle": _shape(
        ((_polygon((0, -0.9), (1, 0.8), (-1, 0.8)), 0.0),),
        ((_polygon((0, -0.9), (0, 0.8), (-1, 0.8)), 0.15),),
    ),
    "star": _shape(((_star(0.45), 0.0),), ((0.55 * _star(0.45), 0.3),)),
    "ring": _shape(
        ((_ring(1, 0.5), 0.0),),
        ((_ring(0.82, 0.68), 0.3),),
        rims=(_ring(1 + RIM, 0.5 - RIM),),
    ),
    "cross": _shape(((_CROSS, 0.0),), ((0.68 * _CROSS, 0.15),)),
    "heart": _shape(((_heart(), 0.0),), ((_circle(-0.48, -0.38, 0.2, 0.16), 0.7),)),
    "house": _shape(
        (
            (_rectangle(-0.75, -0.1, 0.75, 1), 0.0),
            (_polygon((0, -1), (1, 0), (-1, 0)), -0.28),
        ),
        (
            (_rectangle(-0.5, 0.25, -0.05, 0.65), 0.85),
            (_rectangle(0.2, 0.3, 0.58, 1), -0.55),
        ),
    ),
    "tree": _shape(
        (
            (_rectangle(-0.17, 0.2, 0.17, 1.1), -0.6),
            (_circle(-0.42, 0.05, 0.46), -0.12),
            (_circle(0.42, 0.05, 0.46), -0.12),
            (_circle(0, -0.42, 0.56), 0.0),
        ),
        ((_circle(-0.05, -0.1, 0.45), 0.0), (_circle(-0.2, -0.6, 0.17), 0.3)),
    ),
    "car": _shape(
        (
            (_polygon((-0.55, -0.5), (0.3, -0.5), (0.62, 0.0), (-0.75, 0.0)), 0.0),
            (_polygon((-1, 0), (0.75, 0), (1, 0.15), (1, 0.48), (-1, 0.48)), 0.0),
            (_circle(-0.52, 0.48, 0.25), -0.85),
            (_circle(0.52, 0.48, 0.25), -0.85),
        ),
        (
            (_polygon((-0.46, -0.38), (-0.1, -0.38), (-0.1, -0.02), (-0.58, -0.02)), 0.85),
            (_polygon((0.02, -0.38), (0.23, -0.38), (0.44, -0.02), (0.02, -0.02)), 0.85),
            (_circle(-0.52, 0.48, 0.1), 0.7),
            (_circle(0.52, 0.48, 0.1), 0.7),
        ),
    ),
    "boat": _shape(
        (
            (_rectangle(-0.09, -0.95, 0.03, 0.45), -0.6),
            (_polygon((0.08, -0.9), (0.75, 0.25), (0.08, 0.25)), 0.45),
            (_polygon((-0.17, -0.7), (-0.17, 0.25), (-0.66, 0.25)), 0.25),
            (_polygon((-1, 0.4), (1, 0.4), (0.62, 0.95), (-0.66, 0.95)), 0.0),
        ),
    ),
    "fish": _shape(
        (
            (_polygon((0.35, 0), (1, -0.52), (0.82, 0), (1, 0.52)), -0.2),
            (_circle(-0.25, 0, 0.75, 0.5), 0.0),
        ),
        (
            (_circle(-0.62, -0.13, 0.13), 0.95),
            (_circle(-0.65, -0.12, 0.065), -0.95),
            (_polygon((-0.2, -0.12), (0.12, 0.02), (-0.2, 0.2)), -0.3),
        ),
    ),
}


def shade(colour: tuple[int, int, int], amount: float) -> tuple[int, int, int]:
    """Mix an RGB colour with white (`amount` > 0) or black (`amount` < 0). 1 gives white, -1 gives black."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(value + (target - value) * abs(amount)) for value in colour)
    return red, green, blue
