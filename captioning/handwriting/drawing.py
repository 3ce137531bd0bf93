"""Draw lines of handwriting, and the window's path over their characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def strokes(points: ArrayLike) -> list[NDArray[np.float64]]:
    """Turn points (T, 3) into the positions of each stroke, (t, 2) each."""
    values = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    ends = np.flatnonzero(values[:, 2] > 0.5) + 1
    return [stroke for stroke in np.split(values[:, :2].cumsum(0), ends) if len(stroke)]


def draw_line(axes: Axes, points: ArrayLike, *, color: str = "black") -> None:
    """Draw points (T, 3) as a pen writes them, without a frame."""
    for stroke in strokes(points):
        axes.plot(*stroke.T, color=color, linewidth=1.5, solid_capstyle="round")
    axes.set_aspect("equal")
    axes.axis("off")


def draw_window(axes: Axes, weights: ArrayLike, text: str) -> None:
    """Draw φ, (T, U): points to the right, characters upwards; each point's weights are divided by the largest one."""
    phi = np.asarray(weights, dtype=np.float64)
    axes.imshow(
        (phi / phi.max(1, keepdims=True)).T, origin="lower", aspect="auto", cmap="Greys", interpolation="nearest"
    )
    axes.set_yticks(range(len(text)), list(text.replace(" ", "␣")))
    axes.set_xlabel("point $t$")
