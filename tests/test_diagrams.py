"""The notebooks' drawings of networks: every box and arrow that is named is drawn, and arrows point the right way."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PATH = Path(__file__).parents[1] / "notebooks" / "diagrams.py"
spec = importlib.util.spec_from_file_location("diagrams", PATH)
diagrams = importlib.util.module_from_spec(spec)
spec.loader.exec_module(diagrams)

BOXES = {
    "image": (0, 1, "CNN", "image"),
    "layer": (1, 1, "LSTM", "layer"),
    "word": (1, 0, "red", "word"),
    "last": (3, 1, "LSTM", "layer"),
}


def test_each_box_shows_its_text_and_each_arrow_joins_its_boxes() -> None:
    ax = Figure(figsize=(6, 2)).add_subplot()
    arrows = [("image", "layer"), ("word", "layer"), ("image", "last")]
    diagrams.draw(ax, BOXES, arrows, title="a network")
    assert [text.get_text() for text in ax.texts] == ["CNN", "LSTM", "red", "LSTM"]
    assert sum(isinstance(patch, FancyBboxPatch) for patch in ax.patches) == len(BOXES)
    drawn = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    for arrow, (first, second) in zip(drawn, arrows, strict=True):
        begin = arrow.get_path().vertices[0]
        tip = min(arrow.get_path().vertices, key=lambda point: np.abs(point - BOXES[second][:2]).sum())
        for point, box in ((begin, BOXES[first]), (tip, BOXES[second])):
            assert abs(point[0] - box[0]) <= 0.5 and abs(point[1] - box[1]) <= 0.3


def test_all_boxes_are_inside() -> None:
    ax = Figure().add_subplot()
    diagrams.draw(ax, BOXES, [])
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y, _, _ in BOXES.values():
        assert left < x - 0.42 and x + 0.42 < right and bottom < y - 0.25 and y + 0.25 < top


def test_an_arrow_over_other_boxes_is_an_arc_above_them() -> None:
    ax = Figure().add_subplot()
    diagrams.draw(ax, BOXES, [("image", "last"), ("image", "layer"), ("layer", "last")])
    arc, *straight = (patch.get_path().vertices[:, 1] for patch in ax.patches if isinstance(patch, FancyArrowPatch))
    assert arc.max() > 1.25 > max(y.max() for y in straight)


def test_an_arrow_over_a_box_in_its_column_is_an_arc_beside_it() -> None:
    ax = Figure().add_subplot()
    diagrams.draw(ax, BOXES | {"said": (1, 2, "ball", "output")}, [("word", "said")])
    (arc,) = (patch for patch in ax.patches if isinstance(patch, FancyArrowPatch))
    assert np.abs(arc.get_path().vertices[:, 0] - 1).max() > 0.3


def test_a_name_without_a_box_is_refused() -> None:
    with pytest.raises(KeyError, match="decoder"):
        diagrams.draw(Figure().add_subplot(), BOXES, [("image", "decoder")])
