"""Word detectors: image features to the probability of each word."""

from captioning.encoders.detectors.detector import WordDetector
from captioning.encoders.detectors.max_over_regions import MaxOverRegions
from captioning.encoders.detectors.noisy_or import NoisyOr
from captioning.encoders.detectors.whole_image import WholeImage

__all__ = ["MaxOverRegions", "NoisyOr", "WholeImage", "WordDetector"]
