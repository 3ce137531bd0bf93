"""Word detectors: image features to the probability of each word, its calibration, and the words that are said."""

from captioning.encoders.detectors.calibration import Calibration
from captioning.encoders.detectors.detector import WordDetector
from captioning.encoders.detectors.given_out import FUNCTION_WORDS, given_out
from captioning.encoders.detectors.max_over_regions import MaxOverRegions
from captioning.encoders.detectors.noisy_or import NoisyOr
from captioning.encoders.detectors.noisy_or_in_context import NoisyOrInContext
from captioning.encoders.detectors.whole_image import WholeImage

__all__ = [
    "FUNCTION_WORDS",
    "Calibration",
    "MaxOverRegions",
    "NoisyOr",
    "NoisyOrInContext",
    "WholeImage",
    "WordDetector",
    "given_out",
]
