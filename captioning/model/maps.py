"""Where in an image a model finds words: maps of detectors and of alignments, drawn as attention maps are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.aligner import Aligner, WordRegions
from captioning.model.attention_maps import AttentionMap, draw_attention_map, grid_shape, save_figure, shown_pixels
from captioning.model.concept_detector import ConceptDetector
from captioning.modes import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["concept_maps", "draw_maps", "grid_shape", "save_figure", "word_maps"]


@torch.inference_mode()
def concept_maps(
    model: ConceptDetector, inputs: Tensor, features: ImageFeatures, words: Sequence[Sequence[str]]
) -> list[AttentionMap]:
    """Compute the probability of words in each region of images.

    Args:
        model: the model.
        inputs: (I, C, H, W), from `ImageModel.pixels`.
        features: of the images, from `ImageModel.encode`.
        words: of each image.

    Raises:
        InputError: the detector sees the whole image alone, or its regions form no grid.
    """
    with evaluating(model):
        found = model.detector.maps(features).float().cpu()
    if found.shape[1] == 1:
        raise InputError(
            f"{type(model.detector).__name__} looks at the whole image, so its words have no place; use a model of "
            "detector=noisy_or or detector=max_over_regions"
        )
    transform, id_of = model.image_transform, {word: i for i, word in enumerate(model.tokenizer.vocabulary)}
    rows, columns = grid_shape(found.shape[1], *transform.size)
    return [
        AttentionMap(image, tuple(own), probability[:, [id_of[word] for word in own]].T.reshape(-1, rows, columns))
        for image, own, probability in zip(shown_pixels(inputs, transform), words, found, strict=True)
    ]


@torch.inference_mode()
def word_maps(model: Aligner, inputs: Tensor, features: ImageFeatures, found: WordRegions) -> AttentionMap:
    """Mark the region of each word of a sentence in its image; the whole image if the word has no grid cell.

    Args:
        model: the model.
        inputs: (1, C, H, W), from `ImageModel.pixels`.
        features: of the image, from `ImageModel.encode`.
        found: the regions.

    Raises:
        InputError: the regions form no grid.
    """
    assert features.grid is not None  # `align_features` refuses others
    transform = model.image_transform
    rows, columns = grid_shape(features.grid.shape[1], *transform.size)
    marked = torch.zeros(len(found.words), rows * columns)
    for word, region in enumerate(found.regions):
        marked[word, slice(None) if region < 0 else region] = 1.0
    return AttentionMap(shown_pixels(inputs, transform)[0], found.words, marked.reshape(-1, rows, columns))


def draw_maps(found: AttentionMap) -> Figure:
    """Draw the image, and one copy of it per word, each on a scale of its own: rare words have small probabilities."""
    return draw_attention_map(found, brightest=found.weights.flatten(1).amax(1).tolist())
