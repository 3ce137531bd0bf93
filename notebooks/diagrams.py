"""Draw a network over time: boxes for what is computed, arrows for what reads what. Time goes from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

COLOURS = {"word": "#f2f2f2", "image": "#ffe0b2", "layer": "#cfe2ff", "vector": "#e4d4f4", "output": "#d5f0d0"}
"""The kinds of boxes and their colours: a word that is read, an image, a layer, a vector, a word that is predicted."""

HEIGHT, GAP = 0.5, 0.08  # of a box; at both sides of it, where the distance of columns and of rows is 1

Box = tuple[float, float, str, str]
"""Column, row from the bottom, text, and a key of COLOURS."""


def draw(ax: Axes, boxes: Mapping[str, Box], arrows: Sequence[tuple[str, str]], *, title: str = "") -> None:
    """Draw boxes and arrows. The figure should be about 1.3 inches wide for each column, and 0.9 high for each row.

    If other boxes lie between an arrow's two, in their row or column, it is drawn as an arc around them.

    Args:
        ax: where to draw.
        boxes: by name.
        arrows: the names of the box that is read and of the box that reads it.
        title: above the drawing.
    """
    patches = {name: _box(ax, box) for name, box in boxes.items()}
    for first, second in arrows:
        arc = _arc(boxes[first], boxes[second], boxes.values())
        ax.add_patch(
            FancyArrowPatch(
                boxes[first][:2],
                boxes[second][:2],
                patchA=patches[first],
                patchB=patches[second],
                shrinkA=0,
                shrinkB=1,
                arrowstyle="-|>",
                mutation_scale=11,
                color="#444444",
                connectionstyle=f"arc3,rad={arc}",
                zorder=0,
            )
        )
    columns, rows = ([box[axis] for box in boxes.values()] for axis in (0, 1))
    ax.set_xlim(min(columns) - 0.55, max(columns) + 0.55)
    ax.set_ylim(min(rows) - 0.45, max(rows) + 0.45)
    ax.set_title(title, fontsize=11)
    ax.axis("off")


def _box(ax: Axes, box: Box) -> Patch:
    x, y, text, kind = box
    corner = (x - 0.5 + GAP, y - HEIGHT / 2)
    patch = FancyBboxPatch(
        corner, 1 - 2 * GAP, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc=COLOURS[kind], ec="#444444"
    )
    ax.add_patch(patch)
    ax.text(x, y, text, ha="center", va="center", fontsize=9)
    return patch


def _arc(first: Box, second: Box, boxes: Iterable[Box]) -> float:
    """Return how far an arrow is bent, as twice the fraction of its length; 0 if no box lies between its two."""
    for same, along, bend in ((1, 0, -0.3), (0, 1, -0.7)):  # within a row, within a column
        low, high = sorted((first[along], second[along]))
        if first[same] == second[same] and any(b[same] == first[same] and low < b[along] < high for b in boxes):
            return bend
    return 0.0
