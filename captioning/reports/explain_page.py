"""Write a self-contained HTML page that explains how models captioned one image, or translated one sentence."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from captioning.errors import shown
from captioning.files.atomic import write_text
from captioning.model.explanation import ExplainedCaption, Explanation
from captioning.reports.templates import render
from captioning.search.beam_record import Outcome

LARGEST_SIDE, LOSSLESS_SIDE = 800, 256
"""The image is reduced to this many pixels per side. Smaller ones than the second are written without loss."""
LARGEST_MAP = 32
"""The side of the largest attention map; larger ones are averaged."""
MOST_SHOWN = 150
"""Branches of a tree that are all shown at first; of larger trees, only those that were continued or ended."""

OUTCOMES = {
    Outcome.CONTINUED: ("", "continued"),
    Outcome.HYPOTHESIS: ("✓", "one of the n best captions"),
    Outcome.OUTRANKED: ("↓", "ended, but n other captions have a better rank"),
    Outcome.PRUNED: ("✕", "not among the K best of its step"),
    Outcome.STOPPED: ("■", "the search stopped: no prefix could displace one of the n best captions"),
    Outcome.TOO_LONG: ("⇥", "reached the maximum length"),
    Outcome.FORBIDDEN: ("⊘", "forbidden"),
}
"""A mark and a description of each outcome, in the order of the legend."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One model's part of the page.

    Attributes:
        name: of the model.
        explanation: what it did.
        box: left, top, right and bottom of what the encoder reads, as fractions of the image; None for a sentence.
    """

    name: str
    explanation: Explanation
    box: tuple[float, float, float, float] | None = None


def write_explanation(path: str | Path, title: str, image: Image.Image | None, models: Sequence[Explained]) -> None:
    """Write the page. It has at most about 6 MB for each model, and usually some hundred kilobytes.

    The page needs no network: a content security policy forbids all but the page's own script and style, by their
    digests, and images within it.

    Args:
        path: the file to write; an earlier one is replaced.
        title: the image's name, or the sentence.
        image: the image in RGB; None for a sentence.
        models: one or more models.

    Raises:
        InputError: the file cannot be written.
    """
    ratio = "" if image is None else f":root{{--ratio:{image.width / image.height:.4f}}}\n"
    style = _asset("explain_page.css") + ratio + "".join(_placed(n, one.box) for n, one in enumerate(models) if one.box)
    script = _asset("explain_page.js")
    page = render(
        "explain_page.html",
        title=plain(title),
        image=None if image is None else _image(image),
        models=[_model(number, one) for number, one in enumerate(models)],
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
    )
    write_text(path, page)


def plain(text: str) -> str:
    """Escape control characters, lone surrogates and marks that change the direction of writing."""
    return shown(text, 10 * len(text) + 1)  # nothing is shortened


def _asset(name: str) -> str:
    return resources.files("captioning.reports").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _placed(number: int, box: Sequence[float]) -> str:
    """Place a model's attention maps on the part of the image that its encoder reads."""
    left, top, right, bottom = (100 * side for side in box)
    sides = f"left:{left:.3f}%;top:{top:.3f}%;width:{right - left:.3f}%;height:{bottom - top:.3f}%"
    return f"#model-{number} .map{{{sides}}}\n"


def _model(number: int, one: Explained) -> dict[str, Any]:
    explanation = one.explanation
    settings = {
        name: [type(part).__name__ for part in value] if name == "processors" else value
        for name, value in explanation.settings.items()
        if name != "processors" or value
    }
    tree = explanation.tree
    return {
        "number": number,
        "name": plain(one.name),
        "decoder": explanation.decoder,
        "search": explanation.search,
        "settings": {name: plain(str(value)) for name, value in settings.items()},
        "confidence": explanation.confidence,
        "distance": explanation.distance,
        "source": None if explanation.source is None else [plain(token) for token in explanation.source],
        "attends": any(word.attention is not None for caption in explanation.captions for word in caption.words),
        "captions": [_caption(caption) for caption in explanation.captions],
        "tree": None if tree is None else _tree(explanation),
        "legend": [] if tree is None else _legend(explanation),
        "all_shown": tree is not None and len(tree) <= MOST_SHOWN,
        "num_left_out": explanation.num_left_out,
    }


def _caption(caption: ExplainedCaption) -> dict[str, Any]:
    weights = [word.attention for word in caption.words if word.attention is not None]
    largest = max((float(w.max()) for w in weights), default=0.0)
    return {
        "text": plain(caption.text),
        "log_prob": caption.log_prob,
        "mean": caption.mean,
        "finished": caption.finished,
        "words": [
            {
                "text": plain(word.text),
                "probability": word.probability,
                "attention": None if word.attention is None else _attention(word.attention, largest),
                "alternatives": [
                    {
                        "text": plain(choice.text),
                        "probability": choice.probability,
                        "rank": choice.rank,
                        "chosen": choice.chosen,
                        "forbidden": choice.forbidden,
                        "edit": choice.edit
                        and {
                            "text": plain(choice.edit.text),
                            "log_prob": choice.edit.log_prob,
                            "mean": choice.edit.mean,
                            "finished": choice.edit.finished,
                            "difference": choice.edit.log_prob - caption.log_prob,
                        },
                    }
                    for choice in word.alternatives
                ],
            }
            for word in caption.words
        ],
    }


def _attention(weights: Tensor, largest: float) -> dict[str, Any]:
    """Describe a word's attention: an image of it, or the brightness of the source's tokens in 0..1.

    Brightness is the square root of a weight's share of the largest. Small weights would be as dark as none.
    """
    about = {"largest": float(weights.max()), "equal": 1 / weights.numel()}
    scaled = (weights / max(largest, 1e-12)).clamp(0, 1).sqrt().numpy()
    if weights.ndim == 1:
        return about | {"png": None, "weights": " ".join(f"{value:.2f}" for value in scaled.tolist())}
    return about | {"png": _png(_coloured(scaled)), "weights": None}


def _coloured(scaled: np.ndarray[Any, Any]) -> Image.Image:
    """Colour a map as `captioning caption --attention` does: dark over small weights, bright over large ones."""
    from matplotlib import colormaps

    grey = Image.fromarray(scaled.astype(np.float32))
    if max(grey.size) > LARGEST_MAP:
        grey.thumbnail((LARGEST_MAP, LARGEST_MAP), Image.Resampling.BOX)
    colours = colormaps["inferno"](np.asarray(grey), alpha=0.6, bytes=True)
    return Image.fromarray(np.asarray(colours, dtype=np.uint8))


def _image(image: Image.Image) -> str:
    """Write the image into a data address."""
    image = image.copy()
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    if max(image.size) <= LOSSLESS_SIDE:
        return _png(image)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _tree(explanation: Explanation) -> list[list[Mapping[str, Any]]]:
    """Return the columns of the tree, one for each step."""
    assert explanation.tree is not None
    columns: list[list[Mapping[str, Any]]] = []
    for index, branch in enumerate(explanation.tree):
        if branch.step > len(columns):
            columns.append([])
        mark, about = OUTCOMES[branch.outcome]
        columns[-1].append(
            {
                "index": index,
                "parent": branch.parent,
                "text": plain(branch.text),
                "log_prob": branch.log_prob,
                "outcome": branch.outcome.replace(" ", "-"),
                "mark": mark,
                "about": about if branch.forbidden_by is None else f"{about} by {plain(branch.forbidden_by)}",
                "best": branch.best,
            }
        )
    return columns


def _legend(explanation: Explanation) -> list[Mapping[str, Any]]:
    """Count the branches of each outcome."""
    assert explanation.tree is not None
    counts = Counter(branch.outcome for branch in explanation.tree)
    return [
        {"outcome": outcome.replace(" ", "-"), "mark": mark, "about": about, "count": counts[outcome]}
        for outcome, (mark, about) in OUTCOMES.items()
        if counts[outcome]
    ]
