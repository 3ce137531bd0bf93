"""Calibration: from a detector's probability of a word to the precision of saying the word at this probability."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from captioning.errors import InputError

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class Calibration(nn.Module):
    """Interpolate, for each word, the precision of the calibration images at a probability.

    c of an image's K references have the word. If the word is said of every image whose probability is at least t, then

        precision(t) = Σ tp / (Σ tp + Σ fp)        over the calibration images with p >= t                      (1)
        tp = c (1 - 1/K)        fp = 1 if c = 0, 1/K if c = 1, else 0
        curve(t) = max over t' <= t of precision(t')        linear between the images' probabilities            (2)

    Below the least and above the greatest probability of the calibration images, the curve is constant. `fit` keeps
    `num_knots` points of each word's curve, of all images if they are no more. Otherwise it keeps the images at
    the ranks 1, 2, 3, ... from the top, with gaps that grow in proportion, as the precision at rank n changes by 1/n.

    Before `fit`, and for a word that none of the calibration images has, the result is the probability itself.

    Source: the official code of Fang et al. 2015 (arXiv:1411.4952), which calibrates on one half of COCO's validation
    images and reports scores on the other.
    Differs: there, the result is 0 for a word that no calibration image has, and images of equal probability count one
    after another; here, they count together. There, all images are points of the curve.

    Args:
        vocab_size: V.
        num_knots: points of the curve of each word.

    Attributes:
        probabilities: (V, num_knots) the points' p, which do not fall. The last one repeats if there are fewer points.
        precisions: (V, num_knots) the curve there.
    """

    probabilities: Tensor
    precisions: Tensor

    def __init__(self, *, vocab_size: int, num_knots: int = 128) -> None:
        super().__init__()
        if num_knots < 2:
            raise InputError(f"num_knots={num_knots}: a curve needs at least 2 points")
        for name in ("probabilities", "precisions"):
            self.register_buffer(name, torch.linspace(0, 1, num_knots).repeat(vocab_size, 1))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Compute the precision at each probability, (I, V) to (I, V), in 0..1."""
        p = probabilities.T.to(self.probabilities).contiguous()  # (V, I)
        right = torch.searchsorted(self.probabilities, p, right=True).clamp(1, self.probabilities.shape[1] - 1)
        p0, p1 = (self.probabilities.gather(1, i) for i in (right - 1, right))
        y0, y1 = (self.precisions.gather(1, i) for i in (right - 1, right))
        share = (p - p0) / (p1 - p0).clamp(min=torch.finfo(p.dtype).tiny)
        return (y0 + share * (y1 - y0)).clamp(y0, y1).T

    @torch.no_grad()
    def fit(self, probabilities: Tensor, counts: Tensor, *, num_references: int = 5) -> None:
        """Learn the curves from images that the detector has not learned from.

        Args:
            probabilities: (I, V) of the calibration images.
            counts: (I, V) how many references of each image have the word.
            num_references: K.

        Raises:
            InputError: there are no images, K is below 2, a probability is not in 0..1, or a count is not in 0..K.
        """
        _check(probabilities, counts, len(self.probabilities), num_references)
        num_words, num_knots = self.probabilities.shape
        p, c = (x.double().cpu().numpy() for x in (probabilities, counts))
        known = np.flatnonzero(c.any(0))
        for word in known:
            points, curve = _curve(p[:, word], c[:, word], num_references)
            kept = _from_the_top(len(points), num_knots)
            self.probabilities[word] = torch.from_numpy(points[kept])
            self.precisions[word] = torch.from_numpy(curve[kept])
        log.info("calibrated %d of %d words on %d images; no image has the others", len(known), num_words, len(p))


def _curve(p: Floats, c: Floats, K: int) -> tuple[Floats, Floats]:  # noqa: N803
    """Compute (2) at each different probability of one word, in rising order."""
    points, group = np.unique(p, return_inverse=True)
    tp, fp = c * (1 - 1 / K), np.where(c == 0, 1.0, np.where(c == 1, 1 / K, 0.0))
    tp, fp = (np.bincount(group, x, len(points))[::-1].cumsum()[::-1] for x in (tp, fp))  # of all with p >= t
    return points, np.maximum.accumulate(tp / (tp + fp))  # (1), (2)


def _from_the_top(num_points: int, num_knots: int) -> NDArray[np.int64]:
    """Choose `num_knots` of the points 0 to num_points - 1, in rising order; the last one repeats if they are fewer."""
    if num_points <= num_knots:
        return np.minimum(np.arange(num_knots), num_points - 1)
    ranks = np.geomspace(1, num_points, num_knots).round().astype(np.int64)
    ranks = np.maximum(ranks, np.arange(1, num_knots + 1))  # the first ranks are less than 1 apart
    return num_points - ranks[::-1]


def _check(probabilities: Tensor, counts: Tensor, vocab_size: int, num_references: int) -> None:
    if probabilities.shape != counts.shape or probabilities.shape[1:] != (vocab_size,) or not len(counts):
        raise InputError(
            f"calibration needs probabilities and counts of {vocab_size} words in at least one image, found "
            f"{tuple(probabilities.shape)} and {tuple(counts.shape)}"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("calibration needs probabilities in 0..1; check the detector's weights")
    if num_references < 2:
        raise InputError(f"num_references={num_references}: precision against the other references needs at least 2")
    if not ((counts >= 0) & (counts <= num_references)).all():
        raise InputError(
            f"calibration needs counts in 0..{num_references}, found {counts.min():g} to {counts.max():g}; give the "
            "number of references"
        )
