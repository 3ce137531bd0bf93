"""Conformal risk control: a threshold of confidence that keeps an expected loss below a limit.

Source: Angelopoulos, Bates, Fisch, Lei and Schuster 2022, "Conformal Risk Control", arXiv:2208.02814. Let L_i(lambda),
i = 1, ..., n + 1, be exchangeable losses of at most 1 that do not rise with lambda, and are continuous from the right.
Their mean over the first n is R(lambda). Then with

    lambda = inf { l : n / (n + 1) R(l) + 1 / (n + 1) <= alpha }                                                (1)

the expected loss of the next one is E[L_{n+1}(lambda)] <= alpha. The expectation is over all n + 1 images.

Here the loss of an image is 1 if its caption is given and wrong, and a caption is given if its confidence is above
lambda. Images are exchangeable if every order of them is equally probable, as of images that are drawn at random from
one source. The confidences must not have been fitted on these images.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError


def least_confidence(confidences: NDArray[np.float64], right: NDArray[np.bool_], risk: float) -> float:
    """Find the confidence from which captions can be given, so that at most a share of all images gets a wrong one.

    Args:
        confidences: (n) of the captions of images that the confidences were not fitted on.
        right: (n) whether each caption is right.
        risk: alpha, the largest expected share of images whose caption is given and wrong.

    Returns:
        The smallest float above lambda of (1); 0 if all captions can be given, and inf if none can.

    Raises:
        InputError: `risk` is not between 0 and 1.
    """
    if not 0 < risk < 1:
        raise InputError(f"risk={risk}: expected a share between 0 and 1, such as 0.2")
    n = len(confidences)
    most_wrong = math.floor(risk * (n + 1) - 1 + 1e-9)  # (1) times n + 1, solved for the number of wrong captions
    if most_wrong < 0:
        return math.inf
    wrong = np.sort(confidences[~right])[::-1]
    return 0.0 if len(wrong) <= most_wrong else float(np.nextafter(wrong[most_wrong], np.inf))
