"""How far an image is from the training images: a Mahalanobis distance with a low-rank covariance.

Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
arXiv:1807.03888, measure the Mahalanobis distance of features from those of training images. Their covariance is a full
matrix. Here each feature is scaled to a standard deviation of 1, and the covariance is that of probabilistic principal
component analysis (Tipping and Bishop 1999): Q directions u_k with the variances s_k, and one variance s for all P - Q
directions beside them,

    z = (x - mean) / deviation
    d(x)^2 = sum_k (u_k . z)^2 / s_k + |r(z)|^2 / s                                                             (1)

where r(z) is what remains of z outside of the Q directions. This remainder finds images whose features point
where those of no training image do (Wang et al. 2022, "ViM", arXiv:2203.10807).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError

Floats = NDArray[np.float64]

RANK = 64
"""The largest Q."""
_LEAST_SHARE = 1e-6
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Domain:
    """Where the features of the training images lie.

    Attributes:
        mean: (P) of the features.
        deviation: (P) of the features; 1 for constant ones.
        directions: (Q, P) orthonormal u_k.
        variances: (Q) s_k.
        remaining: s.
    """

    mean: Floats
    deviation: Floats
    directions: Floats
    variances: Floats
    remaining: float

    @classmethod
    def fit(cls, features: Floats, rank: int = RANK) -> Self:
        """Compute mean and covariance of features.

        Args:
            features: (I, P), one row for each training image.
            rank: the largest Q. It is at most half the number of images and half of P.

        Raises:
            InputError: there are fewer than two images, a feature is not finite, or all images have the same features.
        """
        if len(features) < 2 or not np.isfinite(features).all():
            raise InputError(f"expected finite features of at least two training images, found {len(features)} images")
        mean, deviation = features.mean(0), features.std(0)
        deviation[deviation <= _CONSTANT * np.maximum(1, np.abs(mean))] = 1.0
        z = (features - mean) / deviation
        variances, directions = np.linalg.eigh(z.T @ z / len(z))
        variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1].T
        if variances[0] <= 0:
            raise InputError("all training images have the same features, so none is further away than another")
        least = _LEAST_SHARE * variances[0]  # else rounding would be divided by a variance of 0
        q = min(rank, len(z) // 2, len(mean) // 2)
        remaining = float(max(variances[q:].mean(), least))
        return cls(mean, deviation, directions[:q], np.maximum(variances[:q], least), remaining)

    def distances(self, features: Floats) -> Floats:
        """Compute d / sqrt(P) of each image, (I, P) to (I). It is about 1 for training images."""
        z = (features - self.mean) / self.deviation
        along = z @ self.directions.T
        outside = np.maximum((z**2).sum(1) - (along**2).sum(1), 0.0)
        squares = (along**2 / self.variances).sum(1) + outside / self.remaining  # (1)
        distances: Floats = np.sqrt(squares / len(self.mean))
        return distances

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what `from_arrays` needs, as a file holds it."""
        values = {**vars(self), "remaining": np.array([self.remaining])}
        return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """Put together what `arrays` returned.

        Raises:
            InputError: an array is missing, has another shape, or holds no finite numbers or variances of 0.
        """
        size, rank = (arrays[name].size if name in arrays else 0 for name in ("mean", "variances"))
        shapes = {
            "mean": (size,),
            "deviation": (size,),
            "directions": (rank, size),
            "variances": (rank,),
            "remaining": (1,),
        }
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise InputError(f"expected finite numbers of the shape {shape} as '{name}'")
        values = {name: arrays[name].astype(np.float64) for name in shapes}
        if not all((values[name] > 0).all() for name in ("deviation", "variances", "remaining")):
            raise InputError("expected variances above 0")
        return cls(**{**values, "remaining": values["remaining"][0]})
