"""Captions of the regions of an image, and a drawing of them.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), section 3.2: the generator captions one region at a time, from the
region's own vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.encoders.features import ImageFeatures
from captioning.encoders.grid_cells import GridCells
from captioning.errors import InputError
from captioning.model.attention_maps import grid_shape
from captioning.model.caption import Caption
from captioning.model.captioner import Captioner
from captioning.modes import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        regions: the best-scored captions of regions first. Texts differ, and no cell is in two regions.
        shape: rows and columns of the grid.
    """

    regions: tuple[RegionCaption, ...]
    shape: tuple[int, int]


@torch.inference_mode()
def caption_regions(captioner: Captioner, inputs: Tensor, *, most: int) -> list[CaptionedRegions]:
    """Caption each grid cell of images; cells with the same caption are one region.

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
    return [  # one image at a time: it is a batch of R rows, pooled as those of the training's feature store are
        CaptionedRegions(_joined(captioner.decode_features(ImageFeatures(cells)), most), shape)
        for cells in features.grid
    ]


def _joined(captions: Sequence[Caption], most: int) -> tuple[RegionCaption, ...]:
    """Make one region of all cells with the same caption, and keep the best-scored regions."""
    cells: dict[str, list[int]] = {}
    for cell, caption in enumerate(captions):
        cells.setdefault(caption.text, []).append(cell)
    regions = [
        RegionCaption(text, fmean(captions[cell].score for cell in own) / (len(text.split()) + 1), tuple(own))
        for text, own in cells.items()
    ]
    return tuple(sorted(regions, key=lambda region: -region.score)[:most])


def draw_regions(pixels: Tensor, found: CaptionedRegions) -> Figure:
    """Draw an image with its regions in colours, and their captions beside it in the same colours.

    Args:
        pixels: the image as the encoder reads it, (C, H, W) in 0..1; see `attention_maps.shown_pixels`.
        found: its captions.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    height, width = pixels.shape[1:]
    rows, columns = found.shape
    across, down = width / columns, height / rows
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    image, captions = figure.subplots(1, 2)
    image.imshow(pixels.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for number, region in enumerate(found.regions, 1):
        colour = colours[(number - 1) % len(colours)]
        for row, column in (divmod(cell, columns) for cell in region.cells):
            left, top = column * across, row * down
            image.add_patch(Rectangle((left, top), across, down, facecolor=(*colour, 0.2), edgecolor=colour))
            middle = {"ha": "center", "va": "center", "path_effects": [withStroke(linewidth=2, foreground="white")]}
            image.text(left + across / 2, top + down / 2, str(number), color=colour, weight="bold", **middle)
        line = f"{number}: {region.text} ({region.score:.2f})"
        place = 1 - (number - 0.5) / len(found.regions)
        captions.text(0, place, line, color=colour, va="center", wrap=True, parse_math=False)
    for axes in (image, captions):
        axes.axis("off")
    return figure
