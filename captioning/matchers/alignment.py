"""Which region each word of a sentence is about: the best assignment of a chain-structured Markov random field.

Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306), section 3.1.4.

    E(a) = Σ_j ψU_j(a_j) + Σ_j ψB_j(a_j, a_{j+1})                     (10)
    ψU_j(a_j = i) = v_i · s_j                                         (11)
    ψB_j(a_j, a_{j+1}) = β 1[a_j = a_{j+1}]                           (12)

a_j is the region of word j. Both terms say how well regions fit, so E is maximised, though the paper writes "minimise".
With β = 0 each word takes its own best region. The larger β is, the longer are the runs of words with one region, until
the whole sentence has one. Such runs are the snippets from which the paper's generator learns to describe regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.matchers.matcher import Embedded


@dataclass(frozen=True)
class Snippet:
    """Neighbouring words with the same region.

    Attributes:
        region: the row of the region in the image's vectors.
        begin: the first word, counted from 0.
        end: the word after the last.
    """

    region: int
    begin: int
    end: int


def affinities(image: Embedded, sentence: Embedded) -> NDArray[np.float64]:
    """Compute v_i · s_j, eq. 11, for one image and one sentence.

    Args:
        image: one image, (1, R, h).
        sentence: one sentence, (1, T, h).

    Returns:
        (T, R), the real words alone; -inf for padding among the regions.
    """
    words = sentence.vectors[0] if sentence.mask is None else sentence.vectors[0][sentence.mask[0]]
    products = words.double() @ image.vectors[0].double().t()
    if image.mask is not None:
        products = products.masked_fill(~image.mask[0], -np.inf)
    psi: NDArray[np.float64] = products.detach().cpu().numpy()
    return psi


def align(psi: NDArray[np.float64], *, beta: float) -> list[int]:
    """Find the assignment a that maximises E(a), eq. 10, by Viterbi's algorithm in O(words · regions).

    The pair term only says whether a region stays, so the best predecessor of region i is i itself, with β, or the best
    of all regions.

    Args:
        psi: ψU, (T, R): how well each word fits each region, from `affinities`.
        beta: β, at least 0, in the unit of psi.

    Returns:
        The region of each word.

    Raises:
        InputError: β is negative or not finite, a word has no region, or psi is NaN or +inf.
    """
    if not 0 <= beta < np.inf:
        raise InputError(f"beta={beta} must be a finite number of at least 0")
    if psi.ndim != 2 or np.isnan(psi).any() or not np.isfinite(psi.max(axis=1, initial=-np.inf)).all():
        raise InputError(f"expected scores (words, regions), a finite one for each word; found the shape {psi.shape}")
    if not len(psi):
        return []
    best, stays, tops = psi[0], [], []
    for unary in psi[1:]:
        top = int(best.argmax())
        stay = best + beta >= best[top]
        best = unary + np.where(stay, best + beta, best[top])
        stays.append(stay)
        tops.append(top)
    a = [int(best.argmax())]
    for stay, top in zip(reversed(stays), reversed(tops), strict=True):
        a.append(a[-1] if stay[a[-1]] else top)
    return a[::-1]


def energy(psi: NDArray[np.float64], a: Sequence[int], *, beta: float) -> float:
    """Compute E(a), eq. 10."""
    unary = sum(float(psi[j, region]) for j, region in enumerate(a))  # (11)
    return unary + beta * sum(one == other for one, other in pairwise(a))  # (12)


def snippets(a: Sequence[int]) -> list[Snippet]:
    """Split a sentence into runs of words with one region, in order."""
    found, begin = [], 0
    for region, run in groupby(a):
        end = begin + len(list(run))
        found.append(Snippet(region, begin, end))
        begin = end
    return found
