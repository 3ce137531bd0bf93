"""CLIPScore and RefCLIPScore: how near a caption is to its image, and to its references, in CLIP's space.

Source: Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", EMNLP,
arXiv:2104.08718, section 3: of a caption c, an image v and references R

    CLIP-S(c, v) = w max(cos(c, v), 0), w = 2.5
    RefCLIP-S(c, R, v) = H-Mean(CLIP-S(c, v), max(max_r cos(c, r), 0))

Differs: the authors' code does not keep the second term of the harmonic mean from being negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.metric import Metric, check_candidates, check_references

Floats = NDArray[np.float64]

PROMPT = "A photo depicts "  # before every text, references too
WEIGHT = 2.5


class Embedding(Protocol):
    """Puts texts and images into one space, such as `captioning.evaluation.clip.Clip`.

    Attributes:
        version: what tells it from others.
    """

    version: str

    def texts(self, texts: Sequence[str]) -> Floats:
        """Vectors of length 1, (N, P), of N texts."""
        ...

    def pictures(self, paths: Sequence[Path]) -> Floats:
        """Vectors of length 1, (I, P), of the images in I files."""
        ...


class ClipScore(Metric):
    """CLIP-S and RefCLIP-S; a corpus's are the means of the images'. CLIP-S lies in [0, 2.5], RefCLIP-S in [0, 10/7].

    References and candidates are captions as they were written: CLIP has a tokenizer of its own.

    Statistics, S = 3: the image's CLIP-S and RefCLIP-S, and 1.

    Args:
        references: the references of each image.
        images: the file of each image's image.
        embedding: CLIP; the paper's is ViT-B/32.

    Raises:
        InputError: there is no image, one has no reference, there is not one image for each, or one cannot be read.
    """

    names = ("CLIP-S", "RefCLIP-S")

    def __init__(self, references: Sequence[Sequence[str]], pictures: Sequence[Path], embedding: Embedding) -> None:
        check_references(references)
        if len(pictures) != len(references):
            raise InputError(f"expected an image for each of {len(references)} images, found {len(pictures)}")
        self.version = embedding.version
        self._embedding = embedding
        self._pictures = embedding.pictures(pictures)
        self._references = self._texts([reference for group in references for reference in group])
        self._counts = np.array([len(group) for group in references])

    def statistics(self, candidates: Sequence[str]) -> Floats:  # noqa: D102
        check_candidates(candidates, len(self._counts))
        captions = self._texts(candidates)
        to_image = _cosines(captions, self._pictures)
        to_references = _cosines(captions.repeat(self._counts, axis=0), self._references)
        nearest = np.maximum.reduceat(to_references, self._counts.cumsum() - self._counts)
        clip_s = WEIGHT * to_image.clip(min=0)
        ref_clip_s = _harmonic_mean(clip_s, nearest.clip(min=0))
        return np.stack([clip_s, ref_clip_s, np.ones_like(clip_s)], axis=1)

    @staticmethod
    def figures(totals: Floats) -> Floats:  # noqa: D102
        return totals[..., :2] / totals[..., 2:]

    def _texts(self, texts: Sequence[str]) -> Floats:
        return self._embedding.texts([PROMPT + text for text in texts])


def _cosines(first: Floats, second: Floats) -> Floats:
    """Of each row with the other's, vectors of length 1."""
    cosines: Floats = np.einsum("np,np->n", first, second)
    return cosines


def _harmonic_mean(first: Floats, second: Floats) -> Floats:
    """Of numbers from 0; 0 where one of the two is."""
    total = first + second
    return np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
