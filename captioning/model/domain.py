"""How far an image is from the training images: a Mahalanobis distance with a low-rank covariance.

Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
arXiv:1807.03888, measure the Mahalanobis distance of features from those of training images. Their covariance is a full
matrix. Here it is that of probabilistic principal component analysis (Tipping and Bishop 1999): Q directions u_k with
the variances s_k, and one variance s for all P - Q directions beside them,

    d(x)^2 = sum_k (u_k . (x - mean))^2 / s_k + |r(x)|^2 / s                                                    (1)

where r(x) is what remains of x - mean outside of the Q directions. This remainder finds images whose features point
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


@dataclass(frozen=True, eq=False)
class Domain:
    """Where the pooled features of the training images lie.

    Attributes:
        mean: (P) of the features.
        directions: (Q, P) orthonormal u_k.
        variances: (Q) s_k.
        remaining: s.
    """

    mean: Floats
    directions: Floats
    variances: Floats
    remaining: float

    @classmethod
    def fit(cls, pooled: Floats, rank: int = RANK) -> Self:
        """Compute mean and covariance of features.

        Args:
            pooled: (I, P), one row for each training image.
            rank: the largest Q. It is at most half the number of images and half of P.

        Raises:
            InputError: there are fewer than two images, a feature is not finite, or all images have the same features.
        """
        if len(pooled) < 2 or not np.isfinite(pooled).all():
            raise InputError(f"expected finite features of at least two training images, found {len(pooled)} images")
        mean = pooled.mean(0)
        variances, directions = np.linalg.eigh(np.cov(pooled.T, bias=True).reshape(len(mean), len(mean)))
        variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1].T
        if variances[0] <= 0:
            raise InputError("all training images have the same features, so none is further away than another")
        least = _LEAST_SHARE * variances[0]  # else rounding would be divided by a variance of 0
        q = min(rank, len(pooled) // 2, len(mean) // 2)
        remaining = float(max(variances[q:].mean(), least))
        return cls(mean, directions[:q], np.maximum(variances[:q], least), remaining)

    def distances(self, pooled: Floats) -> Floats:
        """Compute d / sqrt(P) of each image, (I, P) to (I). It is about 1 for training images."""
        centred = pooled - self.mean
        along = centred @ self.directions.T
        outside = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0.0)
        squares = (along**2 / self.variances).sum(1) + outside / self.remaining  # (1)
        distances: Floats = np.sqrt(squares / len(self.mean))
        return distances

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what `from_arrays` needs, as a file holds it."""
        values = {**vars(self), "remaining": np.array([self.remaining])}
        return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]], size: int) -> Self:
        """Put together what `arrays` returned.

        Args:
            arrays: by name.
            size: P.

        Raises:
            InputError: an array is missing, has another shape, or holds no finite numbers or variances of 0.
        """
        rank = len(arrays["variances"]) if "variances" in arrays else 0
        shapes = {"mean": (size,), "directions": (rank, size), "variances": (rank,), "remaining": (1,)}
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise InputError(f"expected finite numbers of the shape {shape} as '{name}'")
        values = {name: arrays[name].astype(np.float64) for name in shapes}
        if not (values["variances"] > 0).all() or not values["remaining"][0] > 0:
            raise InputError("expected variances above 0")
        return cls(**{**values, "remaining": float(values["remaining"][0])})
