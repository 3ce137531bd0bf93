"""Load a bundle of any kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from captioning.model.aligner import Aligner
from captioning.model.bundle import Parts, read_bundle
from captioning.model.captioner import Captioner
from captioning.model.concept_detector import ConceptDetector
from captioning.model.image_model import ImageModel

MODELS: Mapping[str, type[ImageModel]] = {model.head_name: model for model in (Captioner, ConceptDetector, Aligner)}
"""The class of each kind of model, by the name of its head."""


def load_model(folder: str | Path, *, trust: Collection[str] = ()) -> ImageModel:
    """Load a bundle of any kind in evaluation mode, on the CPU; see `ImageModel.from_pretrained`."""
    parts = read_bundle(Path(folder), trust=trust)
    return MODELS[parts.head_name].with_weights(parts, Path(folder))


def model_of(parts: Parts) -> ImageModel:
    """Put parts together as a model of their kind, with the weights that they have."""
    return MODELS[parts.head_name].from_parts(parts)
