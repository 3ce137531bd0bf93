"""Measure how varied and how well formed captions are, which metrics that compare with references do not.

All captions are tokenized, their tokens joined by one space. Shares are fractions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.metrics.cider import Cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.metric import Metric
from captioning.metrics.uncertainty import ROUNDING

BAD_ENDINGS = frozenset(
    (
        "a",
        "an",
        "the",
        "in",
        "for",
        "at",
        "of",
        "with",
        "before",
        "after",
        "on",
        "upon",
        "near",
        "to",
        "is",
        "are",
        "am",
    )
)
"""Words that cannot end a sentence: the list of the field's evaluation code (ImageCaptioning.pytorch), after Guo et al.
2018, "Improving Reinforcement Learning Based Image Captioning with Natural Language Prior", EMNLP,
arXiv:1809.06227."""


def summary(captions: Sequence[str]) -> dict[str, float]:
    """Describe captions, one per image, without references, for result files."""
    return {
        "empty": sum(not caption for caption in captions),
        "mean_length": mean_length(captions),
        "vocabulary": vocabulary_size(captions),
        "distinct-1": distinct(captions, 1),
        "distinct-2": distinct(captions, 2),
        "different": len(set(captions)),
        "bad_endings": bad_ending_share(captions),
        "repetitions": repetition_share(captions),
    }


def distinct(captions: Iterable[str], order: int) -> float:
    """Compute distinct-n: the number of different n-grams per word; 0 if there are no words.

    Source: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL,
    arXiv:1510.03055. It falls with the number of captions, so compare sets of the same size. For the captions of
    one image, averaged over images, captioning papers call it Div-n.
    """
    split = [caption.split() for caption in captions]
    ngrams = {tuple(words[i : i + order]) for words in split for i in range(len(words) - order + 1)}
    return _share(len(ngrams), sum(map(len, split)))


def vocabulary_size(captions: Iterable[str]) -> int:
    """Count the different words used."""
    return len({word for caption in captions for word in caption.split()})


def mean_length(captions: Sequence[str]) -> float:
    """Compute the average number of words of a caption."""
    return _share(sum(len(caption.split()) for caption in captions), len(captions))


def novel_share(captions: Sequence[str], known: Collection[str]) -> float:
    """Compute the share of captions that are not among the known ones, such as the training set's, word for word."""
    known = frozenset(known)
    return _share(sum(caption not in known for caption in captions), len(captions))


def bad_ending_share(captions: Sequence[str]) -> float:
    """Compute the share of captions whose last word is one of `BAD_ENDINGS`."""
    return _share(sum(caption.rpartition(" ")[2] in BAD_ENDINGS for caption in captions), len(captions))


def repetition_share(captions: Sequence[str], order: int = 3) -> float:
    """Compute the share of captions that contain some n-gram more than once.

    Of `order` words, three by default: shorter ones such as "in a" also repeat in good captions. Beam search blocks the
    same repetitions with `no_repeat_ngram`.
    """
    return _share(sum(_repeats(caption.split(), order) for caption in captions), len(captions))


def _repeats(words: Sequence[str], order: int) -> bool:
    ngrams = [tuple(words[start : start + order]) for start in range(len(words) - order + 1)]
    return len(set(ngrams)) < len(ngrams)


def self_cider(captions: Sequence[Sequence[str]], frequencies: DocumentFrequencies) -> NDArray[np.float64]:
    """Compute self-CIDEr, how different the captions of each image are: 0 if all are the same, at most 1.

    Source: Wang and Chan 2019, "Describing like Humans: on Diversity in Image Captioning", CVPR, arXiv:1903.12020.
    Let K hold the CIDEr of each pair of an image's m captions, divided by 10, and let lambda be K's eigenvalues. Then

        r = sqrt(max lambda) / sum_i sqrt(lambda_i),   self-CIDEr = -log r / log m

    As in the authors' program, K holds CIDEr-D. It is not symmetric: the later one of two captions is the candidate,
    and negative eigenvalues count as 0.

    Args:
        captions: the captions of each image, at least two; their number may differ between images.
        frequencies: document frequencies, in the paper those of a training split.

    Returns:
        (I) a value per image; that of the corpus is their mean.

    Raises:
        InputError: there is no image, or an image has fewer than two captions.
    """
    if not captions:
        raise InputError("expected captions of at least one image, found none")
    if few := sum(len(group) < 2 for group in captions):
        raise InputError(f"expected at least two captions of each image; {few} of {len(captions)} have fewer")
    flat = [caption for group in captions for caption in group]
    sizes = [len(group) for group in captions]
    starts = np.cumsum([0, *sizes])
    later, earlier = np.concatenate(
        [start + np.array(np.tril_indices(size)) for start, size in zip(starts, sizes, strict=False)], axis=1
    )
    similarity = Cider([[caption] for caption in flat], frequencies).rewards([flat[i] for i in later], earlier) / 10
    ends = np.cumsum([size * (size + 1) // 2 for size in sizes])[:-1]
    return np.array([_spread(values, size) for values, size in zip(np.split(similarity, ends), sizes, strict=True)])


def _spread(lower_triangle: NDArray[np.float64], size: int) -> float:
    """Compute self-CIDEr of one image from K's lower triangle, row by row."""
    kernel = np.zeros((size, size))
    kernel[np.tril_indices(size)] = lower_triangle
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel, UPLO="L"), 0))
    if not roots.any():  # no caption has a word
        return 0.0
    return float(-np.log(roots.max() / roots.sum()) / np.log(size))


def oracle(metric: Metric, n_best: Sequence[Sequence[str]], name: str) -> list[str]:
    """Pick each image's caption with the best score against the references.

    Args:
        metric: built from the images' references.
        n_best: captions of each image, at least one, in the order of the references; their number may differ.
        name: the score to compare; the first of equally good captions is picked.

    Returns:
        A caption per image; their scores are an upper bound for re-ranking.

    Raises:
        InputError: the number of images is not that of the references, an image has no caption, or the metric does not
            report this score.
    """
    if name not in metric.names:
        raise InputError(f"expected one of {', '.join(metric.names)}; found '{shown(name)}'")
    if without := sum(not group for group in n_best):
        raise InputError(f"expected at least one caption of each image; {without} of {len(n_best)} have none")
    column = metric.names.index(name)
    ranks = range(max(map(len, n_best), default=1))
    # For an image with fewer captions the first one is scored again, which changes nothing.
    sign = 1 if metric.mode == "max" else -1
    scores = [
        sign * metric.scores(metric.statistics([group[rank] if rank < len(group) else group[0] for group in n_best]))
        for rank in ranks
    ]
    table = np.stack(scores)[:, :, column]
    best = (table >= table.max(axis=0) - ROUNDING).argmax(axis=0)
    return [group[rank] for group, rank in zip(n_best, best, strict=True)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
