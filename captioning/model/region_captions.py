"""Captions of the regions of an image, and a drawing of them.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), section 3.2 and figure 6: the generator captions one region at a
time, from the region's own vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.encoders.features import ImageFeatures
from captioning.encoders.grid_cells import GridCells, cells_as_images
from captioning.errors import InputError
from captioning.model.attention_maps import grid_shape
from captioning.model.caption import Caption
from captioning.model.captioner import Captioner
from captioning.model.image_model import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLOURS = 10
"""The colours of matplotlib's `tab10`."""


@dataclass(frozen=True)
class RegionCaption:
    """A caption of one region.

    Attributes:
        text: the caption.
        score: its log-probability in nats for each word, the end word counted: the mean over the cells.
        cells: the cells of the region, counted row by row from 0.
    """

    text: str
    score: float
    cells: tuple[int, ...]


@dataclass(frozen=True)
class CaptionedRegions:
    """An image's captions.

    Attributes:
        whole: the caption of the whole image.
        regions: the best-scored captions of regions first. Texts differ, and no cell is in two regions.
        shape: rows and columns of the grid.
    """

    whole: RegionCaption
    regions: tuple[RegionCaption, ...]
    shape: tuple[int, int]


@torch.inference_mode()
def caption_regions(captioner: Captioner, inputs: Tensor, *, most: int) -> list[CaptionedRegions]:
    """Caption the whole image and each of its grid cells; cells with the same caption are one region.

    Args:
        captioner: a model of `encoder=grid_cells`.
        inputs: (I, C, H, W), from `ImageModel.pixels`.
        most: regions of each image, the best-scored ones.

    Raises:
        InputError: the model was not trained on regions, or its cells form no grid.
    """
    if not isinstance(captioner.encoder, GridCells):
        raise InputError(
            f"the captioner's encoder is {type(captioner.encoder).__name__}, and its captions are of whole images; use "
            "a captioner that was trained on `captioning snippets` with encoder=grid_cells, or `captioning caption`"
        )
    with evaluating(captioner):
        features: ImageFeatures = captioner.encoder(inputs.to(captioner.device))
    assert features.grid is not None
    shape = grid_shape(features.grid.shape[1], *captioner.image_transform.size)
    found = []
    for row in range(len(features)):  # one image at a time: it is a batch of 1 + R rows
        image = features.rows(torch.tensor([row], device=features.pooled.device))
        whole, *cells = captioner.decode_features(cells_as_images(image))
        found.append(CaptionedRegions(_region([whole], ()), _joined(cells, most), shape))
    return found


def _joined(captions: Sequence[Caption], most: int) -> tuple[RegionCaption, ...]:
    """Make one region of all cells with the same caption, and keep the best-scored regions."""
    cells: dict[str, list[int]] = {}
    for cell, caption in enumerate(captions):
        cells.setdefault(caption.text, []).append(cell)
    regions = [_region([captions[cell] for cell in own], own) for own in cells.values()]
    return tuple(sorted(regions, key=lambda region: -region.score)[:most])


def _region(captions: Sequence[Caption], cells: Sequence[int]) -> RegionCaption:
    text = captions[0].text
    num_words = len(text.split()) + 1  # <eos>
    return RegionCaption(text, sum(caption.score for caption in captions) / len(captions) / num_words, tuple(cells))


def draw_regions(pixels: Tensor, found: CaptionedRegions) -> Figure:
    """Draw an image with its regions in colours, and their captions beside it in the same colours.

    Args:
        pixels: the image as the encoder reads it, (C, H, W) in 0..1; see `attention_maps.shown_pixels`.
        found: its captions.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    image = pixels.permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    rows, columns = found.shape
    cell = height / rows, width / columns
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    shown, legend = figure.subplots(1, 2)
    shown.imshow(image, extent=(0, width, height, 0))
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    lines = [("black", found.whole)]
    for number, region in enumerate(found.regions):
        colour = colours[number % MOST_COLOURS]
        lines.append((colour, region))
        for row, column in (divmod(own, columns) for own in region.cells):
            corner = column * cell[1], row * cell[0]
            shown.add_patch(Rectangle(corner, cell[1], cell[0], facecolor=(*colour, 0.35), edgecolor=colour))
            middle = corner[0] + cell[1] / 2, corner[1] + cell[0] / 2
            shown.text(*middle, str(number + 1), ha="center", va="center", color="white", fontsize=8)
    for number, (colour, region) in enumerate(lines):
        label = "image" if number == 0 else str(number)
        text = f"{label}: {region.text}  ({region.score:.2f})"
        legend.text(0, 1 - (number + 0.5) / len(lines), text, color=colour, va="center", wrap=True, parse_math=False)
    for axes in (shown, legend):
        axes.axis("off")
    return figure
