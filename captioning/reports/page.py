"""Write a self-contained HTML page of one evaluation: scores, images, captions and references."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from captioning.data.example import CaptionedImage
from captioning.data.images import load_image
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation
from captioning.files.atomic import write_text
from captioning.reports.templates import render

log = logging.getLogger(__name__)

EXTREMES = 5  # images each with the best, median and worst captions
BARS, BAR_WIDTH = 20, 0.05  # of the CIDEr histogram; bars have a multiple of this width


def write_page(
    path: Path,
    images: Sequence[CaptionedImage],
    evaluation: Evaluation,
    metrics: Mapping[str, Any],
    *,
    examples: int = 20,
) -> None:
    """Write one evaluation as a self-contained page that can be searched and sorted.

    The page shows the scores of the split, a histogram of CIDEr, an evenly spaced sample of images, the images with
    the best, median and worst captions by CIDEr, and a table of all captions. A grey box replaces an image that cannot
    be read.

    Args:
        path: the file to write.
        images: the images of the split, in its order.
        evaluation: the evaluation of the same images.
        metrics: the content of metrics.json.
        examples: the number of images in the sample.

    Raises:
        InputError: the file cannot be written.
    """
    per_image = evaluation.scores.per_image
    ranked = sorted(images, key=lambda image: -per_image[image.image_id].get("CIDEr", 0.0))
    middle = max(0, (len(ranked) - EXTREMES) // 2)
    chosen = {"Sample of the split": images[:: max(1, len(images) // examples)][:examples]}
    if "CIDEr" in evaluation.scores.corpus and len(images) > 3 * EXTREMES:
        chosen |= {
            "Best by CIDEr": ranked[:EXTREMES],
            "Median by CIDEr": ranked[middle : middle + EXTREMES],
            "Worst by CIDEr": ranked[: -EXTREMES - 1 : -1],
        }
    page = render(
        "page.html",
        metrics=metrics["metrics"],
        intervals=metrics.get("intervals", {}),
        confidence=metrics["signature"].get("bootstrap", {}).get("confidence"),
        signature=metrics["signature"],
        calibration=metrics.get("calibration"),
        columns=[name for name in evaluation.scores.corpus if not name.startswith("BLEU")],
        rows=list(_rows(images, evaluation)),
        sections=_sections(chosen, evaluation),
        **_histogram([scores["CIDEr"] for scores in per_image.values() if "CIDEr" in scores]),
    )
    write_text(path, page)


def _sections(chosen: Mapping[str, Sequence[CaptionedImage]], evaluation: Evaluation) -> list[dict[str, Any]]:
    images = list({image.image_id: image for group in chosen.values() for image in group}.values())
    jpegs = dict(zip((image.image_id for image in images), map(_jpeg, images_to_show(images)), strict=True))
    rows = {row["image_id"]: row for row in _rows(images, evaluation)}
    return [
        {
            "title": title,
            "id": title.split()[0].lower(),
            "examples": [rows[image.image_id] | {"jpeg": jpegs[image.image_id]} for image in group],
        }
        for title, group in chosen.items()
    ]


def _rows(images: Sequence[CaptionedImage], evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    predictions = {p.image_id: p for p in evaluation.predictions}
    for image in images:
        prediction, scores = predictions[image.image_id], evaluation.scores.per_image[image.image_id]
        yield {
            "image_id": image.image_id,
            "caption": prediction.caption,
            "log_probability": prediction.score,
            "cider": scores.get("CIDEr"),
            "scores": [value for name, value in scores.items() if not name.startswith("BLEU")],
            "text": image.text,
            "references": image.captions,
        }


def _histogram(ciders: Sequence[float]) -> dict[str, Any]:
    """Compute the bars of the CIDEr histogram; the tallest has height 100."""
    if not ciders:
        return {"histogram": [], "tallest": 0}
    width = max(1, math.ceil(max(ciders) / BARS / BAR_WIDTH)) * BAR_WIDTH
    counts, edges = np.histogram(ciders, bins=BARS, range=(0.0, BARS * width))
    bars = [
        {"low": low, "high": high, "count": count, "height": round(100 * count / counts.max(), 1)}
        for count, (low, high) in zip(counts.tolist(), pairwise(edges.tolist()), strict=True)
    ]
    return {"histogram": bars, "tallest": int(counts.max())}


def images_to_show(images: Sequence[CaptionedImage]) -> Iterator[Image | None]:
    """Load the images one after the other, reduced to at most 480 pixels per side.

    An image that cannot be read gives None: an evaluation with cached features needs no image files. One warning
    counts these images and gives the first error. A sentence to translate also gives None.
    """
    errors = []
    for image in images:
        if image.text is not None:
            yield None
            continue
        try:
            thumbnail = load_image(image.path)
            thumbnail.thumbnail((480, 480))
        except InputError as error:
            errors.append(error)
            yield None
        else:
            yield thumbnail
    if errors:
        log.warning("%d of %d images are not shown; the first: %s", len(errors), len(images), errors[0])


def _jpeg(image: Image | None) -> str | None:
    if image is None:
        return None
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
