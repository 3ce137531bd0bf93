"""Build the scorer of a split's references from plain arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from captioning.metrics import COCO_METRICS, CocoScorer
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.files import ImageId
from captioning.metrics.table import OWN_BACKEND


def build_scorer(
    references: Mapping[ImageId, Sequence[str]],
    *,
    names: Collection[str] = COCO_METRICS,
    backend: str = OWN_BACKEND,
    frequencies: DocumentFrequencies | None = None,
    clip: str | Path | None = None,
    images: Sequence[Path] | None = None,
    device: str = "cpu",
) -> CocoScorer:
    """Build the scorer of a split's references.

    To check names and backend before references are read, call `captioning.metrics.table.check_metrics`.

    Args:
        references: the reference captions of each image, as published.
        names: the metrics to compute, from `captioning.metrics.METRICS`.
        backend: one of `captioning.metrics.BACKENDS`.
        frequencies: CIDEr's document frequencies; None counts these references.
        clip: the folder of a CLIP model, for CLIPScore.
        images: the file of each image in the order of the references, for CLIPScore.
        device: of the CLIP model, such as "cuda".

    Raises:
        InputError: the metrics cannot be computed, or the references or the CLIP model are not valid.
    """
    embedding = None
    if clip is not None:
        from captioning.evaluation.clip import Clip  # imports torch

        embedding = Clip(clip, device=device)
    return CocoScorer(
        references, metrics=names, backend=backend, frequencies=frequencies, images=images, embedding=embedding
    )
