"""Load a model of any kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from captioning.model.aligner import Aligner
from captioning.model.bundle import Parts
from captioning.model.captioner import Captioner
from captioning.model.concept_detector import ConceptDetector
from captioning.model.image_model import ImageModel
from captioning.model.where import read_model

MODELS: Mapping[str, type[ImageModel]] = {model.head_name: model for model in (Captioner, ConceptDetector, Aligner)}
"""The class of each kind of model, by the name of its head."""


def load_model(path: str | Path, *, trust: Collection[str] = ()) -> ImageModel:
    """Load a model of any kind in evaluation mode, on the CPU; see `ImageModel.from_pretrained`."""
    parts, load = read_model(Path(path), trust=trust)
    return MODELS[parts.head_name].with_weights(parts, load)


def model_of(parts: Parts) -> ImageModel:
    """Put parts together as a model of their kind, with the weights that they have."""
    return MODELS[parts.head_name].from_parts(parts)
