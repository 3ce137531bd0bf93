"""CLIPScore and RefCLIPScore: the similarity of a caption to its image, and to its references, in CLIP's space.

Source: Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", EMNLP,
arXiv:2104.08718, section 3. For a caption c, an image v and references R,

    CLIP-S(c, v) = w max(cos(c, v), 0), w = 2.5
    RefCLIP-S(c, R, v) = H-Mean(CLIP-S(c, v), max(max_r cos(c, r), 0))

Differs: in the authors' code the second term of the harmonic mean can be negative.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.checks import check_candidates, check_references
from captioning.metrics.metric import Metric
from captioning.metrics.resources import Embedding, Resources

Floats = NDArray[np.float64]

PROMPT = "A photo depicts "  # before every text, references too
WEIGHT = 2.5


class ClipScore(Metric):
    """CLIP-S in [0, 2.5] and RefCLIP-S in [0, 10/7]; the scores of a corpus are the means over images.

    References and candidates are captions as they were written, because CLIP tokenizes them itself.

    Statistics, S = 3: the image's CLIP-S and RefCLIP-S, and 1.

    Args:
        references: the references of each image.
        images: the file of each image.
        embedding: CLIP; the paper's is ViT-B/32.

    Raises:
        InputError: there is no image, an image has no reference, or a file is missing or cannot be read.
    """

    names = ("CLIP-S", "RefCLIP-S")
    tokenizer = None

    def __init__(self, references: Sequence[Sequence[str]], images: Sequence[Path], embedding: Embedding) -> None:
        check_references(references)
        if len(images) != len(references):
            raise InputError(f"expected a file for each of {len(references)} images, found {len(images)}")
        self.version = embedding.version
        self._embedding = embedding
        self._images = embedding.images(images)
        self._references = self._texts([reference for group in references for reference in group])
        self._counts = np.array([len(group) for group in references])

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        assert resources.images is not None and resources.embedding is not None  # see `check`
        return cls(resources.text, resources.images, resources.embedding)

    @classmethod
    def check(cls, given: Collection[str]) -> None:  # noqa: D102
        needed = {"embedding": "a CLIP model", "images": "the images"}
        if missing := [what for name, what in needed.items() if name not in given]:
            raise InputError(
                f"CLIPScore needs {' and '.join(missing)}; expected `captioning score --clip FOLDER --images DIR`"
            )

    def statistics(self, candidates: Sequence[str]) -> Floats:  # noqa: D102
        check_candidates(candidates, len(self._counts))
        captions = self._texts(candidates)
        to_image = _cosines(captions, self._images)
        to_references = _cosines(captions.repeat(self._counts, axis=0), self._references)
        nearest = np.maximum.reduceat(to_references, self._counts.cumsum() - self._counts)
        clip_s = WEIGHT * to_image.clip(min=0)
        ref_clip_s = _harmonic_mean(clip_s, nearest.clip(min=0))
        return np.stack([clip_s, ref_clip_s, np.ones_like(clip_s)], axis=1)

    @staticmethod
    def scores(totals: Floats) -> Floats:  # noqa: D102
        return totals[..., :2] / totals[..., 2:]

    def _texts(self, texts: Sequence[str]) -> Floats:
        return self._embedding.texts([PROMPT + text for text in texts])


def _cosines(first: Floats, second: Floats) -> Floats:
    """Compute the cosine of each pair of rows; rows are vectors of length 1."""
    cosines: Floats = np.einsum("np,np->n", first, second)
    return cosines


def _harmonic_mean(first: Floats, second: Floats) -> Floats:
    """Compute the harmonic means of pairs of numbers that are not negative; 0 where either is 0."""
    total = first + second
    return np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
