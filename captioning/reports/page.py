"""A self-contained HTML report of one evaluation: figures, images, captions and references."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL.Image import Image

from captioning.data.example import CaptionedImage
from captioning.data.images import load_image
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation

log = logging.getLogger(__name__)

EXTREMES = 5  # images of the best captions, of the median ones, and of the worst
BARS, BAR_WIDTH = 20, 0.05  # of the distribution of CIDEr; a bar is a multiple of that wide


def write_page(
    path: Path,
    images: Sequence[CaptionedImage],
    evaluation: Evaluation,
    metrics: Mapping[str, Any],
    *,
    examples: int = 20,
) -> None:
    """Write the report of one evaluation as a page that can be searched and sorted, and needs nothing else.

    It has the split's figures, the distribution of CIDEr over its images, images that are spread evenly over the
    split, those of the best, median and worst captions by CIDEr, and every caption in a table. In the place of a
    image that cannot be read stands a grey field.

    Args:
        path: the file.
        images: of the whole split, in its order.
        evaluation: of the same images.
        metrics: what metrics.json holds.
        examples: images that are spread over the split.
    """
    per_image = evaluation.scores.per_image
    ranked = sorted(images, key=lambda image: -per_image[image.image_id].get("CIDEr", 0.0))
    middle = max(0, (len(ranked) - EXTREMES) // 2)
    chosen = {"Spread over the split": images[:: max(1, len(images) // examples)][:examples]}
    if "CIDEr" in evaluation.scores.corpus and len(images) > 3 * EXTREMES:
        chosen |= {
            "Best by CIDEr": ranked[:EXTREMES],
            "Median": ranked[middle : middle + EXTREMES],
            "Worst": ranked[: -EXTREMES - 1 : -1],
        }
    page = (
        environment()
        .get_template("page.html")
        .render(
            metrics=metrics["metrics"],
            intervals=metrics.get("intervals", {}),
            confidence=metrics["signature"].get("bootstrap", {}).get("confidence"),
            signature=metrics["signature"],
            columns=[name for name in evaluation.scores.corpus if not name.startswith("BLEU")],
            rows=list(_rows(images, evaluation)),
            sections=_sections(chosen, evaluation),
            **_histogram([figures["CIDEr"] for figures in per_image.values() if "CIDEr" in figures]),
        )
    )
    path.write_text(page, encoding="utf-8")


def environment() -> jinja2.Environment:
    """The package's pages: text is shown as text, and a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("captioning.reports", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )


def _sections(chosen: Mapping[str, Sequence[CaptionedImage]], evaluation: Evaluation) -> list[dict[str, Any]]:
    images = list({image.image_id: image for group in chosen.values() for image in group}.values())
    pictures = dict(zip((image.image_id for image in images), map(_jpeg, images_to_show(images)), strict=True))
    rows = {row["image_id"]: row for row in _rows(images, evaluation)}
    return [
        {
            "title": title,
            "id": title.split()[0].lower(),
            "examples": [rows[image.image_id] | {"picture": pictures[image.image_id]} for image in group],
        }
        for title, group in chosen.items()
    ]


def _rows(images: Sequence[CaptionedImage], evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    predictions = {p.image_id: p for p in evaluation.predictions}
    for image in images:
        prediction, figures = predictions[image.image_id], evaluation.scores.per_image[image.image_id]
        yield {
            "image_id": image.image_id,
            "caption": prediction.caption,
            "score": prediction.score,
            "cider": figures.get("CIDEr"),
            "figures": [value for name, value in figures.items() if not name.startswith("BLEU")],
            "text": image.text,
            "references": image.captions,
        }


def _histogram(ciders: Sequence[float]) -> dict[str, Any]:
    """The bars of the distribution, 100 high at most."""
    if not ciders:
        return {"histogram": [], "tallest": 0}
    width = max(1, math.ceil(max(ciders) / BARS / BAR_WIDTH)) * BAR_WIDTH
    counts, edges = np.histogram(ciders, bins=BARS, range=(0.0, BARS * width))
    bars = [
        {"low": low, "high": high, "count": count, "height": round(100 * count / counts.max(), 1)}
        for count, (low, high) in zip(counts.tolist(), pairwise(edges.tolist()), strict=True)
    ]
    return {"histogram": bars, "tallest": int(counts.max())}


def images_to_show(images: Sequence[CaptionedImage]) -> list[Image | None]:
    """The images' images of at most 480 pixels.

    None stands for one that cannot be read, which is no reason to stop: with cached features nothing else needs it.
    One warning counts these and says why the first is missing.
    """
    pictures: list[Image | None] = []
    errors = []
    for image in images:
        if image.text is not None:
            pictures.append(None)
            continue
        try:
            picture = load_image(image.path)
            picture.thumbnail((480, 480))
            pictures.append(picture)
        except InputError as error:
            errors.append(error)
            pictures.append(None)
    if errors:
        log.warning("%d of %d images are not shown; the first: %s", len(errors), len(pictures), errors[0])
    return pictures


def _jpeg(picture: Image | None) -> str | None:
    if picture is None:
        return None
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
