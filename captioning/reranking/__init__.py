"""Choose the best of each image's M best captions, by weighted features or by the captions of similar images."""

from captioning.reranking.features import FEATURES, sentence_features, words_said
from captioning.reranking.mert import Tuned, tune
from captioning.reranking.nbest import NBest, halves, read_nbest, write_nbest

__all__ = [
    "FEATURES",
    "NBest",
    "Tuned",
    "halves",
    "read_nbest",
    "sentence_features",
    "tune",
    "words_said",
    "write_nbest",
]
