"""Encoders: torchvision's and timm's networks and a small CNN for images, recurrent layers for sentences."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.encoders.blind import Blind
    from captioning.encoders.detected_words import DetectedWords
    from captioning.encoders.encoder import Encoder
    from captioning.encoders.features import ImageFeatures, Objects
    from captioning.encoders.grid_cells import GridCells
    from captioning.encoders.image_and_words import ImageAndWords
    from captioning.encoders.mirrored import WithMirrored
    from captioning.encoders.regions import Regions
    from captioning.encoders.several import SeveralEncoders
    from captioning.encoders.small_cnn import SmallCNN
    from captioning.encoders.standardise import Standardise
    from captioning.encoders.text import TextEncoder
    from captioning.encoders.text_transform import TextTransform
    from captioning.encoders.timm import TimmEncoder
    from captioning.encoders.torchvision import TorchvisionEncoder
    from captioning.encoders.transform import ImageTransform
    from captioning.encoders.with_detector import WithDetector

_MODULES = {
    "Blind": "blind",
    "DetectedWords": "detected_words",
    "Encoder": "encoder",
    "GridCells": "grid_cells",
    "ImageAndWords": "image_and_words",
    "ImageFeatures": "features",
    "ImageTransform": "transform",
    "Objects": "features",
    "Regions": "regions",
    "SeveralEncoders": "several",
    "SmallCNN": "small_cnn",
    "Standardise": "standardise",
    "TextEncoder": "text",
    "TextTransform": "text_transform",
    "TimmEncoder": "timm",
    "TorchvisionEncoder": "torchvision",
    "WithDetector": "with_detector",
    "WithMirrored": "mirrored",
}
__all__ = [
    "Blind",
    "DetectedWords",
    "Encoder",
    "GridCells",
    "ImageAndWords",
    "ImageFeatures",
    "ImageTransform",
    "Objects",
    "Regions",
    "SeveralEncoders",
    "SmallCNN",
    "Standardise",
    "TextEncoder",
    "TextTransform",
    "TimmEncoder",
    "TorchvisionEncoder",
    "WithDetector",
    "WithMirrored",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that a decoder that imports ImageFeatures does not import timm and torchvision.
    if name in _MODULES:
        return getattr(import_module(f"captioning.encoders.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'captioning.encoders' has no attribute {name!r}")
