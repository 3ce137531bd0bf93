"""Lay out a scene: different objects, two or three of them in a relation that the image shows clearly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from captioning.data.scenes.shapes import COLOURS, SHAPES, Points

BACKGROUNDS = ("grass", "sand", "snow", "sea", "night", "road", "wall")
RELATIONS = ("left of", "right of", "above", "below", "in front of", "behind", "between")

# The longer side as a fraction of the image. The ranges do not touch, so that sizes can be recognized.
SIZES = {"large": (0.40, 0.45), "medium": (0.26, 0.31), "small": (0.17, 0.20)}

MARGIN = 0.02  # of the image: free space at its edges and around separate objects
HIDDEN = (0.10, 0.35)  # smallest and largest fraction of an object that the one in front covers

_CATEGORIES = tuple(SHAPES)
_RASTER = 256  # pixels per side of the raster that measures hidden parts
_TURN = 0.1  # radians that an object may lean to either side
_TRIES = 20  # positions tried per object before the whole scene is laid out again

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a scene.

    Attributes:
        category: a key of SHAPES.
        colour: a key of COLOURS.
        size: a key of SIZES.
        scale: half its longer side before leaning, as a fraction of the image.
        lean: clockwise rotation in radians.
        mirrored: whether left and right are swapped.
        centre: x and y as fractions of the image.
        box: left, top, width and height of its visible part, as fractions of the image.
        hidden: the fraction of it that another object covers.
    """

    category: str
    colour: str
    size: str
    scale: float
    lean: float
    mirrored: bool
    centre: tuple[float, float] = (0.0, 0.0)
    box: Box = (0.0, 0.0, 0.0, 0.0)
    hidden: float = 0.0

    def place(self, polygon: Points) -> Points:
        """Transform a polygon (P, 2) of the object's shape to fractions of the image."""
        cos, sin = self.scale * np.cos(self.lean), self.scale * np.sin(self.lean)
        flip = -1.0 if self.mirrored else 1.0
        turn = np.array([(flip * cos, flip * sin), (-sin, cos)])
        return np.asarray(polygon @ turn + self.centre, dtype=np.float64)

    def silhouette(self) -> list[Points]:
        """Return polygons, in fractions of the image, whose union is the object."""
        return [self.place(rim) for rim in SHAPES[self.category].rims]


@dataclass(frozen=True, slots=True)
class Layout:
    """A scene before it is painted and described.

    Attributes:
        background: one of BACKGROUNDS.
        relation: one of RELATIONS, the relation of the first object to the second. In "between", the first object is
            between the second and a third one, and the second is left of or above the third.
        things: the objects of the relation, then the others. The others are small and separate. The first object is the
            largest, except in "between", whose three objects are of equal size.
    """

    background: str
    relation: str
    things: tuple[Thing, ...]

    @property
    def num_related(self) -> int:
        """The number of objects in the relation."""
        return 3 if self.relation == "between" else 2

    @property
    def back_to_front(self) -> tuple[Thing, ...]:
        """The objects in painting order."""
        return self.things if self.relation == "behind" else self.things[::-1]


def sample_layout(rng: np.random.Generator) -> Layout:
    """Sample a background, a relation, and two to five objects of different colours with their positions."""
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    relation = RELATIONS[rng.integers(len(RELATIONS))]
    related = 3 if relation == "between" else 2
    others = int(rng.choice(6 - related, p=(0.55, 0.3, 0.15) if related == 3 else (0.35, 0.35, 0.2, 0.1)))
    if relation == "between":
        sizes = ["medium"] * 3
    else:
        # A second small object would make it ambiguous which object the relation is about.
        sizes = ["large", "medium" if others or rng.random() < 0.5 else "small"]
    sizes += ["small"] * others
    # If objects cannot be placed in the relation (a small star hides too little of a large house), sample others.
    while True:
        colours = rng.permutation(list(COLOURS)).tolist()
        things = [_unplaced(rng, colour, size) for colour, size in zip(colours, sizes, strict=False)]
        placed = _place_related(rng, relation, things[:related])
        for thing in things[related:]:
            placed = placed and _place_apart(rng, thing, placed)
        if placed:
            return Layout(background, relation, tuple(placed))


def _unplaced(rng: np.random.Generator, colour: str, size: str) -> Thing:
    return Thing(
        category=_CATEGORIES[rng.integers(len(_CATEGORIES))],
        colour=colour,
        size=size,
        scale=rng.uniform(*SIZES[size]) / 2,
        lean=rng.uniform(-_TURN, _TURN),
        mirrored=bool(rng.random() < 0.5),
    )


def _place_related(rng: np.random.Generator, relation: str, things: Sequence[Thing]) -> list[Thing]:
    first, second = things[:2]
    match relation:
        case "left of" | "above":
            return _in_a_row(rng, [first, second], axis=int(relation == "above"))
        case "right of" | "below":
            return _in_a_row(rng, [second, first], axis=int(relation == "below"))[::-1]
        case "between":
            row = _in_a_row(rng, [second, first, things[2]], axis=int(rng.integers(2)))
            return [row[1], row[0], row[2]] if row else []
        case "behind":
            return _overlapping(rng, back=first, front=second)
        case _:
            return _overlapping(rng, back=second, front=first)[::-1]


def _in_a_row(rng: np.random.Generator, things: Sequence[Thing], axis: int) -> list[Thing]:
    """Place things one after another along an axis (0: left to right, 1: top to bottom), nearly aligned.

    Returns:
        the placed things in that order, or nothing if they do not fit in the image.
    """
    bounds = [_bounds(thing) for thing in things]
    lengths = [high[axis] - low[axis] for low, high in bounds]
    room = 1 - 2 * MARGIN - sum(lengths)
    if room < 0.02 * len(things):
        return []
    gaps = rng.uniform(0.02, min(0.10, room / len(things)), size=len(things) - 1)
    position = MARGIN + rng.uniform(0, room - gaps.sum())
    across = 1 - axis
    widest = max(high[across] - low[across] for low, high in bounds)
    line = rng.uniform(MARGIN + widest / 2, 1 - MARGIN - widest / 2)
    placed = []
    for thing, (low, high), length, gap in zip(things, bounds, lengths, [*gaps, 0], strict=True):
        half = (high[across] - low[across]) / 2
        aside = np.clip(line + rng.uniform(-0.04, 0.04), MARGIN + half, 1 - MARGIN - half) - half
        corner = (position, aside) if axis == 0 else (aside, position)
        placed.append(_at(thing, low, corner))
        position += length + gap
    return placed


def _overlapping(rng: np.random.Generator, back: Thing, front: Thing) -> list[Thing]:
    """Place two things so that the front one covers part of the back one, which is at about the same height or higher.

    Returns:
        the back and the front thing, or nothing if no position was found.
    """
    for _ in range(_TRIES):
        back_centre = rng.uniform(0.15, 0.85, size=2)
        angle, side = rng.uniform(-0.15, 0.9), rng.choice((-1, 1))
        distance = (back.scale + front.scale) * rng.uniform(0.55, 0.95)
        front_centre = back_centre + distance * np.array((side * np.cos(angle), np.sin(angle)))
        front = replace(front, centre=(float(front_centre[0]), float(front_centre[1])))
        back = replace(back, centre=(float(back_centre[0]), float(back_centre[1])))
        if _inside(front) and _inside(back):
            box, hidden = _visible(back, front)
            if HIDDEN[0] <= hidden <= HIDDEN[1]:
                return [replace(back, box=box, hidden=hidden), replace(front, box=_box(front))]
    return []


def _place_apart(rng: np.random.Generator, thing: Thing, placed: list[Thing]) -> list[Thing]:
    """Add a thing where it touches no other. Return nothing if no position was found."""
    low, high = _bounds(thing)
    for corner in rng.uniform(MARGIN, 1 - MARGIN - (high - low), size=(_TRIES, 2)):
        candidate = _at(thing, low, corner)
        if all(_apart(candidate.box, other.box) for other in placed):
            return [*placed, candidate]
    return []


def _at(thing: Thing, low: Points, corner: Sequence[float] | Points) -> Thing:
    """Move a thing so that its box starts at `corner`. With its centre at the origin, the box starts at `low`."""
    thing = replace(thing, centre=(float(corner[0] - low[0]), float(corner[1] - low[1])))
    return replace(thing, box=_box(thing))


def _bounds(thing: Thing) -> tuple[Points, Points]:
    corners = np.concatenate(thing.silhouette())
    return corners.min(axis=0), corners.max(axis=0)


def _box(thing: Thing) -> Box:
    low, high = _bounds(thing)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _inside(thing: Thing) -> bool:
    low, high = _bounds(thing)
    return bool(low.min() >= MARGIN and high.max() <= 1 - MARGIN)


def _apart(first: Box, second: Box) -> bool:
    return any(
        first[i] + first[i + 2] + MARGIN <= second[i] or second[i] + second[i + 2] + MARGIN <= first[i] for i in (0, 1)
    )


def _visible(back: Thing, front: Thing) -> tuple[Box, float]:
    """Measure on a raster the visible box of a thing behind another, and its hidden fraction."""
    raster = Image.new("L", (_RASTER, _RASTER))
    draw = ImageDraw.Draw(raster)
    for polygon in back.silhouette():
        draw.polygon((polygon * _RASTER).ravel().tolist(), fill=1)
    whole = raster.histogram()[1]
    for polygon in front.silhouette():
        draw.polygon((polygon * _RASTER).ravel().tolist(), fill=0)
    left, top, right, bottom = raster.getbbox() or (0, 0, 0, 0)
    box = (left / _RASTER, top / _RASTER, (right - left) / _RASTER, (bottom - top) / _RASTER)
    return box, 1 - raster.histogram()[1] / whole
